"""The queue core against a naive model: promises 29 to 34 and 36 to 38, without Trio."""

from __future__ import annotations

import math
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

from actorq.engines.memory.queue import Held, Queue, State, Verdict
from actorq.errors import DuplicateTask, DuplicateTaskId, TaskCancelled, WorkerLost
from actorq.limits import Pace, Permit
from actorq.message import Delivery, Fence, TaskMessage, Terms
from actorq.options import TaskOptions
from actorq.protocol import Ending, Settlement
from actorq.queue_choice import QueueChoice
from actorq.unique import OnConflict, UniqueKey, Until
from queue_model import LEASE, Model
from strategies import examples


_ENDED = (State.DONE, State.DEAD)
#: What a worker may say; the queue alone knows that a task has expired.
ENDINGS = [ending for ending in Ending if ending is not Ending.EXPIRED]
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


QUEUES = ["default", "mail", "video"]
SERVED = [
    None,
    QueueChoice(("default",)),
    QueueChoice(("mail", "default")),
    QueueChoice(("default", "video"), (3.0, 1.0)),
]
PERMITS = [(), (Permit("p", 1),), (Permit("p", 1), Permit("q", 2)), (Permit("q", 2),)]
PACES = [
    (),
    (Pace("smooth", 1, 4.0, True),),
    (Pace("window", 2, 10.0, False),),
    (Pace("both", 2, 3.0, False), Pace("both", 3, 10.0, False)),
]
UNIQUE = st.builds(
    UniqueKey,
    st.sampled_from(["u", "v"]),
    st.sampled_from(OnConflict),
    st.just(Until.FINISH),
    st.none(),
).flatmap(
    lambda key: st.sampled_from(
        [key._replace(until=Until.START)]
        if key.on_conflict is OnConflict.DEBOUNCE
        else [key, key._replace(until=Until.START), key._replace(until=Until.TIME, seconds=10.0)]
    )
)
TERMS: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.builds(
    dict,
    expires_in=st.none() | st.sampled_from([0.5, 4.0, 31.0]),
    unique=st.none() | UNIQUE,
    permits=st.sampled_from(PERMITS),
    paces=st.sampled_from(PACES),
)


@st.composite
def calls(draw: st.DrawFn, now: float, ids: list[str]) -> list[TaskMessage]:
    """A batch; what one id calls is always the same, but for one in a while."""
    found = []
    for task_id in ids:
        kind = draw(st.sampled_from([TaskOptions, TaskOptions, FewDeliveries]))
        delay = draw(st.sampled_from([None, None, -5.0, 0.0, 3.0, 20.0]))
        drawn = draw(TERMS)
        terms = None
        if drawn is not None:
            wait = drawn.pop("expires_in")
            terms = Terms(expires_at=None if wait is None else now + wait, **drawn)
        found.append(
            TaskMessage(
                task_id,
                draw(st.sampled_from(["add", "add", "add", "mul"])),
                (int(task_id[1:]),),
                {},
                kind(
                    priority=draw(st.sampled_from(PRIORITIES)),
                    queue=draw(st.sampled_from(QUEUES)),
                ),
                None if delay is None else now + delay,
                terms=terms,
            )
        )
    return found


def is_debounced(message: TaskMessage) -> bool:
    """Whether its call may change while it waits."""
    unique = None if message.terms is None else message.terms.unique
    return unique is not None and unique.on_conflict is OnConflict.DEBOUNCE


def fields(of: TaskMessage) -> dict[str, Any]:
    """What a message says."""
    return attrs.asdict(of, recurse=False)


class QueueMachine(RuleBasedStateMachine):
    """Several workers, a clock, leases that lapse; after each step model and queue agree."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue(lease=LEASE)
        self.model = Model()
        self.now = 1000.0
        self.choices: dict[int, QueueChoice | None] = {}
        self.session_ids: list[int] = []  #: of all sessions that ever were
        self.fences: list[tuple[int, Fence]] = []  #: of all deliveries that ever were
        self.starts: Counter[str] = Counter()

    # --- rules ---

    @rule(data=st.data(), ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=5))
    def enqueue(self, data: st.DataObject, ids: list[str]) -> None:
        batch = data.draw(calls(self.now, ids))
        live = [k.message for k in self.model.tasks.values() if k.state not in _ENDED]
        firsts = {each.task_id: each for each in reversed(batch)}
        clash = any(
            earlier.task_id == sent.task_id
            and earlier.task_name != sent.task_name
            and not is_debounced(earlier)
            for sent in batch
            for earlier in (*live, firsts[sent.task_id])
        )
        if clash:  # all or none
            with pytest.raises(DuplicateTaskId, match="belongs to another call already"):
                self.queue.enqueue(batch, self.now)
            return
        try:
            expected = self.model.enqueue(batch, self.now)
        except DuplicateTask:  # promise 39
            with pytest.raises(DuplicateTask, match="has the unique key"):
                self.queue.enqueue(batch, self.now)
            return
        answer = self.queue.enqueue(batch, self.now)
        assert list(answer or [sent.task_id for sent in batch]) == expected

    @rule(worker=st.sampled_from(WORKERS), choice=st.sampled_from(SERVED))
    def open_session(self, worker: str, choice: QueueChoice | None) -> None:
        for old in [s for s, w in self.model.workers.items() if w == worker]:
            self.model.take_away(old, self.now)
        session = self.queue.open_session(worker, self.now, choice)
        assert session.id not in self.session_ids
        self.session_ids.append(session.id)
        self.choices[session.id] = choice
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
        """Promises 37, 38, 39 and 41: each is the one that its queue gives next, and none is left."""
        session = data.draw(st.sampled_from(self.session_ids[-3:]))
        self.model.promote(self.now)
        self.queue.promote(self.now)
        deliveries = self.queue.claim(session, limit, self.now)
        if session not in self.model.expires:
            assert not deliveries
            return
        choice = self.choices[session]
        served = QUEUES if choice is None else list(choice.names)
        strict = choice is not None and choice.weights is None
        tokens = {fence.token for _, fence in self.fences}
        for delivery in deliveries:
            task_id = delivery.fence.task_id
            known = self.model.tasks[task_id]
            queue = known.message.options.queue
            assert queue in served
            assert self.model.startable(queue, self.now) == task_id
            if strict:
                earlier = served[: served.index(queue)]
                assert not any(self.model.startable(each, self.now) for each in earlier)
            self.model.start(task_id, session, self.now)
            assert delivery.fence.token not in tokens
            assert delivery.failures == known.failures
            assert fields(delivery.message) == fields(known.message)
            assert delivery.fence.attempt == known.attempt  # promise 33
            assert known.message.eta is None or known.message.eta <= self.now  # promise 38
            assert known.ending is None  # promise 36: nothing that ended starts
            known.fence = delivery.fence
            self.fences.append((session, delivery.fence))
        assert len(deliveries) <= limit
        if len(deliveries) < limit:
            assert not any(self.model.startable(queue, self.now) for queue in served)

    @precondition(lambda self: any(self.model.held.values()))
    @rule(
        data=st.data(),
        ending=st.sampled_from(ENDINGS),
        delay=st.sampled_from([0.0, 2.0, 20.0]),
        follow=st.sampled_from(IDS),
    )
    def settle(self, data: st.DataObject, ending: Ending, delay: float, follow: str) -> None:
        session = data.draw(st.sampled_from([s for s, held in self.model.held.items() if held]))
        held = self.model.held[session]
        chosen = data.draw(st.lists(st.sampled_from(held), min_size=1, max_size=3, unique=True))
        said = []
        for task_id in chosen:
            fence = self.model.tasks[task_id].fence
            assert fence is not None
            then: tuple[TaskMessage, ...] = ()
            if ending is Ending.DONE and follow not in self.model.tasks:
                then = (message(follow, arg=int(follow[1:])),)
            said.append(Settlement(fence, ending, delay=delay, reason="because", then=then))
        expected = tuple(self.model.settle(session, each, self.now) for each in said)
        assert all(expected)
        assert self.queue.settle(session, said, self.now) == expected

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), ending=st.sampled_from(ENDINGS), twist=st.integers(0, 4))
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
        assert self.queue.cancel(task_id, self.now) is self.model.cancel(task_id)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        (self.model.paused.add if paused else self.model.paused.discard)(queue)
        self.queue.set_paused(queue, paused=paused)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        assert self.queue.purge(queue, self.now) == self.model.purge(queue)

    @rule(ids=st.lists(st.sampled_from(IDS), max_size=3, unique=True), replay=st.booleans())
    def empty_the_dead_letters(self, ids: list[str], replay: bool) -> None:
        """Replayed under a new id, in the step in which it leaves the dead letters."""
        dead = [i for i in ids if i in self.queue.dead]
        if not replay:
            assert self.queue.purge_dead(ids) == len(dead)
        else:
            fresh = iter([i for i in IDS if i not in self.model.tasks])
            pairs = [(i, message(j, arg=int(j[1:]))) for i, j in zip(ids, fresh, strict=False)]
            expected = tuple(sent.task_id if i in dead else None for i, sent in pairs)
            for i, sent in pairs:
                if i in dead:
                    self.model.accept(sent, self.now)
            assert self.queue.replay(pairs, self.now) == expected
            dead = [i for i, _ in pairs if i in dead]
        for i in dead:
            self.model.forget_dead(i)

    @rule(seconds=STEPS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.model.promote(self.now)
        self.queue.promote(self.now)
        lapsed = [
            s for s, until in self.model.expires.items() if self.model.held[s] and self.now >= until
        ]
        for session in lapsed:
            self.model.take_away(session, self.now)
        assert self.queue.lapse(self.now) == lapsed

    @rule(seconds=STEPS)
    def the_loop_stalls(self, seconds: float) -> None:
        """Promise 35, the queue's part: a stall of the clock's owner costs no lease."""
        self.now += seconds
        self.queue.forgive(self.model.expires, seconds)
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
        n_lanes = 0
        for name, line in queue.lines.items():
            for priority, lane in line.lanes.items():
                for entry in [*lane.fresh, *(place[2] for place in lane.back)]:
                    if entry.state is State.READY:
                        assert entry.held is None
                        assert entry.line is line
                        assert entry.message.options.queue == name
                        assert entry.message.options.priority == priority
                        found[entry.message.task_id] += 1
                        n_lanes += 1
        n_limited = 0
        gates = [*queue.admission.permits.values(), *queue.admission.paces.values()]
        for gate in gates:
            for crowd in gate.crowds.values():
                for place in crowd.waiting:
                    entry = place[-1]
                    if entry.state is State.READY:
                        assert entry.held is gate.why
                        found[entry.message.task_id] += 1
                        n_limited += 1
        n_parked = 0
        for name, parked in queue.parked.items():
            for entry in parked:
                if entry.state is State.READY and entry.held is Held.PARKED:
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
        assert counts.limited == n_limited <= n_ready
        assert sum(counts.queues.values()) == n_ready
        assert counts.paused == self.model.paused
        assert counts.leased == n_leased
        assert counts.done == self.model.done
        assert counts.dead == len(queue.dead)
        assert counts.refused == self.model.refused
        assert sum(line.claimable for line in queue.lines.values()) == n_lanes
        running = {gate.key: gate.running for gate in queue.admission.permits.values()}
        for key, limit in (("p", 1), ("q", 2)):  # promise 41
            assert running.get(key, 0) == self.model.running(key) <= limit

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        for task_id in IDS:
            where = self.queue.locate(task_id)
            assert ("ready" if where in ("limited", "paced") else where) == self.model.where(
                task_id
            )
        assert set(self.queue.sessions) == set(self.model.expires)
        for session in self.queue.sessions.values():
            assert session.expires == self.model.expires[session.id]
            assert list(session.held) == self.model.held[session.id]

    @invariant()
    def the_next_due_is_the_earliest(self) -> None:
        """Whatever time does is done in time: nothing waits for a moment that nobody looks at."""
        due = [self.model.tasks[i].due for i in self.model.waiting]
        for task_id, known in self.model.tasks.items():
            if known.state in (State.SCHEDULED, State.READY):
                due.append(self.model.expires_at(task_id))
        next_due = self.queue.next_due()
        if min(due, default=math.inf) < math.inf:
            assert next_due is not None
            assert next_due <= min(due)
        elif all(known.state in _ENDED for known in self.model.tasks.values()):
            assert next_due is None  # an idle queue has no timer

    @invariant()
    def every_end_that_no_worker_reports_is_in_the_outbox_once(self) -> None:
        """Promises 29, 36 and 38: waiters get the failure."""
        out = self.queue.outbox
        told = [(each.task_id, type(each.result.error)) for each in out]
        assert Counter(told) == Counter(self.model.obituaries)
        assert all(each.result.is_err and each.result.return_value is None for each in out)
        lost = {i for i, error in self.model.obituaries if error is WorkerLost}
        assert all(i in self.queue.dead or self.model.tasks[i].ending is Ending.DEAD for i in lost)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=examples(150), stateful_step_count=60)


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
    queue.enqueue([message("a"), message("a")], 0.0)
    assert list(queue.live) == ["a"]


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


def test_what_was_cancelled_at_a_limit_leaves_nothing_there() -> None:
    """A gate whose first in line waits for long does not keep all that gave up behind it."""
    queue = Queue()
    session = queue.open_session("w", 0.0)

    def enqueue(task_id: str) -> None:
        queue.enqueue([TaskMessage(task_id, "t", terms=Terms(permits=(Permit("p", 1),)))], 0.0)
        claimed(queue, session.id)

    for task_id in ("runs", "first", "second"):
        enqueue(task_id)
    for n in range(5000):
        enqueue(f"t{n}")
        queue.cancel(f"t{n}", 0.0)
    (crowd,) = queue.admission.permits["p"].crowds.values()
    assert len(crowd.waiting) < 200
    assert queue.statistics().limited == 2


def test_a_chain_that_is_debounced_leaves_none_of_its_steps_behind() -> None:
    """36, 39: who waits for a step that will never come is told so; cancelling it breaks nothing."""
    queue = Queue(lease=LEASE)

    def enqueue(task_id: str, *steps: str) -> None:
        debounced = UniqueKey("u", OnConflict.DEBOUNCE, Until.START, None)
        terms = Terms(unique=debounced, chain=tuple([message(step) for step in steps]))
        queue.enqueue(
            [TaskMessage(task_id, "add", (0,), {}, TaskOptions(), 10.0, terms=terms)], 0.0
        )

    enqueue("a", "a.1", "both")
    enqueue("b", "both", "b.1")
    assert [queue.locate(step) for step in ("a.1", "both", "b.1")] == ["done", "pending", "pending"]
    assert [(each.task_id, type(each.result.error)) for each in queue.outbox] == [
        ("a.1", TaskCancelled)
    ]
    assert queue.cancel("a.1", 0.0) is Verdict.DONE  # as it was answered before
    assert queue.locate("a") == "scheduled"
    assert queue.cancel("b.1", 0.0) is Verdict.DONE
    assert queue.locate("a") == "done"
