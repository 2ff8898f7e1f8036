"""`InMemoryBroker`: the broker actor round the queue core."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Sequence

import attrs
import trio

from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.capability import Capability
from actorq.engines.memory.queue import Queue, Verdict
from actorq.engines.memory.results import InMemoryResultBackend
from actorq.engines.memory.schedules import InMemoryScheduleSource
from actorq.engines.memory.sealed import seal, seal_anyhow, shown, unseal
from actorq.engines.memory.storage import MemoryStorage
from actorq.errors import EnvelopeError
from actorq.message import Delivery, TaskMessage
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    Outcome,
    QueuedTask,
    QueueStatistics,
    Settlement,
    WorkerInfo,
)
from actorq.queue_choice import QueueChoice
from actorq.schedule_source import ScheduleSource


# A Ctrl-C between two lines of a transition would leave a task in no place or in two, and the queue
# outlives the system: it may be opened again.  (The core itself imports no Trio.)
for transition in (
    Queue.enqueue,
    Queue.open_session,
    Queue.close_session,
    Queue.extend,
    Queue.claim,
    Queue.settle,
    Queue.lapse,
    Queue.promote,
    Queue.cancel,
    Queue.unpark,
    Queue.purge,
    Queue.replay,
    Queue.purge_dead,
    Queue.bury,
    Queue.set_paused,
):
    trio.lowlevel.enable_ki_protection(transition)

log = logging.getLogger("actorq.broker")


class InMemoryBroker(Broker):
    """Keeps the queue in this process: survives the crash of any actor, not of the process.

    *lease*: seconds without a sign of life after which a worker's jobs are given to others.
    *encoded*: keep messages and results as bytes, as engines outside the process do: in the format
    that was chosen, signed and encrypted if that was.
    *storage*: go on with what an earlier broker left there; one open broker at a time.
    It lacks SHARING; BYTES unless it is *encoded*; SURVIVAL unless it has a *storage* of its own, which
    outlives the broker (a process that a test kills, not one of the operating system).
    Without `with_result_backend`, the latest 10,000 results are kept in memory.
    """

    def __init__(
        self, *, lease: float = 30.0, encoded: bool = False, storage: MemoryStorage | None = None
    ) -> None:
        if not lease > 0:
            raise ValueError(f"lease must be more than 0 seconds; got {lease!r}")
        self.lacks = type(self).lacks | {Capability.SHARING}
        if not encoded:
            self.lacks |= {Capability.BYTES}
        if storage is None:
            self.lacks |= {Capability.SURVIVAL}
            storage = MemoryStorage()
        elif not isinstance(storage, MemoryStorage):
            raise TypeError(f"storage expects a MemoryStorage(); got {storage!r}")
        self.encoded = encoded
        self.storage = storage
        super().__init__()
        self.lease = lease
        self.queue = storage.queue
        self.queue.lease = lease
        # who came with the storage died with an earlier process, and did not stand still with this one
        self._own: set[int] = set()

    def default_result_backend(self) -> ResultBackend:
        """In memory, the latest 10,000."""
        table = self.storage.results
        return InMemoryResultBackend(table.limit, encoded=self.encoded, table=table)

    def default_schedule_source(self) -> ScheduleSource:
        """In memory."""
        return InMemoryScheduleSource(self.storage.schedules)

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """See `Queue.enqueue`."""
        if self.encoded:
            messages = [seal(message, self.wire) for message in messages]
        elif self.counts_bytes:
            for message in messages:
                self.wire.encode_message(message)
        return self.queue.enqueue(messages, now)

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """See `Queue.claim`."""
        if self.encoded:
            return self._claim_sealed(session, limit, now)
        return self.queue.claim(session, limit, now)

    @trio.lowlevel.enable_ki_protection
    def _claim_sealed(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """What can be read; the rest goes to the dead letters, and hurts nobody (promise 42)."""
        readable: list[Delivery] = []
        while len(readable) < limit:
            claimed = self.queue.claim(session, limit - len(readable), now)
            if not claimed:
                break
            for delivery in claimed:
                try:
                    message = unseal(delivery.message, self.wire)
                except EnvelopeError as error:
                    log.warning("task %s cannot be decoded: %s", delivery.fence.task_id, error)
                    reason = f"cannot be decoded: {error}"
                    self.queue.bury(delivery.fence, reason, error, now)
                else:
                    readable.append(delivery._replace(message=message))
        return tuple(readable)

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """See `Queue.settle`."""
        if self.encoded:
            settlements = [
                each._replace(then=tuple([seal_anyhow(one, self.wire) for one in each.then]))
                if each.then
                else each
                for each in settlements
            ]
        return self.queue.settle(session, settlements, now)

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """See `Queue.open_session`."""
        session = self.queue.open_session(worker, now, queues).id
        self._own = {number for number in self._own if number in self.queue.sessions} | {session}
        return session

    async def extend(self, session: int, now: float) -> float | None:
        """See `Queue.extend`."""
        return self.queue.extend(session, now)

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """See `Queue.cancel`."""
        match self.queue.cancel(task_id, now):
            case Verdict.DONE:
                return True
            case Verdict.ASKED:
                return None
            case Verdict.ENDED | Verdict.UNKNOWN:
                return False

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended."""
        return self.queue.ending(task_id)

    async def locate(self, task_id: str) -> str:
        """See `Queue.locate`."""
        return self.queue.locate(task_id)

    async def promote(self, now: float) -> None:
        """See `Queue.promote`."""
        self.queue.promote(now)

    async def lapse(self, now: float, late: float) -> None:
        """See `Queue.lapse`; a stall of the loop is forgiven, to those who were in it."""
        if late:
            self.queue.forgive(self._own, late)
        self.queue.lapse(now)

    async def release(self, task_name: str) -> None:
        """See `Queue.unpark`."""
        self.queue.unpark(task_name)

    async def statistics_of_queue(self) -> QueueStatistics:
        """See `Queue.statistics`."""
        return self.queue.statistics()

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        return tuple([self._shown(dead) for dead in self.queue.dead.values()])

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One of them."""
        dead = self.queue.dead.get(task_id)
        return None if dead is None else self._shown(dead)

    def _shown(self, dead: DeadTask) -> DeadTask:
        if not self.encoded:
            return dead
        return attrs.evolve(dead, message=shown(dead.message, self.wire))

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """See `Queue.replay`."""
        if self.encoded:
            pairs = [(task_id, seal(message, self.wire)) for task_id, message in pairs]
        return self.queue.replay(pairs, now)

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """See `Queue.purge_dead`."""
        return self.queue.purge_dead(task_ids)

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """See `Queue.tasks`."""
        found = self.queue.tasks(queue, limit)
        if not self.encoded:
            return found
        return tuple([attrs.evolve(each, message=shown(each.message, self.wire)) for each in found])

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """All in this process."""
        return tuple(
            [
                WorkerInfo(
                    session.worker,
                    session.id,
                    os.getpid(),
                    socket.gethostname(),
                    session.turns.choice,
                    session.since,
                    session.expires - self.lease,
                    jobs,
                )
                for session, jobs in self.queue.workers()
            ]
        )

    async def purge(self, queue: str, now: float) -> int:
        """See `Queue.purge`."""
        return self.queue.purge(queue, now)

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """See `Queue.set_paused`."""
        self.queue.set_paused(queue, paused=paused)

    def claimable(self) -> bool:
        """Whether something is ready."""
        return self.queue.claimable > 0

    def has_session(self, session: int) -> bool:
        """Whether a session is still good."""
        return session in self.queue.sessions

    def next_due(self) -> float | None:
        """When the next scheduled task is due."""
        return self.queue.next_due()

    def has_leases(self) -> bool:
        """Whether any job is leased."""
        return self.queue.n_leased > 0

    def sessions_ended(self) -> int:
        """How many sessions have ended in all."""
        return self.queue.n_sessions_ended

    def has_notices(self) -> bool:
        """Whether anything is to be told to any session."""
        return bool(self.queue.notices)

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session."""
        if not self.queue.notices:
            return ()
        notices = self.queue.notices.pop(session, ())
        return tuple(notice for notice in notices if self.queue.is_leased(notice.fence))

    def outbox(self) -> deque[Outcome]:
        """The queue's own."""
        return self.queue.outbox
