"""Brokers that break one promise each: `BrokerContract` must catch them all.

Each is the in-memory engine with one thing wrong; its docstring says what.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import attrs

from actorq.capability import Capability
from actorq.engines.memory.admission import Admission
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.entry import Entry, State
from actorq.engines.memory.keys import UniqueKeys
from actorq.engines.memory.lanes import Line
from actorq.engines.memory.lease import WorkerSession
from actorq.engines.memory.queue import Queue, Verdict
from actorq.engines.memory.sealed import unseal
from actorq.engines.memory.storage import MemoryStorage
from actorq.limits import Permit
from actorq.message import Delivery, TaskMessage, Terms
from actorq.protocol import Ending, QueueStatistics, Settlement, WorkerInfo
from actorq.testing.contracts.broker import BrokerContract
from actorq.testing.mutants.mutant import Mutant
from actorq.unique import OnConflict, UniqueKey


K = TypeVar("K", bound=type[Any])

_mutants: list[Mutant] = []


class _Simulated(BrokerContract):
    simulated = True


_Simulated.__name__ = BrokerContract.__name__


def breaks(promise: int) -> Callable[[K], K]:
    """A broken broker, or what is broken of its queue."""

    def register(kind: K) -> K:
        sentence = (kind.__doc__ or "").strip().splitlines()[0].rstrip(".")
        made: Callable[..., Any] = kind
        if issubclass(kind, Queue):
            made = _with_queue(kind)
        _mutants.append(Mutant(kind.__name__, promise, sentence, _Simulated, made))
        return kind

    return register


def _with_queue(kind: type[Queue]) -> Callable[[], InMemoryBroker]:
    def factory() -> InMemoryBroker:
        broker = InMemoryBroker(storage=MemoryStorage(queue=kind()))
        broker.lacks |= {Capability.SURVIVAL}  # it is new each time
        return broker

    return factory


# --- 28: restarts -------------------------------------------------------------------------------


@breaks(28)
class ForgetsWhatWaits(InMemoryBroker):
    """Keeps what waits in the actor: a crash of it loses that."""

    async def shutdown(self) -> None:
        for task_id, entry in tuple(self.queue.live.items()):
            if entry.state is not State.LEASED:
                self.queue._withdraw(entry, 0.0)
                del self.queue.live[task_id]


@breaks(28)
class ForgetsSessions(InMemoryBroker):
    """Keeps its sessions in the actor: a crash of it takes the running jobs away."""

    async def shutdown(self) -> None:
        for session in tuple(self.queue.sessions):
            self.queue.close_session(session, 0.0)


@breaks(28)
class ForgetsItsOutbox(InMemoryBroker):
    """Keeps untold ends in the actor: after a crash of it who waits for them waits for ever."""

    async def shutdown(self) -> None:
        self.queue.outbox.clear()


# --- 29: workers that die -----------------------------------------------------------------------


@breaks(29)
class LosesWithTheLease(Queue):
    """A task is gone with the lease of its worker."""

    def lapse(self, now: float) -> list[int]:
        lapsed = [session for session in self.sessions.values() if session.lapsed(now)]
        for session in lapsed:
            for entry in tuple(session.held.values()):
                self._release(entry, now)
                self._end(entry, Ending.DONE)
            self.close_session(session.id, now)
        return [session.id for session in lapsed]


@breaks(29)
class NeverLetsGo(Queue):
    """A lease never lapses."""

    def lapse(self, now: float) -> list[int]:
        return []


@breaks(29)
class LivesByAsking(Queue):
    """A claim that finds nothing renews a lease, though the broker asks for dead workers too."""

    def claim(self, session_id: int, limit: int, now: float) -> tuple[Delivery, ...]:
        self.extend(session_id, now)
        return super().claim(session_id, limit, now)


@breaks(29)
class DiesInSilence(Queue):
    """A task that killed its workers is a dead letter, and its waiter is not told."""

    def _report(self, entry: Entry, error: Exception) -> None:
        pass


@breaks(29)
class NeverGivesUp(Queue):
    """A task that kills its workers is delivered for ever."""

    def _take_away(self, session: WorkerSession, now: float) -> None:
        for entry in session.held.values():
            entry.requeues = entry.attempt
        super()._take_away(session, now)


@breaks(29)
class TakesRequeuesForDeaths(Queue):
    """A task that puts itself back comes nearer to its limit of deliveries, as if its worker died."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        entry = self.live.get(settlement.fence.task_id)
        settled = super()._settle(session_id, settlement, now)
        if settled and entry is not None and settlement.ending is Ending.REQUEUE:
            entry.requeues -= 1
        return settled


# --- 30: one place ------------------------------------------------------------------------------


@breaks(30)
class CountsTwice(Queue):
    """A task that comes back is counted as ready and as leased."""

    def statistics(self) -> QueueStatistics:
        again = sum(1 for entry in self.live.values() if entry.failures)
        counts = super().statistics()
        return attrs.evolve(counts, leased=counts.leased + again)


@breaks(30)
class ReplaysAndKeeps(Queue):
    """A dead letter that is replayed stays where it is."""

    def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        dead = dict(self.dead)
        answer = super().replay(pairs, now)
        self.dead.update(dead)
        return answer


# --- 31: what is accepted -----------------------------------------------------------------------


@breaks(31)
class StoresOneByOne(Queue):
    """Of a batch that is refused, what comes before the culprit is stored."""

    def enqueue(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        answers = [super(StoresOneByOne, self).enqueue((each,), now) for each in messages]
        return tuple(
            [
                message.task_id if answer is None else answer[0]
                for message, answer in zip(messages, answers, strict=True)
            ]
        )


@breaks(31)
class LosesTheRest(Queue):
    """Of a batch, what comes after the 32nd is dropped."""

    def enqueue(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        return super().enqueue(messages[:32], now)


@breaks(31)
class ForgetsEndedIds(Queue):
    """An id that ended is not remembered: a message that is sent again runs again."""

    def _remember(self, task_id: str, ending: Ending) -> None:
        pass


@breaks(31)
class WritesAtTheEnd(InMemoryBroker):
    """Writes what it has accepted when it is closed, and its process may die before."""

    _stored: Final[dict[Path, MemoryStorage]] = {}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__(storage=self._stored.pop(folder, MemoryStorage()))

    async def shutdown(self) -> None:
        self._stored[self._folder] = self.storage


@breaks(29)
class ListsTheDead(InMemoryBroker):
    """A worker whose session has ended is listed still."""

    async def startup(self) -> None:
        self._listed: dict[int, WorkerInfo] = {}

    async def workers(self) -> tuple[WorkerInfo, ...]:
        self._listed.update({each.session: each for each in await super().workers()})
        return tuple(self._listed.values())


@breaks(29)
class ListsOneJob(InMemoryBroker):
    """Of what a worker has in its hands, one task is listed."""

    async def workers(self) -> tuple[WorkerInfo, ...]:
        return tuple([attrs.evolve(each, jobs=each.jobs[:1]) for each in await super().workers()])


@breaks(31)
class ChangesWhatIsRetried(InMemoryBroker):
    """A task that is delivered again has lost its labels."""

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        return tuple(
            each._replace(message=_without_labels(each.message)) if each.failures else each
            for each in await super().claim(session, limit, now)
        )


def _without_labels(message: TaskMessage) -> TaskMessage:
    return attrs.evolve(message, options=attrs.evolve(message.options, labels={}))


class _Reopened(InMemoryBroker):
    """The next process's: forgets something of what the last one knew."""

    _kept: ClassVar[dict[Path, MemoryStorage]]

    def __init_subclass__(cls) -> None:
        cls._kept = {}

    def __init__(self, folder: Path) -> None:
        known = folder in self._kept
        super().__init__(storage=self._kept.setdefault(folder, MemoryStorage()))
        if known:
            self.forget()

    def forget(self) -> None:
        raise NotImplementedError


@breaks(31)
class KeepsUntoldEndsInTheProcess(_Reopened):
    """Ends that nobody was told die with the process: who waits for them waits for ever."""

    def forget(self) -> None:
        self.queue.outbox.clear()


@breaks(31)
class KeepsDeadLettersInTheProcess(_Reopened):
    """The dead letters die with the process."""

    def forget(self) -> None:
        self.queue.dead.clear()


@breaks(39)
class KeepsKeysInTheProcess(_Reopened):
    """Unique keys die with the process; what holds them lives."""

    def forget(self) -> None:
        self.queue.keys = UniqueKeys()


@breaks(28)
class PublishesAllAtOnce(InMemoryBroker):
    """Of the ends that are to be told, it forgets the others when the first ones are stored."""

    async def published(self, count: int) -> None:
        self.queue.outbox.clear()


@breaks(32)
class SettlesAFew(InMemoryBroker):
    """Of many that are acknowledged in one call, those after the 32nd are not."""

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        some = await super().settle(session, settlements[:32], now)
        return some + (True,) * (len(settlements) - len(some))


@breaks(33)
class ShortensLongDelays(InMemoryBroker):
    """A back-off of more than a minute is cut to one."""

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        some = [each._replace(delay=min(each.delay, 60.0)) for each in settlements]
        return await super().settle(session, some, now)


@breaks(36)
class PurgesTheDefault(InMemoryBroker):
    """purge() empties the default queue, whichever was named."""

    async def purge(self, queue: str, now: float) -> int:
        return await super().purge("default", now)


@breaks(31)
class WritesWithTheNextCall(InMemoryBroker):
    """Writes what it has accepted when it is called again, and its process may die before."""

    _latest: Final[dict[Path, WritesWithTheNextCall]] = {}

    def __init__(self, folder: Path) -> None:
        before = self._latest.get(folder)
        super().__init__(storage=MemoryStorage() if before is None else before.storage)
        self.lacks |= {Capability.DELAY}  # what is delayed would give it away
        self._late: list[str] = []
        self._latest[folder] = self
        for task_id in () if before is None else before._late:
            entry = self.queue.live.pop(task_id, None)
            if entry is not None:
                self.queue._withdraw(entry, 0.0)

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        answer = await super().store(messages, now)
        self._late = [each.task_id for each in messages]
        return answer

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        self._late = []
        return await super().claim(session, limit, now)


# --- 32: at least once --------------------------------------------------------------------------


@breaks(32)
class AcknowledgesWhatIsTaken(Queue):
    """A task that was delivered is taken for done, whatever becomes of its worker."""

    def _take_away(self, session: WorkerSession, now: float) -> None:
        for entry in tuple(session.held.values()):
            self._release(entry, now)
            self._end(entry, Ending.DONE)
        super()._take_away(session, now)


@breaks(32)
class LosesTheNextStep(Queue):
    """A step of a chain ends, and the next one is not enqueued with it."""

    def _follow(self, messages: tuple[TaskMessage, ...], now: float) -> None:
        pass


# --- 33: attempts -------------------------------------------------------------------------------


@breaks(33)
class ForgetsToCount(Queue):
    """Each attempt is the first."""

    def _lease(self, entry: Entry, session: WorkerSession) -> Delivery:
        entry.attempt = 0
        return super()._lease(entry, session)


@breaks(33)
class RetriesAtOnce(Queue):
    """A retry does not wait for its back-off."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        return super()._settle(session_id, settlement._replace(delay=0.0), now)


@breaks(33)
class BurnsAttempts(Queue):
    """What is given back before it began counts as an attempt."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        entry = self.live.get(settlement.fence.task_id)
        settled = super()._settle(session_id, settlement, now)
        if settled and entry is not None and settlement.ending is Ending.GIVE_BACK:
            entry.attempt += 1
        return settled


# --- 34: fences ---------------------------------------------------------------------------------


@breaks(34)
class DeliversUnderOneFence(Queue):
    """A task that is delivered again has the token that it had before."""

    def _lease(self, entry: Entry, session: WorkerSession) -> Delivery:
        token = entry.token
        delivery = super()._lease(entry, session)
        if token:
            entry.token = token
        return delivery._replace(fence=delivery.fence._replace(token=entry.token))


@breaks(34)
class TakesOldWords(Queue):
    """A settlement counts, whichever delivery of the task it is of."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        entry = self.live.get(settlement.fence.task_id)
        if entry is not None:
            fence = settlement.fence._replace(token=entry.token)
            settlement = settlement._replace(fence=fence)
        return super()._settle(session_id, settlement, now)


@breaks(34)
class TakesAnybodysWord(Queue):
    """A settlement counts, whichever session it comes from."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        entry = self.live.get(settlement.fence.task_id)
        if entry is not None and entry.session is not None:
            session_id = entry.session.id
        return super()._settle(session_id, settlement, now)


@breaks(34)
class RevivesSessions(Queue):
    """A session that has ended can be extended."""

    def extend(self, session_id: int, now: float) -> float | None:
        return super().extend(session_id, now) or now + self.lease


# --- 35: leases ---------------------------------------------------------------------------------


@breaks(35)
class IgnoresRenewals(Queue):
    """A lease is over at its time, renewed or not."""

    def extend(self, session_id: int, now: float) -> float | None:
        return now + self.lease if session_id in self.sessions else None


@breaks(35)
class ForgivesNothing(Queue):
    """A stall of the loop costs the leases that could not be renewed meanwhile."""

    def forgive(self, sessions: Container[int], late: float) -> None:
        pass


# --- 36: cancelling -----------------------------------------------------------------------------


@breaks(36)
class SaysItCancelled(Queue):
    """cancel() says True, and the task runs all the same."""

    def cancel(self, task_id: str, now: float) -> Verdict:
        entry = self.live.get(task_id)
        if entry is not None and entry.state is not State.LEASED:
            return Verdict.DONE
        return super().cancel(task_id, now)


@breaks(36)
class CancelsInSilence(Queue):
    """The worker of a running task does not hear that it was cancelled."""

    def _ask_to_cancel(self, entry: Entry) -> None:
        entry.cancelled = True


@breaks(36)
class RunsCancelledAgain(Queue):
    """A task that was cancelled while it ran comes back if its worker gives it back."""

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        entry = self.live.get(settlement.fence.task_id)
        if entry is not None and settlement.ending is not Ending.CANCELLED:
            entry.cancelled = False
        return super()._settle(session_id, settlement, now)


# --- 37: order ----------------------------------------------------------------------------------


class _LastLine(Line[Entry]):
    def append(self, entry: Entry) -> None:
        self.claimable += 1
        self.lane(entry.message.options.priority).fresh.appendleft(entry)


@breaks(37)
class LastInFirstOut(Queue):
    """The task that was enqueued last starts first."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._default = self.lines["default"] = _LastLine("default")


@breaks(37)
class GoesToTheEnd(Queue):
    """A task that is given back has lost its place."""

    def _make_ready(self, entry: Entry, now: float, *, park: bool = False) -> None:
        self._make_youngest(entry)
        super()._make_ready(entry, now, park=park)


@breaks(37)
class UpsideDown(Queue):
    """A lower priority starts first."""

    def claim(self, session_id: int, limit: int, now: float) -> tuple[Delivery, ...]:
        for line in self.lines.values():
            line.priorities.sort()
        return super().claim(session_id, limit, now)


# --- 38: time -----------------------------------------------------------------------------------


@breaks(38)
class StartsEarly(Queue):
    """A delayed task starts a second before its time."""

    def promote(self, now: float) -> None:
        super().promote(now + 1.0)


@breaks(38)
class StartsExpired(Queue):
    """A task that expired while it waited starts if a worker is quick."""

    def _may_start(self, entry: Entry, terms: Terms, now: float) -> bool:
        return super()._may_start(entry, attrs.evolve(terms, expires_at=None), -1e9)


# --- 39: unique ---------------------------------------------------------------------------------


class _KeptKeys(UniqueKeys):
    def ended(self, unique: UniqueKey, task_id: str) -> None:
        pass


@breaks(39)
class KeepsKeys(Queue):
    """A unique key is not given free when its task ends."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.keys = _KeptKeys()


@breaks(39)
class KeepsTheReplaced(Queue):
    """A call that is replaced under its unique key runs all the same."""

    def _displace(self, entry: Entry, successor: str, now: float) -> None:
        pass


@breaks(39)
class TrustsABatch(Queue):
    """Two calls with one unique key are accepted if they come in one batch."""

    def _check_keys(self, messages: Sequence[TaskMessage], now: float) -> None:
        for message in messages:
            super()._check_keys((message,), now)

    def _resolve(self, message: TaskMessage, terms: Terms, now: float) -> str | None:
        assert terms.unique is not None
        if terms.unique.on_conflict is OnConflict.REJECT:
            self.keys.take(terms.unique, message.task_id, now)
            return None
        return super()._resolve(message, terms, now)


# --- 41: limits ---------------------------------------------------------------------------------


class _Generous(Admission):
    def admit(self, entry: Entry, terms: Terms, now: float) -> bool:
        more = tuple([Permit(each.key, each.limit + 1) for each in terms.permits])
        return super().admit(entry, attrs.evolve(terms, permits=more), now)


@breaks(41)
class OneTooMany(Queue):
    """One more runs than there are permits."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.admission = _Generous(self._offer)


@breaks(41)
class KeepsPermits(Queue):
    """The permit of a worker that died does not come back."""

    def _take_away(self, session: WorkerSession, now: float) -> None:
        for entry in session.held.values():
            for permit in () if entry.message.terms is None else entry.message.terms.permits:
                self.admission.permits[permit.key].running += 1
        super()._take_away(session, now)


@breaks(41)
class IgnoresRates(Queue):
    """Tasks start as often as they like."""

    def _may_start(self, entry: Entry, terms: Terms, now: float) -> bool:
        return super()._may_start(entry, attrs.evolve(terms, paces=()), now)


# --- 42: what cannot be run ---------------------------------------------------------------------


@breaks(42)
class DropsTheUnknown(Queue):
    """A task that no worker knows is dropped."""

    def _make_ready(self, entry: Entry, now: float, *, park: bool = False) -> None:
        if park:
            self._end(entry, Ending.DONE)
        else:
            super()._make_ready(entry, now)


@breaks(42)
class ChokesOnBytes(InMemoryBroker):
    """A message that cannot be read is in everybody's way."""

    def __init__(self) -> None:
        super().__init__(encoded=True)

    def _claim_sealed(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        claimed = self.queue.claim(session, limit, now)
        return tuple([each._replace(message=unseal(each.message, self.wire)) for each in claimed])


#: All of them.
BROKERS: Final[tuple[Mutant, ...]] = tuple(_mutants)
