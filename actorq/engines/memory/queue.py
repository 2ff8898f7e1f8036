"""The queue's law: where every accepted task is, and what may happen to it next (pure).

This is the reference model that every engine is tested against, and the storage of `InMemoryBroker`,
which hands the same `Queue` to each of its incarnations.  All times are Unix seconds.

Synchronous and total: a transition either applies or answers that it does not; it performs nothing.
What has to be told to others is left in `notices` (to worker sessions) and `outbox` (to the result
backend) for the actor to deliver.

Promise 30: at every instant each accepted task is in exactly one of scheduled, ready, leased, done,
dead.  `Entry.state` says which, and `Entry.held` why a ready one is in no lane; the containers are
indexes of it.  The order in a lane is by age: `Entry.number`, given when a task becomes ready and kept
when it comes back (promise 37).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container, Iterable, Sequence
from enum import Enum
from typing import Any, Final

import attrs

from actorq.engines.memory.admission import Admission
from actorq.engines.memory.chains import Chains, later_steps
from actorq.engines.memory.entry import Entry, Held, State
from actorq.engines.memory.keys import UniqueKeys
from actorq.engines.memory.lanes import MANY_PRIORITIES, Line
from actorq.engines.memory.lease import Turns, WorkerSession
from actorq.errors import (
    ActorqError,
    DuplicateTask,
    DuplicateTaskId,
    TaskCancelled,
    TaskExpired,
    WorkerLost,
)
from actorq.message import Delivery, Fence, TaskMessage, Terms
from actorq.options import DEFAULT_QUEUE
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    Outcome,
    QueuedTask,
    QueueStatistics,
    RunningJob,
    Settlement,
)
from actorq.queue_choice import QueueChoice
from actorq.remote_error import dump_error, load_error
from actorq.result import TaskResult
from actorq.unique import OnConflict


__all__ = ["Entry", "Held", "Queue", "State", "Verdict"]

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


@attrs.define(eq=False)
class Queue:
    """Every accepted task, and the sessions that work on them."""

    lease: float = 30.0  #: seconds
    remember: int = 10_000  #: ended ids that are remembered, so that sending again is harmless
    keep_dead: int = 10_000  #: dead letters that are kept

    live: dict[str, Entry] = attrs.field(factory=dict)  #: scheduled, ready and leased, by id
    scheduled: list[tuple[float, int, Entry]] = attrs.field(factory=list)  #: heap by due time
    lines: dict[str, Line[Entry]] = attrs.field(factory=dict)  #: ready tasks by queue
    parked: dict[str, deque[Entry]] = attrs.field(factory=dict)  #: by task name
    sessions: dict[int, WorkerSession] = attrs.field(factory=dict)
    done: dict[str, Ending] = attrs.field(factory=dict)  #: the most recent
    dead: dict[str, DeadTask] = attrs.field(factory=dict)
    notices: dict[int, list[Notice]] = attrs.field(factory=dict)  #: by session
    outbox: deque[Outcome] = attrs.field(factory=deque)  #: ends that no worker reports
    keys: UniqueKeys = attrs.field(factory=UniqueKeys)
    admission: Admission = attrs.field(init=False)
    chains: Chains = attrs.field(init=False)  #: what comes after the live ones

    _default: Line[Entry] = attrs.field(init=False)
    _expiring: list[tuple[float, int, Entry]] = attrs.field(factory=list)  #: heap
    _done_order: deque[str] = attrs.field(factory=deque)
    _void: int = 0  #: places in the lanes whose tasks went another way
    _numbers: int = 0
    _sequence: int = 0
    _tokens: int = 0
    _session_ids: int = 0
    n_scheduled: int = 0
    n_ready: int = 0  #: held ones included
    n_parked: int = 0
    n_limited: int = 0
    n_paused: int = 0  #: queues
    n_leased: int = 0
    n_done: int = 0
    n_refused: int = 0
    n_sessions_ended: int = 0

    def __attrs_post_init__(self) -> None:
        self._default = self.lines[DEFAULT_QUEUE] = Line(DEFAULT_QUEUE)
        self.admission = Admission(self._offer)
        self.chains = Chains(self.remember)

    # --- accepting ---

    def enqueue(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """Accept all of *messages*, or none; the ids of what stands for each, None: each for itself.

        An id that is known, live or remembered, is not stored again, so that sending again after an
        uncertain answer is harmless (promise 31).  Raises `DuplicateTaskId` if a live task of that
        id, or one of *messages*, is another call; `DuplicateTask` if a unique key is taken and its
        message says that this is an error (promise 39).
        """
        self._check_ids(messages)
        unique = False
        for message in messages:
            if message.terms is not None and message.terms.unique is not None:
                unique = True
        if unique:
            self._check_keys(messages, now)
        live = self.live
        stand_ins: dict[int, str] = {}
        stood_for: dict[str, str] = {}
        for index, message in enumerate(messages):
            task_id = message.task_id
            if task_id in live or task_id in self.done or task_id in self.dead:
                continue
            if task_id in stood_for:
                stand_ins[index] = stood_for[task_id]
                continue
            if unique and message.terms is not None and message.terms.unique is not None:
                stand_in = self._resolve(message, message.terms, now)
                if stand_in is not None:
                    stand_ins[index] = stood_for[task_id] = stand_in
                    continue
            self._accept(message, now)
        if not stand_ins:
            return None
        return tuple([stand_ins.get(i, each.task_id) for i, each in enumerate(messages)])

    def _accept(self, message: TaskMessage, now: float) -> None:
        queue = message.options.queue
        line = self._default if queue == DEFAULT_QUEUE else self._line(queue)
        if message.eta is not None and message.eta > now:
            entry = self.live[message.task_id] = Entry(message, _SCHEDULED, line)
            self._schedule(entry, message.eta)
        else:
            entry = self.live[message.task_id] = Entry(message, _READY, line)
            self._numbers += 1
            entry.number = self._numbers
            self.n_ready += 1
            line.append(entry)
        terms = message.terms
        if (terms is not None and terms.chain) or self.chains.broken:
            self.chains.begin(entry)
        if terms is not None and terms.expires_at is not None:
            self._sequence += 1
            heapq.heappush(self._expiring, (terms.expires_at, self._sequence, entry))
            if len(self._expiring) > 64 and len(self._expiring) > 2 * len(self.live):
                self._expiring = [p for p in self._expiring if p[2].state not in (_DONE, _DEAD)]
                heapq.heapify(self._expiring)

    def _line(self, queue: str) -> Line[Entry]:
        """A queue is there when somebody names it."""
        return self.lines.get(queue) or self.lines.setdefault(queue, Line(queue))

    def _make_youngest(self, entry: Entry) -> None:
        """Behind everything that is ready now."""
        self._numbers += 1
        entry.number = self._numbers

    def _check_ids(self, messages: Sequence[TaskMessage]) -> None:
        for message in messages:
            known = self.live.get(message.task_id)
            if known is not None:
                _check_same_call(known.message, message)
        if len(messages) > 1:
            batch: dict[str, TaskMessage] = {}
            for message in messages:
                if batch.setdefault(message.task_id, message) is not message:
                    _check_same_call(batch[message.task_id], message)

    def _check_keys(self, messages: Sequence[TaskMessage], now: float) -> None:
        """Refuse the batch before anything of it is stored."""
        taken: dict[str, str] = {}
        seen: set[str] = set()
        for message in messages:
            unique = None if message.terms is None else message.terms.unique
            again = message.task_id in seen or self.locate(message.task_id) != "unknown"
            seen.add(message.task_id)
            if unique is None or again:
                continue
            holder = taken.get(unique.key) or self.keys.holder(unique.key, now)
            if holder is None:
                taken[unique.key] = message.task_id
            elif unique.on_conflict is OnConflict.REJECT:
                raise DuplicateTask.of(holder, unique.key)

    def _resolve(self, message: TaskMessage, terms: Terms, now: float) -> str | None:
        """Take the message's key for it; the id of another task that stands for it, if one does."""
        unique = terms.unique
        assert unique is not None
        holder = self.keys.holder(unique.key, now)
        if holder is None:
            self.keys.take(unique, message.task_id, now)
            return None
        entry = self.live.get(holder)
        if unique.on_conflict is OnConflict.REPLACE:
            if entry is not None:
                self._displace(entry, message.task_id, now)
            self.keys.take(unique, message.task_id, now)
            return None
        if unique.on_conflict is OnConflict.DEBOUNCE and entry is not None:
            if entry.state is _LEASED:  # taken by a call that was not debounced itself
                self.keys.take(unique, message.task_id, now)
                return None
            self._withdraw(entry, now)
            del self.live[holder]
            self.outbox.extend(self.chains.give_way(entry.message, message))
            self._accept(attrs.evolve(message, task_id=holder), now)
        return holder

    def _displace(self, entry: Entry, successor: str, now: float) -> None:
        """A later call with the same key takes this one's place."""
        if entry.state is _LEASED:
            self._ask_to_cancel(entry)
            return
        task_id = entry.message.task_id
        why = f"task {task_id} was replaced by {successor}, which has its unique key"
        self._call_off(entry, why, now)

    def _schedule(self, entry: Entry, due: float) -> None:
        entry.state = _SCHEDULED
        self.n_scheduled += 1
        self._sequence += 1
        heapq.heappush(self.scheduled, (due, self._sequence, entry))

    # --- giving out ---

    def open_session(
        self, worker: str, now: float, queues: QueueChoice | None = None
    ) -> WorkerSession:
        """A new session for *worker*; its older ones lose their jobs (promise 29)."""
        for old in [s for s in self.sessions.values() if s.worker == worker]:
            self.close_session(old.id, now)
        self._session_ids += 1
        session = WorkerSession(self._session_ids, worker, now + self.lease, now, Turns(queues))
        self.sessions[session.id] = session
        return session

    def close_session(self, session_id: int, now: float) -> None:
        """End a session; its jobs are available to others at once."""
        session = self.sessions.pop(session_id, None)
        if session is not None:
            self._take_away(session, now)

    def extend(self, session_id: int, now: float) -> float | None:
        """Renew a session's lease: until when; None if it was lost."""
        session = self.sessions.get(session_id)
        if session is None:
            return None
        session.expires = now + self.lease
        return session.expires

    def claim(self, session_id: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease at most *limit* ready tasks to a session, queue by queue as it has chosen.

        Of each queue the highest priority first, then the oldest; those that limits hold back are
        passed over.
        """
        session = self.sessions.get(session_id)
        if session is None or not self.n_ready:
            return ()
        deliveries: list[Delivery] = []
        if len(self.lines) == 1 and session.turns.choice is None:
            if not self._default.paused:
                self._claim_from(self._default, session, limit, now, deliveries)
        else:
            while len(deliveries) < limit:
                busy = [n for n, line in self.lines.items() if line.claimable and not line.paused]
                name = session.turns.next(busy)
                if name is None:
                    break
                strict = session.turns.choice is not None and session.turns.choice.weights is None
                upto = limit if strict or len(busy) == 1 else len(deliveries) + 1
                before = len(deliveries)
                self._claim_from(self.lines[name], session, upto, now, deliveries)
                if len(deliveries) == before:
                    session.turns.unused(name)
        if deliveries:
            session.expires = now + self.lease
        return tuple(deliveries)

    def _claim_from(
        self,
        line: Line[Entry],
        session: WorkerSession,
        limit: int,
        now: float,
        deliveries: list[Delivery],
    ) -> None:
        """Until there are *limit* deliveries, or the line gives no more."""
        position = 0
        while position < len(line.priorities):
            lane = line.lanes[line.priorities[position]]
            position += 1
            fresh, back = lane.fresh, lane.back
            while (fresh or back) and len(deliveries) < limit:
                entry = lane.pop() if back else fresh.popleft()
                if entry.state is not _READY:
                    self._void -= 1
                    continue  # it went another way since: its place in the lane is void
                line.claimable -= 1
                terms = entry.message.terms
                if terms is None or self._may_start(entry, terms, now):
                    deliveries.append(self._lease(entry, session))
                elif self._offered_to(line, line.priorities[: position - 1]):
                    position = 0  # what it could not use went to a higher priority
                    break
            if len(deliveries) >= limit:
                break
        if len(line.lanes) > MANY_PRIORITIES:
            line.tidy()

    def _offered_to(self, line: Line[Entry], priorities: Iterable[int]) -> bool:
        return any(line.lanes[priority].back for priority in priorities)

    def _may_start(self, entry: Entry, terms: Terms, now: float) -> bool:
        if _has_expired(entry, now):
            self.n_ready -= 1
            self._expire(entry, now)
            return False
        if not self.admission.admit(entry, terms, now):
            self.n_limited += 1
            entry.line.held += 1
            return False
        if terms.unique is not None:
            self.keys.started(terms.unique, entry.message.task_id)
        return True

    def _offer(self, entry: Entry) -> None:
        """A held task may be claimed."""
        self.n_limited -= 1
        entry.line.held -= 1
        entry.line.put_back(entry)

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
        self._release(entry, now)
        ending = settlement.ending
        if ending is Ending.DONE or ending is Ending.CANCELLED:
            self._end(entry, ending)
            if later_steps(entry.message):
                self._go_on(entry, settlement, now)
            elif settlement.then:
                self._follow(settlement.then, now)
        elif ending is Ending.DEAD:
            self._bury(entry, settlement.reason, settlement.error, now)
        elif ending is Ending.RETRY or ending is Ending.REQUEUE:
            if ending is Ending.RETRY:
                entry.failures += 1
            else:
                entry.requeues += 1
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            elif settlement.delay > 0 and not _has_expired(entry, now):
                self._schedule(entry, now + settlement.delay)
            else:
                if ending is Ending.REQUEUE:  # or it would take its own turn again
                    self._make_youngest(entry)
                self._make_ready(entry, now)
        else:
            entry.attempt -= 1  # it does not count
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            else:
                self._make_ready(entry, now, park=ending is Ending.PARK)
        return True

    def _go_on(self, entry: Entry, settlement: Settlement, now: float) -> None:
        """A step of a chain has ended: its successor is accepted now, or never."""
        if settlement.ending is not Ending.DONE:
            return
        if not self.chains.go_on(entry):
            self._break_chain(entry, Ending.CANCELLED, None)
        elif settlement.then:
            self._follow(settlement.then, now)
        else:
            error = ActorqError("its worker did not say what comes after it")
            self._break_chain(entry, Ending.DEAD, error)

    def _break_chain(self, entry: Entry, ending: Ending, error: Exception | None) -> None:
        self.outbox.extend(self.chains.break_off(entry.message, ending, error))

    def _follow(self, messages: tuple[TaskMessage, ...], now: float) -> None:
        """What comes after a task that has succeeded; a settlement cannot fail on it."""
        for message in messages:
            try:
                self.enqueue((message,), now)
            except ActorqError as refusal:
                if message.task_id in self.live:
                    continue
                entry = self.live[message.task_id] = Entry(message, _READY, self._default)
                self._report(entry, refusal)
                self._bury(entry, f"it could not be enqueued: {refusal}", dump_error(refusal), now)

    def lapse(self, now: float) -> list[int]:
        """Take the jobs of every session whose lease has run out; the ids of those sessions.

        The session itself ends: a worker that comes back late opens a new one.
        """
        lapsed = [session for session in self.sessions.values() if session.lapsed(now)]
        for session in lapsed:
            del self.sessions[session.id]
            self._take_away(session, now)
        return [session.id for session in lapsed]

    def _take_away(self, session: WorkerSession, now: float) -> None:
        self.n_sessions_ended += 1
        # a worker that still listens hears that its session has ended, and needs no notices
        self.notices.pop(session.id, None)
        for entry in list(session.held.values()):
            self._release(entry, now)
            deliveries = entry.attempt - entry.requeues
            if entry.cancelled:
                self._end_unreported(entry, TaskCancelled(_CANCELLED_BETWEEN), Ending.CANCELLED)
            elif deliveries >= entry.message.options.max_deliveries:
                error = WorkerLost(
                    f"task {entry.message.task_id} was delivered {deliveries} times and no worker "
                    f"lived to report its end"
                )
                self._report(entry, error)
                self._bury(entry, str(error), dump_error(error), now)
            else:
                self._make_ready(entry, now)

    def _release(self, entry: Entry, now: float) -> None:
        """Out of the lease, to nowhere yet: the caller puts it somewhere in the same step."""
        session, entry.session = entry.session, None
        if session is not None:
            session.held.pop(entry.message.task_id, None)
        self.n_leased -= 1
        terms = entry.message.terms
        if terms is not None:
            self.admission.give_back(terms, now)

    def _make_ready(self, entry: Entry, now: float, *, park: bool = False) -> None:
        if _has_expired(entry, now):
            self._expire(entry, now)
            return
        entry.state = _READY
        self.n_ready += 1
        if park:
            entry.held = Held.PARKED
            self.n_parked += 1
            entry.line.held += 1
            self.parked.setdefault(entry.message.task_name, deque()).append(entry)
        else:
            entry.line.put_back(entry)

    # --- ending ---

    def _end(self, entry: Entry, ending: Ending, error: Exception | None = None) -> None:
        message = entry.message
        entry.state = _DONE
        del self.live[message.task_id]
        self.n_done += 1
        self._remember(message.task_id, ending)
        if message.terms is not None and message.terms.unique is not None:
            self.keys.ended(message.terms.unique, message.task_id)
        if ending is not Ending.DONE and later_steps(message):
            self._break_chain(entry, ending, error)

    def _bury(self, entry: Entry, reason: str, error: dict[str, Any] | None, now: float) -> None:
        message = entry.message
        entry.state = _DEAD
        del self.live[message.task_id]
        self.dead[message.task_id] = DeadTask(message, reason, entry.attempt, error, now)
        if len(self.dead) > self.keep_dead:
            del self.dead[next(iter(self.dead))]
        if message.terms is not None and message.terms.unique is not None:
            self.keys.ended(message.terms.unique, message.task_id)
        if later_steps(message):
            why = ActorqError(reason) if error is None else load_error(error)
            self._break_chain(entry, Ending.DEAD, why)

    def _end_unreported(self, entry: Entry, error: Exception, ending: Ending) -> None:
        self._report(entry, error)
        self._end(entry, ending, error)

    def _report(self, entry: Entry, error: Exception) -> None:
        """No worker will store this task's end: leave it for the actor to store."""
        result: TaskResult[Any] = TaskResult(
            is_err=True,
            error=error,
            labels=dict(entry.message.labels),
            attempts=max(entry.attempt, 1),
        )
        message = entry.message
        outcome = Outcome(message.task_id, result, ttl=message.options.result_ttl, message=message)
        self.outbox.append(outcome)

    def _withdraw(self, entry: Entry, now: float) -> None:
        """Out of scheduled or ready, to nowhere yet; its places there are void."""
        if entry.state is _SCHEDULED:
            entry.state = _DONE
            self.n_scheduled -= 1
            if len(self.scheduled) > 64 and self.n_scheduled < len(self.scheduled) // 2:
                self._compact_scheduled()
            return
        entry.state = _DONE
        self.n_ready -= 1
        if entry.held is Held.PARKED:
            self.n_parked -= 1
            entry.line.held -= 1
            self._drop_parked(entry)
        elif entry.held is not None:
            self.n_limited -= 1
            entry.line.held -= 1
        else:
            entry.line.claimable -= 1
            self._void += 1
            if entry.offer is not None:
                self.admission.withdraw(entry, now)
            if self._void > 64 and self._void > self.n_ready:
                self._compact_ready()

    def _expire(self, entry: Entry, now: float) -> None:
        """Its time to start went by."""
        if entry.offer is not None:
            entry.state = _DONE
            self.admission.withdraw(entry, now)
        task_id = entry.message.task_id
        self._end_unreported(
            entry,
            TaskExpired(f"task {task_id} had not begun when its time to start went by"),
            Ending.EXPIRED,
        )

    # --- time ---

    def forgive(self, sessions: Container[int], late: float) -> None:
        """The process of *sessions* stood still for *late* seconds: no lease runs out for that (35)."""
        for number, session in self.sessions.items():
            if number in sessions:
                session.expires += late

    def promote(self, now: float) -> None:
        """Do what the time does: begin what is due, end what has expired, give turns."""
        while self._expiring and self._expiring[0][0] <= now:
            entry = heapq.heappop(self._expiring)[2]
            if entry.state is _SCHEDULED or entry.state is _READY:
                self._withdraw(entry, now)
                self._expire(entry, now)
        while self.scheduled and (
            self.scheduled[0][0] <= now or self.scheduled[0][2].state is not _SCHEDULED
        ):
            _, _, entry = heapq.heappop(self.scheduled)
            if entry.state is _SCHEDULED:
                self.n_scheduled -= 1
                entry.state = _READY
                self.n_ready += 1
                self._make_youngest(entry)
                entry.line.append(entry)
        self.admission.wake(now)

    def next_due(self) -> float | None:
        """When `promote` has something to do; None if it never has."""
        while self.scheduled and self.scheduled[0][2].state is not _SCHEDULED:
            heapq.heappop(self.scheduled)
        due = self.scheduled[0][0] if self.scheduled else None
        if self._expiring:
            while self._expiring and self._expiring[0][2].state in (_DONE, _DEAD):
                heapq.heappop(self._expiring)
            if self._expiring and (due is None or self._expiring[0][0] < due):
                due = self._expiring[0][0]
        turn = self.admission.next_wake() if self.admission.alarms else None
        return turn if due is None or (turn is not None and turn < due) else due

    # --- by request ---

    def cancel(self, task_id: str, now: float) -> Verdict:
        """Cancel a task: at once if it waits; through its worker if it runs."""
        entry = self.live.get(task_id)
        if entry is None:
            entry = self.chains.pending.get(task_id)  # a later step: its chain ends where it is
            if entry is not None:
                self.chains.sever(entry)
        if entry is None:
            how = self.ending(task_id)
            if how is Ending.CANCELLED:
                return Verdict.DONE  # asked again, perhaps because the first answer was lost
            return Verdict.UNKNOWN if how is None else Verdict.ENDED
        task_id = entry.message.task_id
        if entry.state is _LEASED:
            self._ask_to_cancel(entry)
            return Verdict.ASKED
        when = "between two attempts" if entry.failures else "before it began"
        self._call_off(entry, f"task {task_id} was cancelled {when}", now)
        return Verdict.DONE

    def _call_off(self, entry: Entry, why: str, now: float) -> None:
        """Cancel a task that waits."""
        self._withdraw(entry, now)
        self._end_unreported(entry, TaskCancelled(why), Ending.CANCELLED)

    def _ask_to_cancel(self, entry: Entry) -> None:
        if not entry.cancelled and entry.session is not None:
            entry.cancelled = True
            fence = Fence(entry.message.task_id, entry.attempt, entry.token)
            self.notices.setdefault(entry.session.id, []).append(Notice(fence, "cancelled"))

    def _drop_parked(self, entry: Entry) -> None:
        lane = self.parked[entry.message.task_name]
        lane.remove(entry)
        if not lane:
            del self.parked[entry.message.task_name]

    def _compact_ready(self) -> None:
        """Drop the places of tasks that went another way, once they are more than the rest."""
        for line in self.lines.values():
            for lane in line.lanes.values():
                lane.keep(lambda entry: entry.state is _READY)
        self._void = 0

    def _compact_scheduled(self) -> None:
        """The same for those that wait for their time."""
        self.scheduled = [place for place in self.scheduled if place[2].state is _SCHEDULED]
        heapq.heapify(self.scheduled)

    def unpark(self, task_name: str) -> None:
        """Somebody knows this task now: what was parked for it may be claimed."""
        for entry in self.parked.pop(task_name, ()):
            entry.held = None
            self.n_parked -= 1
            entry.line.held -= 1
            entry.line.put_back(entry)

    def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        line = self._line(queue)
        if line.paused is not paused:
            line.paused = paused
            self.n_paused += 1 if paused else -1

    def purge(self, queue: str, now: float) -> int:
        """Cancel what waits in a queue; how many that were."""
        waiting = [
            entry
            for entry in self.live.values()
            if entry.state is not _LEASED and entry.line.name == queue
        ]
        for entry in waiting:
            self._call_off(entry, f"queue {queue!r} was purged before the task began", now)
        return len(waiting)

    # --- the dead letters ---

    def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """Each dead letter goes, and its message is enqueued; None where there is none (any more).

        Else the id of what stands for the message.  All or none, as far as `enqueue` refuses.
        """
        there = [task_id in self.dead for task_id, _ in pairs]
        known = [message for is_there, (_, message) in zip(there, pairs, strict=True) if is_there]
        ids = iter((self.enqueue(known, now) if known else None) or [m.task_id for m in known])
        for is_there, (task_id, _) in zip(there, pairs, strict=True):
            if is_there:
                self.dead.pop(task_id, None)
                self._remember(task_id, Ending.DEAD)
        return tuple([next(ids) if is_there else None for is_there in there])

    def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters; how many there were."""
        gone = [i for i in (self.dead if task_ids is None else task_ids) if i in self.dead]
        for task_id in gone:
            self.dead.pop(task_id, None)
            self._remember(task_id, Ending.DEAD)
        return len(gone)

    def _remember(self, task_id: str, ending: Ending) -> None:
        """It counts as accepted still: sending it again is harmless."""
        if task_id not in self.done:
            self.done[task_id] = ending
            self._done_order.append(task_id)
            if len(self._done_order) > self.remember:
                self.done.pop(self._done_order.popleft(), None)

    def bury(self, fence: Fence, reason: str, error: Exception, now: float) -> None:
        """A leased task that cannot be given to anybody: to the dead letters."""
        entry = self.live.get(fence.task_id)
        if entry is not None and entry.state is _LEASED and entry.token == fence.token:
            self._release(entry, now)
            self._report(entry, error)
            self._bury(entry, reason, dump_error(error), now)

    # --- looking ---

    def locate(self, task_id: str) -> str:
        """Where a task is."""
        entry = self.live.get(task_id)
        if entry is not None:
            return entry.state.value if entry.held is None else entry.held.value
        if task_id in self.dead:
            return _DEAD.value
        return _DONE.value if task_id in self.done else self.chains.locate(task_id)

    def ending(self, task_id: str) -> Ending | None:
        """How a task ended; None while it is live, or if that is not known."""
        if task_id in self.dead:
            return Ending.DEAD
        return self.done.get(task_id) or self.chains.broken.get(task_id)

    def is_leased(self, fence: Fence) -> bool:
        """Whether this delivery is still with its worker."""
        entry = self.live.get(fence.task_id)
        return entry is not None and entry.state is _LEASED and entry.token == fence.token

    @property
    def claimable(self) -> int:
        """Tasks that a worker could have now."""
        if self.n_paused:
            return sum(line.claimable for line in self.lines.values() if not line.paused)
        return self.n_ready - self.n_parked - self.n_limited

    def tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        found: list[QueuedTask] = []
        for entry in self.live.values():
            if len(found) >= limit:
                break
            if queue is None or entry.line.name == queue:
                where = entry.state.value if entry.held is None else entry.held.value
                found.append(QueuedTask(entry.message, where, entry.attempt))
        return tuple(found)

    def workers(self) -> tuple[tuple[WorkerSession, tuple[RunningJob, ...]], ...]:
        """The sessions, the oldest first, and what each holds."""
        return tuple(
            [
                (session, tuple([_running(entry) for entry in session.held.values()]))
                for session in self.sessions.values()
            ]
        )

    def statistics(self) -> QueueStatistics:
        """How many tasks are where."""
        return QueueStatistics(
            scheduled=self.n_scheduled,
            ready=self.n_ready,
            parked=self.n_parked,
            limited=self.n_limited,
            leased=self.n_leased,
            done=self.n_done,
            dead=len(self.dead),
            refused=self.n_refused,
            queues={name: line.claimable + line.held for name, line in self.lines.items()},
            paused=frozenset(name for name, line in self.lines.items() if line.paused),
        )


def _running(entry: Entry) -> RunningJob:
    message = entry.message
    return RunningJob(message.task_id, message.task_name, entry.line.name, entry.attempt)


def _has_expired(entry: Entry, now: float) -> bool:
    terms = entry.message.terms
    return terms is not None and terms.expires_at is not None and terms.expires_at <= now


_CANCELLED_BETWEEN = "the task was cancelled"


def _check_same_call(known: TaskMessage, other: TaskMessage) -> None:
    unique = None if known.terms is None else known.terms.unique
    if unique is not None and unique.on_conflict is OnConflict.DEBOUNCE:
        return  # it may have taken the arguments of a later call
    if not known.is_same_call(other):
        raise DuplicateTaskId(
            f"task id {other.task_id!r} belongs to another call already: {known.task_name}; "
            f"choose another task_id"
        )
