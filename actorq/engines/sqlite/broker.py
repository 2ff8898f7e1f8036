"""`SQLiteBroker`: the broker actor round a queue that is kept in a SQLite file.

Every call is one step of the storage, in its thread; each leaves a *view* of how things are, from which
is answered what is asked without waiting.  The law itself is in `actorq.engines.sqlite.queue`.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import trio

from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.engine import Claim, Step, Store
from actorq.engines import sent
from actorq.engines.memory.lease import Turns
from actorq.engines.sqlite import whereabouts
from actorq.engines.sqlite.mirror import Mirror
from actorq.engines.sqlite.peers import boot_id
from actorq.engines.sqlite.queue import early, looking, outbox, requests, sessions
from actorq.engines.sqlite.queue.accepting import accept
from actorq.engines.sqlite.queue.claiming import Found, claim
from actorq.engines.sqlite.queue.looking import Seen, View, look
from actorq.engines.sqlite.queue.moment import Law, Moment
from actorq.engines.sqlite.queue.performing import Act, Acts, perform
from actorq.engines.sqlite.queue.settling import Word, bury_unreadable, settle
from actorq.engines.sqlite.results import SQLiteResultBackend
from actorq.engines.sqlite.schedules import SQLiteScheduleSource
from actorq.engines.sqlite.storage import SQLiteStorage, Synchronous, Topic
from actorq.engines.sqlite.transaction import FileEnqueuing
from actorq.engines.stored_result import row_of
from actorq.errors import ActorqError, EngineUnavailable, EnvelopeError
from actorq.message import Delivery, Fence, TaskMessage
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    QueuedTask,
    QueueStatistics,
    Settle,
    Settlement,
    WorkerInfo,
)
from actorq.queue_choice import QueueChoice
from actorq.schedule_source import ScheduleSource


P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("actorq.broker")

#: What a client hears of, and what a worker does.
#: Lengths of a lease for which an event loop may stand still, and its worker counts as alive.
STALLS: Final = 10
ENDS: Final[tuple[Topic, ...]] = ("ends",)
BOTH: Final[tuple[Topic, ...]] = ("tasks", "ends")


class SQLiteBroker(FileEnqueuing, Broker):
    """Keeps the queue in the file at *path*, for all processes of this machine that open it.

    Its results and schedules are kept there, too, unless `with_result_backend` or `with_schedule_source`
    say otherwise.  What was accepted survives the process; what else, says *synchronous*: "full" (unless
    told) a power cut, "normal" all but the last moments before one.  *lease*: seconds without a sign of
    life after which a worker's jobs are given to others; a process that died is noticed sooner, within
    *recheck*.  *recheck*: seconds after which what other processes did is seen, should the word of it be
    lost.  *storage*: one that other parts share, instead of *path*.

    The file is opened, and its tables are made, when a system opens; `EngineUnavailable` says why that
    cannot be.
    """

    grouped = True

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        synchronous: Synchronous = "full",
        lease: float = 30.0,
        recheck: float = 1.0,
        storage: SQLiteStorage | None = None,
    ) -> None:
        if not lease > 0:
            raise ValueError(f"lease must be more than 0 seconds; got {lease!r}")
        if (path is None) is (storage is None):
            raise TypeError(
                "SQLiteBroker expects the path of a file, or storage=SQLiteStorage(...)"
            )
        if storage is None:
            assert path is not None
            storage = SQLiteStorage(path, synchronous=synchronous, recheck=recheck)
        elif not isinstance(storage, SQLiteStorage):
            raise TypeError(f"storage expects a SQLiteStorage(path); got {storage!r}")
        self.storage = storage
        super().__init__()
        self.lease = lease
        self._boot = boot_id()
        self._peer = ""  #: the storage's, in this life or the last one
        self._mirror = Mirror()
        self._turns: dict[int, Turns] = {}  #: by session
        self._unreadable: list[tuple[int, Fence, Exception]] = []  #: leased, and not buried yet

    def default_result_backend(self) -> ResultBackend:
        """In the same file, for a week."""
        return SQLiteResultBackend(self.storage)

    def default_schedule_source(self) -> ScheduleSource:
        """In the same file."""
        return SQLiteScheduleSource(self.storage)

    def stores_results_of(self, backend: ResultBackend) -> bool:
        """If it keeps them in the same file: then a result and the end of its task are one step."""
        return isinstance(backend, SQLiteResultBackend) and backend.storage is self.storage

    # --- its life ---

    async def startup(self) -> None:
        """Open the file, and take over what processes that died have left."""
        await self.storage.open()
        try:
            self._mirror.forget()
            self.outbox().clear()
            now = self._wiring.clock()
            former, self._peer = self._peer, self.storage.peer
            if former != self._peer:
                await self._do(sessions.move, now, former)
            await self._take_over(now, 0.0)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.storage.close()
            raise

    async def shutdown(self) -> None:
        """Close it, unless another part uses it."""
        await self.storage.close()

    async def listen(self, changed: Callable[[], None]) -> None:
        """Whenever another process has changed something that matters here.

        While it listens for a worker, the storage's thread keeps its leases alive, too: a loop that
        stands still takes no lease, for as many lengths of it as `STALLS`.
        """
        system = self._wiring.system
        if not self._wiring.has_workers or system is None:
            await self.storage.listen(ENDS, changed, self)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(whereabouts.answer, self.storage, system.lines_of_jobs)
            with self._leases_kept():
                await self.storage.listen(BOTH, changed, self)

    def _leases_kept(self) -> AbstractContextManager[None]:
        offset = getattr(self._wiring.clock, "steady_offset", 0.0)
        if not offset:  # time is not the machine's
            return nullcontext()
        peer, lease = self.storage.peer, self.lease

        def renew(connection: sqlite3.Connection) -> None:
            sessions.keep_alive(connection, peer, offset, lease)

        return self.storage.keeping(renew, every=lease / 3, bound=STALLS * lease)

    async def refresh(self, now: float) -> None:
        """Look at the storage."""
        step = partial(_look, self._law(), now, self._mirror.seen())
        view = await self.storage.read(step)
        self._install(view)
        if view.orphaned:
            await self._take_over(now, 0.0)
        await self._bury(now)

    async def _do(
        self,
        transition: Callable[Concatenate[Moment, P], T],
        now: float,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """One step, with what it leaves to be known."""
        return await self._step(lambda moment: transition(moment, *args, **kwargs), now)

    async def _step(
        self, transition: Callable[[Moment], T], now: float, *, synced: bool = True
    ) -> T:
        law, seen = self._law(), self._mirror.seen()

        def step(connection: sqlite3.Connection) -> tuple[T, View]:
            moment = Moment(connection, law, now)
            answer = transition(moment)
            moment.save()
            return answer, look(moment, seen)

        answer, view = await self.storage.write(step, synced=synced)
        self._install(view)
        return answer

    def _law(self) -> Law:
        return Law(
            peer=self.storage.peer,
            touch=self._touch,
            wire=self.wire,
            boot=self._boot,
            steady_offset=getattr(self._wiring.clock, "steady_offset", 0.0),
            lease=self.lease,
        )

    def _touch(self, topic: Topic) -> None:
        self.storage.touch(topic, self)

    @trio.lowlevel.enable_ki_protection
    def _install(self, view: View) -> None:
        for told in self._mirror.show(view):
            self.outbox().append(outbox.outcome(told, self.wire))
        for session in [each for each in self._turns if not self.has_session(each)]:
            del self._turns[session]

    # --- the way of every task ---

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """See `queue.accepting`."""
        written = [sent.write(message, self.wire) for message in messages]
        return await self._do(accept, now, written)

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """See `queue.claiming`."""
        if not self.has_session(session):
            return ()
        turns, known = await self._turns_of(session, now), self._known()
        found = await self._do(claim, now, session, limit, turns, known)
        self._mirror.parked -= set(known)
        return await self._readable(session, limit, found, now)

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """See `queue.settling`."""
        words = [self._word(each, anyhow=True) for each in settlements]
        verdicts = await self._do(settle, now, session, words, self._keeping())
        return tuple([verdict is True for verdict in verdicts])

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        """All of these in one step of the storage."""
        acts: list[Act] = []
        stored, known = 0, self._known()
        for step in steps:
            if isinstance(step, Claim):
                turns = await self._turns_of(step.session, now)
                acts.append((Acts.CLAIM, step.session, step.limit, turns, known))
            elif isinstance(step, Settle):
                words = [self._word(each) for each in step.settlements]
                stored += sum([word.result is not None for word in words])
                acts.append((Acts.SETTLE, step.session, words))
            else:
                acts.append(self._store_act(step))
        backend = self._backend() if stored else None
        limit = touch = None
        if backend is not None:
            limit = backend.limit_now(stored)
            touch = partial(self.storage.touch, "results", backend)
        keeping = self._keeping()
        answers = await self._step(
            lambda moment: perform(moment, acts, keeping, limit, touch),
            now,
            synced=any(act[0] is not Acts.CLAIM for act in acts),
        )
        if any(isinstance(step, Claim) for step in steps):
            self._mirror.parked -= set(known)
        view = self._mirror.view
        if view is not None and view.orphaned:
            with suppress(EngineUnavailable):  # the step is done; the next look tries again
                await self._take_over(now, 0.0)
        for index, step in enumerate(steps):
            if isinstance(step, Claim):
                found = answers[index]
                answers[index] = await self._readable(step.session, step.limit, found, now)
        return answers

    def _store_act(self, step: Store) -> Act:
        try:
            return Acts.STORE, [sent.write(message, self.wire) for message in step.messages]
        except ActorqError as refusal:
            return Acts.REFUSED, refusal

    def _backend(self) -> SQLiteResultBackend | None:
        backend = self.result_backend
        if isinstance(backend, SQLiteResultBackend) and backend.storage is self.storage:
            return backend
        return None

    def _keeping(self) -> Any:
        backend = self._backend()
        return None if backend is None else backend.keeping

    def _word(self, settlement: Settlement, *, anyhow: bool = False) -> Word:
        fence, ending, delay, reason, error, then, outcome, early = settlement
        result: Any = None
        if outcome is not None and not anyhow:
            try:
                result = row_of(outcome, self.wire)
            except Exception as failure:  # noqa: BLE001 - this settlement's verdict
                result = failure
        following = tuple([sent.write_anyhow(each, self.wire) for each in then])
        return Word(fence, ending, delay, reason, error, following, early, result)

    async def _turns_of(self, session: int, now: float) -> Turns:
        turns = self._turns.get(session)
        if turns is None:
            choice = await self._do(sessions.choice_of, now, session)
            turns = self._turns[session] = Turns(choice)
        return turns

    async def _readable(
        self, session: int, limit: int, found: Found, now: float
    ) -> tuple[Delivery, ...]:
        """What can be read; the rest goes to the dead letters, and hurts nobody (promise 42)."""
        readable: list[Delivery] = []
        while True:
            if found.more:
                self._note_change()  # and look on, after what has come meanwhile
            for task_id, attempt, token, failures, alias, data in found.claimed:
                fence = Fence(task_id, attempt, token)
                try:
                    message = sent.read(data, task_id, alias, self.wire)
                except EnvelopeError as error:
                    log.warning("task %s cannot be decoded: %s", task_id, error)
                    self._unreadable.append((session, fence, error))
                else:
                    readable.append(Delivery(message, fence, failures))
            if not self._unreadable:
                break
            try:
                await self._bury(now)
                turns = await self._turns_of(session, now)
                found = await self._do(claim, now, session, limit - len(readable), turns)
            except EngineUnavailable as why:  # what was done is done, and must be answered
                log.warning("tasks that cannot be decoded are buried later: %s", why)
                break
        return tuple(readable)

    async def _bury(self, now: float) -> None:
        """What nobody can read."""
        if self._unreadable:
            unreadable = tuple(self._unreadable)
            await self._do(bury_unreadable, now, unreadable)
            del self._unreadable[: len(unreadable)]

    async def locate(self, task_id: str) -> str:
        """See `queue.looking`."""
        return await self.storage.read(lambda connection: looking.locate(connection, task_id))

    async def is_ending(self, task_id: str) -> bool:
        """Whether it is over for the queue, and its result on its way, in any process."""
        return await self.storage.read(lambda connection: early.is_ending(connection, task_id))

    async def statistics_of_queue(self) -> QueueStatistics:
        """See `queue.looking`."""
        law, now, seen = self._law(), self._wiring.clock(), self._mirror.seen()

        def step(connection: sqlite3.Connection) -> tuple[QueueStatistics, View]:
            return looking.statistics(connection), look(Moment(connection, law, now), seen)

        counted, view = await self.storage.read(step)
        self._install(view)
        return counted

    def claimable(self) -> bool:
        """Whether a claim might find something."""
        view = self._mirror.view
        return view is not None and (view.claimable or bool(self._known()))

    def _known(self) -> tuple[str, ...]:
        """What was parked by a worker that does not know it, and is known here."""
        if not self._mirror.parked or not self._wiring.has_workers:
            return ()
        tasks = self._wiring.tasks
        return tuple([name for name in self._mirror.parked if tasks.get(name) is not None])

    def has_leases(self) -> bool:
        """Whether any job is leased, in any process."""
        return self._mirror.view is not None and self._mirror.view.leased

    def __repr__(self) -> str:
        return f"<SQLiteBroker: {self.storage.path}>"

    # --- sessions ---

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """See `queue.sessions`."""
        session = await self._do(sessions.open_session, now, worker, queues)
        self._turns[session] = Turns(queues)
        return session

    async def extend(self, session: int, now: float) -> float | None:
        """Until when; None if it was lost."""
        return now + self.lease if await self._do(sessions.renew, now, session) else None

    async def lapse(self, now: float, late: float) -> None:
        """Take back the jobs of sessions that are over, in any process."""
        await self._take_over(now, late)

    async def _take_over(self, now: float, late: float) -> None:
        """From sessions whose lease is over, and from processes that have died."""
        peers = await self.storage.read(sessions.peers)
        dead = await self.storage.dead_peers(peers - {self.storage.peer}) if peers else set()
        await self._do(sessions.lapse, now, late, dead)

    def has_session(self, session: int) -> bool:
        """Whether a session of ours is still good."""
        return session in self._mirror.sessions

    def sessions_ended(self) -> int:
        """How many have ended in all."""
        view = self._mirror.view
        return 0 if view is None else view.marks.lost

    # --- ends that no worker reports ---

    async def published(self, count: int) -> None:
        """They are stored: out of the table, too."""
        numbers = self._mirror.numbers
        seqs = [numbers[index] for index in range(count)]
        await self._do(outbox.stored, self._wiring.clock(), seqs)
        for _ in range(count):
            numbers.popleft()
            self.outbox().popleft()
        if not numbers:
            await self.refresh(self._wiring.clock())  # there may be more than was read

    # --- time ---

    def next_due(self) -> float | None:
        """When `promote` has something to do."""
        return None if self._mirror.view is None else self._mirror.view.due

    async def promote(self, now: float) -> None:
        """In slices: others want to write, too."""
        due = self.next_due()
        if due is None or due > now:
            await self.refresh(now)
            due = self.next_due()
            if due is None or due > now:
                return
        while await self._do(requests.promote, now):
            pass

    # --- by request ---

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """See `whereabouts_rows`; those that live, whether or not somebody has buried the others."""
        peers = await self.storage.read(sessions.peers)
        gone = await self.storage.dead_peers(peers - {self.storage.peer})
        return await self.storage.read(partial(whereabouts.workers, gone=gone))

    async def look(self) -> Mapping[str, str]:
        """See `whereabouts`."""
        return await whereabouts.look(self.storage)

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """See `queue.requests`."""
        return await self._do(requests.revoke, now, task_id)

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended."""
        return await self.storage.read(lambda connection: looking.ending_of(connection, task_id))

    def has_notices(self) -> bool:
        """Whether anything is to be told to a session of ours."""
        return self._mirror.has_notices

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session."""
        return self._mirror.take_notices(session)

    async def release(self, task_name: str) -> None:
        """What was parked for this name may be claimed."""
        parked = partial(looking.is_parked, task_name=task_name)
        if await self.storage.read(parked):
            await self._do(sessions.release, self._wiring.clock(), task_name)

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        rows = await self.storage.read(partial(looking.dead_rows, task_id=None))
        return tuple([looking.dead_task(row, self.wire) for row in rows])

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One of them."""
        rows = await self.storage.read(partial(looking.dead_rows, task_id=task_id))
        return looking.dead_task(rows[0], self.wire) if rows else None

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """See `queue.requests`."""
        written = [(task_id, sent.write(message, self.wire)) for task_id, message in pairs]
        return await self._do(requests.replay, now, written)

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters."""
        return await self._do(requests.purge_dead, self._wiring.clock(), task_ids)

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        rows = await self.storage.read(partial(looking.queued_rows, queue=queue, limit=limit))
        return tuple([looking.queued_task(row, self.wire) for row in rows])

    async def purge(self, queue: str, now: float) -> int:
        """In slices, of what is there now; found without the write lock, for that takes long."""
        waiting = await self.storage.read(partial(looking.waiting, queue=queue))
        gone = 0
        for begin in range(0, len(waiting), requests.SLICE):
            some = waiting[begin : begin + requests.SLICE]
            gone += await self._do(requests.purge, now, queue, some)
        return gone

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        await self._do(requests.set_paused, self._wiring.clock(), queue, paused=paused)


def _look(law: Law, now: float, seen: Seen, connection: sqlite3.Connection) -> View:
    return look(Moment(connection, law, now), seen)
