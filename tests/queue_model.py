"""The queue's law in the plainest words: lists that are searched from end to end.

What `tests/test_queue.py` compares the queue core with; slow, and short enough to be read.
"""

from __future__ import annotations

import copy

import attrs

from actorq.engines.memory.queue import State, Verdict
from actorq.errors import DuplicateTask, TaskCancelled, TaskExpired, WorkerLost
from actorq.message import Fence, TaskMessage
from actorq.protocol import Ending, Notice, Settlement
from actorq.unique import OnConflict, UniqueKey, Until


LEASE = 30.0


@attrs.define
class Known:
    """What the model knows of one task."""

    message: TaskMessage
    state: State
    number: int = 0  #: its age: when it became ready
    attempt: int = 0
    failures: int = 0
    requeues: int = 0
    fence: Fence | None = None
    session: int | None = None
    due: float = 0.0
    cancelled: bool = False
    parked: bool = False
    ending: Ending | None = None


@attrs.define
class Model:
    """Every task there ever was."""

    tasks: dict[str, Known] = attrs.field(factory=dict)
    waiting: list[str] = attrs.field(factory=list)  #: scheduled, in the order of scheduling
    held: dict[int, list[str]] = attrs.field(factory=dict)  #: by session, in the order of claiming
    expires: dict[int, float] = attrs.field(factory=dict)
    workers: dict[int, str] = attrs.field(factory=dict)
    obituaries: list[tuple[str, type[Exception]]] = attrs.field(factory=list)
    notices: dict[int, list[Notice]] = attrs.field(factory=dict)
    keys: dict[str, tuple[str, float | None]] = attrs.field(factory=dict)
    starts: dict[str, list[float]] = attrs.field(factory=dict)  #: by the key of a rate
    paused: set[str] = attrs.field(factory=set)
    refused: int = 0
    done: int = 0
    numbers: int = 0

    # --- accepting ---

    def enqueue(self, messages: list[TaskMessage], now: float) -> list[str]:
        """The ids of what stands for each; all or none."""
        before = copy.deepcopy(self)
        try:
            answers: dict[str, str] = {}
            for message in messages:
                if message.task_id not in answers:
                    answers[message.task_id] = self.accept(message, now)
            return [answers[message.task_id] for message in messages]
        except DuplicateTask:
            for field in attrs.fields(Model):
                setattr(self, field.name, getattr(before, field.name))
            raise

    def accept(self, sent: TaskMessage, now: float) -> str:
        if sent.task_id in self.tasks:
            return sent.task_id
        unique = sent.terms.unique if sent.terms is not None else None
        if unique is not None:
            holder = self.holder(unique.key, now)
            if holder is not None:
                if unique.on_conflict is OnConflict.REJECT:
                    raise DuplicateTask("taken", holder)
                known = self.tasks[holder]
                waits = known.state in (State.SCHEDULED, State.READY)
                if unique.on_conflict is OnConflict.RETURN:
                    return holder
                if unique.on_conflict is OnConflict.DEBOUNCE and waits:
                    self.forget_place(holder)
                    del self.tasks[holder]
                    self.place(attrs.evolve(sent, task_id=holder), now)
                    return holder
                if unique.on_conflict is OnConflict.DEBOUNCE and known.state is not State.LEASED:
                    return holder
                if unique.on_conflict is OnConflict.REPLACE:
                    self.cancel(holder)
            until = None if unique.seconds is None else now + unique.seconds
            self.keys[unique.key] = (sent.task_id, until)
        self.place(sent, now)
        return sent.task_id

    def place(self, sent: TaskMessage, now: float) -> None:
        if sent.eta is not None and sent.eta > now:
            self.tasks[sent.task_id] = Known(sent, State.SCHEDULED, due=sent.eta)
            self.waiting.append(sent.task_id)
        else:
            self.numbers += 1
            self.tasks[sent.task_id] = Known(sent, State.READY, self.numbers)

    def holder(self, key: str, now: float) -> str | None:
        task_id, until = self.keys.get(key, (None, None))
        return None if until is not None and until <= now else task_id

    def free(self, unique: UniqueKey | None, task_id: str, *when: Until) -> None:
        if unique is not None and unique.until in when:
            holder, until = self.keys.get(unique.key, (None, None))
            if holder == task_id and until is None:
                del self.keys[unique.key]

    # --- giving out ---

    def line(self, queue: str) -> list[str]:
        """Ready and known, as they would start if nothing held them back."""
        found = [
            i
            for i, known in self.tasks.items()
            if known.state is State.READY
            and not known.parked
            and known.message.options.queue == queue
        ]
        return sorted(
            found,
            key=lambda i: (-self.tasks[i].message.options.priority, self.tasks[i].number),
        )

    def may_start(self, task_id: str, now: float) -> bool:
        terms = self.tasks[task_id].message.terms
        if terms is None:
            return True
        if terms.expires_at is not None and terms.expires_at <= now:
            return False
        for permit in terms.permits:
            if self.running(permit.key) >= permit.limit:
                return False
        for pace in terms.paces:
            starts = self.starts.get(pace.key, [])
            if pace.smooth:
                if starts and starts[-1] + pace.period / pace.starts > now:
                    return False
            elif sum(start + pace.period > now for start in starts) >= pace.starts:
                return False
        return True

    def running(self, key: str) -> int:
        return sum(
            any(permit.key == key for permit in known.message.terms.permits)
            for known in self.tasks.values()
            if known.state is State.LEASED and known.message.terms is not None
        )

    def startable(self, queue: str, now: float) -> str | None:
        """The one that starts next of this queue, if any may."""
        if queue in self.paused:
            return None
        return next((i for i in self.line(queue) if self.may_start(i, now)), None)

    def start(self, task_id: str, session: int, now: float) -> None:
        known = self.tasks[task_id]
        terms = known.message.terms
        if terms is not None:
            for key in {pace.key for pace in terms.paces}:
                self.starts.setdefault(key, []).append(now)
            self.free(terms.unique, task_id, Until.START)
        self.held[session].append(task_id)
        known.state, known.session = State.LEASED, session
        known.attempt += 1
        self.expires[session] = now + LEASE

    # --- taking back ---

    def is_current(self, session: int, fence: Fence) -> bool:
        known = self.tasks.get(fence.task_id)
        return (
            known is not None
            and known.state is State.LEASED
            and known.fence == fence
            and known.session == session
        )

    def release(self, task_id: str) -> Known:
        known = self.tasks[task_id]
        assert known.session is not None
        self.held[known.session].remove(task_id)
        known.session = None
        return known

    def end(self, task_id: str, ending: Ending) -> None:
        known = self.tasks[task_id]
        known.state, known.ending = State.DONE, ending
        self.done += 1
        if known.message.terms is not None:
            self.free(known.message.terms.unique, task_id, Until.START, Until.FINISH)

    def die(self, task_id: str) -> None:
        known = self.tasks[task_id]
        known.state = State.DEAD
        if known.message.terms is not None:
            self.free(known.message.terms.unique, task_id, Until.START, Until.FINISH)

    def end_cancelled(self, task_id: str) -> None:
        self.end(task_id, Ending.CANCELLED)
        self.obituaries.append((task_id, TaskCancelled))

    def back(self, task_id: str, now: float) -> None:
        if self.has_expired(task_id, now):
            self.expire(task_id)
        else:
            self.tasks[task_id].state = State.READY

    def has_expired(self, task_id: str, now: float) -> bool:
        terms = self.tasks[task_id].message.terms
        return terms is not None and terms.expires_at is not None and terms.expires_at <= now

    def expire(self, task_id: str) -> None:
        self.end(task_id, Ending.EXPIRED)
        self.obituaries.append((task_id, TaskExpired))

    def take_away(self, session: int, now: float) -> None:
        del self.expires[session], self.workers[session]
        self.notices.pop(session, None)  # the end of the session says it all
        for task_id in self.held[session]:
            known = self.tasks[task_id]
            known.session = None
            if known.cancelled:
                self.end_cancelled(task_id)
            elif known.attempt - known.requeues >= known.message.options.max_deliveries:
                self.die(task_id)
                self.obituaries.append((task_id, WorkerLost))
            else:
                self.back(task_id, now)
        del self.held[session]

    def settle(self, session: int, said: Settlement, now: float) -> bool:
        if not self.is_current(session, said.fence):
            self.refused += 1
            return False
        task_id = said.fence.task_id
        known = self.release(task_id)
        if said.ending in (Ending.DONE, Ending.CANCELLED):
            self.end(task_id, said.ending)
            for message in said.then:
                self.accept(message, now)
        elif said.ending is Ending.DEAD:
            self.die(task_id)
        else:
            if said.ending is Ending.RETRY:
                known.failures += 1
            elif said.ending is Ending.REQUEUE:
                known.requeues += 1
            else:
                known.attempt -= 1
            later = said.ending in (Ending.RETRY, Ending.REQUEUE) and said.delay > 0
            later = later and not self.has_expired(task_id, now)
            if known.cancelled:
                self.end_cancelled(task_id)
            elif later:
                known.state, known.due = State.SCHEDULED, now + said.delay
                self.waiting.append(task_id)
            else:
                if said.ending is Ending.REQUEUE:
                    self.numbers += 1
                    known.number = self.numbers
                self.back(task_id, now)
                known.parked = said.ending is Ending.PARK and known.state is State.READY
        return True

    # --- by request, and by time ---

    def forget_place(self, task_id: str) -> None:
        if task_id in self.waiting:
            self.waiting.remove(task_id)
        self.tasks[task_id].parked = False

    def cancel(self, task_id: str) -> Verdict:
        known = self.tasks.get(task_id)
        if known is None:
            return Verdict.UNKNOWN
        if known.state is State.LEASED:
            if not known.cancelled:
                known.cancelled = True
                assert known.fence is not None
                assert known.session is not None
                notice = Notice(known.fence, "cancelled")
                self.notices.setdefault(known.session, []).append(notice)
            return Verdict.ASKED
        if known.state in (State.DONE, State.DEAD):
            again = known.ending is Ending.CANCELLED
            return Verdict.DONE if again else Verdict.ENDED
        self.forget_place(task_id)
        self.end_cancelled(task_id)
        return Verdict.DONE

    def promote(self, now: float) -> None:
        for task_id in sorted(
            [i for i, k in self.tasks.items() if k.state in (State.SCHEDULED, State.READY)],
            key=lambda i: self.expires_at(i),
        ):
            if self.has_expired(task_id, now):
                self.forget_place(task_id)
                self.expire(task_id)
        due = [i for i in self.waiting if self.tasks[i].due <= now]
        for task_id in sorted(due, key=lambda i: self.tasks[i].due):
            self.waiting.remove(task_id)
            self.numbers += 1
            self.tasks[task_id].state = State.READY
            self.tasks[task_id].number = self.numbers

    def expires_at(self, task_id: str) -> float:
        terms = self.tasks[task_id].message.terms
        if terms is None or terms.expires_at is None:
            return float("inf")
        return terms.expires_at

    def unpark(self, name: str) -> None:
        for known in self.tasks.values():
            if known.message.task_name == name:
                known.parked = False

    def purge(self, queue: str) -> int:
        found = [
            i
            for i, known in self.tasks.items()
            if known.state in (State.SCHEDULED, State.READY)
            and known.message.options.queue == queue
        ]
        for task_id in found:
            self.cancel(task_id)
        return len(found)

    def forget_dead(self, task_id: str) -> None:
        known = self.tasks[task_id]
        known.state, known.ending = State.DONE, Ending.DEAD

    def where(self, task_id: str) -> str:
        known = self.tasks.get(task_id)
        if known is None:
            return "unknown"
        return "parked" if known.parked else known.state.value
