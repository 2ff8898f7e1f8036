"""The handle of a task that is enqueued soon: it is held before the broker has accepted the task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

from actorq.errors import ResultGetError, TaskCancelled
from actorq.handle import ProgressUpdates, TaskHandle
from actorq.progress import TaskProgress
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.composition.prepared import Prepared
    from actorq.system import System

R = TypeVar("R")


class StartedHandle(TaskHandle[R]):
    """Who asks it something waits until the task is enqueued."""

    __slots__ = ("_decided", "_refusal")

    def __init__(self, system: System, prepared: Prepared) -> None:
        super().__init__(system, prepared.task_ids[-1], prepared.task, known=False)
        if len(prepared.tasks) > 1:
            self._know_steps(prepared.task_ids[:-1], prepared.tasks)
        self._decided = trio.Event()
        self._refusal: BaseException | None = None

    def decide(self, accepted: str | BaseException) -> None:
        """The broker has it, under this id; or it will not be enqueued.  The first word counts."""
        if self._decided.is_set():
            return
        if isinstance(accepted, str):
            self.task_id = accepted
            self._known = True
        else:
            self._refusal = accepted
        self._decided.set()

    async def accepted(self) -> None:
        """Wait until it is enqueued; raises if it never will be."""
        await self._decided.wait()
        if isinstance(self._refusal, Exception):
            raise ResultGetError(
                f"task {self.task_id} was never enqueued: {self._refusal}"
            ) from self._refusal
        if self._refusal is not None:
            raise TaskCancelled(f"task {self.task_id} was cancelled before it was enqueued")

    async def is_ready(self) -> bool:
        """See `TaskHandle.is_ready`."""
        await self.accepted()
        return await super().is_ready()

    async def get_result(self, with_logs: bool = True) -> TaskResult[R]:
        """See `TaskHandle.get_result`."""
        await self.accepted()
        return await super().get_result(with_logs)

    def progress(self) -> ProgressUpdates:
        """See `TaskHandle.progress`."""
        return _StartedUpdates(self)

    async def get_progress(self) -> TaskProgress | None:
        """See `TaskHandle.get_progress`."""
        await self.accepted()
        return await super().get_progress()

    async def cancel(self) -> bool:
        """See `TaskHandle.cancel`."""
        await self.accepted()
        return await super().cancel()

    async def _wait_outside(self, with_logs: bool, *, sure: bool) -> TaskResult[Any]:
        await self.accepted()
        return await super()._wait_outside(with_logs, sure=sure or self._known)


class _StartedUpdates(ProgressUpdates):
    __slots__ = ("_handle",)

    def __init__(self, handle: StartedHandle[Any]) -> None:
        super().__init__(handle._system, handle.task_id, known=True)
        self._handle = handle

    async def __anext__(self) -> TaskProgress:
        await self._handle.accepted()
        self._task_id = self._handle.task_id
        return await super().__anext__()
