"""The ledger: what a broker of a simulation was given, and what came of it.

Kept for every broker that is opened in a simulation, at the calls of its engine: what gets there was
enqueued, whoever did it (a client, a task, a chain, a schedule, a replay).  Outlives the broker's
lives and systems; a broker that is opened in another simulation has a new one there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from actorq.actors.broker import Broker
from actorq.errors import ArgumentsError
from actorq.message import TaskMessage
from actorq.protocol import Ending, Settlement


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.message import Delivery
    from actorq.system import System
    from actorq.task import Task

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

_ABSENT: Any = object()


@attrs.frozen(repr=False)
class Enqueued:
    """One call of a task that was enqueued."""

    message: TaskMessage  #: as the broker was given it
    args: tuple[Any, ...]  #: as the task gets them; plain data, if its task is not known
    kwargs: dict[str, Any]

    @property
    def task_name(self) -> str:
        """The name of its task."""
        return self.message.task_name

    @property
    def task_id(self) -> str:
        """Its id: `sys.handle(call.task_id, task)` is its handle."""
        return self.message.task_id

    @property
    def queue(self) -> str:
        """The queue that it went to."""
        return self.message.options.queue

    @property
    def priority(self) -> int:
        """Its priority."""
        return self.message.options.priority

    @property
    def labels(self) -> dict[str, Any]:
        """Its labels, those that middlewares gave it among them."""
        return dict(self.message.labels)

    @property
    def eta(self) -> datetime | None:
        """The moment of its earliest start, UTC; None: at once."""
        return None if self.message.eta is None else datetime.fromtimestamp(self.message.eta, UTC)

    @property
    def delay(self) -> float | None:
        """Seconds from enqueueing to its earliest start; None: at once."""
        eta = self.message.eta
        return None if eta is None else round(eta - self.message.enqueued_at, 6)

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *[f"{key}={self.kwargs[key]!r}" for key in self.kwargs]]
        said = [
            *([f"queue={self.queue!r}"] if self.queue != "default" else []),
            *([f"priority={self.priority}"] if self.priority else []),
            *([f"delay={self.delay:g}"] if self.delay is not None else []),
        ]
        options = f".using({', '.join(said)})" if said else ""
        return f"{self.task_name}{options}({', '.join(shown)})"


@attrs.frozen
class Ran:
    """One attempt of a task that has ended."""

    task_name: str
    task_id: str
    attempt: int  #: from 1
    ending: Ending  #: `.value` is a word: "done", "retry", "dead", "cancelled", ...
    reason: str = ""  #: of a dead one

    def __str__(self) -> str:
        return f"{self.task_name} attempt {self.attempt}: {self.ending.value}"


class Ledger:
    """Of one broker."""

    def __init__(self) -> None:
        self.messages: list[TaskMessage] = []
        self.ran: list[Ran] = []
        self.begun = 0  #: deliveries to workers
        self.held = False  #: workers are given nothing
        self.on_begin: Callable[[], None] | None = None
        self._names: dict[str, str] = {}  #: of tasks, by id

    def note_enqueued(self, messages: Sequence[TaskMessage], stand_ins: Sequence[Any]) -> None:
        """These were accepted, but for those for which others stand."""
        for message, stand_in in zip(messages, stand_ins, strict=True):
            # an id that is known is not stored again
            if stand_in == message.task_id and message.task_id not in self._names:
                self._names[message.task_id] = message.task_name
                self.messages.append(message)

    def note_begun(self, deliveries: Sequence[Delivery]) -> None:
        """These were given to a worker."""
        if deliveries:
            self.begun += len(deliveries)
            if self.on_begin is not None:
                self.on_begin()

    def note_settled(self, settlements: Sequence[Settlement], verdicts: Sequence[bool]) -> None:
        """These came back."""
        for settlement, taken in zip(settlements, verdicts, strict=True):
            if not taken or settlement.ending is Ending.PARK:
                continue
            task_id, attempt, _ = settlement.fence
            name = self._names.get(task_id, "?")
            self.ran.append(Ran(name, task_id, attempt, settlement.ending, settlement.reason))
            if settlement.then:
                self.note_enqueued(settlement.then, [each.task_id for each in settlement.then])

    def name_of(self, task_id: str) -> str:
        """The name of a task."""
        return self._names.get(task_id, "?")


class Ledgers:
    """Those of one simulation's brokers: each has its own from when it is born first."""

    def __init__(self) -> None:
        self._ledgers: dict[int, tuple[Broker, Ledger]] = {}

    def open(self, actor: Actor[Any]) -> None:
        """An actor begins a life: if it is a broker, listen to it."""
        if isinstance(actor, Broker) and id(actor) not in self._ledgers:
            ledger = Ledger()
            self._ledgers[id(actor)] = (actor, ledger)
            if vars(actor).get("_ledger") is None:
                _listen(actor)
            actor._ledger = ledger  # type: ignore[attr-defined]

    def of(self, broker: Broker) -> Ledger | None:
        """The ledger of *broker*, if it was ever open here."""
        found = self._ledgers.get(id(broker))
        return None if found is None else found[1]


def _listen(broker: Any) -> None:
    """Put ourselves round the engine's calls of this one object; for good, it is a test's."""
    store, replay, settle, claim = broker.store, broker.replay, broker.settle, broker.claim
    claimable: Callable[[], bool] = broker.claimable

    async def heard_store(messages: Sequence[TaskMessage], now: float) -> Any:
        stand_ins = await store(messages, now)
        ids = [each.task_id for each in messages] if stand_ins is None else stand_ins
        broker._ledger.note_enqueued(messages, ids)
        return stand_ins

    async def heard_replay(pairs: Sequence[tuple[str, TaskMessage]], now: float) -> Any:
        ids = await replay(pairs, now)
        broker._ledger.note_enqueued([message for _, message in pairs], ids)
        return ids

    async def heard_settle(session: int, settlements: Sequence[Settlement], now: float) -> Any:
        verdicts = await settle(session, settlements, now)
        broker._ledger.note_settled(settlements, verdicts)
        return verdicts

    async def heard_claim(session: int, limit: int, now: float) -> Any:
        deliveries = await claim(session, limit, now)
        broker._ledger.note_begun(deliveries)
        return deliveries

    broker.store, broker.replay, broker.settle = heard_store, heard_replay, heard_settle
    broker.claim = heard_claim
    broker.claimable = lambda: not broker._ledger.held and claimable()


def ledger_of(sys: System, what: str) -> Ledger:
    """The ledger of an open system's broker; *what* is the function that needs it, for errors.

    Raises `TypeError` for what is no system, `RuntimeError` outside of a simulation.
    """
    broker = getattr(sys, "_broker", None)
    if broker is None:
        raise TypeError(
            f"{what} expects an open system, such as the fixture actorq_system; got {sys!r}"
        )
    ledgers = getattr(sys.environment.tap, "ledgers", None)
    found = None if ledgers is None else ledgers.of(broker)
    if found is None:
        raise RuntimeError(
            f"{what} needs a system that was opened in virtual time: take the fixture actorq_system, "
            f"or run the program with actorq.testing.simulate(...)"
        )
    assert isinstance(found, Ledger)
    return found


def call_of(sys: System, message: TaskMessage) -> Enqueued:
    """A message as its task would get it."""
    task = sys.wiring.tasks.get(message.task_name)
    args, kwargs = message.args, dict(message.kwargs)
    if task is not None:
        with suppress(ArgumentsError):  # sent by hand, and wrong: shown as it is
            args, kwargs = task.signature.load(args, kwargs)
    return Enqueued(message, tuple(args), dict(kwargs))


def task_name_of(task: Task[..., Any] | str, what: str) -> str:
    """The name of a task, or the name itself; `TypeError` for anything else."""
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise TypeError(
            f"{what} expects a task made with @actorq.task, or the name of one; got {task!r}"
        )
    return name
