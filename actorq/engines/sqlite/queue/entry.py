"""The entry: one row of `actorq_tasks`, as the law reads it.

What the law looks at; the message itself is left where it is.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from actorq.limits import Pace, Permit
from actorq.unique import OnConflict, UniqueKey, Until


class Bounds(NamedTuple):
    """Of a call's terms, what the queue's law looks at."""

    unique: UniqueKey | None = None
    permits: tuple[Permit, ...] = ()
    paces: tuple[Pace, ...] = ()
    chain: tuple[str, ...] = ()  #: the ids of the steps after it

    def dump(self) -> str:
        """As it is kept."""
        return json.dumps([self.unique, self.permits, self.paces, self.chain])

    @classmethod
    def load(cls, text: str) -> Bounds:
        """The inverse of `dump`."""
        unique, permits, paces, chain = json.loads(text)
        return cls(
            unique and UniqueKey(unique[0], OnConflict(unique[1]), Until(unique[2]), unique[3]),
            tuple([Permit(*each) for each in permits]),
            tuple([Pace(*each) for each in paces]),
            tuple(chain),
        )


class Entry:
    """A task that has not ended."""

    __slots__ = (
        "alias",
        "attempt",
        "bounds",
        "cancelled",
        "deliveries",
        "expires",
        "failures",
        "gate",
        "held",
        "id",
        "name",
        "number",
        "offer",
        "priority",
        "queue",
        "requeues",
        "session",
        "severed",
        "state",
        "task_id",
        "token",
    )

    def __init__(self, row: tuple[Any, ...]) -> None:
        (
            self.id,
            self.task_id,
            self.name,
            self.queue,
            self.priority,
            self.state,
            self.held,
            self.number,
            self.expires,
            self.attempt,
            self.failures,
            self.requeues,
            self.deliveries,
            self.session,
            self.token,
            self.cancelled,
            self.severed,
            self.gate,
            self.offer,
            terms,
            self.alias,
        ) = row
        self.bounds: Bounds | None = None if terms is None else Bounds.load(terms)

    def has_expired(self, now: float) -> bool:
        """Its time to start went by."""
        return self.expires is not None and bool(self.expires <= now)


#: The columns of an `Entry`, for `select`.
COLUMNS: Final = (
    "id, task_id, name, queue, priority, state, held, number, expires, attempt, failures, requeues, "
    "deliveries, session, token, cancelled, severed, gate, offer, terms, alias"
)
