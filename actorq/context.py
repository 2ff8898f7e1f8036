"""The context: what a running task may know and say of itself.

Made by the worker for each attempt, dead when the attempt has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from actorq.message import Fence, TaskId, TaskMessage
from actorq.progress import TaskProgress


if TYPE_CHECKING:
    from actorq.system import System


class Context:
    """The attempt that is running.  Ask for it with a parameter: `ctx: Context = Depends()`."""

    __slots__ = ("_fence", "_report", "_system", "message")

    def __init__(
        self,
        message: TaskMessage,
        fence: Fence,
        report: Callable[[TaskProgress], Awaitable[None]],
        system: System | None,
    ) -> None:
        self.message = message
        self._fence = fence
        self._report = report
        self._system = system

    @property
    def task_id(self) -> TaskId:
        """This task's id."""
        return self.message.task_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._fence.attempt

    @property
    def labels(self) -> Mapping[str, Any]:
        """The labels that the task was enqueued with."""
        return self.message.labels

    @property
    def system(self) -> System:
        """The system that runs this task: enqueue further tasks with `ctx.system.enqueue(...)`."""
        if self._system is None:
            raise RuntimeError("this context belongs to no system")
        return self._system

    async def set_progress(self, progress: TaskProgress) -> None:
        """Say how far the task is; who iterates over `handle.progress()` sees it at once.

        Always a checkpoint.  Raises `StaleResult` if this attempt has lost its lease, and
        `NotSerializable` if `progress.meta` is nothing that JSON can carry.
        """
        if not isinstance(progress, TaskProgress):
            raise TypeError(f"set_progress() expects a TaskProgress; got {progress!r}")
        await self._report(progress)

    def __repr__(self) -> str:
        return f"<Context {self.message.task_name} {self.task_id} attempt {self.attempt}>"
