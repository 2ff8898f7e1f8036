"""The broker actor round a queue whose law runs on a server.

Every call is one step there, done exactly once; each leaves a *view* of how things are, from which is
answered what is asked without waiting.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import trio

from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.engine import Claim, EngineInDoubt, Step, Store, Unread
from actorq.engines import sent
from actorq.engines.counted import statistics_of
from actorq.engines.remote.acts import Act, Reply, Request, Topic
from actorq.engines.remote.ends import error_of, reason_of
from actorq.engines.remote.results import RemoteResultBackend
from actorq.engines.remote.storage import RemoteStorage
from actorq.engines.remote.view import View
from actorq.engines.remote.whereabouts import Whereabouts
from actorq.engines.sent import Bounds, Sent
from actorq.engines.stored_result import row_of
from actorq.errors import (
    ActorqError,
    DuplicateTask,
    DuplicateTaskId,
    EngineUnavailable,
    EnqueueUncertain,
    EnvelopeError,
)
from actorq.message import Delivery, Fence, TaskMessage
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    Outcome,
    QueuedTask,
    QueueStatistics,
    RunningJob,
    Settle,
    Settlement,
    WorkerInfo,
)
from actorq.queue_choice import QueueChoice
from actorq.remote_error import dump_error
from actorq.result import TaskResult


log = logging.getLogger("actorq.broker")

_HOST: Final = socket.gethostname()
#: What a client hears of, and what a worker does.
ENDS: Final[tuple[Topic, ...]] = ("ends", "lines")
BOTH: Final[tuple[Topic, ...]] = ("tasks", "ends", "looks", "lines")
#: Tasks that one call cancels, at most: no call takes long.
SLICE: Final = 500
#: Seconds after which it is said once more that a queue is used, and how many names that is known of.
NAMED_FOR: Final = 3600.0
NAMED: Final = 1_000
#: Whole numbers below are exact everywhere; Lua has no others.
EXACT: Final = 1 << 53
#: Bytes of a key, of a limit or a unique call, that is kept as it is.
LONGEST_KEY: Final = 512
#: Seconds by which clocks may differ before times are translated: what NTP leaves is nobody's business.
SKEW: Final = 1.0


@attrs.define(eq=False)
class _Prepared:
    """Steps as a request."""

    steps: Sequence[Step]
    request: Request
    asked: list[tuple[int, Any]] = attrs.field(
        factory=list
    )  #: each act's step, and what to know of it
    refusals: dict[int, ActorqError] = attrs.field(factory=dict)  #: of steps that cannot be sent


class RemoteBroker(Broker):
    """What the brokers of servers have in common; an engine's own makes the storage."""

    grouped = True
    overlaps = True
    storage: RemoteStorage

    def __init__(self, storage: RemoteStorage, *, lease: float = 30.0) -> None:
        if (
            isinstance(lease, bool)
            or not isinstance(lease, int | float)
            or not 0 < lease < math.inf
        ):
            raise ValueError(
                f"lease expects a finite number of seconds, more than 0; got {lease!r}"
            )
        self.storage = storage
        super().__init__()
        self.lease = float(lease)
        self._peer = ""  #: the storage's, in this life or the last one
        self._generation = ""
        self._view = View()
        self._offset = 0.0  #: from our clock to the server's, or less
        self._skew = 0.0  #: the same, or more; 0 if they may as well agree
        self._doubtful: _Prepared | None = None
        #: in doubt, and nobody asks for their answers any more
        self._forsaken: list[_Prepared] = []
        self._back: list[tuple[int, list[Settlement]]] = []  #: leased for nobody, by session
        self._named: dict[str, float] = {}  #: queues, and when the server was told of them
        self._whereabouts = Whereabouts(storage)
        self._unreadable: list[tuple[int, Fence, Exception]] = []  #: leased, and not buried yet

    def stores_results_of(self, backend: ResultBackend) -> bool:
        """If it keeps them on the same server: then a result and the end of its task are one step.

        Or if it keeps none: then there is nothing to store.
        """
        if not backend.keeps_results:
            return True
        return isinstance(backend, RemoteResultBackend) and backend.storage is self.storage

    # --- its life ---

    async def startup(self) -> None:
        """Connect, and take over what processes that died have left."""
        await self.storage.open()
        try:
            self._view.forget()
            self.outbox().clear()
            former, self._peer = self._peer, self.storage.peer
            request = self._request()
            if former and former != self._peer:
                request.acts.append(["move", former])
            request.acts.append(["lapse", 0.0])
            await self._call(request)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.storage.close()
            raise

    async def shutdown(self) -> None:
        """Disconnect, unless another part uses it."""
        await self.storage.close()

    async def listen(self, changed: Callable[[], None]) -> None:
        """Whenever another process has changed something that matters here."""

        def heard(topic: Topic | None, words: Collection[str] | None) -> None:
            if topic in ("looks", "lines", None):
                self._whereabouts.hear(topic, words)
            if topic not in ("looks", "lines"):
                changed()

        system = self._wiring.system
        if not self._wiring.has_workers or system is None:
            await self.storage.listen(ENDS, heard)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                self._whereabouts.answer, system.lines_of_jobs, lambda: self._view.sessions
            )
            await self.storage.listen(BOTH, heard)

    async def refresh(self, now: float) -> None:
        """Look at the server."""
        await self._call(self._request(now, writes=False))
        if self._view.over:
            await self._do(["lapse", 0.0], now)
        await self._bury(now)

    # --- calls ---

    def _request(self, now: float | None = None, *, writes: bool = True) -> Request:
        request = self.storage.request(writes=writes)
        clock = self._wiring.clock
        if not getattr(clock, "steady_offset", 0.0):  # time is not the machine's
            request.now = clock() if now is None else now
        request.lease = self.lease
        request.view = True
        request.seen, request.room = self._view.last, self._view.room
        backend = self._backend()
        if backend is not None:
            request.early, request.ttl = True, backend.keeping.ttl
        return request

    async def _call(self, request: Request) -> Reply:
        if request.queues:
            self._name_queues(request)
        reply = await self.storage.call(request, "broker")
        self._install(request, reply)
        if request.named:
            reply.answers.pop()  # to "name"; nobody but us asked for it
            if len(self._named) > NAMED:
                self._named.clear()
            self._named |= dict.fromkeys(request.named, trio.current_time())
        return reply

    def _name_queues(self, request: Request) -> None:
        """Tell the server of those that it may have forgotten; seldom, as each is written there."""
        since, named = trio.current_time() - NAMED_FOR, self._named
        request.named = sorted(
            [name for name in request.queues if named.get(name, -math.inf) < since]
        )
        request.queues = set()  # the same request may be sent again
        if request.named:
            request.acts.append(["name", request.named])

    async def _do(self, act: Act, now: float | None = None, *, writes: bool = True) -> Any:
        request = self._request(now, writes=writes)
        request.acts.append(act)
        return (await self._call(request)).answers[0]

    @trio.lowlevel.enable_ki_protection
    def _install(self, request: Request, reply: Reply) -> None:
        if reply.generation != self._generation:  # of what was there nothing is
            if self._generation:
                self._view.forget()
                self._named.clear()
                self.outbox().clear()
            self._generation = reply.generation
        if request.now is None:
            self._compare_clocks(reply)
        if reply.view is None:
            return
        for row in self._view.show(reply.view, self._offset):
            self.outbox().append(self._outcome(reply, row))

    def _compare_clocks(self, reply: Reply) -> None:
        """The server looked at its clock after we asked, and before the reply was read: but when?

        As if the way back had taken no time, what is due is asked for late rather than early.  What
        is delayed starts late rather than early as if the way there had taken none, if the clocks
        differ at all: a reply that was long in coming says no more than that it was.
        """
        ours = self._wiring.clock() - trio.current_time()
        self._offset = reply.now - (ours + reply.came)
        most = reply.now - (ours + reply.asked)
        self._skew = 0.0 if self._offset < SKEW and most > -SKEW else most

    def _outcome(self, reply: Reply, row: Sequence[Any]) -> Outcome:
        _, task_id, attempts, end, error, step, alias, blob, said = row
        message: TaskMessage | None = None
        try:
            owner = (alias or "") if step else task_id
            message = sent.read(_data(reply, blob, said), owner, alias, self.wire)
        except EnvelopeError:
            message = None
        if message is not None and step:
            later = () if message.terms is None else message.terms.chain
            message = next((each for each in later if each.task_id == task_id), None)
        result: TaskResult[Any] = TaskResult(
            is_err=True,
            error=error_of(task_id, end, error),
            labels={} if message is None else dict(message.labels),
            attempts=max(int(attempts), 1),
        )
        ttl = None if message is None else message.options.result_ttl
        return Outcome(task_id, result, ttl=ttl, message=None if step else message)

    def _backend(self) -> RemoteResultBackend | None:
        backend = self.result_backend
        if isinstance(backend, RemoteResultBackend) and backend.storage is self.storage:
            return backend
        return None

    # --- the way of every task ---

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """Accept all or none."""
        (answer,) = await self.perform([Store(tuple(messages))], now)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease at most *limit* tasks to a session."""
        if not self.has_session(session):
            return ()
        (answer,) = await self.perform([Claim(session, limit)], now)
        return answer  # type: ignore[no-any-return]

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """Apply a worker's word, without the results."""
        plain = tuple([each._replace(outcome=None) for each in settlements])
        (verdicts,) = await self.perform([Settle(session, plain)], now)
        return tuple([verdict is True for verdict in verdicts])

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        """All of these in one call; the same list again, if it was in doubt, finds out."""
        answers = await self.perform_unread(steps, now)
        return [await each.read() if type(each) is Unread else each for each in answers]

    async def perform_unread(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        """The same, and what is claimed is decoded later."""
        prepared = self._doubtful
        if prepared is None or prepared.steps is not steps:
            if prepared is not None:
                self._forsaken.append(prepared)
                self._doubtful = None
            if self._forsaken or self._back:
                await self._give_back(now)
            prepared = self._prepare(steps, now)
        try:
            reply = await self._call(prepared.request)
        except EngineInDoubt:
            self._doubtful = prepared
            raise
        if self._doubtful is prepared:  # another one's call may be on its way, too
            self._doubtful = None
        answers = await self._answers(prepared, reply, now)
        if self._view.over:
            with suppress(EngineUnavailable):  # the step is done; the next look tries again
                await self._do(["lapse", 0.0], now)
        return answers

    async def _give_back(self, now: float) -> None:
        """What was claimed, and nobody asks for any more, goes back, and did not count.

        Else its session would keep it for as long as it lasts.
        """
        while self._forsaken:
            await self._call(self._request(now, writes=False))  # whatever comes next finds it out
            doubtful = self._forsaken.pop(0)
            reply = self.storage.take_late(doubtful.request, "broker")
            answers = () if reply is None else reply.answers[: len(doubtful.asked)]
            for (index, _), answer in zip(doubtful.asked, answers, strict=reply is not None):
                step = doubtful.steps[index]
                if isinstance(step, Claim) and answer["claimed"]:
                    back = [
                        Settlement(Fence(task_id, int(attempt), int(token)), Ending.GIVE_BACK)
                        for task_id, attempt, token, *_ in reversed(answer["claimed"])
                    ]
                    self._back.append((step.session, back))
        while self._back:
            session, back = self._back[0]
            request = self._request(now)
            request.acts.append(["settle", session, self._words(request, back)[0]])
            with suppress(EngineInDoubt):  # whatever comes next sees to it that it is done
                await self._call(request)
            del self._back[0]

    def _prepare(self, steps: Sequence[Step], now: float) -> _Prepared:
        request = self._request(now)
        prepared = _Prepared(steps, request)
        acts, known, stored = request.acts, list(self._known()), 0
        backend = self._backend()
        for index, step in enumerate(steps):
            if isinstance(step, Claim):
                acts.append(["claim", step.session, step.limit, known])
                prepared.asked.append((index, None))
            elif isinstance(step, Settle):
                words, failures = self._words(request, step.settlements)
                told = [word[0] for word in words if word[9] is not None]
                stored += len(told)
                if backend is not None:
                    backend.note_told(told)
                acts.append(["settle", step.session, words])
                prepared.asked.append((index, failures))
            else:
                try:
                    rows = self._accepted(step.messages)
                except ActorqError as refusal:
                    prepared.refusals[index] = refusal
                    continue
                acts.append(["store", [self._row(request, each) for each in rows], False])
                prepared.asked.append((index, rows))
                if backend is not None and not step.again:
                    backend.expect([each.task_id for each in rows])
        if stored and backend is not None:
            request.limit = backend.limit_now(stored)
        return prepared

    async def _answers(self, prepared: _Prepared, reply: Reply, now: float) -> list[Any]:
        answers: list[Any] = [prepared.refusals.get(i) for i in range(len(prepared.steps))]
        for (index, more), answer in zip(prepared.asked, reply.answers, strict=True):
            step = prepared.steps[index]
            if isinstance(step, Claim):
                read = partial(self._readable, step, reply, answer, now)
                answers[index] = Unread(len(answer["claimed"]), read)
            elif isinstance(step, Settle):
                answers[index] = _verdicts(answer, more)
            else:
                answers[index] = await self._stored(more, reply, answer, now)
        return answers

    def _accepted(self, messages: Sequence[TaskMessage]) -> list[Sent]:
        """Encoded; raises `DuplicateTaskId` if two of them are different calls of one id."""
        rows = [sent.write(message, self.wire) for message in messages]
        if len(rows) > 1 and len({each.task_id for each in rows}) < len(rows):
            first: dict[str, Sent] = {}
            for each in rows:
                known = first.setdefault(each.task_id, each)
                if known is not each and not sent.may_change(known.bounds):
                    sent.check_same_call(known.message, each.message)
        return rows

    def _row(self, request: Request, each: Sent) -> list[Any]:
        task_id, data, message, bounds, alias = each
        options, terms = message.options, message.terms
        expires = None if terms is None else terms.expires_at
        is_said = isinstance(data, str)
        request.queues.add(options.queue)
        return [
            task_id,
            None if is_said else request.put(data),  # type: ignore[arg-type]
            data if is_said else None,
            message.task_name,
            options.queue,
            options.priority if -EXACT < options.priority < EXACT else f"{options.priority}",
            self._there(message.eta),
            self._there(expires),
            options.max_deliveries,
            None if bounds is None else _plain(bounds),
            alias,
        ]

    def _there(self, moment: float | None) -> float | None:
        """On the server's clock, if that differs from ours."""
        return None if moment is None else moment + self._skew

    async def _stored(self, rows: list[Sent], reply: Reply, answer: Any, now: float) -> Any:
        """What `store` returns, or the refusal."""
        if answer is not None and "compare" in answer:
            try:
                self._compare(rows, reply, answer["compare"])
            except DuplicateTaskId as refusal:
                return refusal
            if len(answer["compare"]) == len({each.task_id for each in rows}):
                return None  # all are there already
            request = self._request(now)
            request.acts.append(["store", [self._row(request, each) for each in rows], True])
            try:
                (answer,) = (await self._call(request)).answers
            except EngineInDoubt as why:
                uncertain = EnqueueUncertain(tuple([each.task_id for each in rows]))
                uncertain.__cause__ = why
                return uncertain
            except EngineUnavailable as why:  # the others' answers must not be lost
                return why
        if answer is None:
            return None
        if "refused" in answer:
            return DuplicateTask.of(*answer["refused"])
        return tuple(answer["ids"])

    def _compare(self, rows: list[Sent], reply: Reply, known: Sequence[Any]) -> None:
        """Raise unless tasks that are known by these ids are the same calls."""
        by_id = {each.task_id: each for each in rows}
        for task_id, blob, said, alias, _name in known:
            try:
                message = sent.read(_data(reply, blob, said), task_id, alias, self.wire)
            except EnvelopeError:
                continue  # who can tell?
            sent.check_same_call(message, by_id[task_id].message)

    def _words(
        self, request: Request, settlements: Sequence[Settlement]
    ) -> tuple[list[list[Any]], list[Exception | None]]:
        """Those that can be applied, and for all why the others cannot."""
        words: list[list[Any]] = []
        failures: list[Exception | None] = []
        for fence, ending, delay, reason, error, then, outcome, early in settlements:
            result = None
            if outcome is not None and self._backend() is not None:
                try:
                    result = _result(request, row_of(outcome, self.wire))
                except Exception as failure:  # noqa: BLE001 - this settlement's verdict
                    failures.append(failure)
                    continue
            failures.append(None)
            words.append(
                [
                    *(fence.task_id, fence.attempt, fence.token, ending.value, delay, reason),
                    None if error is None else json.dumps(error),
                    [self._row(request, sent.write_anyhow(each, self.wire)) for each in then],
                    early,
                    result,
                ]
            )
        return words, failures

    async def _readable(
        self, step: Claim, reply: Reply, answer: Any, now: float
    ) -> tuple[Delivery, ...]:
        """What can be read; the rest goes to the dead letters, and hurts nobody (promise 42)."""
        readable: list[Delivery] = []
        while True:
            if answer["more"]:
                self._note_change()  # and look on, after what has come meanwhile
            for task_id, attempt, token, failures, alias, blob, said in answer["claimed"]:
                fence = Fence(task_id, int(attempt), int(token))
                try:
                    message = sent.read(_data(reply, blob, said), task_id, alias, self.wire)
                except EnvelopeError as error:
                    log.warning("task %s cannot be decoded: %s", task_id, error)
                    self._unreadable.append((step.session, fence, error))
                else:
                    readable.append(Delivery(message, fence, int(failures)))
            if not self._unreadable:
                break
            again = Claim(step.session, step.limit - len(readable))
            request = self._request(now)
            request.acts.append(["claim", again.session, again.limit, []])
            try:
                await self._bury(now)
                try:
                    reply = await self._call(request)
                except EngineInDoubt:
                    self._forsaken.append(_Prepared([again], request, [(0, None)]))
                    raise
                (answer,) = reply.answers
            except EngineUnavailable as why:  # what was done is done, and must be answered
                log.warning("tasks that cannot be decoded are buried later: %s", why)
                break
        return tuple(readable)

    async def _bury(self, now: float) -> None:
        """What nobody can read."""
        if self._unreadable:
            unreadable = tuple(self._unreadable)
            rows = [
                [session, *fence, str(error), json.dumps(dump_error(error))]
                for session, fence, error in unreadable
            ]
            await self._do(["bury", rows], now)
            del self._unreadable[: len(unreadable)]

    async def locate(self, task_id: str) -> str:
        """Where a task is."""
        return str(await self._look(["locate", task_id]))

    async def is_ending(self, task_id: str) -> bool:
        """Whether it is over for the queue, and its result on its way, in any process."""
        return bool(await self._look(["is_ending", task_id]))

    async def ended_among(self, task_ids: Sequence[str]) -> tuple[str, ...]:
        """Those that are done or dead."""
        return tuple(await self._look(["ended", list(task_ids)]))

    async def _look(self, act: Act) -> Any:
        return await self._do(act, writes=False)

    async def statistics_of_queue(self) -> QueueStatistics:
        """How many tasks are where."""
        found = await self._look(["statistics"])
        return statistics_of(
            [(queue, place, int(n)) for queue, place, n in found["places"]],
            known=found["queues"],
            done=int(found["done"]),
            dead=int(found["dead"]),
            refused=int(found["refused"]),
            paused=found["paused"],
        )

    def claimable(self) -> bool:
        """Whether a claim might find something."""
        return self._view.claimable or bool(self._known())

    def _known(self) -> tuple[str, ...]:
        """What was parked by a worker that does not know it, and is known here."""
        if not self._view.parked or not self._wiring.has_workers:
            return ()
        tasks = self._wiring.tasks
        return tuple([name for name in self._view.parked if tasks.get(name) is not None])

    def has_leases(self) -> bool:
        """Whether any job is leased, in any process."""
        return self._view.leased

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.storage}>"

    # --- sessions ---

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """A new session; older ones of this worker end."""
        choice = None if queues is None else [list(queues.names), _listed(queues.weights)]
        return int(await self._do(["open", worker, choice, os.getpid(), _HOST], now))

    async def extend(self, session: int, now: float) -> float | None:
        """Until when, on our clock; None if it was lost."""
        return now + self.lease if await self._do(["renew", session], now) else None

    async def lapse(self, now: float, late: float) -> None:
        """Take back the jobs of sessions that are over, in any process."""
        await self._do(["lapse", late], now)

    def has_session(self, session: int) -> bool:
        """Whether a session of ours is still good."""
        return session in self._view.sessions

    def sessions_ended(self) -> int:
        """How many of ours have ended."""
        return self._view.ended

    # --- ends that no worker reports ---

    async def published(self, count: int) -> None:
        """They are stored: out of the server's outbox, too."""
        numbers = self._view.numbers
        # fewer, if the server has lost its data meanwhile
        some = [numbers[index] for index in range(min(count, len(numbers)))]
        await self._do(["published", some])
        for _ in some:
            if numbers:
                numbers.popleft()
            if self.outbox():
                self.outbox().popleft()

    # --- time ---

    def next_due(self) -> float | None:
        """When `promote` has something to do, on our clock."""
        return self._view.due

    async def promote(self, now: float) -> None:
        """In slices: others want their turn, too."""
        due = self.next_due()
        if due is None or due > now:
            await self.refresh(now)
            due = self.next_due()
            if due is None or due > now:
                return
        while await self._do(["promote"], now):
            pass

    # --- by request ---

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """Those whose sessions are good, and their jobs."""
        return tuple([_worker(*row) for row in await self._look(["workers"])])

    async def look(self) -> Mapping[str, str]:
        """See `whereabouts`.  Not by `_call`: what others do meanwhile is nobody's business here."""
        if not self.storage.is_open:
            return {}  # for a moment: the broker is restarted
        reply = await self.storage.call(self.storage.request([["workers"]], writes=False), "broker")
        workers = [_worker(*row) for row in reply.answers[0]]
        working = {each.session for each in workers if each.jobs}
        return await self._whereabouts.look(working - self._view.sessions)

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """Cancel a task."""
        answer: bool | None = await self._do(["revoke", task_id], now)
        return answer

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended."""
        ending = await self._look(["ending", task_id])
        return None if ending is None else Ending(ending)

    def has_notices(self) -> bool:
        """Whether anything is to be told to a session of ours."""
        return self._view.has_notices

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session."""
        return self._view.take_notices(session)

    async def release(self, task_name: str) -> None:
        """What was parked for this name may be claimed."""
        if task_name in self._view.parked:
            await self._do(["release", task_name])

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        return await self._dead(None)

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One of them."""
        found = await self._dead(task_id)
        return found[0] if found else None

    async def _dead(self, task_id: str | None) -> tuple[DeadTask, ...]:
        request = self._request(writes=False)
        request.acts.append(["dead", task_id])
        reply = await self._call(request)
        return tuple([self._dead_task(reply, *row) for row in reply.answers[0]])

    def _dead_task(
        self,
        reply: Reply,
        task_id: str,
        blob: Any,
        said: str | None,
        alias: str | None,
        name: str,
        queue: str,
        reason: str,
        attempts: int,
        error: str | None,
        end: Sequence[Any] | None,
        died: float,
    ) -> DeadTask:
        message = self._shown(reply, task_id, blob, said, alias, name, queue)
        plain = None if error is None else json.loads(error)
        if end is not None:
            plain = dump_error(error_of(task_id, end, error))
            reason = reason_of(task_id, end)
        return DeadTask(message, reason, int(attempts), plain, died)

    def _shown(
        self,
        reply: Reply,
        task_id: str,
        blob: Any,
        said: str | None,
        alias: str | None,
        name: str,
        queue: str,
    ) -> TaskMessage:
        data = _data(reply, blob, said)
        return sent.shown(data, task_id, alias, self.wire, name=name, queue=queue)

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """Each dead letter goes, and its message is enqueued."""
        rows = self._accepted([message for _, message in pairs])
        for same in (False, True):
            request = self._request(now)
            listed = [
                [task_id, self._row(request, row)]
                for (task_id, _), row in zip(pairs, rows, strict=True)
            ]
            request.acts.append(["replay", listed, same])
            reply = await self._call(request)
            (answer,) = reply.answers
            if "compare" not in answer:
                break
            self._compare(rows, reply, answer["compare"])
        if "refused" in answer:
            raise DuplicateTask.of(*answer["refused"])
        return tuple(answer["ids"])

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters."""
        return int(await self._do(["purge_dead", None if task_ids is None else list(task_ids)]))

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        request = self._request(writes=False)
        request.acts.append(["queued", queue, limit])
        reply = await self._call(request)
        return tuple(
            [
                QueuedTask(
                    self._shown(reply, task_id, blob, said, alias, name, its_queue),
                    place,
                    int(attempt),
                )
                for task_id, blob, said, alias, name, its_queue, place, attempt in reply.answers[0]
            ]
        )

    async def purge(self, queue: str, now: float) -> int:
        """In slices."""
        gone, more = 0, True
        while more:
            n, more = await self._do(["purge", queue, SLICE], now)
            gone += int(n)
        return gone

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        await self._do(["pause", queue, paused])


def _data(reply: Reply, blob: Any, said: str | None) -> bytes | str:
    return (said or "") if blob is None else reply.take(blob)


def _worker(
    worker: str,
    session: float,
    pid: float,
    host: str,
    choice: Sequence[Any] | None,
    since: float,
    beat: float,
    jobs: Sequence[Any],
) -> WorkerInfo:
    queues = None if choice is None else _choice(choice)
    running = [RunningJob(i, name, queue, int(n), at) for i, name, queue, n, at in jobs]
    return WorkerInfo(worker, int(session), int(pid), host, queues, since, beat, tuple(running))


def _result(request: Request, row: Any) -> list[Any]:
    task_id, attempt, ttl, data, lost = row
    return [task_id, attempt, ttl, request.put(data), lost]


def _verdicts(
    answer: Sequence[bool], failures: Sequence[Exception | None]
) -> tuple[bool | Exception, ...]:
    applied = iter(answer)
    return tuple([bool(next(applied)) if failure is None else failure for failure in failures])


def _plain(bounds: Bounds) -> list[Any]:
    unique = bounds.unique
    return [
        None
        if unique is None
        else [_short(unique.key), unique.on_conflict.value, unique.until.value, unique.seconds],
        [[_short(key), *limit] for key, *limit in bounds.permits],
        [
            [_short(key), min(starts, EXACT), period, smooth]
            for key, starts, period, smooth in bounds.paces
        ],
        list(bounds.chain),
    ]


def _short(key: str) -> str:
    """A key that an index of a database can hold: it is made of arguments, and may be of any length.

    One that it refused would be refused at each claim again, and nobody would get any work.
    """
    data = key.encode("utf-8", "surrogatepass")
    if len(data) <= LONGEST_KEY:
        return key
    return f"{key[:100]}... {hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _listed(weights: tuple[float, ...] | None) -> list[float] | None:
    return None if weights is None else list(weights)


def _choice(plain: Sequence[Any]) -> QueueChoice:
    names, weights = plain
    return QueueChoice(tuple(names), None if weights is None else tuple(weights))
