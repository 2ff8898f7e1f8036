"""The entry: one live task as the queue core keeps it, and where it may be.

Owned by the queue core; slotted and bare, for there may be a million.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from actorq.message import TaskMessage


if TYPE_CHECKING:
    from actorq.engines.memory.admission import Crowd
    from actorq.engines.memory.lanes import Line
    from actorq.engines.memory.lease import WorkerSession


class State(Enum):
    """Where an accepted task is."""

    SCHEDULED = "scheduled"  #: waits for its time
    READY = "ready"  #: waits for a worker
    LEASED = "leased"  #: is with a worker
    DONE = "done"  #: ended
    DEAD = "dead"  #: failed for good; kept with its reason


class Held(Enum):
    """Why a ready task is in no lane."""

    PARKED = "parked"  #: no worker knows it
    LIMITED = "limited"  #: a concurrency limit is used up
    PACED = "paced"  #: its rate has no turn yet


class Entry:
    """One live task."""

    __slots__ = (
        "attempt",
        "cancelled",
        "failures",
        "held",
        "line",
        "message",
        "number",
        "offer",
        "requeues",
        "session",
        "state",
        "token",
    )

    def __init__(self, message: TaskMessage, state: State, line: Line[Entry]) -> None:
        self.message = message
        self.state = state
        self.line = line
        self.number = 0  #: its age: when it became ready
        self.attempt = 0  #: deliveries that count so far
        self.failures = 0  #: of these, attempts that failed
        self.requeues = 0  #: of these, attempts that put it back themselves
        self.token = 0  #: of the present delivery
        self.session: WorkerSession | None = None  #: who holds it
        self.cancelled = False  #: somebody asked to cancel it while it ran
        self.held: Held | None = None
        self.offer: Crowd | None = None  #: whose room it was offered, and has not used yet
