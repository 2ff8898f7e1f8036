"""The task nursery: a block that its tasks do not outlive, on whatever worker they run.

A Trio nursery in which one child watches each task: it enqueues the task and waits for its end; if it
is cancelled, it cancels the task and stays, shielded, until that is confirmed.  So the rules for what
happens when one fails, when the body fails, when everything is cancelled from outside, are Trio's.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import attrs
import trio

from actorq.call import Enqueueable
from actorq.capability import Capability
from actorq.composition.started import StartedHandle
from actorq.errors import (
    ActorFailed,
    ActorqError,
    EngineUnavailable,
    EnqueueUncertain,
    ResultBackendError,
    ResultGetError,
    SystemClosed,
    TaskCancelled,
    TaskExpired,
    TaskLeftBehind,
    TaskTimeout,
)
from actorq.handle import TaskHandle, ask_again
from actorq.job import Slot, current_slot, slot_given_back
from actorq.options import AckMode
from actorq.protocol import Cancel, GetResult, Locate
from actorq.requirements import unsupported
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.composition.prepared import Prepared
    from actorq.system import System

P = ParamSpec("P")
R = TypeVar("R")

#: How a task ends that was not done by its enqueuer's deadline.
_LATE = (TaskExpired, TaskTimeout)
#: Seconds by which two clocks may disagree about one deadline.
SAME_MOMENT = 0.05
#: Seconds before an engine is asked again that cannot, and may have stored tasks of ours.
ENGINE_PAUSE = 0.5


@attrs.define(eq=False)
class Watched:
    """One task of a nursery."""

    handle: TaskHandle[Any]
    prepared: Prepared | None  #: None: it was enqueued by somebody else
    then: Callable[[TaskResult[Any]], None] | None = None  #: told how it ended; may raise
    sent: bool = False  #: the broker may have accepted it
    ours: bool = True  #: to be cancelled with the nursery

    def decide(self, accepted: str | BaseException) -> None:
        """Let those who hold its handle know: it is enqueued, under this id, or will never be."""
        if isinstance(self.handle, StartedHandle):
            self.handle.decide(accepted)

    @property
    def may_outlive_its_settlement(self) -> bool:
        """The queue may have forgotten it while its function runs."""
        return self.prepared is not None and any(
            task.options.ack is not AckMode.WHEN_SAVED for task in self.prepared.tasks
        )


class TaskNursery:
    """Tasks that end before its block does.  Made by `sys.open_task_nursery()`."""

    def __init__(self, system: System, tasks: trio.Nursery, grace: float) -> None:
        self._system = system
        self._tasks = tasks
        self._grace = grace

    @property
    def cancel_scope(self) -> trio.CancelScope:
        """Cancel it to cancel every task of the nursery, and the block."""
        return self._tasks.cancel_scope

    def start_soon(
        self, work: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """Enqueue a task soon, and have the block wait for its end; its handle, at once.

        Not a checkpoint.  Raises `ArgumentsError` or `NotSerializable` if the arguments do not fit;
        what goes wrong later, while it is enqueued or while it runs, is raised by the block.
        """
        watched = self._prepare("start_soon", work, args, kwargs)
        self._watch(watched)
        return watched.handle

    async def enqueue(
        self, work: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """Enqueue a task, and have the block wait for its end.  Always a checkpoint.

        When this has returned, the broker has accepted it.  Raises as `sys.enqueue` does, but for
        `EnqueueUncertain`: it enqueues until that is certain.
        """
        watched = self._prepare("enqueue", work, args, kwargs)
        await self._start([watched])
        return watched.handle

    def _prepare(
        self,
        what: str,
        work: Enqueueable[Any, R],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Watched:
        prepared = self._system._prepare(what, work, args, kwargs)
        return Watched(StartedHandle(self._system, prepared), prepared)

    async def _start(self, batch: Sequence[Watched]) -> None:
        """Enqueue all of these in one hop, and watch them."""
        await self._enqueue([each for each in batch if each.prepared is not None])
        for watched in batch:
            self._watch(watched)

    def _watch(self, watched: Watched) -> None:
        name = f"watches task {watched.handle.task_id}"
        self._tasks.start_soon(self._see_through, watched, name=name)

    # --- one task's life, as seen from here ---

    async def _see_through(self, watched: Watched) -> None:
        if watched.prepared is not None and not watched.sent:
            await self._enqueue([watched])
        handle = watched.handle
        try:
            result = await handle._wait_outside(True, sure=handle._known)
        except BaseException as error:
            if isinstance(error, ResultGetError) and watched.then is None:
                where = await ask_again(self._system.wiring.broker, Locate(handle.task_id))
                if where == "done":
                    return  # it raised NoResult: that is no failure, and nobody wants its value
            await self._end(watched)
            raise
        if watched.then is None:
            await self._accept(watched, result)
        else:
            watched.then(handle._fresh(result, with_logs=True))

    async def _accept(self, watched: Watched, result: TaskResult[Any]) -> None:
        """A failure is the nursery's; that somebody cancelled one task is none."""
        if result.error is None:
            return
        if isinstance(result.error, TaskCancelled):
            where = await ask_again(self._system.wiring.broker, Locate(watched.handle.task_id))
            if where != "dead":
                return
        await self._give_way(watched, result.error)
        raise watched.handle._fresh_error(result.error)

    async def _give_way(self, watched: Watched, error: Exception) -> None:
        """Whose own deadline went with the task is cancelled by it, and not told that it was late."""
        terms = None if watched.prepared is None else watched.prepared.message.terms
        if terms is None or terms.deadline is None or not isinstance(error, _LATE):
            return
        deadline = trio.current_effective_deadline()
        if deadline < trio.current_time() + SAME_MOMENT:
            await trio.sleep_until(deadline)

    async def _enqueue(self, batch: list[Watched]) -> None:
        """All of these or none; in doubt again, which stores no id twice."""
        prepared = [each.prepared for each in batch if each.prepared is not None]
        if not prepared:
            return
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            for watched in batch:
                watched.sent = True
            uncertain = False
            while True:
                try:
                    task_ids = await self._system._submit(prepared)
                    break
                except (EnqueueUncertain, ActorFailed):
                    uncertain = True
                except EngineUnavailable:
                    if not uncertain:
                        raise
                    await trio.sleep(ENGINE_PAUSE)  # whether they are there only the engine knows
        except BaseException as error:
            if not isinstance(error, Exception):  # an error is certain: nothing was stored
                async with trio.open_nursery() as ends:
                    for watched in batch:
                        ends.start_soon(self._end_aside, watched)
            for watched in batch:
                watched.decide(error)
            raise
        for watched, task_id in zip(batch, task_ids, strict=True):
            # a unique call may be answered with one that was there before
            watched.ours = task_id == watched.handle.task_id
            watched.decide(task_id)

    async def _end_aside(self, watched: Watched) -> None:
        """What `_end` raises is one of the nursery's failures, and in no group of its own."""
        try:
            await self._end(watched)
        except Exception as failure:  # noqa: BLE001 - a task may fail with whatever it likes
            self._tasks.start_soon(_raise, failure)

    async def _end(self, watched: Watched) -> None:
        """Cancel the task, and wait until that is confirmed; raises its failure if it came first."""
        if not watched.ours or not watched.sent:
            return
        outcome: TaskResult[Any] | ActorqError | None = None
        slot = current_slot.get()
        with trio.move_on_after(self._grace, shield=True) as patience:
            async with trio.open_nursery() as race:
                if slot is not None:
                    race.start_soon(_cancel_when_it_ends, slot, race.cancel_scope)
                outcome = await self._cancel(watched)
                race.cancel_scope.cancel("the task has ended")
        task_id = watched.handle.task_id
        if patience.cancelled_caught:
            raise TaskLeftBehind(
                f"task {task_id} was cancelled, and had not ended {self._grace:g} s later", task_id
            )
        if isinstance(outcome, ActorqError):
            raise outcome
        error = None if outcome is None else outcome.error
        if error is not None and not isinstance(error, TaskCancelled):
            await self._give_way(watched, error)
            raise watched.handle._fresh_error(error)

    async def _cancel(self, watched: Watched) -> TaskResult[Any] | ActorqError | None:
        """None if that took effect, or if nothing was enqueued; else how it ended by itself."""
        wiring, task_id = self._system.wiring, watched.handle.task_id
        try:
            if await ask_again(wiring.broker, Cancel(task_id)):
                watched.decide(task_id)
                return None
            where = await ask_again(wiring.broker, Locate(task_id))
            if where == "unknown":
                return None
            watched.decide(task_id)
            try:
                return await ask_again(wiring.results, GetResult(task_id))
            except ResultGetError:
                if where == "ending" or watched.may_outlive_its_settlement:
                    return await TaskHandle._wait_outside(watched.handle, True, sure=True)
                return None
        except ResultBackendError:
            return None  # it has ended, and how is not to be known
        except SystemClosed as closed:
            left = TaskLeftBehind(
                f"the system went down before it was sure that task {task_id} has ended", task_id
            )
            left.__cause__ = closed
            return left


async def _raise(error: Exception) -> None:
    raise error


async def _cancel_when_it_ends(slot: Slot, scope: trio.CancelScope) -> None:
    """Who runs in a worker that goes down waits for nobody: others may wait for that end.

    The request to cancel is with the broker; it will be true of the task's next delivery.
    """
    await slot.ending.wait()
    scope.cancel("the worker goes down")


@asynccontextmanager
async def open_task_nursery(
    system: System, *, grace: float = math.inf
) -> AsyncIterator[TaskNursery]:
    """See `System.open_task_nursery`."""
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not grace >= 0:
        raise ValueError(f"grace expects seconds >= 0; got {grace!r}")
    if not system.keeps_results:
        raise ResultGetError(
            "a task nursery waits for its tasks' results, and this result backend keeps none; open "
            "the system with one that does: broker.with_result_backend(InMemoryResultBackend())"
        )
    if Capability.CANCELLATION in system._broker.lacks:
        raise unsupported(
            type(system._broker).__name__,
            "task nurseries, gather or map, which cancel what they leave",
            Capability.CANCELLATION,
        )
    # Inside a job, its slot is free for others while the block waits: also when it waits for tasks
    # that it has cancelled, some of which may need a slot to end.  It is taken again outside of the
    # nursery, whose scope may be cancelled.
    async with AsyncExitStack() as outside, trio.open_nursery() as tasks:
        try:
            yield TaskNursery(system, tasks, grace)
        finally:
            if tasks.child_tasks:
                await outside.enter_async_context(slot_given_back())
