"""The reporter: what becomes of jobs that have ended; results are stored first, then deliveries settled.

Owns the jobs that have ended and are not reported yet.  One for each life of a worker pool, whose
tasks it starts; jobs that end together are reported together.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVarTuple

import attrs
import trio

from actorq.errors import ActorFailed, EngineUnavailable, MailboxFull, StaleResult
from actorq.job import Job
from actorq.options import AckMode
from actorq.protocol import (
    Ending,
    Extend,
    Lease,
    Outcome,
    SetResults,
    Settle,
    Settlement,
    TaskKnown,
    UnsavedResult,
)
from actorq.remote_error import dump_error
from actorq.reply import Reply
from actorq.wiring import Wiring


log = logging.getLogger("actorq.worker")

Ts = TypeVarTuple("Ts")

#: Tries to store one result before it is given up, and the first pause between them.
SAVE_TRIES = 6
SAVE_PAUSE = 0.1
#: Seconds for which the result of an acknowledged task is tried again while the engine cannot be had:
#: nobody else will have it.
SAVE_PATIENCE = 60.0

_WHEN_EXECUTED = AckMode.WHEN_EXECUTED
_WHEN_SAVED = AckMode.WHEN_SAVED


class Pool(Protocol):
    """The pool whose jobs are reported."""

    @property
    def session(self) -> int | None:
        """The one that is open."""
        ...

    @property
    def lease(self) -> Lease:
        """That of the session."""
        ...

    def is_ending(self) -> bool:
        """Whether this life of it is over, or about to be."""
        ...

    def is_beginning(self) -> bool:
        """Whether jobs that came are about to begin, and calls to the engine cost so much."""
        ...

    def allowance(self) -> int:
        """How much it may be sent in this session, all told."""
        ...

    def note_settling(self, jobs: list[Job]) -> None:
        """The broker is about to settle these: what it sends in that step may have their slots."""

    def note_answer(self, seconds: float) -> None:
        """It has taken so long to."""

    def keep(self, job: Job) -> None:
        """It did not settle this one."""

    def allow(self) -> None:
        """Tell the broker so."""

    def forget(self, job: Job) -> None:
        """The job is settled, or not the pool's any more."""

    async def lose_session(self, session: int | None) -> None:
        """The lease of that session ran out."""

    def start_soon(
        self,
        async_fn: Callable[[*Ts], Awaitable[object]],
        *args: *Ts,
        name: str | None = None,
    ) -> None:
        """Start a task that ends with this life of the pool."""


class Reporter:
    """Reports the jobs of one life of a pool."""

    def __init__(self, pool: Pool, wiring: Wiring) -> None:
        self._pool = pool
        self._wiring = wiring
        self.ended: list[Job] = []  #: ended and not reported
        self._bell = trio.lowlevel.ParkingLot()  #: where `report_for_all` waits

    def report_soon(self, held: int) -> None:
        """Report what has ended: at once if that is all of *held*, else with what ends meanwhile.

        Jobs that started together end together.  Reported one by one, a hundred of them would be two
        hundred messages; the reporter runs in the next pass of the scheduler and makes it two.
        """
        if held == len(self.ended):
            self.report()
        elif self._bell:
            self._bell.unpark()

    async def report_for_all(self) -> None:
        """The task that reports what ended together."""
        while True:
            await self._bell.park()
            while self.ended and self._pool.is_beginning():
                # a call for each pass would be more than one for all; those that come last are few
                await trio.lowlevel.checkpoint()
            if self.ended:
                self.report()

    @trio.lowlevel.enable_ki_protection
    def report(self) -> None:
        """Have results stored, then deliveries settled: see `_stored`."""
        if trio.current_effective_deadline() == -math.inf:
            return  # jobs that ended in spite of our cancellation have not ended by themselves
        jobs, self.ended = self._still_ours(self.ended), []
        if len(jobs) == 1:
            job = jobs[0]
            if job.result is not None and job.message.options.ack is AckMode.WHEN_SAVED:
                self._store(jobs)
                return
        mute = [job for job in jobs if job.unstored is not None]
        if mute:
            self._pool.start_soon(self._report_unstored, mute, name="pool: no result")
            jobs = [job for job in jobs if job.unstored is None]
        early = [job for job in jobs if job.message.options.ack is _WHEN_EXECUTED]
        if early:
            self._pool.start_soon(self._report_early, early, name="pool: ack, then store")
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
                self._pool.start_soon(
                    self._wiring.broker.tell, TaskKnown(name), name="pool: unpark"
                )

    def _still_ours(self, jobs: list[Job]) -> list[Job]:
        """Without those whose lease was lost since they ended: their results count for nothing."""
        lost = [job for job in jobs if job.lost]
        if not lost:
            return jobs
        for job in lost:
            self.drop(job)
        return [job for job in jobs if not job.lost]

    async def _report_unstored(self, jobs: list[Job]) -> None:
        """Nothing is stored for these: tell who waits, then settle."""
        for job in jobs:
            assert job.unstored is not None
            await self._wiring.results.tell(UnsavedResult(job.fence.task_id, job.unstored))
        self._settle(self._still_ours(jobs))

    async def _report_early(self, jobs: list[Job]) -> None:
        """ack=when_executed: acknowledge, then store."""
        await self.settle_early(jobs)
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
        if self._wiring.one_step and "post_save" not in self._wiring.hooks:
            saved = [
                job for job in jobs if job.message.options.ack is _WHEN_SAVED and not job.acked
            ]
            if saved:
                self._end_in_one_step(saved)
                jobs = [job for job in jobs if job not in saved]
                if not jobs:
                    return
        try:
            self._wiring.results.ask_nowait(
                SetResults(self._outcomes(jobs)), lambda reply: self._stored(jobs, reply)
            )
        except MailboxFull:
            self._pool.start_soon(self._store_again, jobs, name="pool: store results")

    # --- in one step ---

    @trio.lowlevel.enable_ki_protection
    def _end_in_one_step(self, jobs: list[Job]) -> None:
        """Have the broker store results and settle: its storage keeps both.

        What it may send meanwhile takes these jobs for settled: so the next are claimed in that step.
        """
        session = self._pool.session
        if session is None:
            for job in jobs:
                self.drop(job)
            return
        settlements = [
            job.settlement._replace(outcome=outcome)
            for job, outcome in zip(jobs, self._outcomes(jobs), strict=True)
            if job.settlement is not None
        ]
        self._pool.note_settling(jobs)
        word = Settle(session, tuple(settlements), self._pool.allowance())
        try:
            told = trio.current_time()
            self._wiring.broker.ask_nowait(
                word, lambda reply: self._ended_in_one_step(jobs, told, reply)
            )
        except MailboxFull:
            self._pool.start_soon(self._end_later, jobs, word, name="pool: store and settle")

    async def _end_later(self, jobs: list[Job], word: Settle) -> None:
        try:
            verdicts = await self._wiring.broker.ask(attrs.evolve(word, allowance=None))
        except ActorFailed:
            return  # it restarts, and we after it
        self._judge_ended(jobs, verdicts)
        self._pool.allow()

    def _ended_in_one_step(
        self, jobs: list[Job], told: float, reply: Reply[tuple[bool | Exception, ...]]
    ) -> None:
        if self._pool.is_ending():
            return
        self._pool.note_answer(trio.current_time() - told)
        verdicts = reply.outcome
        if not isinstance(verdicts, Exception):
            self._judge_ended(jobs, verdicts)

    def _judge_ended(self, jobs: list[Job], verdicts: tuple[bool | Exception, ...]) -> None:
        for job, verdict in zip(jobs, verdicts, strict=True):
            if verdict is True:
                self._pool.forget(job)
                continue
            self._pool.keep(job)
            if verdict is False:
                self._pool.start_soon(self._refused, job, name="pool: refused")
            else:
                self._pool.start_soon(self._save_again, job, name="pool: store a result again")

    async def _refused(self, job: Job) -> None:
        """Its lease is another's: with all of ours, unless only this task was taken away."""
        session = self._pool.session
        try:
            held = session is not None and await self._wiring.broker.ask(Extend(session))
        except ActorFailed:
            return
        if not held:
            await self._pool.lose_session(session)
        self.drop(job)

    def _outcomes(self, jobs: list[Job]) -> tuple[Outcome, ...]:
        lease = self._pool.lease
        return tuple(
            [
                # acknowledged early: there is no lease to lose
                Outcome(
                    job.fence.task_id,
                    job.result,
                    None if job.acked else lease,
                    job.message.options.result_ttl,
                )
                for job in jobs
                if job.result is not None
            ]
        )

    def _stored(self, jobs: list[Job], reply: Reply[tuple[Exception | None, ...]]) -> None:
        if self._pool.is_ending():
            return  # its jobs are others' now
        verdicts = reply.outcome
        if isinstance(verdicts, Exception):
            if isinstance(verdicts, ActorFailed):  # it restarts
                self._pool.start_soon(self._store_again, jobs, name="pool: store results again")
            return
        if self._wiring.hooks and "post_save" in self._wiring.hooks:
            self._pool.start_soon(self._post_save, _Saving(jobs, verdicts), name="pool: post_save")
        else:
            self._judge(jobs, verdicts)

    def _judge(self, jobs: list[Job], verdicts: tuple[Exception | None, ...]) -> None:
        """Settle what is stored; see to the rest."""
        settled = []
        for job, verdict in zip(jobs, verdicts, strict=True):
            if verdict is None or (isinstance(verdict, StaleResult) and job.lost):
                settled.append(job)
            elif isinstance(verdict, StaleResult):
                self._pool.start_soon(self._store_renewed, job, name="pool: renew, then store")
            else:
                self._pool.start_soon(self._save_again, job, name="pool: store a result again")
        if settled:
            self._settle(settled)

    async def _post_save(self, saving: _Saving) -> None:
        """Run the hooks of these jobs, one after the other, then settle them together.

        While a hook waits, a relief settles those before it and goes on with those after it.
        """
        self._judge(*saving.take())
        if len(saving.waiting) > 1:
            self._pool.start_soon(self._post_save, saving, name="pool: post_save")
        while saving.waiting:
            job, verdict = saving.waiting.popleft()
            if verdict is None:
                await self._run_post_save(job)
            saving.over.append((job, verdict))
        self._judge(*saving.take())

    async def _store_again(self, jobs: list[Job]) -> None:
        verdicts = await self._ask_to_store(jobs)
        if "post_save" in self._wiring.hooks:
            await self._post_save(_Saving(jobs, verdicts))
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
        session = self._pool.session
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
            await self._pool.lose_session(session)
            self.drop(job)

    async def _save_again(self, job: Job) -> None:
        """The backend refused a result: try again, then keep the task in the dead letters (32)."""
        verdict: Exception | None = None
        give_up = trio.current_time() + SAVE_PATIENCE
        for attempt in itertools.count(1):
            await trio.sleep(SAVE_PAUSE * 2 ** min(attempt - 1, SAVE_TRIES - 1))
            if job.lost:
                self.drop(job)
                return
            (verdict,) = await self._ask_to_store([job])
            if verdict is None or isinstance(verdict, StaleResult):
                break
            is_away = job.acked and isinstance(verdict.__cause__, EngineUnavailable)
            if attempt >= SAVE_TRIES - 1 and not (is_away and trio.current_time() < give_up):
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
            await self._run_post_save(job)
        self._settle([job])

    async def _run_post_save(self, job: Job) -> None:
        assert job.result is not None
        await self._wiring.chain.post_save(job.message, job.result)

    async def acknowledge(self, job: Job) -> None:
        """Have the queue forget a job that runs on.

        In a task of the pool's: whatever becomes of the wait in the function, the job learns of it.
        """
        if job.acking is None:
            job.acking = trio.Event()
            ending = Ending.CANCELLED if job.cancelled else Ending.DONE
            job.settlement = Settlement(job.fence, ending, early=True)
            self._pool.start_soon(self._acknowledge, job, job.acking, name="pool: acknowledge")
        await job.acking.wait()
        await trio.lowlevel.checkpoint()

    async def _acknowledge(self, job: Job, done: trio.Event) -> None:
        if not job.lost and not await self.settle_early([job]):
            job.lost = True
            if job.scope is not None:
                job.scope.cancel("actorq: the lease of this job was lost")
        done.set()

    async def settle_early(self, jobs: list[Job]) -> bool:
        """Acknowledge before the result is stored, and know it; False if a lease was lost."""
        settlements = tuple([each._replace(early=True) for each in _settlements(jobs)])
        if self._pool.session is None:
            return False
        while True:
            try:
                verdicts = await self._wiring.broker.ask(Settle(self._pool.session, settlements))
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
            self._pool.forget(job)
        if self._pool.session is None:
            return
        message = Settle(self._pool.session, _settlements(jobs), self._pool.allowance())
        try:
            self._wiring.broker.tell_nowait(message)
        except MailboxFull:  # in a task of its own: who waits for room must not hold up a slot
            later = attrs.evolve(message, allowance=None)
            self._pool.start_soon(self._settle_later, later, name="pool: settle")

    async def _settle_later(self, message: Settle) -> None:
        """Two of these may pass each other, so our demand is told as it is when the word is out."""
        await self._wiring.broker.tell(message)
        self._pool.allow()

    def drop(self, job: Job) -> None:
        """The job is not ours any more: there is nothing to settle, but a slot is free."""
        self._pool.forget(job)
        self._pool.allow()


class _Saving:
    """Jobs whose results were stored, or not, on their way through `post_save`."""

    __slots__ = ("over", "waiting")

    def __init__(self, jobs: list[Job], verdicts: tuple[Exception | None, ...]) -> None:
        self.waiting = deque(zip(jobs, verdicts, strict=True))
        self.over: list[tuple[Job, Exception | None]] = []

    def take(self) -> tuple[list[Job], tuple[Exception | None, ...]]:
        """Those that are through."""
        over, self.over = self.over, []
        return [job for job, _ in over], tuple([verdict for _, verdict in over])


def _settlements(jobs: list[Job]) -> tuple[Settlement, ...]:
    return tuple(
        [
            job.settlement
            for job in jobs
            if not job.acked and not job.lost and job.settlement is not None
        ]
    )
