"""The engine: what a storage must be able to do to be a queue's.

Implemented by each engine's broker.  One call at a time, from the broker actor; each is one step, in
which everything happens or nothing.  Times are Unix seconds on the engine's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from actorq.message import Delivery, TaskMessage
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    Outcome,
    QueuedTask,
    QueueStatistics,
    Settlement,
)
from actorq.queue_choice import QueueChoice


class Engine:
    """The methods that a `Broker` leaves to its engine."""

    async def startup(self) -> None:
        """Begin a life."""

    async def shutdown(self) -> None:
        """End a life."""

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """Accept all or none; an id that is known is not stored again.

        The ids of what stands for each, if a unique key was taken; None: each for itself.  Raises
        `DuplicateTask` where such a conflict is an error.
        """
        raise NotImplementedError

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease ready tasks to a session."""
        raise NotImplementedError

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """Apply a worker's word; False for each stale fence."""
        raise NotImplementedError

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """A new session for these queues; older ones of this worker lose their jobs."""
        raise NotImplementedError

    async def extend(self, session: int, now: float) -> float | None:
        """Renew a lease: until when; None if it was lost."""
        raise NotImplementedError

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """Cancel a task: True if it did or had, False if it ended otherwise, None if it is running."""
        raise NotImplementedError

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended; None while it is live, or if that is not known."""
        raise NotImplementedError

    async def locate(self, task_id: str) -> str:
        """Where a task is."""
        raise NotImplementedError

    async def promote(self, now: float) -> None:
        """Make scheduled tasks ready whose time has come."""
        raise NotImplementedError

    async def lapse(self, now: float, late: float) -> None:
        """Take back the jobs of sessions whose lease ran out; the loop was *late* by that much."""
        raise NotImplementedError

    async def release(self, task_name: str) -> None:
        """A worker knows this task now."""
        raise NotImplementedError

    async def statistics_of_queue(self) -> QueueStatistics:
        """How many tasks are where."""
        raise NotImplementedError

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        raise NotImplementedError

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One dead letter."""
        raise NotImplementedError

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """Each dead letter goes and its message is enqueued, in one step; the id of what stands for it.

        None where there is none (any more).
        """
        raise NotImplementedError

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters (None: all); how many there were."""
        raise NotImplementedError

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        raise NotImplementedError

    async def purge(self, queue: str, now: float) -> int:
        """Cancel what waits in a queue; how many that were."""
        raise NotImplementedError

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        raise NotImplementedError

    def claimable(self) -> bool:
        """Whether a claim might find something."""
        raise NotImplementedError

    def has_session(self, session: int) -> bool:
        """Whether a session is still good."""
        raise NotImplementedError

    def next_due(self) -> float | None:
        """When the next scheduled task is due."""
        raise NotImplementedError

    def has_leases(self) -> bool:
        """Whether any job is leased."""
        raise NotImplementedError

    def sessions_ended(self) -> int:
        """How many sessions have ended in all: when it changes, somebody is to be told."""
        raise NotImplementedError

    def has_notices(self) -> bool:
        """Whether anything is to be told to any session."""
        raise NotImplementedError

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session; taking it forgets it."""
        raise NotImplementedError

    def outbox(self) -> deque[Outcome]:
        """Ends that no worker reports.  Owned by the storage; the publisher takes from the left."""
        raise NotImplementedError
