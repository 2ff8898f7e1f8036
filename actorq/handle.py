"""The handle: what an enqueuer holds of a task: its id, its result, its progress, its cancellation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from actorq.errors import ActorFailed, ActorStopped, ResultGetError, SystemClosed
from actorq.job import current_slot, slot_given_back
from actorq.message import TaskId
from actorq.progress import TaskProgress
from actorq.protocol import (
    Cancel,
    Doubt,
    GetProgress,
    GetResult,
    IsResultReady,
    Locate,
    NextProgress,
    WaitResult,
)
from actorq.ref import ActorRef, Message
from actorq.remote_error import dump_error, load_error
from actorq.result import TaskResult
from actorq.serialization import load


if TYPE_CHECKING:
    from actorq.system import System
    from actorq.task import Task

R = TypeVar("R")
T = TypeVar("T")

_LIVE = {"pending", "scheduled", "ready", "parked", "limited", "paced", "leased", "ending"}


async def ask_again(ref: ActorRef[Any], message: Message[T]) -> T:
    """Ask until there is an answer: for questions that may be asked twice.

    If the actor crashes meanwhile, the question is asked of its next life.
    """
    while True:
        try:
            return await ref.ask(message)
        except ActorFailed:
            continue
        except ActorStopped:
            raise _closed(ref) from None


def _closed(ref: ActorRef[Any]) -> SystemClosed:
    return SystemClosed(
        f"the system has closed; its {ref.name} answers no more. Ask inside "
        f"`async with actorq.open_system()`"
    )


class TaskHandle(Generic[R]):
    """One enqueued task."""

    __slots__ = ("_known", "_steps", "_system", "_task", "task_id")

    def __init__(
        self, system: System, task_id: TaskId, task: Task[..., R] | None, *, known: bool
    ) -> None:
        self.task_id = task_id
        self._system = system
        self._task = task
        self._known = known  #: this system accepted it, so it is no typing error

    @property
    def steps(self) -> tuple[TaskHandle[Any], ...]:
        """The handles of a chain's steps, in order, this one last; of any other task, this one."""
        try:
            return (*self._steps, self)
        except AttributeError:  # most tasks are no chains, and do without
            return (self,)

    def _know_steps(self, task_ids: Sequence[TaskId], tasks: Sequence[Task[..., Any]]) -> None:
        self._steps: tuple[TaskHandle[Any], ...] = tuple(
            [
                TaskHandle(self._system, task_id, task, known=False)
                for task_id, task in zip(task_ids, tasks, strict=False)
            ]
        )

    async def is_ready(self) -> bool:
        """Whether the result is stored.  Always a checkpoint.

        Raises `ResultIsReadyError` if the backend failed.
        """
        return await ask_again(self._system.wiring.results, IsResultReady(self.task_id))

    async def get_result(self, with_logs: bool = True) -> TaskResult[R]:
        """The stored result, without waiting.  Always a checkpoint.

        Raises `ResultGetError` if there is none (yet).
        """
        result = await ask_again(self._system.wiring.results, GetResult(self.task_id, with_logs))
        return self._fresh(result, with_logs)

    async def wait_result(self, with_logs: bool = True) -> TaskResult[R]:
        """How the task ended, as soon as it has, failed or not.  Always a checkpoint.

        Takes no timeout: write `with trio.fail_after(5): ...`.  Inside a job, the job's slot is free
        for others meanwhile.  Raises `ResultGetError` at once if the result will never be there.
        """
        return self._fresh(await self._wait(with_logs), with_logs)

    async def result(self) -> R:
        """The task's return value, as soon as it is there.  Always a checkpoint.

        Raises the task's own error if it failed (as itself if it is a builtin or declared with
        `raises=`, else as `TaskFailed`), `TaskCancelled` if it was cancelled, and `ResultGetError` if
        the result cannot be had.
        """
        if self._known and current_slot.get() is None:  # the common way, in the fewest steps
            try:
                result = await self._system.wiring.results.ask(WaitResult(self.task_id))
            except (ActorFailed, ActorStopped):
                result = None
            if result is None:
                result = await self._wait_outside(True, sure=False)
        else:
            result = await self._wait(True)
        if result.error is not None:
            raise self._fresh_error(result.error)
        value: R = self._fresh_value(result.return_value)
        return value

    def progress(self) -> ProgressUpdates:
        """The task's progress, as it is reported; ends when the task ends.

        Needs no clean-up: leave the loop when you like.  A reader that lags behind by more than 64
        updates misses the oldest.
        """
        return ProgressUpdates(self._system, self.task_id, known=self._known)

    async def get_progress(self) -> TaskProgress | None:
        """The latest progress, if there is any.  Always a checkpoint."""
        return await ask_again(self._system.wiring.results, GetProgress(self.task_id))

    async def cancel(self) -> bool:
        """Cancel the task; True if that took effect.  Always a checkpoint.

        A task that waits never starts; a running one has its scope cancelled, and this returns when
        its end is stored (a job that shields itself delays it).  False: it had ended by itself, or is
        not known.
        """
        return await ask_again(self._system.wiring.broker, Cancel(self.task_id))

    async def _wait(self, with_logs: bool) -> TaskResult[Any]:
        async with slot_given_back():
            return await self._wait_outside(with_logs, sure=self._known)

    async def _wait_outside(self, with_logs: bool, *, sure: bool) -> TaskResult[Any]:
        wiring = self._system.wiring
        live, doubts = False, wiring.doubts
        while True:
            if sure:
                wait = WaitResult(self.task_id, with_logs, live, doubts)
                try:
                    result = await wiring.results.ask(wait)
                except ActorFailed:  # what was about to be stored may be lost with it
                    result = None
                except ActorStopped as stopped:
                    raise _closed(wiring.results) from stopped
                if result is not None:
                    return result
            # a stranger's id, or one that may be forgotten or lost: is there anything to wait for?
            doubts = wiring.doubts
            where = await ask_again(wiring.broker, Locate(self.task_id))
            if where == "unknown" and not await self.is_ready():
                raise ResultGetError(
                    f"no task with the id {self.task_id!r} is known, and there is no result of it: it "
                    f"was never enqueued here, or ended so long ago that it is forgotten"
                )
            if where not in _LIVE:  # ended: its result was stored before the broker knew, if ever
                if not await self.is_ready() and await self._system._holds(self.task_id):
                    sure = live = True  # acknowledged early, it runs here, or is about to be stored
                    continue
                return await ask_again(wiring.results, GetResult(self.task_id, with_logs))
            sure = live = True

    def _fresh(self, result: TaskResult[Any], with_logs: bool) -> TaskResult[R]:
        """A copy: the stored result is shared by everybody who asks, with the log or without."""
        error = result.error
        return TaskResult(
            is_err=result.is_err,
            return_value=None if result.is_err else self._fresh_value(result.return_value),
            error=None if error is None else self._fresh_error(error),
            execution_time=result.execution_time,
            labels=dict(result.labels),
            attempts=result.attempts,
            log=result.log if with_logs else None,
        )

    def _fresh_value(self, value: Any) -> Any:
        if self._task is None:
            return load(value, Any)
        return self._task.signature.return_load(value)

    def _fresh_error(self, error: Exception) -> Exception:
        declared = () if self._task is None else self._task.options.raises
        return load_error(dump_error(error), declared)

    def __repr__(self) -> str:
        name = "" if self._task is None else f" of {self._task.name}"
        return f"<TaskHandle {self.task_id}{name}>"


class ProgressUpdates:
    """Iterates over a task's progress.  Made by `TaskHandle.progress`."""

    __slots__ = ("_after", "_known", "_system", "_task_id")

    def __init__(self, system: System, task_id: TaskId, *, known: bool) -> None:
        self._system = system
        self._task_id = task_id
        self._known = known
        self._after = -1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TaskProgress:
        async with slot_given_back():
            after, progress = await self._next()
        self._after = after  # who is cancelled while it waits for its slot has missed nothing
        return progress

    async def _next(self) -> tuple[int, TaskProgress]:
        wiring = self._system.wiring
        doubts = wiring.doubts
        live = None if self._known else await self._is_live()
        while True:
            ask = NextProgress(self._task_id, self._after, live, doubts)
            update = await ask_again(wiring.results, ask)
            if update is None:
                raise StopAsyncIteration
            if not isinstance(update, Doubt):
                return update
            doubts = wiring.doubts
            live = await self._is_live()

    async def _is_live(self) -> bool:
        where = await ask_again(self._system.wiring.broker, Locate(self._task_id))
        return where in _LIVE
