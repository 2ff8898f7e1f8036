"""The queue's law: where every accepted task is, and what may happen to it next (pure).

This is the reference model that every engine is tested against, and the storage of `InMemoryBroker`,
which hands the same `Queue` to each of its incarnations.  All times are Unix seconds.

Synchronous and total: a transition either applies or answers that it does not; it performs nothing.
What has to be told to others is left in `notices` (to worker sessions) and `outbox` (to the result
backend) for the actor to deliver.

Promise 30: at every instant each accepted task is in exactly one of scheduled, ready, leased, done,
dead.  `Entry.state` says which; the containers below are indexes of it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final

import attrs

from actorq.engines.memory.lease import WorkerSession
from actorq.errors import ActorqError, DuplicateTaskId, TaskCancelled, WorkerLost
from actorq.message import Delivery, Fence, TaskMessage
from actorq.protocol import DeadTask, Ending, Notice, Outcome, QueueStatistics, Settlement
from actorq.remote_error import dump_error
from actorq.result import TaskResult


class State(Enum):
    """Where an accepted task is."""

    SCHEDULED = "scheduled"  #: waits for its time
    READY = "ready"  #: waits for a worker
    LEASED = "leased"  #: is with a worker
    DONE = "done"  #: ended
    DEAD = "dead"  #: failed for good; kept with its reason


_SCHEDULED: Final = State.SCHEDULED
_READY: Final = State.READY
_LEASED: Final = State.LEASED
_DONE: Final = State.DONE
_DEAD: Final = State.DEAD


class Verdict(Enum):
    """What became of a request to cancel."""

    DONE = "done"  #: it was waiting, and will never start
    ASKED = "asked"  #: it runs; its worker was told, and the end will show
    ENDED = "ended"  #: it had ended: its result stands
    UNKNOWN = "unknown"  #: no such task


class Entry:
    """One live task.  Slotted and bare: there may be a million."""

    __slots__ = (
        "attempt",
        "cancelled",
        "failures",
        "message",
        "parked",
        "session",
        "state",
        "token",
    )

    def __init__(self, message: TaskMessage, state: State) -> None:
        self.message = message
        self.state = state
        self.attempt = 0  #: deliveries that count so far
        self.failures = 0  #: of these, attempts that failed
        self.token = 0  #: of the present delivery
        self.session: WorkerSession | None = None  #: who holds it
        self.cancelled = False  #: somebody asked to cancel it while it ran
        self.parked = False  #: held in ready: no worker knows the task


@attrs.define(eq=False)
class Queue:
    """Every accepted task, and the sessions that work on them."""

    lease: float = 30.0  #: seconds
    remember: int = 10_000  #: ended ids that are remembered, so that sending again is harmless
    keep_dead: int = 10_000  #: dead letters that are kept

    live: dict[str, Entry] = attrs.field(factory=dict)  #: scheduled, ready and leased, by id
    scheduled: list[tuple[float, int, Entry]] = attrs.field(factory=list)  #: heap by due time
    ready: dict[int, deque[Entry]] = attrs.field(factory=dict)  #: by priority; oldest first
    parked: dict[str, deque[Entry]] = attrs.field(factory=dict)  #: by task name
    sessions: dict[int, WorkerSession] = attrs.field(factory=dict)
    done: dict[str, Ending] = attrs.field(factory=dict)  #: the most recent
    dead: dict[str, DeadTask] = attrs.field(factory=dict)
    notices: dict[int, list[Notice]] = attrs.field(factory=dict)  #: by session
    outbox: deque[Outcome] = attrs.field(factory=deque)  #: ends that no worker reports

    _done_order: deque[str] = attrs.field(factory=deque)
    _priorities: list[int] = attrs.field(factory=list)  #: of `ready`, highest first
    _void: int = 0  #: places in the lanes whose tasks were cancelled
    _sequence: int = 0
    _tokens: int = 0
    _session_ids: int = 0
    n_scheduled: int = 0
    n_ready: int = 0  #: parked ones included
    n_parked: int = 0
    n_leased: int = 0
    n_done: int = 0
    n_refused: int = 0
    n_sessions_ended: int = 0

    # --- accepting ---

    def enqueue(self, messages: Sequence[TaskMessage], now: float) -> int:
        """Accept all of *messages*, or none; how many were new.

        An id that is known, live or remembered, is not stored again, so that sending again after an
        uncertain answer is harmless (promise 31).  Raises `DuplicateTaskId` if a live task of that
        id, or one of *messages*, is another call.
        """
        for message in messages:
            known = self.live.get(message.task_id)
            if known is not None:
                _check_same_call(known.message, message)
        if len(messages) > 1:
            batch: dict[str, TaskMessage] = {}
            for message in messages:
                if batch.setdefault(message.task_id, message) is not message:
                    _check_same_call(batch[message.task_id], message)
        new = 0
        live = self.live
        for message in messages:
            task_id = message.task_id
            if task_id in live or task_id in self.done or task_id in self.dead:
                continue
            new += 1
            if message.eta is not None and message.eta > now:
                entry = live[task_id] = Entry(message, _SCHEDULED)
                self._schedule(entry, message.eta)
            else:
                entry = live[task_id] = Entry(message, _READY)
                self.n_ready += 1
                self._lane(message.options.priority).append(entry)
        return new

    def _schedule(self, entry: Entry, due: float) -> None:
        entry.state = _SCHEDULED
        self.n_scheduled += 1
        self._sequence += 1
        heapq.heappush(self.scheduled, (due, self._sequence, entry))

    def _lane(self, priority: int) -> deque[Entry]:
        lane = self.ready.get(priority)
        if lane is None:
            lane = self.ready[priority] = deque()
            self._priorities = sorted(self.ready, reverse=True)
        return lane

    # --- giving out ---

    def open_session(self, worker: str, now: float) -> WorkerSession:
        """A new session for *worker*; its older ones lose their jobs (promise 29)."""
        for old in [s for s in self.sessions.values() if s.worker == worker]:
            self.close_session(old.id)
        self._session_ids += 1
        session = WorkerSession(self._session_ids, worker, now + self.lease)
        self.sessions[session.id] = session
        return session

    def close_session(self, session_id: int) -> None:
        """End a session; its jobs are available to others at once."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._take_away(session)

    def extend(self, session_id: int, now: float) -> float | None:
        """Renew a session's lease: until when; None if it was lost."""
        session = self.sessions.get(session_id)
        if session is None:
            return None
        session.expires = now + self.lease
        return session.expires

    def claim(self, session_id: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease at most *limit* ready tasks to a session, highest priority first, oldest first."""
        session = self.sessions.get(session_id)
        if session is None or not self.n_ready:
            return ()
        deliveries: list[Delivery] = []
        for priority in self._priorities:
            lane = self.ready[priority]
            while lane and len(deliveries) < limit:
                entry = lane.popleft()
                if entry.state is not _READY or entry.parked:
                    self._void -= 1
                    continue  # cancelled since: its place in the lane is void
                deliveries.append(self._lease(entry, session))
        if deliveries:
            session.expires = now + self.lease
        if len(self.ready) > 16:  # few priorities stay; many come and go
            self._drop_empty_lanes()
        return tuple(deliveries)

    def _drop_empty_lanes(self) -> None:
        self.ready = {priority: lane for priority, lane in self.ready.items() if lane}
        self._priorities = sorted(self.ready, reverse=True)

    def _lease(self, entry: Entry, session: WorkerSession) -> Delivery:
        message = entry.message
        self.n_ready -= 1
        self.n_leased += 1
        self._tokens += 1
        entry.state = _LEASED
        entry.attempt += 1
        entry.token = self._tokens
        entry.session = session
        session.held[message.task_id] = entry
        return Delivery(
            message, Fence(message.task_id, entry.attempt, self._tokens), entry.failures
        )

    # --- taking back ---

    def settle(
        self, session_id: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """Apply what a worker says of its deliveries; False for each whose fence is stale."""
        return tuple([self._settle(session_id, settlement, now) for settlement in settlements])

    def _settle(self, session_id: int, settlement: Settlement, now: float) -> bool:
        fence = settlement.fence
        entry = self.live.get(fence.task_id)
        if (
            entry is None
            or entry.state is not _LEASED
            or entry.token != fence.token
            or entry.session is None
            or entry.session.id != session_id
        ):
            self.n_refused += 1
            return False
        self._release(entry)
        ending = settlement.ending
        if ending is Ending.DONE or ending is Ending.CANCELLED:
            self._end(entry, ending)
            if settlement.then:
                self._follow(settlement.then, now)
        elif ending is Ending.DEAD:
            self._bury(entry, settlement.reason, settlement.error)
        elif ending is Ending.RETRY:
            entry.failures += 1
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            elif settlement.delay > 0:
                self._schedule(entry, now + settlement.delay)
            else:
                self._make_ready(entry)
        else:
            entry.attempt -= 1  # it does not count
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            else:
                self._make_ready(entry, park=ending is Ending.PARK)
        return True

    def _follow(self, messages: tuple[TaskMessage, ...], now: float) -> None:
        """What comes after a task that has succeeded; a settlement cannot fail on it."""
        for message in messages:
            try:
                self.enqueue((message,), now)
            except ActorqError as refusal:
                entry = Entry(message, _READY)
                self.live.setdefault(message.task_id, entry)
                if self.live[message.task_id] is entry:
                    self._report(entry, refusal)
                    self._bury(entry, f"it could not be enqueued: {refusal}", dump_error(refusal))

    def lapse(self, now: float) -> list[int]:
        """Take the jobs of every session whose lease has run out; the ids of those sessions.

        The session itself ends: a worker that comes back late opens a new one.
        """
        lapsed = [session for session in self.sessions.values() if session.lapsed(now)]
        for session in lapsed:
            del self.sessions[session.id]
            self._take_away(session)
        return [session.id for session in lapsed]

    def _take_away(self, session: WorkerSession) -> None:
        self.n_sessions_ended += 1
        # a worker that still listens hears that its session has ended, and needs no notices
        self.notices.pop(session.id, None)
        # newest first, each to the front of its lane: the oldest ends up foremost
        for entry in reversed(list(session.held.values())):
            self._release(entry)
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            elif entry.attempt >= entry.message.options.max_deliveries:
                error = WorkerLost(
                    f"task {entry.message.task_id} was delivered {entry.attempt} times and no worker "
                    f"lived to report its end"
                )
                self._report(entry, error)
                self._bury(entry, str(error), dump_error(error))
            else:
                self._make_ready(entry)

    def _release(self, entry: Entry) -> None:
        """Out of the lease, to nowhere yet: the caller puts it somewhere in the same step."""
        session, entry.session = entry.session, None
        if session is not None:
            session.held.pop(entry.message.task_id, None)
        self.n_leased -= 1

    def _make_ready(self, entry: Entry, *, park: bool = False) -> None:
        entry.state = _READY
        self.n_ready += 1
        if park:
            entry.parked = True
            self.n_parked += 1
            self.parked.setdefault(entry.message.task_name, deque()).append(entry)
        else:  # to the front: it is older than what waits there
            self._lane(entry.message.options.priority).appendleft(entry)

    def _end(self, entry: Entry, ending: Ending) -> None:
        task_id = entry.message.task_id
        entry.state = _DONE
        del self.live[task_id]
        self.n_done += 1
        self.done[task_id] = ending
        self._done_order.append(task_id)
        if len(self._done_order) > self.remember:
            del self.done[self._done_order.popleft()]

    def _bury(self, entry: Entry, reason: str, error: dict[str, Any] | None) -> None:
        task_id = entry.message.task_id
        entry.state = _DEAD
        del self.live[task_id]
        self.dead[task_id] = DeadTask(entry.message, reason, entry.attempt, error)
        if len(self.dead) > self.keep_dead:
            del self.dead[next(iter(self.dead))]

    def _end_unreported(self, entry: Entry, error: Exception, ending: Ending) -> None:
        self._report(entry, error)
        self._end(entry, ending)

    def _report(self, entry: Entry, error: Exception) -> None:
        """No worker will store this task's end: leave it for the actor to store."""
        result: TaskResult[Any] = TaskResult(
            is_err=True,
            error=error,
            labels=dict(entry.message.labels),
            attempts=max(entry.attempt, 1),
        )
        self.outbox.append(Outcome(entry.message.task_id, result))

    # --- time ---

    def forgive(self, late: float) -> None:
        """The clock's owner was stalled for *late* seconds: no lease runs out for that (35)."""
        for session in self.sessions.values():
            session.expires += late

    def promote(self, now: float) -> None:
        """Make every scheduled task ready whose time has come."""
        while self.scheduled and (
            self.scheduled[0][0] <= now or self.scheduled[0][2].state is not _SCHEDULED
        ):
            _, _, entry = heapq.heappop(self.scheduled)
            if entry.state is _SCHEDULED:
                self.n_scheduled -= 1
                entry.state = _READY
                self.n_ready += 1
                self._lane(entry.message.options.priority).append(entry)

    def next_due(self) -> float | None:
        """When the next scheduled task is due; None if none is scheduled."""
        while self.scheduled and self.scheduled[0][2].state is not _SCHEDULED:
            heapq.heappop(self.scheduled)
        return self.scheduled[0][0] if self.scheduled else None

    # --- by request ---

    def cancel(self, task_id: str) -> Verdict:
        """Cancel a task: at once if it waits; through its worker if it runs."""
        entry = self.live.get(task_id)
        if entry is None:
            if self.done.get(task_id) is Ending.CANCELLED:
                return Verdict.DONE  # asked again, perhaps because the first answer was lost
            ended = task_id in self.done or task_id in self.dead
            return Verdict.ENDED if ended else Verdict.UNKNOWN
        if entry.state is _LEASED:
            if not entry.cancelled and entry.session is not None:
                entry.cancelled = True
                fence = Fence(task_id, entry.attempt, entry.token)
                self.notices.setdefault(entry.session.id, []).append(Notice(fence, "cancelled"))
            return Verdict.ASKED
        if entry.state is _SCHEDULED:
            self.n_scheduled -= 1
            if len(self.scheduled) > 64 and self.n_scheduled < len(self.scheduled) // 2:
                self._compact_scheduled()
        else:
            self.n_ready -= 1
            if entry.parked:
                self.n_parked -= 1
                self._drop_parked(entry)
            else:
                self._void += 1
        when = "between two attempts" if entry.failures else "before it began"
        self._end_unreported(
            entry, TaskCancelled(f"task {task_id} was cancelled {when}"), Ending.CANCELLED
        )
        if self._void > 64 and self._void > self.n_ready:
            self._compact_ready()
        return Verdict.DONE

    def _drop_parked(self, entry: Entry) -> None:
        lane = self.parked[entry.message.task_name]
        lane.remove(entry)
        if not lane:
            del self.parked[entry.message.task_name]

    def _compact_ready(self) -> None:
        """The same for the lanes."""
        for priority, lane in self.ready.items():
            self.ready[priority] = deque(entry for entry in lane if entry.state is _READY)
        self._void = 0

    def _compact_scheduled(self) -> None:
        """Drop the places of cancelled tasks, once they are more than the rest."""
        self.scheduled = [place for place in self.scheduled if place[2].state is _SCHEDULED]
        heapq.heapify(self.scheduled)

    def unpark(self, task_name: str) -> None:
        """Somebody knows this task now: what was parked for it may be claimed."""
        for entry in reversed(self.parked.pop(task_name, ())):
            if entry.state is _READY and entry.parked:
                entry.parked = False
                self.n_parked -= 1
                self._lane(entry.message.options.priority).appendleft(entry)

    def locate(self, task_id: str) -> str:
        """Where a task is."""
        entry = self.live.get(task_id)
        if entry is not None:
            return "parked" if entry.parked else entry.state.value
        if task_id in self.dead:
            return _DEAD.value
        return _DONE.value if task_id in self.done else "unknown"

    def is_leased(self, fence: Fence) -> bool:
        """Whether this delivery is still with its worker."""
        entry = self.live.get(fence.task_id)
        return entry is not None and entry.state is _LEASED and entry.token == fence.token

    @property
    def claimable(self) -> int:
        """Tasks that a worker could have now."""
        return self.n_ready - self.n_parked

    def statistics(self) -> QueueStatistics:
        """How many tasks are where."""
        return QueueStatistics(
            scheduled=self.n_scheduled,
            ready=self.n_ready,
            parked=self.n_parked,
            leased=self.n_leased,
            done=self.n_done,
            dead=len(self.dead),
            refused=self.n_refused,
        )


_CANCELLED_BETWEEN = "the task was cancelled"


def _check_same_call(known: TaskMessage, other: TaskMessage) -> None:
    same = (
        known.task_name == other.task_name
        and known.args == other.args
        and known.kwargs == other.kwargs
    )
    if not same:
        raise DuplicateTaskId(
            f"task id {other.task_id!r} belongs to another call already: {known.task_name}; "
            f"choose another task_id"
        )
