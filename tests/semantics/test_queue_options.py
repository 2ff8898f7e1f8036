"""Promises 37 to 39 and 41, and the queue options, through the whole system."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Concurrency, InMemoryBroker, OptionError, Rate, Unique, open_system
from actorq.errors import (
    ArgumentsError,
    DeadTaskNotFound,
    DuplicateTask,
    EnqueueUncertain,
    ResultGetError,
    TaskCancelled,
    TaskExpired,
)
from actorq.testing import Tape, simulate
from actorq.unique import OnConflict
from queue_strategies import (
    INJECTED,
    MOMENTS,
    QUICK,
    crash_as_planned,
    crashes,
    enqueue_for_sure,
    tapes,
)


# --- concurrency limits ---------------------------------------------------------------------------


@attrs.define
class Gauge:
    """How many run at a time, by key; the most there ever were."""

    now: Counter[str] = attrs.field(factory=Counter)
    most: Counter[str] = attrs.field(factory=Counter)

    async def run(self, *keys: str, seconds: float) -> None:
        for key in keys:
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
        try:
            await trio.sleep(seconds)
        finally:
            for key in keys:
                self.now[key] -= 1


@given(
    tapes,
    st.lists(
        st.tuples(MOMENTS, st.sampled_from("ab"), st.sampled_from([0.0, 0.3, 1.0, 5.0])),
        min_size=1,
        max_size=12,
    ),
    crashes,
)
def test_no_more_run_than_the_limits_allow(
    tape: Tape, calls: list[tuple[float, str, float]], plan: list[Any]
) -> None:
    """41. A36: per task and per key, over crashes of whatever; and all of them end."""
    gauge = Gauge()

    @actorq.task(
        concurrency=[Concurrency(3), Concurrency(1, key="{account}")],
        retries=1,
        max_deliveries=50,
    )
    async def work(account: str, n: int, seconds: float) -> int:
        await gauge.run("all", account, seconds=seconds)
        return n

    async def main() -> None:
        async with open_system(backoff=QUICK, grace=1000) as sys, trio.open_nursery() as nursery:
            nursery.start_soon(crash_as_planned, sys, plan)
            for n, (at, account, seconds) in enumerate(calls):
                nursery.start_soon(one, sys, n, at, account, seconds)

    async def one(sys: actorq.System, n: int, at: float, account: str, seconds: float) -> None:
        await trio.sleep_until(at)
        call = work.using(task_id=f"t{n}")
        handle = await enqueue_for_sure(sys, call, account, n, seconds)
        outcome = await handle.wait_result()
        assert outcome.return_value == n

    simulate(main, tape=tape)
    assert gauge.most["all"] <= 3
    assert gauge.most["a"] <= 1
    assert gauge.most["b"] <= 1


async def test_what_waits_for_a_limit_holds_up_nothing_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """41. A key with much waiting costs the others nothing, and its room is used in order."""
    order: list[str] = []

    @actorq.task(concurrency=Concurrency(1, key="{key}"))
    async def work(key: str, n: int) -> None:
        order.append(f"{key}{n}")
        await trio.sleep(1)

    async with open_system(concurrency=4) as sys:
        await sys.enqueue_many(work, [("a", n) for n in range(50)])
        await sys.enqueue_many(work, [("b", n) for n in range(3)])
        await trio.sleep(2.5)
        assert sorted(order) == ["a0", "a1", "a2", "b0", "b1", "b2"]
        assert (await sys.queue_statistics()).limited == 47
        states = Counter(each.state for each in await sys.queued_tasks())
        assert states == {"leased": 2, "limited": 47}
        await sys.wait_idle()
    assert [name for name in order if name[0] == "a"] == [f"a{n}" for n in range(50)]


async def test_a_limit_of_a_queue_is_shared_by_its_tasks(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """41. `per="queue"` and `per="system"`."""
    gauge = Gauge()

    @actorq.task(queue="mail", concurrency=Concurrency(2, per="queue"))
    async def one(n: int) -> None:
        await gauge.run("mail", seconds=1)

    @actorq.task(queue="mail", concurrency=Concurrency(2, per="queue"))
    async def two(n: int) -> None:
        await gauge.run("mail", seconds=1)

    async with open_system() as sys:
        await sys.enqueue_many(one, [(n,) for n in range(6)])
        await sys.enqueue_many(two, [(n,) for n in range(6)])
        await sys.wait_idle()
    assert gauge.most["mail"] == 2
    assert trio.current_time() >= 6


async def test_queues_that_share_a_limit_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    """41. A turn in which a limit left a queue nothing is none: the other would have them all."""
    order: list[str] = []

    @actorq.task(concurrency=Concurrency(1, per="system"))
    async def work(name: str) -> None:
        order.append(name)
        await trio.sleep(1)

    async with open_system(queues={"a": 1, "b": 1, "c": 2}) as sys:
        for name in "abc":
            await sys.enqueue_many(work.using(queue=name), [(name,)] * 8)
        await sys.wait_idle()
    assert Counter(order[:8]) == {"a": 2, "b": 2, "c": 4}


async def test_a_limit_whose_next_task_no_worker_serves_serves_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """41. Room that is offered to a queue without a worker is not lost to the others."""

    @actorq.task(concurrency=Concurrency(1))
    async def work(n: int) -> int:
        await trio.sleep(1)
        return n

    async with open_system(queues=["served"], grace=0) as sys:
        first = await sys.enqueue(work.using(queue="served"), 1)
        await trio.sleep(0.5)
        await sys.enqueue(work.using(queue="nobody's", priority=9), 2)
        last = await sys.enqueue(work.using(queue="served"), 3)
        assert await first.result() == 1
        with trio.fail_after(5):
            assert await last.result() == 3


# --- rates ----------------------------------------------------------------------------------------


@given(
    tapes,
    st.integers(1, 4),
    st.sampled_from([0.5, 1.0, 7.0]),
    st.booleans(),
    st.lists(MOMENTS, min_size=1, max_size=10),
    crashes,
)
def test_no_more_start_than_the_rate_allows(
    tape: Tape, count: int, period: float, smooth: bool, moments: list[float], plan: list[Any]
) -> None:
    """A36: in no stretch of `period` more than `count` starts; smooth ones keep their distance."""
    starts: list[float] = []

    @actorq.task(rate=Rate(count, period, smooth=smooth), max_deliveries=50)
    async def work(n: int) -> int:
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return n

    async def main() -> None:
        async with open_system(backoff=QUICK, grace=1000) as sys, trio.open_nursery() as nursery:
            nursery.start_soon(crash_as_planned, sys, plan)
            for n, at in enumerate(moments):
                nursery.start_soon(one, sys, n, at)

    async def one(sys: actorq.System, n: int, at: float) -> None:
        await trio.sleep_until(at)
        handle = await enqueue_for_sure(sys, work.using(task_id=f"t{n}"), n)
        assert await handle.result() == n

    simulate(main, tape=tape)
    starts.sort()
    for n, start in enumerate(starts):
        if n >= count:
            assert start - starts[n - count] >= period - 1e-6
        if smooth and n:
            assert start - starts[n - 1] >= period / count - 1e-6
    if not plan:  # and no slower than that
        allowed = (len(starts) - 1) * period / count if smooth else 0
        burst = math.ceil(len(starts) / count) * period
        assert starts[-1] <= max(moments) + max(allowed, burst) + 1e-6


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.sampled_from([1.0, 3.0, 10.0]), st.booleans()),
        min_size=1,
        max_size=3,
    ),
    st.lists(MOMENTS, min_size=1, max_size=15),
)
def test_of_several_rates_each_holds(
    rates: list[tuple[int, float, bool]], moments: list[float]
) -> None:
    """A36: ten in a second and thirty in a minute: a start counts once for each of them."""
    starts: list[float] = []

    @actorq.task(rate=[Rate(count, period, smooth=smooth) for count, period, smooth in rates])
    async def work() -> None:
        starts.append(trio.current_time())

    async def main() -> None:
        async with open_system() as sys:
            for at in sorted(moments):
                await trio.sleep_until(at)
                await sys.enqueue(work)
            await sys.wait_idle()

    simulate(main)
    due = 0.0
    for n, at in enumerate(sorted(moments)):
        due = max(due, at)
        for count, period, smooth in rates:
            if smooth and n:
                due = max(due, starts[n - 1] + period / count)
            elif not smooth and n >= count:
                due = max(due, starts[n - count] + period)
        assert starts[n] == pytest.approx(due)


async def test_two_limits_of_one_key_are_the_lower_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """41. A task that runs takes one permit of its key, however often the key was said."""
    gauge = Gauge()

    @actorq.task(concurrency=[Concurrency(4), Concurrency(2)])
    async def work() -> None:
        await gauge.run("all", seconds=1)

    async with open_system() as sys:
        await sys.enqueue_many(work, [()] * 6)
        await sys.wait_idle()
    assert gauge.most["all"] == 2
    assert trio.current_time() == pytest.approx(3)


async def test_an_idle_queue_with_rates_sets_no_timer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody waits for a turn: no wake-up."""

    @actorq.task(rate="1/h")
    async def work() -> None: ...

    broker = InMemoryBroker()
    async with open_system(broker) as sys:
        await (await sys.enqueue(work)).result()
        assert broker.queue.next_due() is None


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/s", Rate(10, 1)),
        ("100/min", Rate(100, 60)),
        ("5/10s", Rate(5, 10)),
        ("1/2h", Rate(1, 7200)),
        (" 3 / 0.5 s ", Rate(3, 0.5)),
    ],
)
def test_rates_are_read(text: str, rate: Rate) -> None:
    """As users write them."""
    assert Rate.read(text) == rate


@pytest.mark.parametrize("text", ["", "10", "ten/s", "10/fortnight", "0/s", "10/0s", "-1/s"])
def test_rates_that_are_none(text: str) -> None:
    """Refused with an example."""
    with pytest.raises(OptionError, match=r"such as '10/s'|a limit is|period expects"):
        Rate.read(text)


# --- unique ---------------------------------------------------------------------------------------


@given(
    tapes,
    st.lists(st.tuples(MOMENTS, st.integers(0, 1)), min_size=2, max_size=8),
    st.sampled_from(["start", "finish"]),
    crashes,
)
def test_of_calls_with_one_key_one_is_stored(
    tape: Tape, calls: list[tuple[float, int]], until: str, plan: list[Any]
) -> None:
    """39. A35: the others learn which; never two of one key run at a time."""
    gauge = Gauge()

    @actorq.task(unique=Unique(until=until), max_deliveries=50)
    async def work(key: int) -> int:
        await gauge.run(f"{key}", seconds=1)
        return key

    async def main() -> None:
        async with open_system(backoff=QUICK, grace=1000) as sys, trio.open_nursery() as nursery:
            nursery.start_soon(crash_as_planned, sys, plan)
            for n, (at, key) in enumerate(calls):
                nursery.start_soon(one, sys, n, at, key)

    async def one(sys: actorq.System, n: int, at: float, key: int) -> None:
        await trio.sleep_until(at)
        try:
            handle = await enqueue_for_sure(sys, work.using(task_id=f"t{n}"), key)
        except DuplicateTask as taken:
            handle = sys.handle(taken.task_id, work)
        assert await handle.result() == key

    simulate(main, tape=tape)
    if until == "finish":
        assert gauge.most["0"] <= 1
        assert gauge.most["1"] <= 1


async def test_what_becomes_of_a_call_whose_key_is_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """39. reject, return, replace."""

    @actorq.task(unique=Unique(key="{user}"))
    async def work(user: str, n: int) -> int:
        await trio.sleep(1)
        return n

    later = work.using(delay=10)
    async with open_system() as sys:
        first = await sys.enqueue(later, "ann", 1)
        with pytest.raises(DuplicateTask, match="has the unique key") as taken:
            await sys.enqueue(work, "ann", 2)
        assert taken.value.task_id == first.task_id
        assert (await (await sys.enqueue(work, "bob", 3)).result()) == 3

        returning = later.using(unique=Unique(key="{user}", on_conflict="return"))
        same = await sys.enqueue(returning, "ann", 4)
        assert same.task_id == first.task_id

        replacing = work.using(unique=Unique(key="{user}", on_conflict="replace"))
        second = await sys.enqueue(replacing, "ann", 5)
        with pytest.raises(TaskCancelled, match=f"replaced by {second.task_id}"):
            await first.result()
        await trio.sleep(0.5)  # it runs now
        third = await sys.enqueue(replacing, "ann", 6)
        with pytest.raises(TaskCancelled):
            await second.result()
        assert await third.result() == 6
        assert await (await sys.enqueue(work, "ann", 7)).result() == 7


async def test_debounced_calls(autojump_clock: trio.testing.MockClock) -> None:
    """39. Of calls in quick succession the last one's arguments run, once, after the quiet."""
    ran: list[tuple[float, str]] = []

    @actorq.task(delay=2, unique=Unique(key="{path}", on_conflict="debounce"))
    async def index(path: str, text: str) -> str:
        ran.append((trio.current_time(), text))
        return text

    async with open_system() as sys:
        handles = []
        for text in "abc":
            handles.append(await sys.enqueue(index, "file", text))
            await trio.sleep(1)
        assert len({handle.task_id for handle in handles}) == 1
        assert await handles[0].result() == "c"
        assert ran == [(4.0, "c")]
        assert await (await sys.enqueue(index, "file", "d")).result() == "d"


def test_debounce_needs_a_delay() -> None:
    """Or there would be nothing to wait for."""
    with pytest.raises(OptionError, match="say for how long: delay=5"):
        actorq.task(unique=Unique(on_conflict="debounce"))


async def test_a_key_that_is_kept_for_a_time(autojump_clock: trio.testing.MockClock) -> None:
    """39. A35: a window of a minute, whatever became of the call."""
    ran = []

    @actorq.task(unique=Unique(on_conflict="return", until=60))
    async def work(n: int) -> int:
        ran.append(n)
        return n

    async with open_system() as sys:
        first = await sys.enqueue(work, 1)
        assert await first.result() == 1
        again = await sys.enqueue(work, n=1)  # passed by name: the same call
        assert again.task_id == first.task_id
        assert await again.result() == 1
        await trio.sleep(60)
        third = await sys.enqueue(work, 1)
        assert third.task_id != first.task_id
        await third.result()
    assert ran == [1, 1]


@pytest.mark.parametrize(
    ("key", "said"),
    [("{user.name}", "AttributeError"), (lambda user: None, "gave None")],
)
async def test_keys_that_cannot_be_made(key: Any, said: str) -> None:
    """The mistake is told where the call is enqueued, and nothing is stored."""

    @actorq.task(unique=Unique(key=key))
    async def work(user: str) -> None: ...

    async with open_system() as sys:
        with pytest.raises(ArgumentsError, match=said):
            await sys.enqueue(work, "ann")
        assert (await sys.queue_statistics()).ready == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("{nobody}", "names 'nobody', which is no argument of the task; there are: user"),
        ("{ctx.task_id}", "names 'ctx'"),
        ("{user", "no format string"),
    ],
)
def test_keys_that_name_no_argument(key: str, said: str) -> None:
    """Refused where they are said, in the decorator and for one call."""

    async def work(user: str, ctx: actorq.Context = INJECTED) -> None: ...

    options: list[dict[str, Any]] = [
        {"unique": Unique(key=key)},
        {"rate": Rate(1, key=key)},
        {"concurrency": Concurrency(1, key=key)},
    ]
    for each in options:
        with pytest.raises(OptionError, match=said):
            actorq.task(**each)(work)
        with pytest.raises(OptionError, match=said):
            actorq.task(work).using(**each)

    @actorq.task(unique=Unique(key="{anything}"))
    async def takes_all(**named: int) -> None: ...


async def test_one_unique_call_refused_refuses_its_batch() -> None:
    """39. All or none."""

    @actorq.task(unique=True)
    async def work(n: int) -> None:
        await trio.sleep_forever()

    async with open_system(concurrency=1, grace=0) as sys:
        await sys.enqueue(work, 1)
        with pytest.raises(DuplicateTask):
            await sys.enqueue_many(work, [(2,), (1,), (3,)])
        with pytest.raises(DuplicateTask):
            await sys.enqueue_many(work, [(4,), (4,)])
        assert len(await sys.queued_tasks()) == 1


# --- expiry, deadlines ----------------------------------------------------------------------------


@given(tapes, st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=8), crashes)
def test_an_expired_task_never_starts(
    tape: Tape, calls: list[tuple[float, float]], plan: list[Any]
) -> None:
    """38. And its waiter hears of it when it expires, not when a worker comes by."""
    starts: dict[int, list[float]] = defaultdict(list)

    @actorq.task(max_deliveries=50)
    async def work(n: int) -> int:
        starts[n].append(trio.current_time())
        await trio.sleep(1)
        return n

    async def main() -> None:
        async with (
            open_system(backoff=QUICK, grace=1000, concurrency=1) as sys,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(crash_as_planned, sys, plan)
            for n, (at, wait) in enumerate(calls):
                nursery.start_soon(one, sys, n, at, wait + 0.1)

    async def one(sys: actorq.System, n: int, at: float, wait: float) -> None:
        await trio.sleep_until(at)
        began = trio.current_time()
        handle = await enqueue_for_sure(sys, work.using(task_id=f"t{n}", expires=wait), n)
        try:
            assert await handle.result() == n
        except TaskExpired:
            assert trio.current_time() >= at + wait - 1e-6
            if not plan:
                assert trio.current_time() == pytest.approx(began + wait)
        assert all(start <= trio.current_time() for start in starts[n])
        if not plan:
            assert all(start < at + wait + 1e-6 for start in starts[n])

    simulate(main, tape=tape)


async def test_a_deadline_travels_with_the_call(autojump_clock: trio.testing.MockClock) -> None:
    """The enqueuer's own deadline, if it says so: nothing runs for who does not wait any more."""
    ran = []

    @actorq.task(propagate_deadline=True)
    async def work(n: int, seconds: float) -> int:
        ran.append(n)
        await trio.sleep(seconds)
        return n

    async with open_system(concurrency=1) as sys:
        with trio.move_on_after(3):
            busy = await sys.enqueue(work, 1, 2)
            late = await sys.enqueue(work, 2, 5)  # begins, and is cut off
        with trio.move_on_after(1):
            never = await sys.enqueue(work, 3, 0)
        assert await busy.result() == 1
        with pytest.raises(TaskExpired):
            await never.result()
        with pytest.raises(actorq.TaskTimeout, match="deadline"):
            await late.result()
        assert trio.current_time() == pytest.approx(3)
        assert ran == [1, 2]
        assert await (await sys.enqueue(work, 4, 0)).result() == 4  # no deadline here


# --- named queues ---------------------------------------------------------------------------------


async def fill(sys: actorq.System, task: Any, counts: dict[str, int]) -> None:
    """Enqueue so many in each queue."""
    for queue, count in counts.items():
        await sys.enqueue_many(task.using(queue=queue), [(queue,) for _ in range(count)])


async def test_a_worker_serves_its_queues_by_weight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """37. Each gets its share while it has work, and none waits for ever."""
    order: list[str] = []

    @actorq.task
    async def work(queue: str) -> None:
        order.append(queue)
        await trio.sleep(1)

    async with open_system(queues={"big": 3, "small": 1}, concurrency=1) as sys:
        await sys.pause("big")
        await sys.pause("small")
        await fill(sys, work, {"big": 60, "small": 60, "other": 5})
        await sys.resume("small")
        await sys.resume("big")
        await trio.sleep(40.5)
        assert Counter(order[1:41]) == {"big": 30, "small": 10}
        assert (await sys.queue_statistics()).queues["other"] == 5
        await trio.sleep(80)
        assert Counter(order) == {"big": 60, "small": 60}


async def test_a_worker_serves_its_queues_in_strict_order(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """37. A later queue only while the earlier ones have nothing."""
    order: list[str] = []

    @actorq.task
    async def work(queue: str) -> None:
        order.append(queue)
        await trio.sleep(1)

    async with open_system(queues=["first", "second"], concurrency=1) as sys:
        await fill(sys, work, {"second": 3})
        await trio.sleep(0.1)
        await fill(sys, work, {"first": 2})
        await trio.sleep(0.5)
        await fill(sys, work, {"first": 1})
        await trio.sleep(10)
    assert order == ["second", "first", "first", "first", "second", "second"]


async def test_a_paused_queue_gives_nothing_out(autojump_clock: trio.testing.MockClock) -> None:
    """What runs goes on; what waits waits; other queues are served."""

    @actorq.task(queue="slow")
    async def work(n: int) -> int:
        await trio.sleep(1)
        return n

    async with open_system() as sys:
        running = await sys.enqueue(work, 1)
        await trio.sleep(0.5)
        await sys.pause("slow")
        waiting = await sys.enqueue(work, 2)
        assert await running.result() == 1
        assert await (await sys.enqueue(work.using(queue="fast"), 3)).result() == 3
        await trio.sleep(100)
        assert not await waiting.is_ready()
        assert (await sys.queue_statistics()).paused == {"slow"}
        await sys.resume("slow")
        assert await waiting.result() == 2


async def test_a_queue_is_purged(autojump_clock: trio.testing.MockClock) -> None:
    """A14: what waits can be listed and cancelled; what runs goes on."""

    @actorq.task(queue="mail")
    async def work(n: int) -> int:
        await trio.sleep(1)
        return n

    async with open_system(concurrency=1) as sys:
        running = await sys.enqueue(work, 0)
        await trio.sleep(0.5)
        handles = [await sys.enqueue(work, n) for n in range(1, 4)]
        handles.append(await sys.enqueue(work.using(delay=50), 4))
        kept = await sys.enqueue(work.using(queue="other"), 5)
        listed = await sys.queued_tasks(queue="mail")
        assert [(each.message.args, each.state) for each in listed] == [
            ((0,), "leased"),
            *[((n,), "ready") for n in range(1, 4)],
            ((4,), "scheduled"),
        ]
        assert await sys.purge("mail") == 4
        for handle in handles:
            with pytest.raises(TaskCancelled, match="was purged"):
                await handle.result()
        assert await running.result() == 0
        assert await kept.result() == 5


@pytest.mark.parametrize(
    "queues", ["default", [], {}, ["a", "a"], ["a", 1], {"a": 0}, {"a": "much"}, {"a": True}, 3]
)
async def test_choices_of_queues_that_are_none(queues: Any) -> None:
    """Refused when the system is opened."""
    with pytest.raises(OptionError, match=r"queues expects|weight of queue"):
        async with open_system(queues=queues):
            pass


# --- dead letters ---------------------------------------------------------------------------------


async def test_dead_letters_are_shown_replayed_and_purged() -> None:
    """A11: with the reason and the traceback; replayed as they are, or with other arguments."""

    @actorq.task(name="half")
    async def half(n: int, *, times: int = 1) -> float:
        return n / 2 if n % 2 == 0 else fail(n)

    def fail(n: int) -> float:
        raise ValueError(f"{n} is odd")

    async with open_system() as sys:
        handles = [await sys.enqueue(half, n) for n in (1, 2, 3)]
        await sys.wait_idle()
        assert [each.message.args for each in await sys.dead_tasks()] == [(1,), (3,)]
        assert await sys.dead_tasks(task="other") == ()
        assert len(await sys.dead_tasks(queue="default", limit=1)) == 1
        letter = await sys.dead_task(handles[0].task_id)
        assert letter.reason == "ValueError: 1 is odd"
        assert "in fail" in letter.traceback
        assert letter.attempts == 1

        again = await sys.replay(letter.task_id)
        assert again.task_id != letter.task_id
        outcome = await again.wait_result()
        assert isinstance(outcome.error, ValueError)
        assert outcome.labels == {"replay_of": letter.task_id}

        with pytest.raises(DeadTaskNotFound, match="lists what there is"):
            await sys.replay(letter.task_id)
        with pytest.raises(ArgumentsError, match="missing 'n'"):
            await sys.replay(again.task_id, args=())
        mended = await sys.replay(again.task_id, args=[4], kwargs={"times": 2})
        assert await mended.result() == 2

        (replayed,) = await sys.replay_all(task="half")
        await replayed.wait_result()
        await sys.wait_idle()
        assert await sys.purge_dead([handles[0].task_id]) == 0
        assert await sys.purge_dead() == 1
        assert await sys.dead_tasks() == ()


@pytest.mark.parametrize("on_conflict", ["return", "debounce"])
async def test_a_replay_whose_key_is_taken_gives_the_handle_of_what_stands_for_it(
    on_conflict: str, autojump_clock: trio.testing.MockClock
) -> None:
    """39. Nobody would ever end a task that was not stored, and who waited for it would hang."""

    @actorq.task(unique=Unique(on_conflict=OnConflict(on_conflict)), delay=5)
    async def moody(n: int) -> int:
        if trio.current_time() < 10:
            raise ValueError(n)
        return n

    async with open_system() as sys:
        await (await sys.enqueue(moody, 1)).wait_result()
        (letter,) = await sys.dead_tasks()
        await trio.sleep(5)
        holder = await sys.enqueue(moody, 1)
        replayed = await sys.replay(letter.task_id)
        assert replayed.task_id == holder.task_id
        with trio.fail_after(100):
            assert await replayed.result() == 1
        assert await sys.dead_tasks() == ()


@given(tapes, crashes)
def test_a_dead_letter_is_replayed_once(tape: Tape, plan: list[Any]) -> None:
    """30. Two operators at a time, and crashes: one of them has it, and it is not lost."""
    starts: Counter[str] = Counter()

    @actorq.task(max_deliveries=50)
    async def work(mended: bool) -> str:
        starts[str(mended)] += 1
        if not mended:
            raise ValueError("not mended")
        return "done"

    async def main() -> None:
        async with open_system(backoff=QUICK) as sys:
            with pytest.raises(ValueError, match="not mended"):
                await (await sys.enqueue(work, False)).result()
            await sys.wait_idle()
            (letter,) = await sys.dead_tasks()
            found: list[actorq.TaskHandle[Any]] = []
            uncertain: list[str] = []

            async def operator() -> None:
                try:
                    found.append(await sys.replay(letter.task_id, args=[True]))
                except DeadTaskNotFound:
                    pass
                except EnqueueUncertain as error:
                    uncertain.extend(error.task_ids)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, plan)
                nursery.start_soon(operator)
                nursery.start_soon(operator)
            await sys.wait_idle()
            assert len(found) <= 1
            left = await sys.dead_tasks()
            assert len(left) + (starts["True"] > 0) == 1
            assert found or left or uncertain
            for handle in found:
                assert await handle.result() == "done"

    simulate(main, tape=tape)


# --- time to live of results ----------------------------------------------------------------------


async def test_a_result_is_kept_for_its_time(autojump_clock: trio.testing.MockClock) -> None:
    """T54: by the second, for success and for failure; without it, as long as the backend likes."""

    @actorq.task(result_ttl=10)
    async def work(n: int) -> int:
        return 1 // n

    async with open_system() as sys:
        short = await sys.enqueue(work, 1)
        failed = await sys.enqueue(work.using(result_ttl=20.5), 0)
        kept = await sys.enqueue(work.using(result_ttl=None), 1)
        await short.result()
        await failed.wait_result()
        await trio.sleep(9.9)
        assert await short.is_ready()
        await trio.sleep(0.2)
        assert not await short.is_ready()
        with pytest.raises(ResultGetError):
            await short.wait_result()
        assert await failed.is_ready()
        await trio.sleep(11)
        assert not await failed.is_ready()
        await trio.sleep(80_000)
        assert await kept.result() == 1


@pytest.mark.parametrize("ttl", [0, -1, math.inf, "long"])
def test_times_to_live_that_are_none(ttl: Any) -> None:
    """T54: zero and negative ones are an error."""
    with pytest.raises(OptionError, match="result_ttl"):
        actorq.task(result_ttl=ttl)


async def test_times_to_live_of_results_that_are_gone_are_forgotten() -> None:
    """What was evicted or deleted before its time is not remembered until then."""

    @actorq.task(result_ttl=86_400)
    async def work() -> None: ...

    backend = actorq.InMemoryResultBackend(100)
    broker = InMemoryBroker().with_result_backend(backend)
    async with open_system(broker) as sys:
        await sys.enqueue_many(work, [()] * 5_000)
        await sys.wait_idle()
        assert backend._ledger is not None
        assert len(backend._ledger.ends) <= 1024 + 100
        assert len(backend._ledger.ending) <= 1024 + 100


async def test_the_progress_of_a_task_without_a_result_is_dropped() -> None:
    """Nothing else would ever drop it."""

    @actorq.task
    async def work(ctx: actorq.Context = INJECTED) -> None:
        await ctx.set_progress(actorq.TaskProgress(progress=0.5))
        raise actorq.NoResult

    backend = actorq.InMemoryResultBackend(100)
    async with open_system(InMemoryBroker().with_result_backend(backend)) as sys:
        await sys.enqueue_many(work, [()] * 20)
        await sys.wait_idle()
        await sys.queue_statistics()
    assert not backend.table.progress


async def test_a_registration_that_is_cut_off_is_made_up_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """42. What is parked for the task is released by the next call that brings it."""

    @actorq.task(name="late")
    async def late() -> str:
        return "done"

    async with open_system() as sys:
        handle = await sys.send(actorq.TaskMessage("id", "late"))
        await trio.sleep(1)
        assert (await sys.queue_statistics()).parked == 1
        with trio.CancelScope() as scope:
            scope.cancel()
            await sys.register(late)
        await sys.register(late)
        with trio.fail_after(5):
            assert await handle.result() == "done"
