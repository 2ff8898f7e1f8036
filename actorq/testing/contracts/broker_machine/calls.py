"""What the state machine of `BrokerContract` draws: calls of tasks, and who serves what.

Times are said from when something is done, so that a failing program can be read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from actorq.capability import Capability
from actorq.limits import Pace, Permit
from actorq.message import TaskMessage
from actorq.options import DEFAULT_QUEUE
from actorq.queue_choice import QueueChoice
from actorq.testing.contracts.host import call
from actorq.unique import OnConflict, UniqueKey, Until


#: Few, so that some are sent again.
IDS: Final = tuple("abcdefghijklmnopqrstuvwxyz")
STEPS: Final = (".1", ".2")  #: of a chain, after the id of the first
NAMES: Final = ("add", "mul")
QUEUES: Final = (DEFAULT_QUEUE, "mail", "video")
CHOICES: Final = (
    None,
    QueueChoice((DEFAULT_QUEUE,)),
    QueueChoice(("mail", DEFAULT_QUEUE)),
    QueueChoice((DEFAULT_QUEUE, "video"), (3.0, 1.0)),
)
PERMITS: Final = ((), (Permit("p", 1),), (Permit("p", 1), Permit("q", 2)), (Permit("q", 2),))
PACES: Final = (
    (),
    (Pace("smooth", 1, 4.0, True),),
    (Pace("window", 2, 10.0, False),),
    (Pace("both", 2, 3.0, False), Pace("both", 3, 10.0, False)),
)
KEYS: Final = tuple(
    UniqueKey("k", conflict, until, 10.0 if until is Until.TIME else None)
    for conflict in OnConflict
    for until in Until
    if conflict is not OnConflict.DEBOUNCE or until is Until.START
)


@attrs.frozen(repr=False)
class Sent:
    """A call as it is drawn."""

    task_id: str
    name: str = NAMES[0]
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    deliveries: int | None = None
    delay: float | None = None
    expires: float | None = None
    unique: UniqueKey | None = None
    permits: tuple[Permit, ...] = ()
    paces: tuple[Pace, ...] = ()
    steps: int = 0  #: after it, in a chain

    def message(self, now: float) -> TaskMessage:
        """What is enqueued."""
        chain = [call(self.task_id + step, step) for step in STEPS[: self.steps]]
        return call(
            self.task_id,
            self.task_id,
            name=self.name,
            queue=self.queue,
            priority=self.priority,
            deliveries=self.deliveries,
            eta=None if self.delay is None else now + self.delay,
            expires_at=None if self.expires is None else now + self.expires,
            unique=self.unique,
            permits=self.permits,
            paces=self.paces,
            chain=tuple(chain),
        )

    def __repr__(self) -> str:
        said = [repr(self.task_id)]
        for field in attrs.fields(Sent)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                said.append(f"{field.name}={value!r}")
        return f"Sent({', '.join(said)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """In a failing program."""
        printer.text(repr(self))


def calls(lacks: Collection[Capability]) -> st.SearchStrategy[Sent]:
    """Of an engine that lacks these."""

    def one(needed: Capability, values: Collection[Any], default: Any) -> st.SearchStrategy[Any]:
        return st.just(default) if needed in lacks else st.sampled_from([default, *values])

    delays = (None, None, None, 0.0, 3.0, 20.0)
    conflicts = {OnConflict.REPLACE: Capability.CANCELLATION, OnConflict.DEBOUNCE: Capability.DELAY}
    keys = [key for key in KEYS if conflicts.get(key.on_conflict) not in lacks]
    return st.builds(
        Sent,
        task_id=st.sampled_from(IDS),
        name=st.sampled_from([*NAMES[:1] * 5, *NAMES]),
        queue=one(Capability.QUEUES, (DEFAULT_QUEUE, *QUEUES), DEFAULT_QUEUE),
        priority=one(Capability.PRIORITY, (5, -1), 0),
        deliveries=st.sampled_from([None, 2]),
        delay=one(Capability.DELAY, delays, None),
        expires=one(Capability.EXPIRY, (None, None, None, 0.5, 4.0, 31.0), None),
        unique=one(Capability.UNIQUE, [*[None] * len(keys), *keys], None),
        permits=one(Capability.CONCURRENCY, ((), *PERMITS), ()),
        paces=one(Capability.RATE, ((), (), *PACES), ()),
        steps=one(Capability.CHAINS, (0, 0, 1, 2), 0),
    )


def batches(lacks: Collection[Capability]) -> st.SearchStrategy[list[Sent]]:
    """A few at a time; mostly one."""
    return st.lists(calls(lacks), min_size=1, max_size=4)


def choices(lacks: Collection[Capability]) -> st.SearchStrategy[QueueChoice | None]:
    """What a worker serves."""
    return st.none() if Capability.QUEUES in lacks else st.sampled_from(CHOICES)
