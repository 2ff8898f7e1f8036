"""The worker pool: the actor that pulls tasks against its free slots and runs each in its own scope.

Its mutable state is the set of jobs it holds, by fence token, those of them that have come and not
begun (`_waiting`), and the slots.  A job is held from the batch that brings it until it is settled.
The pool allows the broker no more tasks than it has slots free, so nothing is hoarded.

Slots are child tasks that live on from job to job (a task for each job costs ten times as much).  The
free ones are parked; the broker, through the inlet, puts a batch before them, and `Slots.reconcile`
says who is woken.  What a slot does with a job is the `Runner`'s; what becomes of it then is the
`Reporter`'s.  If the pool crashes, its session ends and its jobs go to the next life (promise 29).
"""

from __future__ import annotations

import contextvars
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs
import trio

from actorq.actor import Actor
from actorq.ahead import PATIENCE, Ahead
from actorq.errors import (
    ActorFailed,
    ActorStopped,
    EngineUnavailable,
    LeaseLost,
    MailboxFull,
    WorkerLost,
)
from actorq.job import Job, current_slot
from actorq.message import Delivery, TaskId
from actorq.options import AckMode
from actorq.protocol import (
    Allow,
    Batch,
    Count,
    DoubtResults,
    Ending,
    Extend,
    Lease,
    NextNotices,
    OpenSession,
    Outcome,
    SetResults,
    Settle,
    Settlement,
    UnsavedResult,
)
from actorq.queue_choice import QueueChoice
from actorq.ref import Message
from actorq.reply import Reply
from actorq.reporter import Reporter
from actorq.result import TaskResult
from actorq.runner import Runner
from actorq.slots import WAKING, Slots
from actorq.wiring import Wiring


log = logging.getLogger("actorq.worker")

#: Jobs that one slot runs before it lets other tasks run, if none of them blocks.
BURST = 64
#: Seconds before a session is asked for again, if the engine cannot open one.
ENGINE_PAUSE = 0.5
_EARLY = (AckMode.WHEN_RECEIVED, AckMode.WHEN_EXECUTED)


@attrs.frozen
class Renew(Message[None]):
    """Time to renew the session's lease."""


@attrs.frozen
class LookAhead(Message[None]):
    """Time to see whether what was fetched ahead has begun."""


@attrs.frozen
class GetPoolStatistics(Message["PoolStatistics"]):
    """How busy the pool is."""


@attrs.frozen
class IsHeld(Message[bool]):
    """Whether a task is in this pool's hands: acknowledged early, it may run or wait to be stored."""

    task_id: TaskId


@attrs.frozen
class PoolStatistics:
    """The worker pool at one moment."""

    concurrency: int  #: slots
    held: int  #: jobs between fetch and settlement
    suspended: int  #: of these, wait for other jobs and have given their slots back
    slots: int  #: slot tasks that exist


class Slot:
    """One slot task."""

    __slots__ = ("ending", "job", "pool")

    def __init__(self, pool: WorkerPool) -> None:
        self.pool = pool
        self.ending = pool._going_down
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
        if self._pool is None or self._pool.is_ending():
            return False
        self._pool.take(batch)
        return True


class WorkerPool(Actor[Renew | LookAhead | GetPoolStatistics | IsHeld]):
    """Runs tasks, at most *concurrency* at a time."""

    def __init__(
        self,
        wiring: Wiring,
        concurrency: int,
        worker: str,
        queues: QueueChoice | None = None,
    ) -> None:
        self._wiring = wiring
        self._worker = worker
        self._queues = queues
        self.session: int | None = None  #: None while none is open
        self.lease = Lease(0.0)
        self._lease_seconds = 0.0
        self._jobs: dict[int, Job] = {}  #: every job held, by fence token
        self._waiting: deque[Job] = deque()
        self._inlet = Inlet(self)
        self._received = 0  #: deliveries that came in this session
        self._settling = 0  #: jobs of which the broker has been told that they are over
        self._ahead = Ahead(concurrency if wiring.overlaps and wiring.one_step else 0)
        self._looking_ahead = False  #: the timer is set
        self._returning = 0  #: words on their way, with what was fetched ahead and goes back
        self._slots: Slots[trio.lowlevel.Task] = Slots(concurrency)
        self._reporter = Reporter(self, wiring)
        self._runner = Runner(self, wiring, self._reporter)
        self._draining = False
        self._allowing = False  #: a task waits to tell our demand
        self._renewing = False
        self._quiet = trio.Event()  #: draining, and nothing is held
        self._going_down = trio.Event()
        self._clean = contextvars.copy_context()

    # --- the actor ---

    async def on_start(self) -> None:
        """Open a session, and send the first slot to wait for work."""
        self._clean = contextvars.copy_context()
        await self._open_session()
        self.start_soon(self._reporter.report_for_all, name="pool: reporter")
        self.start_soon(self._tell_the_end, name="pool: end")
        self._slots.started = self._slots.waking = 1
        self._start_slot()

    async def receive(self, message: Renew | LookAhead | GetPoolStatistics | IsHeld) -> Any:
        """Renew the lease, or tell what is asked."""
        if isinstance(message, LookAhead):
            self._look_ahead()
            return None
        if isinstance(message, Renew):
            await self._renew()
            return None
        if isinstance(message, IsHeld):
            return any(job.fence.task_id == message.task_id for job in self._jobs.values())
        slots = self._slots
        return PoolStatistics(slots.concurrency, len(self._jobs), slots.suspended, slots.started)

    async def drain(self) -> None:
        """Fetch no more, give back what has not begun, let what runs finish (promise 53)."""
        self._draining = True
        self.allow()
        self._give_back_waiting()
        while self._jobs and not self._quiet.is_set():
            # nobody handles our timer any more
            with trio.move_on_after(self._lease_seconds / 3):
                await self._quiet.wait()
                return
            await self._renew()

    async def on_stop(self) -> None:
        """Give back everything that is still held: told, not asked, for the broker may be down."""
        self.lease.lost = True  # results that are on their way are not ours to store any more
        if self._jobs:
            names = sorted({job.message.task_name for job in self._jobs.values()})
            many = "1 job" if len(self._jobs) == 1 else f"{len(self._jobs)} jobs"
            log.warning("giving back %s: %s", many, ", ".join(names))
        jobs = list(self._jobs.values())
        self._hand_over([job for job in jobs if job.acked])
        # after a crash, what had begun counts as an attempt: the next session takes it (promise 29)
        self._give_back([job for job in jobs if self._draining or not job.begun])
        self._doubt([job for job in jobs if not job.acked and _may_be_acked(job)])

    async def _tell_the_end(self) -> None:
        """Jobs whose clean-up waits for other jobs must not hold up the end of this life."""
        try:
            await trio.sleep_forever()
        finally:
            self._going_down.set()

    def is_ending(self) -> bool:
        """This life is over, or about to be: it must not start anything any more."""
        return self.life_is_over()

    def _hand_over(self, acked: list[Job]) -> None:
        """Nobody will run these again: see to it that their waiters hear of them."""
        outcomes = []
        for job in acked:
            result = job.result
            if result is None and job.settlement is not None:
                if job.settlement.ending is Ending.RETRY:
                    continue
                if job.unstored is not None:
                    self._tell_unstored(job.fence.task_id, job.unstored)
                    continue
                error = WorkerLost(
                    f"the worker ended while task {job.fence.task_id} ran, and its ack mode "
                    f"({job.message.options.ack.value}) forbids another attempt"
                )
                result = TaskResult(is_err=True, error=error, labels=dict(job.message.labels))
            if result is not None:
                ttl = job.message.options.result_ttl
                outcomes.append(Outcome(job.fence.task_id, result, ttl=ttl))
        if outcomes:
            self._wiring.orphans.update([outcome.task_id for outcome in outcomes])
            self._wiring.doubts += 1
            try:
                self._wiring.results.tell_nowait(SetResults(tuple(outcomes), last=True))
            except (MailboxFull, ActorStopped):  # (their tracebacks tell nothing)
                log.warning("the results of %d acknowledged tasks are lost", len(outcomes))

    def _tell_unstored(self, task_id: TaskId, why: Exception) -> None:
        self._wiring.orphans.add(task_id)
        self._wiring.doubts += 1
        try:
            self._wiring.results.tell_nowait(UnsavedResult(task_id, why))
        except (MailboxFull, ActorStopped):
            log.warning("who waits for task %s does not hear that it has no result", task_id)

    def _doubt(self, jobs: list[Job]) -> None:
        """These may have been acknowledged just now: whether they live, only the broker knows."""
        if jobs:
            doubtful = tuple([job.fence.task_id for job in jobs])
            self._wiring.orphans.update(doubtful)
            self._wiring.doubts += 1
            try:
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
        if settlements and self.session is not None:
            word = Settle(self.session, tuple(settlements))
            try:
                self._wiring.broker.tell_nowait(word)
            except (MailboxFull, ActorStopped) as why:
                if isinstance(why, MailboxFull) and not self.is_ending():
                    # this session may go on, and would keep them
                    self.start_soon(self._wiring.broker.tell, word, name="pool: give back")
                else:
                    log.warning("%d jobs go back when their session ends", len(settlements))

    def _return_waiting(self) -> None:
        """What was fetched ahead goes back, and nothing comes until it is back.

        Else what was accepted later could come while that is on its way, and begin first (promise 37).
        """
        jobs = list(self._waiting)
        self._waiting.clear()
        for job in jobs:
            self._jobs.pop(job.fence.token, None)
        back = [Settlement(job.fence, Ending.GIVE_BACK) for job in jobs if not job.lost]
        if not back or self.session is None:
            return
        self._returning += 1
        word = Settle(self.session, tuple(back), self.allowance())
        try:
            self._wiring.broker.ask_nowait(word, self._returned)
        except MailboxFull:
            self.start_soon(self._return_later, word, name="pool: give back")
        except ActorStopped:
            log.debug("the broker has stopped; their session ends with it")

    async def _return_later(self, word: Settle) -> None:
        try:
            await self._wiring.broker.ask(word)
        except (ActorFailed, ActorStopped):
            return  # and we end with it
        self._note_returned()

    def _returned(self, _: Reply[Any]) -> None:
        if not self.is_ending():
            self._note_returned()

    def _note_returned(self) -> None:
        self._returning -= 1
        self.allow()

    # --- the lease ---

    async def _open_session(self) -> None:
        self._received = 0
        self._inlet = Inlet(self)
        while True:
            try:
                session = await self._wiring.broker.ask(
                    OpenSession(
                        self._worker,
                        self._inlet,
                        self.allowance(),
                        self._queues,
                        self._slots.concurrency,
                    )
                )
                break
            except ActorFailed:
                continue  # it restarts; one crash is no second incident
            except EngineUnavailable:
                await trio.sleep(ENGINE_PAUSE)  # without a session there is nothing to do
        self.session, self._lease_seconds, self.lease = session
        self.start_soon(self._listen, session.id, name="pool: notices")
        self.allow()  # what was dropped meanwhile had no session to tell it to

    async def _renew(self) -> None:
        self._renewing = False
        session = self.session
        if not self._jobs or session is None:
            return
        try:
            extended = await self._wiring.broker.ask(Extend(session))
        except ActorFailed:
            extended = True  # it restarts, and we after it; one crash is no second incident
        if extended:
            self._keep_renewing()
        else:
            await self.lose_session(session)

    def _keep_renewing(self) -> None:
        """Renew every third of the lease while jobs are held; an idle pool has no timer."""
        if not self._renewing:
            self._renewing = True
            self.set_timer("renew", self._lease_seconds / 3, Renew())

    async def lose_session(self, session: int | None) -> None:
        """The lease ran out: what we run is somebody else's now (promise 34)."""
        if session is None or session != self.session:
            return  # known already
        self.session = None
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
        while session == self.session:
            try:
                notices = await self._wiring.broker.ask(NextNotices(session))
            except ActorFailed:
                continue  # it restarts; the next ask waits for that
            except LeaseLost:
                await self.lose_session(session)
                return
            except ActorStopped:
                return
            for fence, why in notices:
                job = self._jobs.get(fence.token)
                if job is None or job.acked:
                    continue
                if why == "cancelled":
                    if job.acking is not None:
                        continue  # its `ctx.ack()` is on its way, and has the last word
                    job.cancelled = True
                    if job.scope is not None:
                        job.scope.cancel("actorq: the task was cancelled")
                else:
                    self._lose(job)

    # --- demand ---

    def allowance(self) -> int:
        """How much the broker may send in this session, all told."""
        if self._draining or self._returning:
            return self._received
        held = len(self._jobs) - self._settling
        return self._received + max(0, self._slots.free(held) + self._ahead.jobs())

    @trio.lowlevel.enable_ki_protection
    def allow(self) -> None:
        """Tell the broker how much we can take, when no settlement does."""
        if self.session is not None:
            try:
                self._wiring.broker.tell_nowait(Allow(self.session, self.allowance()))
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
        self.allow()

    def _watch_waiting(self, now: float) -> None:
        """*now* something came that may not begin at once."""
        if self._waiting and not self._looking_ahead:
            self._looking_ahead = True
            waited = now - self._waiting[0].came
            self.set_timer("ahead", max(PATIENCE - waited, PATIENCE / 8), LookAhead())

    def _look_ahead(self) -> None:
        """What was fetched ahead and cannot begin is for others: it goes back, and counts no attempt."""
        self._looking_ahead = False
        now = trio.current_time()
        waited = now - self._waiting[0].came if self._waiting else 0.0
        if waited > PATIENCE * 7 / 8 and not self._slots.has_room():  # timers are not exact
            self._ahead.misjudged()
            self._return_waiting()
        self._watch_waiting(now)

    # --- slots ---

    @trio.lowlevel.enable_ki_protection
    def take(self, batch: Batch) -> None:
        """Called by the broker, through the inlet, in the step in which *batch* is leased."""
        # known here a step before the answer to OpenSession is read
        self.session, self.lease = batch.session, batch.lease
        self._received += len(batch.deliveries)
        now = trio.current_time() if self._ahead.limit else 0.0
        for delivery in batch.deliveries:
            job = self._jobs[delivery.fence.token] = Job(delivery, now)
            self._waiting.append(job)
        if self._ahead.limit:
            self._ahead.come(now)
            if not self._ahead.paced:
                self._ahead.paced = any(map(_has_rate, batch.deliveries))
            if len(self._jobs) > self._slots.concurrency:
                self._watch_waiting(now)
        if self._draining:  # the batch was on its way when the drain began
            self._give_back_waiting()
        elif self._returning:
            self._return_waiting()
        if not self._renewing:
            self._keep_renewing()
        self._reconcile()

    @trio.lowlevel.enable_ki_protection
    def _reconcile(self) -> None:
        """Do what follows from how the slots are now."""
        wake, start = self._slots.reconcile(len(self._waiting))
        for task in wake:
            trio.lowlevel.reschedule(task)
        for _ in range(start):
            self._start_slot()

    def _start_slot(self) -> None:
        # in the pool's own context: what a job sets in its context stays in that job
        self._clean.run(self.start_soon, self._slot)

    async def _slot(self) -> None:
        self._slots.waking -= 1
        if self._reporter.ended:
            self._reporter.report()
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
                # a job left traces in this task's context: retire it for a new one
                self._slots.waking += 1
                self._start_slot()
                return

    async def _work_off(
        self, slot: Slot, scope: trio.CancelScope, clean: contextvars.Context
    ) -> None:
        """Run jobs until one is cancelled, which is then in `slot.job`, or taints the context."""
        budget = BURST
        while True:
            job = slot.job = await self._next()
            await self._runner.perform(job, scope)
            if job.cancelled or job.lost:
                return  # the scope is cancelled: nothing may be awaited in it any more
            await self._finish(slot, job)
            budget -= 1
            if not budget:
                budget = BURST
                await trio.lowlevel.checkpoint()
            if _is_tainted(clean):
                return

    async def _next(self) -> Job:
        """The next job to run; waits for one."""
        slots = self._slots
        while True:
            if self._waiting and slots.has_room():
                job = self._waiting.popleft()
                if job.came and self._has_expired(job):
                    self._give_back([job])  # the queue ends it
                    self.allow()
                    continue
                slots.running += 1
                if self._waiting and slots.waking < WAKING:
                    self._reconcile()
                return job
            await _park(slots.parked)
            slots.waking -= 1

    def _has_expired(self, job: Job) -> bool:
        """Whether its time to start went by while it waited here (promise 38).

        What had expired by our clock when it came has not by the queue's, and would come again.
        """
        terms = job.message.terms
        if terms is None or terms.expires_at is None:
            return False
        now = self._wiring.clock()
        return now - (trio.current_time() - job.came) < terms.expires_at <= now

    async def _finish(self, slot: Slot, job: Job) -> None:
        """However the job ended: what follows from it, its hooks, its report."""
        reporter = self._reporter
        if job.acking is not None:
            await job.acking.wait()  # the function did not wait for its `ctx.ack()`
        if job.lost:
            reporter.drop(job)
        else:
            if self._runner.judge(job):
                await self._runner.run_hooks(job)
            reporter.ended.append(job)
        slot.job = None
        if reporter.ended:
            reporter.report_soon(len(self._jobs) - self._settling)

    def note_settling(self, jobs: list[Job]) -> None:
        """Their slots are free, and what comes in the step that settles these may have them."""
        for job in jobs:
            job.settling = job.slotless = True
        self._settling += len(jobs)
        self._slots.running -= len(jobs)
        held = len(self._jobs) - self._settling
        if self._ahead.limit:
            self._ahead.ended(len(jobs), trio.current_time(), all_have=not held)
        if self._waiting or self._slots.resuming:
            self._reconcile()

    def is_beginning(self) -> bool:
        """Whether jobs that came are about to begin, and calls cost so much that it pays to wait."""
        return bool(self._ahead.limit and self._waiting and self._slots.has_room())

    def note_answer(self, seconds: float) -> None:
        """The broker has taken so long to settle some."""
        self._ahead.answered(seconds)

    def _note_settled(self, job: Job) -> None:
        if job.settling:
            job.settling = False
            self._settling -= 1

    def keep(self, job: Job) -> None:
        """It was not settled: it counts as held again, though it has no slot."""
        self._note_settled(job)

    @trio.lowlevel.enable_ki_protection
    def forget(self, job: Job) -> None:
        """The job is settled, or not ours any more: its slot is free."""
        if self._jobs.pop(job.fence.token, None) is None:
            return
        self._note_settled(job)
        slots = self._slots
        if not job.slotless:
            slots.running -= 1
        if slots.resuming or (self._waiting and slots.waking < WAKING):
            self._reconcile()
        if self._draining and not self._jobs:
            self._quiet.set()

    @trio.lowlevel.enable_ki_protection
    def suspend(self) -> None:
        """A job waits for another: its slot may be used meanwhile."""
        self._slots.suspended += 1
        self._reconcile()
        self.allow()

    async def resume(self) -> None:
        """The wait is over: take a slot again, before any new job gets it."""
        if self._slots.resume():
            self.allow()
        else:
            await _park(self._slots.resuming, self._slots.give_up)


@trio.lowlevel.enable_ki_protection
async def _park(
    parked: dict[trio.lowlevel.Task, None],
    give_up: Callable[[trio.lowlevel.Task], object] | None = None,
) -> None:
    """Wait among *parked* until `reconcile` picks this task; if cancelled, *give_up* takes it out."""
    task = trio.lowlevel.current_task()
    parked[task] = None

    def abort(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        if give_up is None:
            del parked[task]
        else:
            give_up(task)
        return trio.lowlevel.Abort.SUCCEEDED

    await trio.lowlevel.wait_task_rescheduled(abort)


def _has_rate(delivery: Delivery) -> bool:
    terms = delivery.message.terms
    return terms is not None and bool(terms.paces)


def _may_be_acked(job: Job) -> bool:
    """Whether the broker may have been told of its end already, and not have answered yet."""
    return job.acking is not None or job.message.options.ack in _EARLY


def _is_tainted(clean: contextvars.Context) -> bool:
    """Whether a job has left something in this task's context."""
    try:
        return contextvars.copy_context() != clean
    except Exception:  # noqa: BLE001 - it compares values, and their __eq__ is the user's
        return True
