"""The context: what a running task may know and say of itself.

Made by the worker for each attempt, dead when the attempt has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from actorq.errors import Requeued
from actorq.message import Fence, TaskId, TaskMessage
from actorq.options import AckMode, seconds
from actorq.progress import TaskProgress


if TYPE_CHECKING:
    from actorq.system import System


class Hold(Protocol):
    """The worker's hold of one delivery, as the running task may use it."""

    @property
    def is_acked(self) -> bool:
        """The queue has forgotten the task."""
        ...

    async def acknowledge(self) -> None:
        """Have the queue forget the task."""

    async def put_back(self, delay: float) -> None:
        """However the attempt ends, it goes back to the queue."""


class Context:
    """The attempt that is running.  Ask for it with a parameter: `ctx: Context = Depends()`."""

    __slots__ = ("_fence", "_hold", "_report", "_system", "message")

    def __init__(
        self,
        message: TaskMessage,
        fence: Fence,
        report: Callable[[TaskProgress], Awaitable[None]],
        system: System | None,
        hold: Hold | None = None,
    ) -> None:
        self.message = message
        self._fence = fence
        self._report = report
        self._system = system
        self._hold = hold

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

    @property
    def is_acked(self) -> bool:
        """Whether the queue has forgotten this task: a crash from now on cannot bring it back."""
        return self._hold is not None and self._hold.is_acked

    async def ack(self) -> None:
        """With ack="manual": have the queue forget this task, now.  Again: nothing happens.

        Until it returns, a crash runs the task again; from then on, a crash loses it.  Always a
        checkpoint.  Raises `RuntimeError` in the other ack modes, which acknowledge by themselves.
        If the lease was lost meanwhile, the attempt is cancelled.
        """
        mode = self.message.options.ack
        if mode is not AckMode.MANUAL or self._hold is None:
            raise RuntimeError(
                f"task {self.message.task_name!r} has ack={mode.value!r}, which acknowledges by "
                f'itself; to do so with ctx.ack(), declare it with @task(ack="manual")'
            )
        await self._hold.acknowledge()

    async def requeue(self, delay: float | timedelta | None = None) -> NoReturn:
        """End this attempt and put the task back, to start again after *delay* seconds.

        It goes behind what waits in its queue.  It is no failure: neither `retries` nor
        `max_deliveries` count it.  Raises `Requeued`, which ends
        the function; the task goes back whatever the function does with that.  Raises `RuntimeError`
        if the queue has forgotten the task.  Always a checkpoint.
        """
        pause = 0.0 if delay is None else seconds("requeue(delay)", delay)
        if self._hold is None or self._hold.is_acked:
            raise RuntimeError(
                f"task {self.task_id} is acknowledged: the queue has forgotten it and cannot take it "
                f"back; enqueue it anew: await ctx.system.enqueue(...)"
            )
        await self._hold.put_back(pause)
        raise Requeued(f"task {self.task_id} goes back to its queue")

    def __repr__(self) -> str:
        return f"<Context {self.message.task_name} {self.task_id} attempt {self.attempt}>"
