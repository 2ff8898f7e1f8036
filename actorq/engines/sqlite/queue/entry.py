"""The entry: one row of `actorq_tasks`, as the law reads it.

What the law looks at; the message itself is left where it is.
"""

from __future__ import annotations

from typing import Any, Final

from actorq.engines.sent import Bounds


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
