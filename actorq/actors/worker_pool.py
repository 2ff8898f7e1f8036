"""The worker pool: the actor that pulls tasks against its free slots and runs each in its own scope.

Its mutable state is the set of jobs it holds, by fence token, and three queues of them: come and not
begun (`_waiting`), ended and not reported (`_ended`), and being reported.  A job is held from the
batch that brings it until it is settled.  The pool allows the broker no more tasks than it has slots
free, so nothing is hoarded.

Slots are child tasks that live on from job to job (a task for each job costs ten times as much).  The
free ones are parked; the broker, through the inlet, puts a batch before them and wakes one, and whoever
takes a job wakes two more if there are more.  Ended jobs are reported together: results first, then
settlements.  If the pool crashes, its session ends and its jobs go to the next life
(promise 29).
"""

from __future__ import annotations

import contextvars
import logging
import math
from collections import deque
from types import TracebackType
from typing import Any

import attrs
import trio

from actorq.actor import Actor
from actorq.attempt import Attempt
from actorq.context import Context
from actorq.errors import (
    ActorFailed,
    ActorStopped,
    ArgumentsError,
    LeaseLost,
    MailboxFull,
    NotSerializable,
    StaleResult,
    TaskCancelled,
    TaskFailed,
    WorkerLost,
)
from actorq.job import Job, current_slot
from actorq.message import TaskMessage
from actorq.options import AckMode
from actorq.progress import TaskProgress
from actorq.protocol import (
    AfterExecute,
    AfterSave,
    Allow,
    Batch,
    BeforeExecute,
    Count,
    DoubtResults,
    Ending,
    Extend,
    Lease,
    NextNotices,
    OpenSession,
    Outcome,
    SetProgress,
    SetResults,
    Settle,
    Settlement,
    TaskKnown,
    UnsavedResult,
)
from actorq.ref import Message
from actorq.remote_error import dump_error, load_error
from actorq.reply import Reply
from actorq.result import TaskResult
from actorq.serialization import dump
from actorq.wiring import Wiring


log = logging.getLogger("actorq.worker")

#: Jobs that one slot runs before it lets other tasks run, if none of them blocks.
BURST = 64
#: Tries to store one result before it is given up, and the first pause between them.
SAVE_TRIES = 6
SAVE_PAUSE = 0.1

_WHEN_RECEIVED = AckMode.WHEN_RECEIVED
_WHEN_EXECUTED = AckMode.WHEN_EXECUTED
_EARLY = (_WHEN_RECEIVED, _WHEN_EXECUTED)


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


class Inlet:
    """Where the broker puts the work of one session."""

    __slots__ = ("_pool",)

    def __init__(self, pool: WorkerPool) -> None:
        self._pool: WorkerPool | None = pool

    def close(self) -> None:
        """Take no more."""
        self._pool = None

    def __call__(self, batch: Batch) -> bool:
        """Take *batch*; False if the session, or the pool, has ended."""
        if self._pool is None or self._pool._is_ending():
            return False
        self._pool.take(batch)
        return True


class WorkerPool(Actor[Renew | GetPoolStatistics]):
    """Runs tasks, at most *concurrency* at a time."""

    def __init__(self, wiring: Wiring, concurrency: int, worker: str = "local") -> None:
        self._wiring = wiring
        self._concurrency = concurrency
        self._worker = worker
        # the slots bound it; and a suspended job keeps its thread
        self._threads = trio.CapacityLimiter(math.inf)
        self._session: int | None = None  #: None while none is open
        self._lease = Lease(0.0)
        self._lease_seconds = 0.0
        self._jobs: dict[int, Job] = {}  #: every job held, by fence token
        self._waiting: deque[Job] = deque()
        self._ended: list[Job] = []
        self._inlet = Inlet(self)
        self._parked: dict[trio.lowlevel.Task, None] = {}  #: free slots; the last is woken first
        self._received = 0  #: deliveries that came in this session
        self._running = 0  #: jobs taken by a slot and not settled
        self._resumers = trio.lowlevel.ParkingLot()  #: suspended jobs that want a slot again
        self._slots = 0
        self._waking = 0  #: slots that were woken, or started, and have not run yet
        self._reporter = trio.lowlevel.ParkingLot()  #: where the reporter waits
        self._gated = False  #: jobs wait for a running one to end, and no slot looks at them
        self._suspended = 0
        self._draining = False
        self._allowing = False  #: a task waits to tell our demand
        self._renewing = False
        self._quiet = trio.Event()  #: draining, and nothing is held
        self._clean = contextvars.copy_context()

    # --- the actor ---

    async def on_start(self) -> None:
        """Open a session, and send the first slot to wait for work."""
        self._clean = contextvars.copy_context()
        await self._open_session()
        self.start_soon(self._report_for_all, name="pool: reporter")
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
        self._allow()
        self._give_back_waiting()
        while self._jobs and not self._quiet.is_set():
            # nobody handles our timer any more
            with trio.move_on_after(self._lease_seconds / 3):
                await self._quiet.wait()
                return
            await self._renew()

    async def on_stop(self) -> None:
        """Give back everything that is still held: told, not asked, for the broker may be down."""
        self._lease.lost = True  # results that are on their way are not ours to store any more
        if self._jobs:
            names = sorted({job.message.task_name for job in self._jobs.values()})
            log.warning("giving back %d jobs: %s", len(self._jobs), ", ".join(names))
        jobs = list(self._jobs.values())
        self._hand_over([job for job in jobs if job.acked])
        # after a crash, what had begun counts as an attempt: the next session takes it (promise 29)
        self._give_back([job for job in jobs if self._draining or not job.begun])
        self._doubt([job for job in jobs if not job.acked and job.message.options.ack in _EARLY])

    def _is_ending(self) -> bool:
        """This life is over, or about to be: it must not start anything any more.

        To be asked by what others call: from a crash on, the nursery may be closed at any moment.
        """
        life = self._life
        return life is None or life.nursery.cancel_scope.cancel_called

    def _hand_over(self, acked: list[Job]) -> None:
        """Nobody will run these again: see to it that their waiters hear of them."""
        outcomes = []
        for job in acked:
            result = job.result
            if result is None and job.settlement is not None:
                if job.settlement.ending is Ending.RETRY:
                    continue
                error = WorkerLost(
                    f"the worker ended while task {job.fence.task_id} ran, and its ack mode "
                    f"({job.message.options.ack.value}) forbids another attempt"
                )
                result = TaskResult(is_err=True, error=error, labels=dict(job.message.labels))
            if result is not None:
                outcomes.append(Outcome(job.fence.task_id, result))
        if outcomes:
            try:
                self._wiring.results.tell_nowait(SetResults(tuple(outcomes)))
            except (MailboxFull, ActorStopped):  # (their tracebacks tell nothing)
                log.warning("the results of %d acknowledged tasks are lost", len(outcomes))

    def _doubt(self, jobs: list[Job]) -> None:
        """These may have been acknowledged just now: whether they live, only the broker knows."""
        if jobs:
            try:
                doubtful = tuple([job.fence.task_id for job in jobs])
                self._wiring.results.tell_nowait(DoubtResults(doubtful))
            except (MailboxFull, ActorStopped):
                log.warning("who waits for %d tasks does not hear of their worker's end", len(jobs))

    def _give_back_waiting(self) -> None:
        waiting = list(self._waiting)
        self._waiting.clear()
        self._give_back(waiting)

    def _give_back(self, jobs: list[Job]) -> None:
        settlements = []
        for job in reversed(jobs):  # each goes to the front of the queue: the oldest last
            self._jobs.pop(job.fence.token, None)
            if not job.lost and not job.acked:
                settlements.append(Settlement(job.fence, Ending.GIVE_BACK))
        if settlements and self._session is not None:
            try:
                self._wiring.broker.tell_nowait(Settle(self._session, tuple(settlements)))
            except Exception:  # noqa: BLE001 - full or gone: the session's end gives them back
                log.warning("%d jobs go back when their session ends", len(settlements))

    # --- the lease ---

    async def _open_session(self) -> None:
        self._received = 0
        self._inlet = Inlet(self)
        while True:
            try:
                session = await self._wiring.broker.ask(
                    OpenSession(self._worker, self._inlet, self._allowance())
                )
                break
            except ActorFailed:
                continue  # it restarts; one crash is no second incident
        self._session, self._lease_seconds, self._lease = session
        self.start_soon(self._listen, session.id, name="pool: notices")
        self._allow()  # what was dropped meanwhile had no session to tell it to

    async def _renew(self) -> None:
        self._renewing = False
        session = self._session
        if not self._jobs or session is None:
            return
        try:
            extended = await self._wiring.broker.ask(Extend(session))
        except ActorFailed:
            extended = True  # it restarts, and we after it; one crash is no second incident
        if extended:
            self._keep_renewing()
        else:
            await self._lose_session(session)

    def _keep_renewing(self) -> None:
        """Renew every third of the lease while jobs are held; an idle pool has no timer."""
        if not self._renewing:
            self._renewing = True
            self.set_timer("renew", self._lease_seconds / 3, Renew())

    async def _lose_session(self, session: int | None) -> None:
        """The lease ran out: what we run is somebody else's now (promise 34)."""
        if session is None or session != self._session:
            return  # known already
        self._session = None
        self._inlet.close()
        log.warning("the worker's lease was lost; cancelling %d jobs", len(self._jobs))
        for job in tuple(self._jobs.values()):
            self._lose(job)
        for job in self._waiting:
            self._jobs.pop(job.fence.token, None)
        self._waiting.clear()
        await self._open_session()

    def _lose(self, job: Job) -> None:
        if job.acked:
            return  # it has no lease to lose
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
                if job is None or job.acked:
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

    def _allowance(self) -> int:
        return self._received + (0 if self._draining else max(0, self._free()))

    @trio.lowlevel.enable_ki_protection
    def _allow(self) -> None:
        """Tell the broker how much we can take, when no settlement does."""
        if self._session is not None:
            try:
                self._wiring.broker.tell_nowait(Allow(self._session, self._allowance()))
            except MailboxFull:
                if not self._allowing:
                    self._allowing = True
                    self.start_soon(self._allow_later, name="pool: demand")
            except ActorStopped:
                log.debug("the broker has stopped; it wants to know of no demand")

    async def _allow_later(self) -> None:
        """Our demand might be the last word for a long time: it must be heard."""
        try:
            # any question: once it is answered, older words in the mailbox have been heard too
            await self._wiring.broker.ask(Count())
        except (ActorFailed, ActorStopped):
            return  # and we end with it
        finally:
            self._allowing = False
        self._allow()

    @trio.lowlevel.enable_ki_protection
    def _start_slot(self) -> None:
        self._slots += 1
        self._waking += 1
        # in the pool's own context: what a job sets in its context stays in that job
        self._clean.run(self.start_soon, self._slot)

    @trio.lowlevel.enable_ki_protection
    def _wake_slot(self) -> None:
        """See to it that a slot looks for work.

        Two at a time: each that finds some wakes two more, so that a hundred are up in seven passes
        of the scheduler, and two at most in vain.
        """
        if self._waking > 1:
            return
        if self._parked:
            self._waking += 1
            trio.lowlevel.reschedule(self._parked.popitem()[0])
        elif self._slots < self._concurrency + self._suspended:
            self._start_slot()

    async def _slot(self) -> None:
        self._waking -= 1
        if self._ended:
            self._report()
        slot = Slot(self)
        current_slot.set(slot)
        clean = contextvars.copy_context()
        while True:
            # One scope serves job after job, one at a time, until a job is cancelled in it: a scope
            # of its own for each would be a third of the whole cost of a task that does nothing.
            try:
                with trio.CancelScope() as scope:
                    await self._work_off(slot, scope, clean)
            except Exception:
                # what is left of a group when the scope has taken out its own cancellation
                if slot.job is None or not (slot.job.cancelled or slot.job.lost):
                    raise
                log.warning("a cancelled task failed in its clean-up", exc_info=True)
            job = slot.job
            if job is not None:
                job.scope = None
                await self._finish(slot, job)
            if _is_tainted(clean):
                self._start_slot()  # a job left traces in this task's context: retire it
                self._slots -= 1
                return

    async def _work_off(
        self, slot: Slot, scope: trio.CancelScope, clean: contextvars.Context
    ) -> None:
        """Run jobs until one is cancelled, which is then in `slot.job`, or taints the context."""
        budget = BURST
        while True:
            job = slot.job = await self._next()
            await self._perform(job, scope)
            if job.cancelled or job.lost:
                return  # the scope is cancelled: nothing may be awaited in it any more
            await self._finish(slot, job)
            budget -= 1
            if not budget:
                budget = BURST
                await trio.lowlevel.checkpoint()
            if _is_tainted(clean):
                return

    async def _finish(self, slot: Slot, job: Job) -> None:
        """However the job ended: what follows from it, its hooks, its report."""
        if self._conclude(job):
            await self._after_execute(job)
        slot.job = None
        if self._ended:
            self._report_soon()

    async def _next(self) -> Job:
        """The next job to run; waits for one."""
        while True:
            if self._waiting and self._running - self._suspended < self._concurrency:
                job = self._waiting.popleft()
                self._running += 1
                if self._waiting:
                    self._wake_slot()
                    if len(self._waiting) > 1:
                        self._wake_slot()
                return job
            self._gated = bool(self._waiting)
            await self._park()
            self._waking -= 1

    @trio.lowlevel.enable_ki_protection
    async def _park(self) -> None:
        """Wait until `_wake_slot` picks this task: a ParkingLot that wakes the last to come first."""
        task = trio.lowlevel.current_task()
        parked = self._parked
        parked[task] = None

        def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
            del parked[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    @trio.lowlevel.enable_ki_protection
    def take(self, batch: Batch) -> None:
        """Called by the broker, through the inlet, in the step in which *batch* is leased."""
        # known here a step before the answer to OpenSession is read
        self._session, self._lease = batch.session, batch.lease
        self._received += len(batch.deliveries)
        for delivery in batch.deliveries:
            job = self._jobs[delivery.fence.token] = Job(delivery)
            self._waiting.append(job)
        if self._draining:  # the batch was on its way when the drain began
            self._give_back_waiting()
        if not self._renewing:
            self._keep_renewing()
        self._wake_slot()

    @trio.lowlevel.enable_ki_protection
    def suspend(self) -> None:
        """A job waits for another: its slot may be used meanwhile."""
        self._suspended += 1
        self._let_one_resume()
        self._wake_slot()
        self._allow()

    async def resume(self) -> None:
        """The wait is over: take a slot again, before any new job gets it."""
        if self._running - self._suspended < self._concurrency:
            self._suspended -= 1
            self._allow()
            return
        try:
            await self._resumers.park()  # whoever frees a slot counts us in
        except trio.Cancelled:
            self._suspended -= 1
            raise

    # --- running one job ---

    async def _perform(self, job: Job, scope: trio.CancelScope) -> None:
        """Run the job's function; what came of it is left in the job."""
        message = job.message
        job.begun = True
        task = job.task = self._wiring.tasks.get(message.task_name)
        if task is None:
            log.warning("task %r is not known here; it is parked", message.task_name)
            job.settlement = Settlement(job.fence, Ending.PARK)
            return
        options = message.options
        if options.ack is _WHEN_RECEIVED:
            # at most once: the queue forgets the task before it runs
            ending = Ending.CANCELLED if job.cancelled else Ending.DONE
            job.settlement = Settlement(job.fence, ending)
            if not await self._settle_early([job]):
                return
            # a request that came since was answered with no: the task had been taken
            job.cancelled = ending is Ending.CANCELLED
        job.began = self._wiring.clock()
        try:
            if "pre_execute" in self._wiring.hooks:
                try:
                    message = await self._wiring.middleware.ask(BeforeExecute(message))
                except ActorFailed as failed:
                    if failed.ref is not self._wiring.middleware or job.acked:
                        raise
                    # the chain crashed: not the task's fault, and we restart with it
                    job.settlement = Settlement(job.fence, Ending.GIVE_BACK)
                    return
                job.message = message
            args, kwargs = task.signature.load(message.args, message.kwargs)
            job.scope = scope
            if job.cancelled or job.lost:
                scope.cancel("actorq: cancelled before it began")
                await trio.lowlevel.checkpoint()  # promise 36: not even up to its first await
            if task.is_bare and options.timeout is None:
                value = await task.function(*args, **kwargs)
            else:
                context = self._context_of(job, message)
                attempt = Attempt(task, args, kwargs, context, options.timeout, self._threads)
                value = await attempt.run()
            job.scope = None
            job.value = task.signature.return_dump(value)
        except (ArgumentsError, NotSerializable) as unfit:
            job.error = unfit
            job.final = job.scope is None  # not the function's doing: it would be the same again
        except Exception as raised:  # noqa: BLE001 - a task may raise whatever it likes
            job.error = raised.with_traceback(_users_part(raised.__traceback__))
        except BaseException as raised:
            if _is_signal(raised) and not _is_stray(raised):
                raise
            job.error = RuntimeError(f"the task raised {type(raised).__name__}, no Exception")
            job.error.__cause__ = raised
        job.scope = None

    def _conclude(self, job: Job) -> bool:
        """Decide what follows from how the job ended, and put it up to be reported.

        True if hooks are to be run before that: then `_after_execute` puts it up.
        """
        try:
            return self._decide(job)
        except Exception:
            # an exception's own methods are its author's code: none of it may harm other tasks
            name = type(job.error).__qualname__
            log.exception("the error of task %s, a %s, cannot be read", job.fence.task_id, name)
            error = TaskFailed(name, "(it cannot be told: its own methods raise)")
            job.result = TaskResult(
                is_err=True,
                error=error,
                labels=dict(job.message.labels),
                attempts=job.fence.attempt,
            )
            job.settlement = Settlement(
                job.fence, Ending.DEAD, reason=str(error), error=dump_error(error)
            )
            self._put_up(job)
            return False

    def _decide(self, job: Job) -> bool:
        task, fence, message = job.task, job.fence, job.message
        if job.lost:
            self._drop(job)
            return False
        if task is None or (job.settlement is not None and not job.acked):
            self._ended.append(job)  # it was not even begun
            return False
        error = job.error
        if job.cancelled:
            error = TaskCancelled(f"task {fence.task_id} was cancelled while it ran")
        job.result = TaskResult(
            is_err=error is not None,
            return_value=job.value if error is None else None,
            # rebuilt from plain data: an exception that is kept keeps all its frames alive
            error=None
            if error is None
            else load_error(dump_error(error), (*task.options.raises, *message.options.raises)),
            execution_time=self._wiring.clock() - job.began,
            labels=dict(message.options.labels),
            attempts=fence.attempt,
        )
        if job.cancelled:
            job.error = None  # for the hooks, it did not fail
            job.settlement = Settlement(fence, Ending.CANCELLED)
        elif error is None:
            job.settlement = Settlement(fence, Ending.DONE)
        else:
            job.settlement = self._after_failure(job, error)
        hooks = self._wiring.hooks
        if hooks and ("post_execute" in hooks or (job.error is not None and "on_error" in hooks)):
            return True
        self._put_up(job)
        return False

    def _put_up(self, job: Job) -> None:
        job.error = None  # its traceback keeps the function's frames alive
        if job.settlement is not None and job.settlement.ending is Ending.RETRY:
            job.result = None  # the last attempt's is the task's
        self._ended.append(job)

    def _context_of(self, job: Job, message: TaskMessage) -> Context:
        async def report(progress: TaskProgress) -> None:
            if job.lost:
                raise StaleResult(f"this attempt of task {message.task_id} has lost its lease")
            plain = attrs.evolve(progress, meta=dump(progress.meta))
            await self._wiring.results.ask(
                SetProgress(message.task_id, plain, job.fence.attempt, self._lease)
            )

        return Context(message, job.fence, report, self._wiring.system)

    def _after_failure(self, job: Job, error: Exception) -> Settlement:
        message, fence = job.message, job.fence
        failures = job.failures + 1
        delay = message.options.retry_policy.delay(failures, self._wiring.random.random())
        if delay is not None and not job.final:
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
        dumped = dump_error(error)
        reason = f"{type(error).__name__}: {dumped['message']}"
        return Settlement(fence, Ending.DEAD, reason=reason, error=dumped)

    async def _after_execute(self, job: Job) -> None:
        assert job.result is not None
        try:
            await self._wiring.middleware.ask(AfterExecute(job.message, job.result, job.error))
        except (ActorFailed, ActorStopped):
            log.warning("the middleware chain failed after task %s", job.fence.task_id)
        self._put_up(job)

    # --- reporting ---

    @trio.lowlevel.enable_ki_protection
    def _forget(self, job: Job) -> None:
        """The job is settled, or not ours any more: its slot is free."""
        if self._jobs.pop(job.fence.token, None) is None:
            return
        self._running -= 1
        self._let_one_resume()
        if self._gated:
            self._gated = False
            self._wake_slot()
        if self._draining and not self._jobs:
            self._quiet.set()

    @trio.lowlevel.enable_ki_protection
    def _let_one_resume(self) -> None:
        """A slot may be free: whoever suspended and wants one again goes before new jobs."""
        if self._resumers and self._running - self._suspended < self._concurrency:
            self._suspended -= 1
            self._resumers.unpark()

    def _report_soon(self) -> None:
        """Report what has ended: at once if nothing else is going on, else with what ends meanwhile.

        Jobs that started together end together.  Reported one by one, a hundred of them would be two
        hundred messages; the reporter runs in the next pass of the scheduler and makes it two.
        """
        if len(self._jobs) == len(self._ended):
            self._report()
        elif self._reporter:
            self._reporter.unpark()

    async def _report_for_all(self) -> None:
        while True:
            await self._reporter.park()
            if self._ended:
                self._report()

    @trio.lowlevel.enable_ki_protection
    def _report(self) -> None:
        """Have results stored, then deliveries settled: see `_stored`."""
        if trio.current_effective_deadline() == -math.inf:
            return  # jobs that ended in spite of our cancellation have not ended by themselves
        jobs, self._ended = self._still_ours(self._ended), []
        if len(jobs) == 1:
            job = jobs[0]
            if job.result is not None and job.message.options.ack is AckMode.WHEN_SAVED:
                self._store(jobs)
                return
        early = [job for job in jobs if job.message.options.ack is _WHEN_EXECUTED]
        if early:
            self.start_soon(self._report_early, early, name="pool: ack, then store")
            jobs = [job for job in jobs if job.message.options.ack is not _WHEN_EXECUTED]
        unsaved = [job for job in jobs if job.result is not None]
        if len(unsaved) < len(jobs):
            without = [job for job in jobs if job.result is None]
            self._settle(without)
            self._unpark(without)
        if unsaved:
            self._store(unsaved)

    def _unpark(self, jobs: list[Job]) -> None:
        """Those that became known while they were on their way to be parked (promise 42)."""
        for job in jobs:
            name = job.message.task_name
            if job.task is None and self._wiring.tasks.get(name) is not None:
                self.start_soon(self._wiring.broker.tell, TaskKnown(name), name="pool: unpark")

    def _still_ours(self, jobs: list[Job]) -> list[Job]:
        """Without those whose lease was lost since they ended: their results count for nothing."""
        lost = [job for job in jobs if job.lost]
        if not lost:
            return jobs
        for job in lost:
            self._drop(job)
        return [job for job in jobs if not job.lost]

    async def _report_early(self, jobs: list[Job]) -> None:
        """ack=when_executed: acknowledge, then store."""
        await self._settle_early(jobs)
        unsaved = [job for job in self._still_ours(jobs) if job.result is not None]
        if len(unsaved) < len(jobs):
            self._settle([job for job in jobs if job.result is None and not job.lost])
        if unsaved:
            self._store(unsaved)

    def _store(self, jobs: list[Job]) -> None:
        """Send results to be stored, and go on.

        No task waits for the verdicts: at one wake-up for each no-op task that would be a tenth of
        its whole cost.  They are dealt with in the step in which they are given.
        """
        try:
            self._wiring.results.ask_nowait(
                SetResults(self._outcomes(jobs)), lambda reply: self._stored(jobs, reply)
            )
        except MailboxFull:
            self.start_soon(self._store_again, jobs, name="pool: store results")

    def _outcomes(self, jobs: list[Job]) -> tuple[Outcome, ...]:
        lease = self._lease
        return tuple(
            [
                # acknowledged early: there is no lease to lose
                Outcome(job.fence.task_id, job.result, None if job.acked else lease)
                for job in jobs
                if job.result is not None
            ]
        )

    def _stored(self, jobs: list[Job], reply: Reply[tuple[Exception | None, ...]]) -> None:
        if self._is_ending():
            return  # its jobs are others' now
        verdicts = reply.outcome
        if isinstance(verdicts, Exception):
            if isinstance(verdicts, ActorFailed):  # it restarts
                self.start_soon(self._store_again, jobs, name="pool: store results again")
            return
        if self._wiring.hooks and "post_save" in self._wiring.hooks:
            self.start_soon(self._after_save, jobs, verdicts, name="pool: post_save")
        else:
            self._judge(jobs, verdicts)

    def _judge(self, jobs: list[Job], verdicts: tuple[Exception | None, ...]) -> None:
        """Settle what is stored; see to the rest."""
        settled = []
        for job, verdict in zip(jobs, verdicts, strict=True):
            if verdict is None or (isinstance(verdict, StaleResult) and job.lost):
                settled.append(job)
            elif isinstance(verdict, StaleResult):
                self.start_soon(self._store_renewed, job, name="pool: renew, then store")
            else:
                self.start_soon(self._save_again, job, name="pool: store a result again")
        if settled:
            self._settle(settled)

    async def _after_save(self, jobs: list[Job], verdicts: tuple[Exception | None, ...]) -> None:
        for job, verdict in zip(jobs, verdicts, strict=True):
            if verdict is None:
                await self._post_save(job)
        self._judge(jobs, verdicts)

    async def _store_again(self, jobs: list[Job]) -> None:
        verdicts = await self._ask_to_store(jobs)
        if "post_save" in self._wiring.hooks:
            await self._after_save(jobs, verdicts)
        else:
            self._judge(jobs, verdicts)

    async def _ask_to_store(self, jobs: list[Job]) -> tuple[Exception | None, ...]:
        while True:
            try:
                return await self._wiring.results.ask(SetResults(self._outcomes(jobs)))
            except ActorFailed:
                log.warning("the result backend crashed before it had stored; storing again")

    async def _store_renewed(self, job: Job) -> None:
        """Refused as stale, though we know of no loss: renew, and store once more.

        The loop stood still for longer than the lease; or the id has a result of an earlier run, with
        more attempts: that stands, and the delivery is settled all the same.
        """
        session = self._session
        try:
            held = session is not None and await self._wiring.broker.ask(Extend(session))
        except ActorFailed:
            return  # it restarts, and we after it: the task runs again
        if held:
            (verdict,) = await self._ask_to_store([job])
            if verdict is not None and not isinstance(verdict, StaleResult):
                await self._save_again(job)
                return
            self._settle([job])
        else:
            await self._lose_session(session)
            self._drop(job)

    async def _save_again(self, job: Job) -> None:
        """The backend refused a result: try again, then keep the task in the dead letters (32)."""
        verdict: Exception | None = None
        for attempt in range(1, SAVE_TRIES):
            await trio.sleep(SAVE_PAUSE * 2 ** (attempt - 1))
            if job.lost:
                self._drop(job)
                return
            (verdict,) = await self._ask_to_store([job])
            if verdict is None or isinstance(verdict, StaleResult):
                break
        fence = job.fence
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
        self._settle([job])

    async def _post_save(self, job: Job) -> None:
        assert job.result is not None
        try:
            await self._wiring.middleware.ask(AfterSave(job.message, job.result))
        except (ActorFailed, ActorStopped):
            log.warning("the middleware chain failed after task %s was saved", job.fence)

    async def _settle_early(self, jobs: list[Job]) -> bool:
        """Acknowledge before the result is stored, and know it; False if a lease was lost."""
        settlements = _settlements(jobs)
        if self._session is None:
            return False
        while True:
            try:
                verdicts = await self._wiring.broker.ask(Settle(self._session, settlements))
                break
            except ActorFailed as failed:
                if failed.handled:
                    log.warning("the broker crashed while settling; settling again")
        for job, taken in zip(jobs, verdicts, strict=True):
            job.acked = True
            job.lost = not taken
        return all(verdicts)

    @trio.lowlevel.enable_ki_protection
    def _settle(self, jobs: list[Job]) -> None:
        """Tell the broker how these ended, and that their slots are free.

        Told, not asked: should the broker crash on it, this pool restarts after it, its session ends,
        and the tasks run again.
        """
        for job in jobs:
            self._forget(job)
        if self._session is None:
            return
        message = Settle(self._session, _settlements(jobs), self._allowance())
        try:
            self._wiring.broker.tell_nowait(message)
        except MailboxFull:  # in a task of its own: who waits for room must not hold up a slot
            self.start_soon(self._wiring.broker.tell, message, name="pool: settle")

    def _drop(self, job: Job) -> None:
        """The job is not ours any more: there is nothing to settle, but a slot is free."""
        self._forget(job)
        self._allow()


def _is_tainted(clean: contextvars.Context) -> bool:
    """Whether a job has left something in this task's context."""
    try:
        return contextvars.copy_context() != clean
    except Exception:  # noqa: BLE001 - it compares values, and their __eq__ is the user's
        return True


def _is_signal(error: BaseException) -> bool:
    """Whether it is, or has in it, what must never be taken for a failure of the task."""
    if isinstance(error, BaseExceptionGroup):
        return any(_is_signal(each) for each in error.exceptions)
    return isinstance(error, trio.Cancelled | KeyboardInterrupt | SystemExit | GeneratorExit)


def _is_stray(error: BaseException) -> bool:
    """A `Cancelled` of some other time and place, raised again: nothing cancels this task now."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_stray(each) for each in error.exceptions if _is_signal(each))
    return isinstance(error, trio.Cancelled) and trio.current_effective_deadline() > -math.inf


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """From the task's function on: how it was called tells its author nothing."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


def _settlements(jobs: list[Job]) -> tuple[Settlement, ...]:
    return tuple(
        [
            job.settlement
            for job in jobs
            if not job.acked and not job.lost and job.settlement is not None
        ]
    )
