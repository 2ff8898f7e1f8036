"""The broker: the actor that accepts tasks, leases them to workers, and takes them back.

An engine subclasses `Broker` and writes the methods of `Engine`; demand, waking, notices, cancellation
and unreported ends are written here, once.  The user's instance is also where tasks are declared and
the other parts are chosen (`Configuration`).  It serves every life; the counter, below, is new each
time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import attrs
import trio

from actorq.actor import Actor
from actorq.capability import Capability
from actorq.configuration import Configuration
from actorq.engine import Claim, Engine, EngineInDoubt, Step, Store
from actorq.errors import (
    ActorFailed,
    ActorqError,
    ActorStopped,
    EngineUnavailable,
    EnqueueUncertain,
    LeaseLost,
    MailboxFull,
    ResultSetError,
)
from actorq.message import Delivery, TaskMessage
from actorq.protocol import (
    Allow,
    Batch,
    BrokerMessage,
    Cancel,
    Count,
    DeadTask,
    EndedBefore,
    EndedUnreported,
    Ending,
    Enqueue,
    Extend,
    GetDead,
    Lease,
    ListDead,
    ListTasks,
    ListWorkers,
    Locate,
    NextNotices,
    Notice,
    OpenSession,
    Outcome,
    Pause,
    Purge,
    PurgeDead,
    Replay,
    ResultsStored,
    Session,
    SetResults,
    Settle,
    Settlement,
    TaskKnown,
    UnsavedResult,
    WaitIdle,
)
from actorq.ref import Message
from actorq.reply import Reply
from actorq.requirements import IN_MESSAGES, check_messages, unsupported
from actorq.wiring import Wiring


log = logging.getLogger("actorq.broker")

#: What needs a capability, and what error messages call it.
OPERATIONS: Final[Mapping[type, tuple[Capability, str]]] = {
    Cancel: (Capability.CANCELLATION, "cancel()"),
    ListDead: (Capability.DEAD_LETTERS, "dead_tasks()"),
    GetDead: (Capability.DEAD_LETTERS, "dead_task()"),
    Replay: (Capability.DEAD_LETTERS, "replay()"),
    PurgeDead: (Capability.DEAD_LETTERS, "purge_dead()"),
    ListTasks: (Capability.LISTING, "queued_tasks()"),
    ListWorkers: (Capability.WORKERS, "workers()"),
    Purge: (Capability.PURGE, "purge()"),
    Pause: (Capability.PAUSE, "pause() or resume()"),
}

#: The first and the longest pause, in seconds, before an engine that cannot is asked again.
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 2.0
#: Tries to store ends that no worker reports, before who waits for them is told of the failure.
PUBLISH_TRIES = 6


@attrs.frozen
class _Due(Message[None]):
    """A scheduled task's time has come."""


@attrs.frozen
class _Sweep(Message[None]):
    """Time to look for leases that have run out."""


@attrs.frozen
class _Changed(Message[None]):
    """Another process may have changed something."""


@attrs.frozen
class _TryAgain(Message[None]):
    """The engine could not, a while ago: perhaps it can now."""


@attrs.frozen
class _Published(Message[None]):
    """The first ends of the outbox are stored in the result backend."""

    batch: tuple[Outcome, ...]
    life: object  #: in which: the next one stores what is left of the outbox again


@attrs.define
class Demand:
    """What one worker session wants, and has got."""

    deliver: Callable[[Batch], bool]
    lease: Lease
    allowed: int
    portion: int  #: claimed at once, at most: it begins to work while the next call is on its way
    sent: int = 0


class Group:
    """What is done together."""

    __slots__ = ("aside", "claims", "steps", "wanting")

    def __init__(
        self, aside: list[tuple[Step, Reply[Any] | None]], wanting: list[tuple[int, Demand]]
    ) -> None:
        self.aside = aside
        self.wanting = wanting
        self.claims = [
            Claim(session, min(want.allowed - want.sent, max(want.portion, 1)))
            for session, want in wanting
        ]
        self.steps: list[Step] = [*[step for step, _ in aside], *self.claims]


class Arrived(NamedTuple):
    """What a group was answered, and nobody was told yet; what was claimed counts as sent."""

    group: Group
    answers: Sequence[Any]
    now: float  #: when it was asked


@attrs.define
class Counter:
    """Who waits at the broker, in one life (pure)."""

    refuses: frozenset[Capability] = frozenset()  #: what the engine lacks and a message may need
    demands: dict[int, Demand] = attrs.field(factory=dict)  #: by session
    listeners: dict[int, Reply[tuple[Notice, ...]]] = attrs.field(factory=dict)  #: by session
    cancels: dict[str, list[Reply[bool]]] = attrs.field(factory=dict)  #: by task id
    idlers: list[tuple[WaitIdle, Reply[None]]] = attrs.field(factory=list)
    due_at: float | None = None  #: when the timer for scheduled tasks is set to
    sweep_at: float | None = None  #: likewise for leases
    publishing: bool = False
    #: Put aside for one step of the engine: since the last flush, or until the engine can again.
    aside: list[tuple[Step, Reply[Any] | None]] = attrs.field(factory=list)
    doubt: Group | None = None  #: what may have been done or not: nothing comes before it is known
    arrived: Arrived | None = None  #: to be told while the next call is on its way
    began: bool = False  #: the engine has begun this life
    trying: bool = False  #: it is asked again, just now
    failures: int = (
        0  #: of the engine, one after the other: nothing is tried until the timer says so
    )
    changed: bool = False  #: another process may have changed something since we looked
    look_at_sessions: bool = False  #: a listener came, or a session ended
    sessions_ended: int = -1  #: how many had ended when we last looked


class Broker(Configuration, Engine, Actor[BrokerMessage]):
    """Declares tasks, and keeps the queue.  Use an engine's: `InMemoryBroker()`."""

    #: Seconds for which a worker's jobs are its own without a sign of life.
    lease: float = 30.0
    #: Whether an engine that keeps no bytes is to count them all the same.
    counts_bytes: bool = False
    #: What the engine cannot do: `UnsupportedOption` for who asks for it.  Fixed while it is open.
    lacks: frozenset[Capability] = frozenset()
    #: The name that its workers go by; given when it is opened first, if not before.
    worker: str | None = None
    _has_begun = False  #: an earlier life, or this one, has had an engine that works
    _counter: Counter
    _wiring: Wiring

    # --- the actor ---

    async def on_start(self) -> None:
        """Set up a new counter, then `startup`; what was parked for tasks known here is so no more."""
        counter = self._counter = Counter(refuses=self.lacks & IN_MESSAGES)
        try:
            await self._begin()
        except EngineUnavailable as why:
            if not self._has_begun:
                raise  # who opens the system hears of it
            self._note_failure(why)
        else:
            self._has_begun = True
            counter.began = True
        if Capability.SHARING not in self.lacks:
            self.start_soon(self.listen, self._note_change, name="broker: listen")
        self._arm()
        self._publish()

    async def _begin(self) -> None:
        await self.startup()
        if self._wiring.has_workers:
            for task in self._wiring.tasks:  # a system before this one may not have known it
                await self.release(task.name)
        await self.promote(self._wiring.clock())

    async def on_stop(self) -> None:
        """`shutdown`."""
        try:
            await self._tell_arrived()  # halted before the next flush
        finally:
            await self.shutdown()

    async def receive(
        self, message: BrokerMessage | _Published | _Due | _Sweep | _Changed | _TryAgain
    ) -> Any:
        """Answer one message; see `actorq.protocol`."""
        kind: type = type(message)
        if kind is Enqueue:
            self.linger = True  # who enqueues one by one in a loop makes a batch for the pool
            try:
                if self._counter.refuses:
                    self._check(message.messages)  # type: ignore[union-attr]
                if not self._counter.began:
                    raise EngineUnavailable(f"{type(self).__name__} has not begun again yet")
                if message.again:  # type: ignore[union-attr]
                    await self._note_ended(message.messages)  # type: ignore[union-attr]
                if self.grouped:
                    self._put_aside(Store(message.messages, message.again))  # type: ignore[union-attr]
                    return None
                return await self.store(message.messages, self._wiring.clock())  # type: ignore[union-attr]
            except ActorqError as refusal:
                self.defer().fail(refusal)
            return None
        if kind is Settle:
            return await self._take_word(message)  # type: ignore[arg-type]
        try:
            counter = self._counter
            if counter.arrived is not None or (counter.aside and not counter.failures):
                await self._perform(whole=True)  # what came before comes first
            return await self._answer(message)
        except EngineUnavailable as why:
            self._note_failure(why)
            if kind not in _TICKS:
                self.defer().fail(why)
            return None

    async def _answer(
        self, message: BrokerMessage | _Published | _Due | _Sweep | _Changed | _TryAgain
    ) -> Any:
        kind: type = type(message)
        if not self._counter.began and kind is not _TryAgain:
            raise EngineUnavailable(f"{type(self).__name__} has not begun again since it crashed")
        operation = OPERATIONS.get(kind)
        if operation is not None and operation[0] in self.lacks:
            self.defer().fail(unsupported(type(self).__name__, operation[1], operation[0]))
            return None
        match message:
            case Extend(session):
                return await self._extend(session)
            case Allow(session, allowance):
                self._allow(session, allowance)
            case OpenSession(worker, deliver, allowance, queues, portion):
                now = self._wiring.clock()
                session = await self.open_session(worker, now, queues)
                self._end_lost_sessions()
                lease = Lease(now + self.lease)
                most = allowance if portion is None else portion
                self._counter.demands[session] = Demand(deliver, lease, allowance, most)
                return Session(session, self.lease, lease)
            case NextNotices(session):
                self._counter.listeners[session] = self.defer()
                self._counter.look_at_sessions = True
            case Cancel(task_id):
                await self._cancel(task_id)
            case Locate(task_id):
                # In this order: acknowledged between the two, it would be done and have no result.
                place = await self.locate(task_id)
                return "ending" if await self.is_ending(task_id) else place
            case TaskKnown(task_name):
                await self.release(task_name)
            case Count():
                return await self.statistics_of_queue()
            case ListDead(task_name, queue, limit):
                return _chosen(await self.dead_tasks(), task_name, queue, limit)
            case GetDead(task_id):
                return await self.dead_task(task_id)
            case Replay(pairs):
                return await self._replay(pairs)
            case PurgeDead(task_ids):
                return await self.purge_dead(task_ids)
            case ListTasks(queue, limit):
                return await self.queued_tasks(queue, limit)
            case ListWorkers():
                return await self.workers()
            case Purge(queue):
                return await self.purge(queue, self._wiring.clock())
            case Pause(queue, paused):
                await self.set_paused(queue, paused=paused)
            case WaitIdle():
                self._counter.idlers.append((message, self.defer()))
            case _Published(batch, life):
                if life is self._counter:
                    await self._note_published(batch)
            case _Due():
                self._counter.due_at = None
                await self.promote(self._wiring.clock())
            case _Sweep():
                await self._sweep()
            case _TryAgain():
                await self._try_again()
        return None

    async def _note_ended(self, messages: tuple[TaskMessage, ...]) -> None:
        """Who sends them again must not wait for a result that died with an earlier process."""
        ids: list[str] = []
        for message in messages:
            steps = () if message.terms is None else message.terms.chain
            ids += [message.task_id, *[step.task_id for step in steps]]
        ended = await self.ended_among(ids)
        if ended:
            await self._wiring.results.tell(EndedBefore(ended))

    async def _replay(self, pairs: tuple[tuple[str, TaskMessage], ...]) -> Any:
        try:
            if self._counter.refuses:
                self._check([message for _, message in pairs])
            return await self.replay(pairs, self._wiring.clock())
        except ActorqError as refusal:
            self.defer().fail(refusal)
            return None

    def _check(self, messages: Sequence[TaskMessage]) -> None:
        check_messages(messages, self._counter.refuses, type(self).__name__)

    async def flush(self) -> None:
        """After a burst: do what was put aside, match work with demand, pass on notices, set timers."""
        counter = self._counter
        self.linger = False
        if counter.failures:
            return  # the timer says when the engine is asked again
        try:
            if counter.changed or counter.aside or self.overlaps:
                # what others did may be work: who wants some looks for it and has it in one step
                asks = counter.changed and self.grouped and bool(self._wanting())
                if counter.changed:
                    counter.changed = False
                    if not asks:
                        await self.refresh(self._wiring.clock())
                await self._perform(asks=asks)
                if counter.cancels:
                    await self._answer_cancels()
            if self.claimable() and not self.overlaps:
                await self._match()
            if counter.idlers:
                await self._answer_idlers()
        except EngineUnavailable as why:
            self._note_failure(why)
            await self._tell_arrived()  # it has been done: nobody waits until the engine can again
            return
        ended = self.sessions_ended()
        if ended != counter.sessions_ended:
            counter.sessions_ended = ended
            self._end_lost_sessions()
        if counter.listeners and (counter.look_at_sessions or self.has_notices()):
            counter.look_at_sessions = False
            self._notify()
        self._arm()
        if not counter.publishing and self.outbox():
            self._publish()

    async def _take_word(self, word: Settle) -> tuple[bool | Exception, ...] | None:
        if word.allowance is not None:
            self._allow(word.session, word.allowance)
        if self.grouped or self._counter.failures:
            self._put_aside(word)
            return None
        try:
            verdicts = await self.settle(word.session, word.settlements, self._wiring.clock())
            if self._counter.cancels:
                await self._answer_cancels()
        except EngineUnavailable as why:  # it is the worker's last word, and must not be lost
            self._put_aside(word)
            self._note_failure(why)
            return None
        return verdicts

    # --- what is done together ---

    def _put_aside(self, step: Step) -> None:
        self._counter.aside.append((step, self.defer()))

    async def _perform(self, *, asks: bool = False, whole: bool = False) -> None:
        """Group commit: what has come since the last flush, and what workers want, in one step.

        *asks*: they may get something, whatever is known here.  *whole*: until everybody was told.
        """
        if not self.grouped:
            await self._perform_kept()
        elif self.overlaps:
            await self._perform_overlapping(asks=asks, whole=whole)
        else:
            if self._counter.doubt is not None:  # first find out
                await self._tell(await self._ask(self._counter.doubt))
            group = self._next_group(asks, frozenset())
            if group is not None:
                await self._tell(await self._ask(group))

    async def _perform_overlapping(self, *, asks: bool, whole: bool) -> None:
        """As long as workers want what there is: each call before what the last one brought is read."""
        counter = self._counter
        sated: set[int] = set()  #: who got less than it might have
        while True:
            group = counter.doubt
            if group is None:
                if any(_may_bring(step) for step, _ in counter.aside):
                    sated.clear()
                group = self._next_group(asks, sated)
                asks = False
            arrived, counter.arrived = counter.arrived, None
            if group is None:
                if arrived is None:
                    return
                await self._tell(arrived)
                continue  # what could not be read has left room
            counter.arrived = await self._ask_and_tell(group, arrived)
            claimed = counter.arrived.answers[len(group.aside) :]
            for claim, (_, demand), unread in zip(
                group.claims, group.wanting, claimed, strict=True
            ):
                demand.sent += unread.number
                if unread.number < claim.limit:
                    sated.add(claim.session)
            if self.has_messages() and not whole:
                # Workers' words, perhaps: they go with the next call, before this answer is read.  After
                # them comes another flush.
                return

    def _next_group(self, asks: bool, sated: Collection[int]) -> Group | None:
        aside, self._counter.aside = self._counter.aside, []
        hopes = asks or self.claimable() or any(_may_bring(step) for step, _ in aside)
        wanting = [each for each in self._wanting() if each[0] not in sated] if hopes else []
        return Group(aside, wanting) if aside or wanting else None

    async def _ask_and_tell(self, group: Group, arrived: Arrived | None) -> Arrived:
        if arrived is None:
            return await self._ask(group)
        told = trio.Event()
        self.start_soon(self._tell_aside, arrived, told, name="broker: hand out")
        try:
            return await self._ask(group)  # on its way before the other task begins
        finally:
            if not told.is_set():  # else a checkpoint: jobs would run, and the server would wait
                await told.wait()

    async def _tell_aside(self, arrived: Arrived, told: trio.Event) -> None:
        await self._tell(arrived)
        told.set()

    async def _ask(self, group: Group) -> Arrived:
        counter = self._counter
        now = self._wiring.clock()
        try:
            perform = self.perform_unread if self.overlaps else self.perform
            answers = await perform(group.steps, now)
        except EngineInDoubt as why:
            self._doubt(group, why)
            raise
        except EngineUnavailable:
            counter.aside = [(step, reply) for step, reply in group.aside if reply] + counter.aside
            counter.doubt = None
            raise
        counter.doubt = None
        return Arrived(group, answers, now)

    async def _tell_arrived(self) -> None:
        arrived, self._counter.arrived = self._counter.arrived, None
        if arrived is not None:
            await self._tell(arrived)

    async def _tell(self, arrived: Arrived) -> None:
        """Who asked hears the answer; who wants work gets it."""
        group, answers, now = arrived
        for (step, reply), answer in zip(group.aside, answers, strict=False):
            if type(step) is Settle:
                self._tell_stored(step, answer)
            if reply is None:
                continue  # its enqueuer was told that it is not certain
            if isinstance(answer, Exception):
                reply.fail(answer)
            else:
                reply.send(answer)
        for (session, demand), claimed in zip(
            group.wanting, answers[len(group.aside) :], strict=True
        ):
            deliveries = claimed
            if self.overlaps:
                deliveries = await claimed.read()
                demand.sent -= claimed.number  # counted again when they are handed out
            await self._hand_out(session, demand, deliveries, now)
        if len(group.wanting) > 1:  # whose turn was first is last the next time
            demands, first = self._counter.demands, group.wanting[0][0]
            if first in demands:
                demands[first] = demands.pop(first)

    def _doubt(self, group: Group, why: EngineInDoubt) -> None:
        """The group is asked about again; who enqueues is not kept waiting until then."""
        for index, (step, reply) in enumerate(group.aside):
            if type(step) is Store and reply is not None:
                uncertain = EnqueueUncertain(tuple([each.task_id for each in step.messages]))
                uncertain.__cause__ = why
                reply.fail(uncertain)
                group.aside[index] = (step, None)
        self._counter.doubt = group

    async def _perform_kept(self) -> None:
        """What an engine that does one thing at a time could not do when it was told."""
        aside = self._counter.aside
        while aside:
            step, reply = aside[0]
            (answer,) = await self.perform([step], self._wiring.clock())
            aside.pop(0)
            assert reply is not None
            reply.send(answer)

    def _wanting(self) -> list[tuple[int, Demand]]:
        return [each for each in self._counter.demands.items() if each[1].allowed > each[1].sent]

    def _tell_stored(self, word: Settle, verdicts: tuple[bool | Exception, ...]) -> None:
        """Results that were stored with the settlements: who waits for them is to be woken."""
        stored = tuple(
            [
                settlement.outcome
                for settlement, verdict in zip(word.settlements, verdicts, strict=True)
                if verdict is True and settlement.outcome is not None
            ]
        )
        if not stored:
            return
        news = ResultsStored(stored)
        try:
            self._wiring.results.tell_nowait(news)
        except MailboxFull:  # nobody else says it in this process
            if self.life_is_over():
                log.warning("who waits for %d results hears of them late", len(stored))
            else:
                self.start_soon(self._wiring.results.tell, news, name="broker: tell of results")
        except ActorStopped:
            log.debug("nobody waits for %d results any more", len(stored))

    # --- an engine that cannot ---

    def _note_failure(self, why: EngineUnavailable) -> None:
        """Who enqueues is told; what workers said is kept until the engine can again."""
        counter = self._counter
        for step, reply in counter.aside:
            if type(step) is Store and reply is not None:
                reply.fail(why)
        counter.aside = [each for each in counter.aside if type(each[0]) is not Store]
        if counter.failures and not counter.trying:
            return  # the timer is set
        counter.trying = False
        if not counter.failures:
            log.error("%s cannot: %s; trying again", type(self).__name__, why)
        pause = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0 ** min(counter.failures, 16))
        counter.failures += 1
        self.set_timer("try again", pause, _TryAgain())  # type: ignore[arg-type]

    async def _try_again(self) -> None:
        counter = self._counter
        counter.trying = True
        if not counter.began:
            await self._begin()
            counter.began = True
        await self.refresh(self._wiring.clock())
        await self._perform()
        if counter.failures:
            log.info("%s works again; tries that failed: %d", type(self).__name__, counter.failures)
            counter.failures = 0
        counter.trying = False
        counter.due_at = counter.sweep_at = None  # their timers may have fired in vain

    # --- what other processes do ---

    def _note_change(self) -> None:
        """Called by `listen`; many calls before we look are one."""
        if not self._counter.changed:
            self._counter.changed = True
            try:
                self.ref.tell_nowait(_Changed())  # type: ignore[arg-type]
            except (MailboxFull, ActorStopped):
                return  # full: we look all the same, after what is queued

    # --- sessions and demand ---

    async def _extend(self, session: int) -> bool:
        demand = self._counter.demands.get(session)
        try:
            until = await self.extend(session, self._wiring.clock())
        except EngineUnavailable as why:
            self._note_failure(why)
            # nobody can have taken its jobs before the lease is over
            return demand is not None and demand.lease.holds(self._wiring.clock())
        if until is None or demand is None:
            return False
        demand.lease.until = until
        return True

    def _end_lost_sessions(self) -> None:
        """In the step in which jobs change hands: nothing may be stored for the old holder."""
        demands = self._counter.demands
        for session in [each for each in demands if not self.has_session(each)]:
            demands.pop(session).lease.lost = True
            self._counter.look_at_sessions = True

    def _allow(self, session: int, allowance: int) -> None:
        demand = self._counter.demands.get(session)
        if demand is not None:
            demand.allowed = allowance

    async def _match(self) -> None:
        """Send ready tasks to the sessions that want some, each session in its turn."""
        demands = self._counter.demands
        now = self._wiring.clock()
        for session, demand in tuple(demands.items()):
            if demand.allowed <= demand.sent:
                continue
            if await self._supply(session, demand, now) and len(demands) > 1:
                demands[session] = demands.pop(session)  # to the back of the queue
            if not self.claimable():
                return

    async def _supply(self, session: int, demand: Demand, now: float) -> bool:
        """Send a session what it wants, in as many batches as the engine likes; whether any came."""
        sent = demand.sent
        while demand.sent < demand.allowed:
            deliveries = await self.claim(session, demand.allowed - demand.sent, now)
            if not deliveries:
                break
            await self._hand_out(session, demand, deliveries, now)
            if not self.claimable():
                break
        return demand.sent > sent

    async def _hand_out(
        self, session: int, demand: Demand, deliveries: tuple[Delivery, ...], now: float
    ) -> None:
        if not deliveries:
            return
        demand.sent += len(deliveries)
        demand.lease.until = now + self.lease
        if not demand.deliver(Batch(session, deliveries, demand.lease)):
            # the worker is gone, maybe while the engine looked: it began none of these
            demand.allowed = demand.sent
            back = [Settlement(each.fence, Ending.GIVE_BACK) for each in reversed(deliveries)]
            try:
                await self.settle(session, back, now)
            except EngineUnavailable as why:
                if self.life_is_over():
                    log.warning("%d tasks go back when their session ends: %s", len(back), why)
                else:
                    self._note_failure(why)  # they wait for the lease; others must get theirs

    def _notify(self) -> None:
        listeners = self._counter.listeners
        for session in tuple(listeners):
            notices = self.take_notices(session)
            if notices:
                listeners.pop(session).send(notices)
            elif not self.has_session(session):
                listeners.pop(session).fail(LeaseLost(f"session {session} has ended"))

    # --- cancellation ---

    async def _cancel(self, task_id: str) -> None:
        took_effect = await self.revoke(task_id, self._wiring.clock())
        reply = self.defer()  # not before: if the engine cannot, who asks is told by `receive`
        if took_effect is False:
            reply.send(False)
        else:  # running, or its end is not published yet: answered when waiters can see it
            self._counter.cancels.setdefault(task_id, []).append(reply)
            await self._answer_cancels()

    async def _answer_cancels(self) -> None:
        unpublished = {outcome.task_id for outcome in self.outbox()}
        for task_id in tuple(self._counter.cancels):
            ending = await self.ending(task_id)
            if ending is not None and task_id not in unpublished:
                for reply in self._counter.cancels.pop(task_id):
                    reply.send(ending is Ending.CANCELLED)

    # --- ends that no worker reports ---

    def _publish(self) -> None:
        if self.outbox() and not self._counter.publishing:
            self._counter.publishing = True
            self.start_soon(self._publisher, name="broker: publish ends")

    async def _publisher(self) -> None:
        """Store in the result backend what the outbox holds; taken out only once it is stored."""
        outbox = self.outbox()
        failures = 0
        while outbox:
            batch = tuple(outbox)[:100]
            try:
                verdicts = await self._wiring.results.ask(SetResults(batch))
            except ActorFailed:
                continue  # it restarts, and handles the next ask when it is up
            refused = [
                (outcome.task_id, verdict)
                for outcome, verdict in zip(batch, verdicts, strict=True)
                if isinstance(verdict, ResultSetError)
            ]
            if refused:
                if not failures:
                    log.error("the result backend fails; %d ends wait to be stored", len(outbox))
                failures += 1
                # one that is away comes back: nothing is given up for that
                away = any(isinstance(why.__cause__, EngineUnavailable) for _, why in refused)
                if away or failures < PUBLISH_TRIES:
                    await trio.sleep(min(LONGEST_PAUSE, 0.1 * 2.0 ** min(failures - 1, 16)))
                    continue
            failures = 0
            for task_id, verdict in refused:  # given up: who waits hears why
                await self._wiring.results.tell(UnsavedResult(task_id, verdict))
            try:  # by way of the mailbox, for the engine gets one call at a time
                await self.ref.ask(_Published(batch, self._counter))
            except ActorStopped:  # it closes: no other call comes any more
                await self._note_published(batch)
            except EngineUnavailable:
                break  # they are stored again when it can
        self._counter.publishing = False

    async def _note_published(self, batch: tuple[Outcome, ...]) -> None:
        await self.published(len(batch))
        self._tell_middlewares(batch)
        await self._answer_cancels()

    def _tell_middlewares(self, ended: tuple[Outcome, ...]) -> None:
        """No worker's slot runs the hooks of these."""
        if self._wiring.hooks.isdisjoint(("on_cancelled", "on_dead")):
            return
        try:
            self._wiring.middleware.tell_nowait(EndedUnreported(ended))
        except (MailboxFull, ActorStopped):
            log.warning("no middleware hears how %d tasks ended", len(ended))

    # --- time ---

    def _arm(self) -> None:
        """Set the timers that are needed; an idle broker has none."""
        counter = self._counter
        due = self.next_due()
        if due != counter.due_at:
            counter.due_at = due
            if due is None:
                self.cancel_timer("due")
            else:
                self.set_timer("due", max(0.0, due - self._wiring.clock()), _Due())  # type: ignore[arg-type]
        if counter.sweep_at is None and self.has_leases():
            counter.sweep_at = self._wiring.clock() + self.lease / 3
            self.set_timer("sweep", self.lease / 3, _Sweep())  # type: ignore[arg-type]

    async def _sweep(self) -> None:
        now = self._wiring.clock()
        expected, self._counter.sweep_at = self._counter.sweep_at, None
        # promise 35: if the loop stood still, renewals could not come in either
        late = 0.0 if expected is None else max(0.0, now - expected)
        await self.lapse(now, late)
        self._end_lost_sessions()
        if self._counter.cancels:
            await self._answer_cancels()

    async def _answer_idlers(self) -> None:
        counts = await self.statistics_of_queue()
        busy = counts.ready - counts.parked + counts.leased + len(self.outbox())
        still: list[tuple[WaitIdle, Reply[None]]] = []
        for wait, reply in self._counter.idlers:
            if reply.abandoned:
                continue
            if busy or (wait.scheduled and counts.scheduled):
                still.append((wait, reply))
            else:
                reply.send(None)
        self._counter.idlers = still


#: What timers send: nobody waits for an answer.
_TICKS: Final = (_Due, _Sweep, _TryAgain)


def _may_bring(step: Step) -> bool:
    """Whether there may be something to claim when this is done."""
    return type(step) is Store


def _chosen(
    dead: tuple[DeadTask, ...], task_name: str | None, queue: str | None, limit: int | None
) -> tuple[DeadTask, ...]:
    found = [
        each
        for each in dead
        if task_name in (None, each.message.task_name)
        and queue in (None, each.message.options.queue)
    ]
    return tuple(found[:limit])
