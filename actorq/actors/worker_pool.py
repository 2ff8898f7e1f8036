"""The worker pool: the actor that pulls tasks against its free slots and runs each in its own scope.

Its mutable state is the set of jobs it holds, by fence token, and three queues of them: fetched and
not begun (`_waiting`), ended and not reported (`_ended`), and being reported.  A job is held from the
batch that brings it until the broker has its settlement; the pool fetches no more than it has slots
free, so nothing is hoarded.

Slots are child tasks that live on from job to job (a task for each job costs ten times as much).  One
of the free ones, the leader, waits at the broker; whoever takes a job wakes the next if there is more
to do.  Ended jobs are reported in batches by whichever slot is free to: results first, then
settlements.  If the pool crashes, its session ends and its jobs go to the next life (promise 29).
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from typing import Any

import attrs
import trio

from actorq.actor import Actor
from actorq.context import Context
from actorq.errors import (
    ActorFailed,
    ActorStopped,
    ArgumentsError,
    LeaseLost,
    NotSerializable,
    StaleResult,
    TaskCancelled,
    TaskTimeout,
)
from actorq.job import Job, current_slot
from actorq.message import TaskMessage
from actorq.options import AckMode
from actorq.progress import TaskProgress
from actorq.protocol import (
    AfterExecute,
    AfterSave,
    BeforeExecute,
    Ending,
    Extend,
    Fetch,
    NextNotices,
    OpenSession,
    Outcome,
    SetProgress,
    SetResults,
    Settle,
    Settlement,
    UnsavedResult,
)
from actorq.ref import Message
from actorq.remote_error import dump_error, load_error
from actorq.result import TaskResult
from actorq.serialization import dump
from actorq.task import Task
from actorq.wiring import Wiring


log = logging.getLogger("actorq.worker")

#: Jobs that one slot runs before it lets other tasks run, if none of them blocks.
BURST = 64
#: Tries to store one result before it is given up, and the first pause between them.
SAVE_TRIES = 6
SAVE_PAUSE = 0.1

_WHEN_RECEIVED = AckMode.WHEN_RECEIVED
_WHEN_EXECUTED = AckMode.WHEN_EXECUTED
_DONE = Ending.DONE


@attrs.frozen
class Renew(Message[None]):
    """Time to renew the session's lease."""


@attrs.frozen
class GetPoolStatistics(Message["PoolStatistics"]):
    """How busy the pool is."""


@attrs.frozen
class PoolStatistics:
    """The worker pool at one moment."""

    concurrency: int  #: slots
    held: int  #: jobs between fetch and settlement
    suspended: int  #: of these, wait for other jobs and have given their slots back
    slots: int  #: slot tasks that exist


class Slot:
    """One slot task."""

    __slots__ = ("job", "pool")

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.job: Job | None = None

    async def suspend(self, job: Job) -> None:
        """Give the slot back while *job* waits for another."""
        job.waits += 1
        if job.waits == 1:
            self.pool.suspend()

    async def resume(self, job: Job) -> None:
        """Wait until there is a slot for *job* again."""
        job.waits -= 1
        if job.waits == 0:
            await self.pool.resume()


class WorkerPool(Actor[Renew | GetPoolStatistics]):
    """Runs tasks, at most *concurrency* at a time."""

    def __init__(self, wiring: Wiring, concurrency: int, worker: str = "local") -> None:
        self._wiring = wiring
        self._concurrency = concurrency
        self._worker = worker
        self._threads = trio.CapacityLimiter(concurrency)
        self._session: int | None = None  #: None while none is open
        self._lease = 0.0
        self._until = 0.0  #: when the lease runs out, on the engine's clock
        self._jobs: dict[int, Job] = {}  #: every job held, by fence token
        self._waiting: deque[Job] = deque()
        self._ended: list[Job] = []
        self._parked = trio.lowlevel.ParkingLot()  #: free slots
        self._resumers = trio.lowlevel.ParkingLot()  #: suspended jobs that want a slot again
        self._slots = 0
        self._waking = 0  #: slots that were woken and have not run yet
        self._suspended = 0
        self._leading: trio.CancelScope | None = None  #: round the leader's wait at the broker
        self._reporting = False
        self._draining = False
        self._renewing = False
        self._quiet = trio.Event()  #: draining, and nothing is held
        self._context = contextvars.copy_context()

    # --- the actor ---

    async def on_start(self) -> None:
        """Open a session, and send the first slot to wait at the broker."""
        self._context = contextvars.copy_context()
        await self._open_session()
        self._start_slot()

    async def receive(self, message: Renew | GetPoolStatistics) -> Any:
        """Renew the lease, or tell the statistics."""
        if isinstance(message, Renew):
            await self._renew()
            return None
        return PoolStatistics(self._concurrency, len(self._jobs), self._suspended, self._slots)

    async def drain(self) -> None:
        """Fetch no more, give back what has not begun, let what runs finish (promise 53)."""
        self._draining = True
        if self._leading is not None:
            self._leading.cancel("the worker pool drains")
        self._give_back(list(self._waiting))
        self._waiting.clear()
        if self._jobs:
            await self._quiet.wait()

    async def on_stop(self) -> None:
        """Give back everything that is still held: told, not asked, for the broker may be down."""
        if self._jobs:
            names = sorted({job.delivery.message.task_name for job in self._jobs.values()})
            log.warning("giving back %d jobs: %s", len(self._jobs), ", ".join(names))
        self._give_back(list(self._jobs.values()))

    def _give_back(self, jobs: list[Job]) -> None:
        settlements = []
        for job in reversed(jobs):  # each goes to the front of the queue: the oldest last
            self._jobs.pop(job.delivery.fence.token, None)
            if not job.lost and not job.acked:
                settlements.append(Settlement(job.delivery.fence, Ending.GIVE_BACK))
        if settlements and self._session is not None:
            try:
                self._wiring.broker.tell_nowait(Settle(self._session, tuple(settlements)))
            except Exception:  # noqa: BLE001 - full or gone: the session's end gives them back
                log.warning("could not give back %d jobs; their lease will", len(settlements))

    # --- the lease ---

    async def _open_session(self) -> None:
        session = await self._wiring.broker.ask(OpenSession(self._worker))
        self._session, self._lease = session
        self.start_soon(self._listen, session.id, name="pool: notices")

    async def _renew(self) -> None:
        self._renewing = False
        session = self._session
        if not self._jobs or session is None:
            return
        until = await self._wiring.broker.ask(Extend(session))
        if until is None:
            await self._lose_session(session)
        else:
            self._until = until
            self._keep_renewing()

    def _keep_renewing(self) -> None:
        """Renew every third of the lease while jobs are held; an idle pool has no timer."""
        if not self._renewing:
            self._renewing = True
            self.set_timer("renew", self._lease / 3, Renew())

    async def _lose_session(self, session: int | None) -> None:
        """The lease ran out: what we run is somebody else's now (promise 34)."""
        if session is None or session != self._session:
            return  # known already
        self._session = None
        log.warning("the worker's lease was lost; cancelling %d jobs", len(self._jobs))
        for job in tuple(self._jobs.values()):
            self._lose(job)
        await self._open_session()
        self._wake_slot()

    def _lose(self, job: Job) -> None:
        job.lost = True
        if job.scope is not None:
            job.scope.cancel("actorq: the lease of this job was lost")

    async def _listen(self, session: int) -> None:
        """Hear what the broker has to say of running jobs."""
        while session == self._session:
            try:
                notices = await self._wiring.broker.ask(NextNotices(session))
            except ActorFailed:
                continue  # it restarts; the next ask waits for that
            except LeaseLost:
                await self._lose_session(session)
                return
            except ActorStopped:
                return
            for fence, why in notices:
                job = self._jobs.get(fence.token)
                if job is None:
                    continue
                if why == "cancelled":
                    job.cancelled = True
                    if job.scope is not None:
                        job.scope.cancel("actorq: the task was cancelled")
                else:
                    self._lose(job)

    # --- slots ---

    def _free(self) -> int:
        return self._concurrency + self._suspended - len(self._jobs)

    def _start_slot(self) -> None:
        self._slots += 1
        self._waking += 1
        # in the pool's own context: what a job sets in its context stays in that job
        self._context.run(self.start_soon, self._slot)

    def _wake_slot(self) -> None:
        """See to it that some slot looks for work.  One at a time: it wakes the next."""
        if self._waking:
            return
        if self._parked:
            self._waking += 1
            self._parked.unpark()
        elif self._slots < self._concurrency + self._suspended:
            self._start_slot()

    async def _slot(self) -> None:
        self._waking -= 1
        slot = Slot(self)
        current_slot.set(slot)
        clean = contextvars.copy_context()
        budget = BURST
        while True:
            job = slot.job = await self._next()
            await self._run(job)
            slot.job = None
            budget -= 1
            if not budget:
                budget = BURST
                await trio.lowlevel.checkpoint()
            # with more to run and another slot awake, that one reports: ours may block next
            if self._ended and not self._reporting and not (self._waiting and self._waking):
                await self._report()
            if contextvars.copy_context() != clean:
                self._start_slot()  # the job left traces in this task's context: retire it
                self._slots -= 1
                return

    async def _next(self) -> Job:
        """The next job to run; waits for one, as leader or parked."""
        while True:
            if self._waiting:
                job = self._waiting.popleft()
                if not self._waking and (
                    self._waiting or (self._leading is None and self._free() > 0)
                ):
                    self._wake_slot()
                return job
            if self._may_lead():
                await self._lead(self._session)
            else:
                await self._parked.park()
                self._waking -= 1
                if self._ended and not self._reporting:
                    await self._report()

    def _may_lead(self) -> bool:
        return (
            self._leading is None
            and self._session is not None
            and self._free() > 0
            and not self._draining
        )

    async def _lead(self, session: int | None) -> None:
        """Wait at the broker for work."""
        assert session is not None
        with trio.CancelScope() as self._leading:
            try:
                batch = await self._wiring.broker.ask(Fetch(session, self._free()))
            except ActorFailed:
                return  # it restarts; the next ask waits for that
            except LeaseLost:
                await self._lose_session(session)
                return
            except ActorStopped:
                await trio.sleep_forever()  # we are about to be stopped too
                return
            finally:
                self._leading = None
            self._until = batch.until
            for delivery in batch.deliveries:
                job = self._jobs[delivery.fence.token] = Job(delivery)
                self._waiting.append(job)
            if self._draining:  # the batch came in the moment in which the drain began
                self._give_back(list(self._waiting))
                self._waiting.clear()
            self._keep_renewing()

    def suspend(self) -> None:
        """A job waits for another: its slot may be used meanwhile."""
        self._suspended += 1
        self._wake_slot()

    async def resume(self) -> None:
        """The wait is over: take a slot again, before any new job gets it."""
        if self._free() > 0:
            self._suspended -= 1
            return
        try:
            await self._resumers.park()  # whoever frees a slot counts us in
        except trio.Cancelled:
            self._suspended -= 1
            raise

    def _slot_freed(self) -> None:
        if self._resumers and self._free() > 0:
            self._suspended -= 1
            self._resumers.unpark()

    # --- running one job ---

    async def _run(self, job: Job) -> None:
        message = job.delivery.message
        task = self._wiring.tasks.get(message.task_name)
        if task is None:
            log.warning("task %r is not known here; it is parked", message.task_name)
            self._end(job, Settlement(job.delivery.fence, Ending.PARK))
            return
        options = message.options
        if options.ack is _WHEN_RECEIVED:
            # at most once: the queue forgets the task before it runs
            job.settlement = Settlement(job.delivery.fence, _DONE)
            if not await self._settle([job]):
                self._forget(job)
                return
        error: Exception | None = None
        value: Any = None
        final = False  # no further attempt could end otherwise
        began = job.began = trio.current_time()
        try:
            if "pre_execute" in self._wiring.hooks:
                message = await self._wiring.middleware.ask(BeforeExecute(message))
            args, kwargs = task.signature.load(message.args, message.kwargs)
            if task.context_parameters():
                kwargs = {**kwargs, **self._injected(task, job, message)}
            deadline = _FOREVER if options.timeout is None else began + options.timeout
            with trio.CancelScope(deadline=deadline) as scope:
                job.scope = scope
                if job.cancelled or job.lost:
                    scope.cancel("actorq: cancelled before it began")
                if task.is_async:
                    value = await task.function(*args, **kwargs)
                else:
                    value = await self._in_thread(task, args, kwargs)
            job.scope = None
            if scope.cancelled_caught:
                error = TaskTimeout(
                    f"task {message.task_name} ran longer than its timeout of {options.timeout} s"
                )
            else:
                value = task.signature.return_dump(value)
        except (ArgumentsError, NotSerializable) as unfit:
            error = unfit
            final = job.scope is None  # not the function's own doing
        except Exception as raised:  # noqa: BLE001 - a task may raise whatever it likes
            error = raised
        job.scope = None
        if job.lost:
            self._forget(job)
            return
        seconds = trio.current_time() - began
        if job.cancelled:
            cancelled = TaskCancelled(f"task {message.task_id} was cancelled while it ran")
            result = self._failure(task, message, job, cancelled, seconds)
            settlement = Settlement(job.delivery.fence, Ending.CANCELLED)
            error = None
        elif error is None:
            result = TaskResult(
                return_value=value,
                execution_time=seconds,
                labels=dict(options.labels),
                attempts=job.delivery.fence.attempt,
            )
            settlement = Settlement(job.delivery.fence, _DONE)
        else:
            result = self._failure(task, message, job, error, seconds)
            settlement = self._after_failure(job, message, error, final)
        hooks = self._wiring.hooks
        if hooks and ("post_execute" in hooks or (error is not None and "on_error" in hooks)):
            await self._after_execute(message, result, error)
        job.result = None if settlement.ending is Ending.RETRY else result
        self._end(job, settlement)

    def _injected(self, task: Task[..., Any], job: Job, message: TaskMessage) -> dict[str, Any]:
        async def report(progress: TaskProgress) -> None:
            if job.lost:
                raise StaleResult(f"this attempt of task {message.task_id} has lost its lease")
            plain = attrs.evolve(progress, meta=dump(progress.meta))
            await self._wiring.results.ask(
                SetProgress(message.task_id, plain, job.delivery.fence.attempt, self._until)
            )

        context = Context(message, job.delivery.fence, report, self._wiring.system)
        return dict.fromkeys(task.context_parameters(), context)

    async def _in_thread(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a plain function.  A thread cannot be killed: cancellation waits for its end.

        `trio.from_thread.check_cancelled()` in the function makes that soon.
        """
        return await trio.to_thread.run_sync(
            lambda: task.function(*args, **kwargs), limiter=self._threads, abandon_on_cancel=False
        )

    def _failure(
        self, task: Task[..., Any], message: TaskMessage, job: Job, error: Exception, seconds: float
    ) -> TaskResult[Any]:
        # rebuilt from plain data: an exception that is kept keeps all its frames alive
        return TaskResult(
            is_err=True,
            error=load_error(dump_error(error), task.options.raises),
            execution_time=seconds,
            labels=dict(message.labels),
            attempts=job.delivery.fence.attempt,
        )

    def _after_failure(
        self, job: Job, message: TaskMessage, error: Exception, final: bool
    ) -> Settlement:
        fence = job.delivery.fence
        failures = job.delivery.failures + 1
        delay = message.options.retry.delay(failures, self._wiring.random.random())
        if delay is not None and not final:
            log.info(
                "task %s (%s) failed, attempt %d; again in %.2f s: %r",
                message.task_name,
                message.task_id,
                fence.attempt,
                delay,
                error,
            )
            return Settlement(fence, Ending.RETRY, delay=delay)
        log.warning(
            "task %s (%s) failed for good, attempt %d: %r",
            message.task_name,
            message.task_id,
            fence.attempt,
            error,
        )
        reason = f"{type(error).__name__}: {error}"
        return Settlement(fence, Ending.DEAD, reason=reason, error=dump_error(error))

    async def _after_execute(
        self, message: TaskMessage, result: TaskResult[Any], error: Exception | None
    ) -> None:
        try:
            await self._wiring.middleware.ask(AfterExecute(message, result, error))
        except (ActorFailed, ActorStopped):
            log.warning("the middleware chain failed after task %s", message.task_id)

    # --- reporting ---

    def _end(self, job: Job, settlement: Settlement) -> None:
        job.settlement = settlement
        self._ended.append(job)

    def _forget(self, job: Job) -> None:
        """The job is settled, or not ours any more: its slot is free."""
        self._jobs.pop(job.delivery.fence.token, None)
        if self._resumers:
            self._slot_freed()
        if self._draining and not self._jobs:
            self._quiet.set()

    async def _report(self) -> None:
        """Store results and settle deliveries until none is left to report."""
        self._reporting = True
        try:
            while self._ended:
                jobs, self._ended = self._ended, []
                early = [job for job in jobs if job.delivery.message.options.ack is _WHEN_EXECUTED]
                if early:
                    await self._settle(early)
                settled = await self._save(jobs)
                await self._settle(settled)
                for job in settled:
                    self._forget(job)
        finally:
            self._reporting = False

    async def _save(self, jobs: list[Job]) -> list[Job]:
        """Store what has a result; the jobs that may be settled now.  Others are taken care of."""
        unsaved = [job for job in jobs if job.result is not None]
        ready = [job for job in jobs if job.result is None] if len(unsaved) < len(jobs) else []
        if not unsaved:
            return ready
        hook = "post_save" in self._wiring.hooks
        for job, verdict in zip(unsaved, await self._store(unsaved), strict=True):
            if verdict is None:
                ready.append(job)
                if hook:
                    await self._post_save(job)
            elif isinstance(verdict, StaleResult):
                # refused if the lease is indeed lost; if only we believed so, it runs again
                job.settlement = Settlement(job.delivery.fence, Ending.GIVE_BACK)
                ready.append(job)
            else:
                self.start_soon(self._save_again, job, name="pool: store a result again")
        return ready

    async def _store(self, jobs: list[Job]) -> tuple[Exception | None, ...]:
        while True:
            outcomes = tuple(
                [
                    Outcome(job.delivery.message.task_id, job.result, self._until_of(job))
                    for job in jobs
                    if job.result is not None
                ]
            )
            try:
                return await self._wiring.results.ask(SetResults(outcomes))
            except ActorFailed as failed:
                if failed.handled:
                    log.warning("the result backend crashed while storing; storing again")

    def _until_of(self, job: Job) -> float:
        return _FOREVER if job.acked else self._until  # acknowledged early: no lease to lose

    async def _save_again(self, job: Job) -> None:
        """The backend refused a result: try again, then keep the task in the dead letters (32)."""
        verdict: Exception | None = None
        for attempt in range(1, SAVE_TRIES):
            await trio.sleep(SAVE_PAUSE * 2 ** (attempt - 1))
            if job.lost:
                self._forget(job)
                return
            (verdict,) = await self._store([job])
            if verdict is None or isinstance(verdict, StaleResult):
                break
        fence = job.delivery.fence
        if isinstance(verdict, StaleResult):
            job.settlement = Settlement(fence, Ending.GIVE_BACK)
        elif verdict is not None:
            log.error("the result of task %s cannot be stored: %s", fence.task_id, verdict)
            await self._wiring.results.tell(UnsavedResult(fence.task_id, verdict))
            job.settlement = Settlement(
                fence,
                Ending.DEAD,
                reason=f"the result could not be stored: {verdict}",
                error=dump_error(verdict),
            )
        elif "post_save" in self._wiring.hooks:
            await self._post_save(job)
        await self._settle([job])
        self._forget(job)
        self._wake_slot()

    async def _post_save(self, job: Job) -> None:
        assert job.result is not None
        try:
            await self._wiring.middleware.ask(AfterSave(job.delivery.message, job.result))
        except (ActorFailed, ActorStopped):
            log.warning("the middleware chain failed after task %s was saved", job.delivery.fence)

    async def _settle(self, jobs: list[Job]) -> bool:
        """Tell the broker how these ended, those that it does not know of; False if one was stale."""
        open_ = [job for job in jobs if not job.acked and not job.lost]
        settlements = tuple([job.settlement for job in open_ if job.settlement is not None])
        if not settlements or self._session is None:
            return False
        while True:
            try:
                verdicts = await self._wiring.broker.ask(Settle(self._session, settlements))
            except ActorFailed as failed:
                if failed.handled:
                    log.warning("the broker crashed while settling; settling again")
                continue
            break
        for job, taken in zip(open_, verdicts, strict=True):
            job.acked = True
            if not taken:
                log.warning("the lease of task %s was lost before its end", job.delivery.fence)
        return all(verdicts)


_FOREVER = float("inf")
