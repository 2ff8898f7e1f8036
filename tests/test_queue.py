"""The queue core against a naive model: promises 29 to 34 and 36 to 38, without Trio."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from actorq.engines.memory.queue import Queue, State, Verdict
from actorq.errors import DuplicateTaskId, TaskCancelled, WorkerLost
from actorq.message import Delivery, Fence, TaskMessage
from actorq.options import TaskOptions
from actorq.protocol import Ending, Notice, Settlement


LEASE = 30.0
IDS = [f"t{n}" for n in range(12)]
NAMES = ["add", "mul"]
WORKERS = ["w1", "w2"]
PRIORITIES = [-1, 0, 5]
#: Pauses on both sides of everything that is timed here, boundaries included.
STEPS = st.sampled_from([0.0, 0.5, 1.0, 4.0, 10.0, 29.0, 30.0, 31.0])


@attrs.frozen
class FewDeliveries(TaskOptions):
    """Dead after two deliveries whose worker died, so that drawn programs get there."""

    @property
    def max_deliveries(self) -> int:
        return 2


def message(
    task_id: str,
    *,
    name: str = "add",
    priority: int = 0,
    eta: float | None = None,
    arg: int = 0,
    options: type[TaskOptions] = TaskOptions,
) -> TaskMessage:
    """A call."""
    return TaskMessage(task_id, name, (arg,), {}, options(priority=priority), eta)


@attrs.define
class Known:
    """What the model knows of one task."""

    message: TaskMessage
    state: State
    attempt: int = 0
    failures: int = 0
    fence: Fence | None = None
    session: int | None = None
    due: float = 0.0
    cancelled: bool = False
    parked: bool = False
    ending: Ending | None = None


@attrs.define
class Model:
    """The law in the plainest words: lists that are searched from end to end."""

    tasks: dict[str, Known] = attrs.field(factory=dict)
    waiting: list[str] = attrs.field(factory=list)  #: scheduled, in the order of scheduling
    line: list[str] = attrs.field(factory=list)  #: ready and not parked, whatever the priority
    parked: list[str] = attrs.field(factory=list)
    held: dict[int, list[str]] = attrs.field(factory=dict)  #: by session, in the order of claiming
    expires: dict[int, float] = attrs.field(factory=dict)
    workers: dict[int, str] = attrs.field(factory=dict)
    obituaries: list[tuple[str, type[Exception]]] = attrs.field(factory=list)
    notices: dict[int, list[Notice]] = attrs.field(factory=dict)
    refused: int = 0
    done: int = 0

    def accept(self, sent: TaskMessage, now: float) -> None:
        if sent.task_id in self.tasks:
            return
        if sent.eta is not None and sent.eta > now:
            self.tasks[sent.task_id] = Known(sent, State.SCHEDULED, due=sent.eta)
            self.waiting.append(sent.task_id)
        else:
            self.tasks[sent.task_id] = Known(sent, State.READY)
            self.line.append(sent.task_id)

    def claim(self, session: int, limit: int, now: float) -> list[str]:
        if session not in self.held:
            return []
        order = sorted(self.line, key=lambda i: -self.tasks[i].message.options.priority)[:limit]
        for task_id in order:
            self.line.remove(task_id)
            self.held[session].append(task_id)
            known = self.tasks[task_id]
            known.state, known.session = State.LEASED, session
            known.attempt += 1
        if order:
            self.expires[session] = now + LEASE
        return order

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

    def end_cancelled(self, task_id: str) -> None:
        self.end(task_id, Ending.CANCELLED)
        self.obituaries.append((task_id, TaskCancelled))

    def to_front(self, task_id: str) -> None:
        self.tasks[task_id].state = State.READY
        self.line.insert(0, task_id)

    def take_away(self, session: int) -> None:
        del self.expires[session], self.workers[session]
        self.notices.pop(session, None)  # the end of the session says it all
        for task_id in reversed(self.held[session]):
            known = self.tasks[task_id]
            known.session = None
            if known.cancelled:
                self.end_cancelled(task_id)
            elif known.attempt >= known.message.options.max_deliveries:
                known.state = State.DEAD
                self.obituaries.append((task_id, WorkerLost))
            else:
                self.to_front(task_id)
        del self.held[session]

    def settle(self, session: int, said: Settlement, now: float) -> bool:
        if not self.is_current(session, said.fence):
            self.refused += 1
            return False
        task_id = said.fence.task_id
        known = self.release(task_id)
        if said.ending in (Ending.DONE, Ending.CANCELLED):
            self.end(task_id, said.ending)
        elif said.ending is Ending.DEAD:
            known.state = State.DEAD
        else:
            if said.ending is Ending.RETRY:
                known.failures += 1
            else:
                known.attempt -= 1
            if known.cancelled:
                self.end_cancelled(task_id)
            elif said.ending is Ending.RETRY and said.delay > 0:
                known.state, known.due = State.SCHEDULED, now + said.delay
                self.waiting.append(task_id)
            elif said.ending is Ending.PARK:
                known.state, known.parked = State.READY, True
                self.parked.append(task_id)
            else:
                self.to_front(task_id)
        return True

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
        for where in (self.waiting, self.line, self.parked):
            if task_id in where:
                where.remove(task_id)
        known.parked = False
        self.end_cancelled(task_id)
        return Verdict.DONE

    def promote(self, now: float) -> None:
        due = [i for i in self.waiting if self.tasks[i].due <= now]
        for task_id in sorted(due, key=lambda i: self.tasks[i].due):
            self.waiting.remove(task_id)
            self.tasks[task_id].state = State.READY
            self.line.append(task_id)

    def unpark(self, name: str) -> None:
        found = [i for i in self.parked if self.tasks[i].message.task_name == name]
        for task_id in reversed(found):
            self.parked.remove(task_id)
            self.tasks[task_id].parked = False
            self.line.insert(0, task_id)

    def where(self, task_id: str) -> str:
        known = self.tasks.get(task_id)
        if known is None:
            return "unknown"
        return "parked" if known.parked else known.state.value


class QueueMachine(RuleBasedStateMachine):
    """Several workers, a clock, leases that lapse; after each step model and queue agree."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(lease=LEASE)
        self.model = Model()
        self.now = 1000.0
        self.session_ids: list[int] = []  #: of all sessions that ever were
        self.fences: list[tuple[int, Fence]] = []  #: of all deliveries that ever were
        self.starts: Counter[str] = Counter()

    # --- rules ---

    @rule(
        ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=5),
        priority=st.sampled_from(PRIORITIES),
        name=st.sampled_from(NAMES),
        delay=st.sampled_from([None, -5.0, 0.0, 3.0, 20.0]),
        options=st.sampled_from([TaskOptions, FewDeliveries]),
    )
    def enqueue(
        self,
        ids: list[str],
        priority: int,
        name: str,
        delay: float | None,
        options: type[TaskOptions],
    ) -> None:
        eta = None if delay is None else self.now + delay
        batch = [
            message(i, priority=priority, name=name, eta=eta, arg=int(i[1:]), options=options)
            for i in ids
        ]
        live = {i for i, known in self.model.tasks.items() if known.state not in _ENDED}
        clash = any(
            sent.task_id in live
            and self.model.tasks[sent.task_id].message.task_name != sent.task_name
            for sent in batch
        )
        if clash:  # all or none
            with pytest.raises(DuplicateTaskId, match="belongs to another call already"):
                self.queue.enqueue(batch, self.now)
            return
        before = len(self.model.tasks)
        for sent in batch:
            self.model.accept(sent, self.now)
        assert self.queue.enqueue(batch, self.now) == len(self.model.tasks) - before

    @rule(worker=st.sampled_from(WORKERS))
    def open_session(self, worker: str) -> None:
        for old in [s for s, w in self.model.workers.items() if w == worker]:
            self.model.take_away(old)
        session = self.queue.open_session(worker, self.now)
        assert session.id not in self.session_ids
        self.session_ids.append(session.id)
        self.model.workers[session.id] = worker
        self.model.held[session.id] = []
        self.model.expires[session.id] = self.now + LEASE

    @precondition(lambda self: self.session_ids)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.session_ids))
        until = self.queue.extend(session, self.now)
        if session in self.model.expires:
            self.model.expires[session] = self.now + LEASE
            assert until == self.now + LEASE
        else:
            assert until is None

    @precondition(lambda self: self.session_ids)
    @rule(data=st.data(), limit=st.integers(0, 4))
    def claim(self, data: st.DataObject, limit: int) -> None:
        session = data.draw(st.sampled_from(self.session_ids[-3:]))
        expected = self.model.claim(session, limit, self.now)
        deliveries = self.queue.claim(session, limit, self.now)
        assert [each.fence.task_id for each in deliveries] == expected
        tokens = {fence.token for _, fence in self.fences}
        for delivery in deliveries:
            known = self.model.tasks[delivery.fence.task_id]
            assert delivery.fence.token not in tokens
            assert delivery == Delivery(known.message, delivery.fence, known.failures)
            assert delivery.fence.attempt == known.attempt  # promise 33
            assert known.message.eta is None or known.message.eta <= self.now  # promise 38
            assert known.ending is None  # promise 36: nothing that ended starts
            known.fence = delivery.fence
            self.fences.append((session, delivery.fence))

    @precondition(lambda self: any(self.model.held.values()))
    @rule(
        data=st.data(),
        ending=st.sampled_from(Ending),
        delay=st.sampled_from([0.0, 2.0, 20.0]),
    )
    def settle(self, data: st.DataObject, ending: Ending, delay: float) -> None:
        session = data.draw(st.sampled_from([s for s, held in self.model.held.items() if held]))
        held = self.model.held[session]
        chosen = data.draw(st.lists(st.sampled_from(held), min_size=1, max_size=3, unique=True))
        said = []
        for task_id in chosen:
            fence = self.model.tasks[task_id].fence
            assert fence is not None
            said.append(Settlement(fence, ending, delay=delay, reason="because"))
        expected = tuple(self.model.settle(session, each, self.now) for each in said)
        assert all(expected)
        assert self.queue.settle(session, said, self.now) == expected

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), ending=st.sampled_from(Ending), twist=st.integers(0, 4))
    def settle_with_a_fence_that_may_be_stale(
        self, data: st.DataObject, ending: Ending, twist: int
    ) -> None:
        """Promise 34: every fence there ever was, by every session there ever was, forged too."""
        session, fence = data.draw(st.sampled_from(self.fences))
        match twist:
            case 1:
                session = data.draw(st.sampled_from([*self.session_ids, 999]))
            case 2:
                _, other = data.draw(st.sampled_from(self.fences))
                fence = fence._replace(token=other.token, attempt=other.attempt)
            case 3:
                fence = fence._replace(task_id="nobody's")
            case 4:
                fence = fence._replace(token=fence.token + 10_000)
        said = Settlement(fence, ending, reason="because")
        expected = self.model.settle(session, said, self.now)
        assert self.queue.settle(session, [said], self.now) == (expected,)

    @rule(task_id=st.sampled_from(IDS))
    def cancel(self, task_id: str) -> None:
        """Promise 36: the verdict."""
        assert self.queue.cancel(task_id) is self.model.cancel(task_id)

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.model.promote(self.now)
        self.queue.promote(self.now)
        lapsed = [
            s for s, until in self.model.expires.items() if self.model.held[s] and self.now >= until
        ]
        for session in lapsed:
            self.model.take_away(session)
        assert self.queue.lapse(self.now) == lapsed

    @rule(seconds=STEPS)
    def the_loop_stalls(self, seconds: float) -> None:
        """Promise 35, the queue's part: a stall of the clock's owner costs no lease."""
        self.now += seconds
        self.queue.forgive(seconds)
        for session in self.model.expires:
            self.model.expires[session] += seconds

    @rule(name=st.sampled_from(NAMES))
    def somebody_knows(self, name: str) -> None:
        self.model.unpark(name)
        self.queue.unpark(name)

    @precondition(lambda self: self.session_ids)
    @rule(data=st.data())
    def read_notices(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.session_ids))
        assert self.queue.notices.pop(session, []) == self.model.notices.pop(session, [])

    # --- invariants ---

    @invariant()
    def each_task_is_in_exactly_one_place(self) -> None:
        """Promise 30, by counting what the containers hold."""
        queue = self.queue
        found: Counter[str] = Counter()
        for _, _, entry in queue.scheduled:
            if entry.state is State.SCHEDULED:
                found[entry.message.task_id] += 1
        n_scheduled = found.total()
        for priority, lane in queue.ready.items():
            for entry in lane:
                if entry.state is State.READY and not entry.parked:
                    assert entry.message.options.priority == priority
                    found[entry.message.task_id] += 1
        n_parked = 0
        for name, parked in queue.parked.items():
            for entry in parked:
                if entry.state is State.READY and entry.parked:
                    assert entry.message.task_name == name
                    found[entry.message.task_id] += 1
                    n_parked += 1
        n_ready = found.total() - n_scheduled
        for session in queue.sessions.values():
            for task_id, entry in session.held.items():
                assert entry.state is State.LEASED
                assert entry.session is session
                found[task_id] += 1
        n_leased = found.total() - n_scheduled - n_ready
        assert set(found) == set(queue.live)
        found.update([*queue.done, *queue.dead])
        assert found == dict.fromkeys(self.model.tasks, 1)

        counts = queue.statistics()
        assert counts.scheduled == n_scheduled
        assert counts.ready == n_ready
        assert counts.parked == n_parked <= n_ready
        assert counts.leased == n_leased
        assert counts.done == len(queue.done) == self.model.done
        assert counts.dead == len(queue.dead)
        assert counts.refused == self.model.refused
        assert queue.claimable == len(self.model.line)

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        for task_id in IDS:
            assert self.queue.locate(task_id) == self.model.where(task_id)
        assert set(self.queue.sessions) == set(self.model.expires)
        for session in self.queue.sessions.values():
            assert session.expires == self.model.expires[session.id]
            assert list(session.held) == self.model.held[session.id]

    @invariant()
    def the_next_due_is_the_earliest(self) -> None:
        due = [self.model.tasks[i].due for i in self.model.waiting]
        assert self.queue.next_due() == (min(due) if due else None)

    @invariant()
    def every_end_that_no_worker_reports_is_in_the_outbox_once(self) -> None:
        """Promises 29 and 36: waiters get the failure."""
        out = self.queue.outbox
        assert [(each.task_id, type(each.result.error)) for each in out] == self.model.obituaries
        assert all(each.result.is_err and each.result.return_value is None for each in out)
        assert {i for i, error in self.model.obituaries if error is WorkerLost} <= set(
            self.queue.dead
        )


_ENDED = (State.DONE, State.DEAD)

TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=60)


# --- what a drawn program would seldom meet -----------------------------------------------------


def fill(queue: Queue, *ids: str, **options: Any) -> None:
    """Enqueue calls under these ids, at time 0."""
    queue.enqueue([message(i, **options) for i in ids], 0.0)


def claimed(queue: Queue, session: int, limit: int = 10, now: float = 0.0) -> list[Delivery]:
    """Claim."""
    return list(queue.claim(session, limit, now))


def test_a_task_whose_workers_die_is_dead_after_max_deliveries() -> None:
    """29: available again with attempt + 1 each time; then dead, and its waiters are told."""
    queue = Queue(lease=LEASE)
    fill(queue, "a")
    most = TaskOptions().max_deliveries
    for attempt in range(1, most + 1):
        session = queue.open_session("w", attempt * 100.0)
        (delivery,) = claimed(queue, session.id, now=attempt * 100.0)
        assert delivery.fence.attempt == attempt
        assert not queue.outbox
        assert queue.lapse(attempt * 100.0 + LEASE) == [session.id]
    assert queue.locate("a") == "dead"
    assert queue.dead["a"].attempts == most
    assert f"delivered {most} times" in queue.dead["a"].reason
    assert queue.dead["a"].error is not None
    (obituary,) = queue.outbox
    assert obituary.task_id == "a"
    assert isinstance(obituary.result.error, WorkerLost)
    assert obituary.result.attempts == most


def test_a_lease_lapses_at_its_end_and_not_before() -> None:
    """29, 34: the boundary belongs to the others, as the result backend has it too."""
    queue = Queue(lease=LEASE)
    fill(queue, "a")
    session = queue.open_session("w", 0.0)
    claimed(queue, session.id, now=5.0)
    assert queue.lapse(34.999) == []
    assert queue.lapse(35.0) == [session.id]


def test_retries_do_not_bring_a_task_nearer_to_its_limit_of_deliveries() -> None:
    """29, 33: the limit is above every number of attempts that the retries allow."""
    for retries in range(5):
        options = TaskOptions().updated({"retries": retries}, where="test")
        assert options.max_deliveries > retries + 1


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 7))
def test_order_is_kept_when_deliveries_are_given_back(which: list[int], limit: int) -> None:
    """37: given back newest first, as the pool does it, tasks start in the order of enqueueing."""
    queue = Queue(lease=LEASE)
    ids = [f"t{n:02}" for n in range(12)]
    fill(queue, *ids)
    session = queue.open_session("w", 0.0)
    for _ in which:
        batch = claimed(queue, session.id, limit)
        said = [Settlement(each.fence, Ending.GIVE_BACK) for each in reversed(batch)]
        assert all(queue.settle(session.id, said, 0.0))
    last = claimed(queue, session.id, 100)
    assert [each.fence.task_id for each in last] == ids
    assert {each.fence.attempt for each in last} == {1}  # no attempt was burned


def test_a_session_that_ends_keeps_the_order_of_its_jobs() -> None:
    """37"""
    queue = Queue(lease=LEASE)
    fill(queue, "a", "b", "c", "d")
    first = queue.open_session("w", 0.0)
    assert [each.fence.task_id for each in claimed(queue, first.id, 3)] == ["a", "b", "c"]
    second = queue.open_session("w", 0.0)
    assert [each.fence.task_id for each in claimed(queue, second.id)] == ["a", "b", "c", "d"]


def test_a_million_ids_that_ended_are_not_remembered_for_ever() -> None:
    """31: within `remember`, sending again is harmless; beyond, memory is bounded."""
    queue = Queue(lease=LEASE, remember=3, keep_dead=2)
    session = queue.open_session("w", 0.0)
    for n in range(10):
        fill(queue, f"t{n}")
        (delivery,) = claimed(queue, session.id)
        ending = Ending.DEAD if n % 2 else Ending.DONE
        queue.settle(session.id, [Settlement(delivery.fence, ending, reason="r")], 0.0)
    assert list(queue.done) == ["t4", "t6", "t8"]
    assert list(queue.dead) == ["t7", "t9"]
    fill(queue, "t8", "t9")
    assert not queue.live
    fill(queue, "t0")
    assert list(queue.live) == ["t0"]


def test_one_batch_with_two_calls_under_one_id_is_refused_whole() -> None:
    """31: the second would be lost without a word."""
    queue = Queue(lease=LEASE)
    with pytest.raises(DuplicateTaskId):
        queue.enqueue([message("b"), message("a", arg=1), message("a", arg=2)], 0.0)
    assert not queue.live


def test_a_message_twice_in_one_batch_is_stored_once() -> None:
    """31"""
    queue = Queue(lease=LEASE)
    assert queue.enqueue([message("a"), message("a")], 0.0) == 1


def test_sessions_that_end_leave_no_notices_behind_when_their_worker_is_gone() -> None:
    """A worker that dies again and again does not fill the memory with notices to the dead."""
    queue = Queue(lease=LEASE)
    fill(queue, "a")
    for _ in range(5):
        session = queue.open_session("w", 0.0)
        claimed(queue, session.id)
    assert not queue.notices


def test_a_fence_is_of_one_delivery_and_not_of_the_next_to_the_same_worker() -> None:
    """34"""
    queue = Queue(lease=LEASE)
    fill(queue, "a")
    session = queue.open_session("w", 0.0)
    (first,) = claimed(queue, session.id)
    queue.settle(session.id, [Settlement(first.fence, Ending.GIVE_BACK)], 0.0)
    (second,) = claimed(queue, session.id)
    for ending in Ending:
        assert queue.settle(session.id, [Settlement(first.fence, ending)], 0.0) == (False,)
        assert queue.locate("a") == "leased"
    assert queue.settle(session.id, [Settlement(second.fence, Ending.DONE)], 0.0) == (True,)
    assert queue.statistics().refused == len(Ending)
