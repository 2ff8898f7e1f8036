"""`drain` and `time_travel`: what is to happen happens now, in order, and with an end."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import Context, Depends, RetryPolicy, every
from actorq.testing import (
    NotDrained,
    Tape,
    crash,
    drain,
    hold,
    in_memory,
    now,
    schedules,
    simulate,
    time_travel,
)


log: list[tuple[float, Any]] = []


def in_a_system(async_fn: Callable[[actorq.System], Awaitable[None]]) -> Callable[[], None]:
    """A test that gets an open system in virtual time."""

    async def program() -> None:
        log.clear()
        async with actorq.open_system(tasks=[note]) as sys:
            await async_fn(sys)

    def test() -> None:
        simulate(program, limit=1e9)

    test.__name__, test.__doc__ = async_fn.__name__, async_fn.__doc__
    return test


@actorq.task
async def note(what: Any, seconds: float = 0) -> Any:
    """Note the time."""
    log.append((trio.current_time(), what))
    await trio.sleep(seconds)
    return what


@actorq.task(retries=RetryPolicy.constant(3, base=60))
async def flaky(failures: int, ctx: Context = Depends()) -> None:
    """Fail so many times."""
    if ctx.attempt <= failures:
        raise OSError(ctx.attempt)


@actorq.task
async def parent(depth: int, ctx: Context = Depends()) -> None:
    """Enqueue another, later."""
    if depth:
        await ctx.system.enqueue(parent.using(delay=10), depth - 1)


@given(
    tape=schedules(50),
    delays=st.lists(st.sampled_from([None, 0, 1, 60, 60, 86_400]), max_size=6),
    failures=st.lists(st.integers(0, 5), max_size=3),
    depths=st.lists(st.integers(0, 4), max_size=3),
    steps=st.integers(0, 3),
    crashes=st.lists(st.sampled_from(["broker", "pool", "results"]), max_size=1),
)
@settings(max_examples=40)
def test_afterwards_nothing_is_left(
    tape: Tape,
    delays: list[float | None],
    failures: list[int],
    depths: list[int],
    steps: int,
    crashes: list[str],
) -> None:
    """Delayed tasks, retries, children, chains: all have ended, at their times, and once each."""

    async def program() -> None:
        log.clear()
        async with actorq.open_system() as sys:
            for number, delay in enumerate(delays):
                await sys.enqueue(note.using(delay=delay), number)
            for count in failures:
                await sys.enqueue(flaky, count)
            for depth in depths:
                await sys.enqueue(parent, depth)
            chain: Any = note.call("chain")
            for _ in range(steps):
                chain |= note
            await sys.enqueue(chain)
            for name in crashes:
                crash(sys.actor(name))
            ran = await drain(sys)
            counts = await sys.queue_statistics()
            assert (counts.ready, counts.scheduled, counts.leased) == (0, 0, 0)
            ended = len(delays) + len(failures) + sum(depths) + len(depths) + steps + 1
            assert sum(each.ending.value in ("done", "dead") for each in ran) >= ended
            if not crashes:  # after one, a task may run again, and enqueue its children again
                assert counts.done + counts.dead == ended
                assert counts.dead == sum(count > 3 for count in failures)
                retried = sum(min(count, 3) for count in failures)
                assert [each.ending.value for each in ran].count("retry") == retried
                times = sorted((delay or 0, n) for n, delay in enumerate(delays))
                assert sorted(entry for entry in log if entry[1] != "chain") == times
            assert await drain(sys) == []

    simulate(program, tape=tape, limit=1e9)


@in_a_system
async def test_it_returns_what_ran(sys: actorq.System) -> None:
    """Each attempt, in the order in which they ended; a second time only what is new."""
    await sys.enqueue(note, 1)
    await drain(sys)
    await sys.enqueue(flaky.using(task_id="f"), 1)
    ran = await drain(sys)
    assert list(map(str, ran)) == [
        "test_drain:flaky attempt 1: retry",
        "test_drain:flaky attempt 2: done",
    ]
    assert {each.task_id for each in ran} == {"f"}
    assert trio.current_time() == 60


def test_a_schedule_does_not_make_it_endless() -> None:
    """What a schedule enqueues on the way runs too; what it will enqueue is not waited for."""
    broker = actorq.InMemoryBroker()

    @broker.task(schedule=[every(60)])
    async def tick() -> None:
        log.append((trio.current_time(), "tick"))

    async def program() -> None:
        log.clear()
        async with actorq.open_system(broker) as sys:
            await sys.enqueue(note.using(delay=150), "late")
            await drain(sys)
            assert [what for _, what in log] == ["tick", "tick", "late"]
            assert trio.current_time() == 150

    simulate(program, limit=1e9)


def test_threads_are_waited_for() -> None:
    """A plain function ends before the drain does, and takes no virtual time."""
    broker = actorq.InMemoryBroker()
    ready = threading.Event()

    @broker.task(timeout=1)
    def work() -> None:
        threading.Timer(0.02, ready.set).start()
        assert ready.wait(10)

    async def program() -> None:
        async with actorq.open_system(broker) as sys:
            await work.kiq()
            assert [str(each.ending.value) for each in await drain(sys)] == ["done"]
            assert trio.current_time() == 0

    simulate(program)


# --- what does not end ----------------------------------------------------------------------------


@actorq.task
async def never() -> None:
    """Wait for what never comes."""
    await trio.sleep_forever()


@actorq.task
async def heartbeat() -> None:
    """Live for ever."""
    while True:
        await trio.sleep(60)


@actorq.task
async def again(delay: float | None, ctx: Context = Depends()) -> None:
    """Enqueue itself."""
    await ctx.system.enqueue(again.using(delay=delay), delay)


@actorq.task(concurrency=1)
async def alone() -> None:
    """One at a time."""
    await trio.sleep_forever()


async def _paused(sys: actorq.System) -> None:
    await sys.pause("default")
    await sys.enqueue(note, 1)


async def _unknown(sys: actorq.System) -> None:
    await sys.send(actorq.TaskMessage("1", "shop:gone"))
    await sys.enqueue(note, 1)


async def _limited(sys: actorq.System) -> None:
    await sys.enqueue(alone)
    await sys.enqueue(alone)


def _one(task: Any, *args: Any) -> Callable[[actorq.System], Awaitable[Any]]:
    return lambda sys: sys.enqueue(task, *args)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (_one(never), r"six virtual hours\n  task test_drain:never \(0+1\) runs: .*test_drain.py:"),
        (_one(heartbeat), r"test_drain:heartbeat \(0+1\) runs: heartbeat .*test_drain.py:"),
        (_one(again, None), r"after 200 attempts.*test_drain:again \(\d+x\)"),
        (_one(again, 3600.0), r"after 200 attempts.*test_drain:again \(200x\)"),
        (_paused, r"paused queues: default\n  waiting: test_drain:note \(ready\) \(1x\)"),
        (_unknown, r"no worker here knows: shop:gone \(1x\)"),
        (_limited, r"alone .* runs: .*\n  waiting: test_drain:alone \(limited\) \(1x\)"),
    ],
    ids=["never", "heartbeat", "again", "again, later", "paused", "unknown", "limited"],
)
def test_it_says_what_is_left(prepare: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a bound, and an error that names who keeps it from its end, and on which line."""
    monkeypatch.setattr("actorq.testing.draining.PATIENCE", 4000.0)  # saves us real seconds

    async def program() -> None:
        async with actorq.open_system(tasks=[note], grace=0) as sys:
            await prepare(sys)
            with pytest.raises(NotDrained, match=said):
                await drain(sys, attempts=200)

    simulate(program, limit=1e9)


@in_a_system
async def test_a_task_that_takes_long_is_waited_for(sys: actorq.System) -> None:
    """Hours of sleep are no error, nor is a task that is due in a month."""
    await sys.enqueue(note.using(delay=30 * 86_400), "late", 4 * 3600)
    await drain(sys)
    assert trio.current_time() == 30 * 86_400 + 4 * 3600


def test_how_not_to_drain() -> None:
    """In a task, in hold(), outside of a simulation, with nonsense."""
    broker = actorq.InMemoryBroker()

    @broker.task
    async def drains(ctx: Context = Depends()) -> None:
        await drain(ctx.system)

    async def program() -> None:
        async with actorq.open_system(broker) as sys:
            with pytest.raises(RuntimeError, match="would wait for that task itself"):
                await (await drains.kiq()).result()
            async with hold(sys):
                with pytest.raises(RuntimeError, match=r"leave hold.. first"):
                    await drain(sys)
                with pytest.raises(RuntimeError, match="in force already"):
                    async with hold(sys):
                        pass
            with pytest.raises(ValueError, match="a whole number >= 1; got 0"):
                await drain(sys, attempts=0)
            with pytest.raises(TypeError, match=r"expects an open system.*got <"):
                await drain(broker)  # type: ignore[arg-type]

    simulate(program)

    async def on_a_real_clock() -> None:
        async with actorq.open_system() as sys:
            with pytest.raises(RuntimeError, match="opened in virtual time: take the fixture"):
                await drain(sys)
        with pytest.raises(
            RuntimeError, match=r"time_travel.. needs virtual time, .* a real clock"
        ):
            await time_travel(seconds=1)
        with pytest.raises(RuntimeError, match="simulation"):
            now()

    trio.run(on_a_real_clock)


# --- travelling in time ---------------------------------------------------------------------------


@given(
    tape=schedules(50),
    moments=st.lists(st.integers(0, 100), max_size=8),
    trips=st.lists(st.integers(0, 40), min_size=1, max_size=5),
)
@settings(max_examples=40)
def test_what_is_due_on_the_way_happens_in_order(
    tape: Tape, moments: list[int], trips: list[int]
) -> None:
    """After each trip: exactly what was due up to now, the very end included, each at its time."""

    async def program() -> None:
        log.clear()
        async with actorq.open_system() as sys:
            for moment in moments:
                await sys.enqueue(note.using(delay=moment), moment)
            start, travelled = now(), 0
            for trip in trips:
                await time_travel(seconds=trip)
                travelled += trip
                assert now() == start + timedelta(seconds=travelled)
                due = sorted(moment for moment in moments if moment <= travelled)
                assert log == [(moment, moment) for moment in due]

    simulate(program, tape=tape)


@in_a_system
async def test_to_a_moment(sys: actorq.System) -> None:
    """An aware datetime of any zone; seconds may be a timedelta."""
    await sys.schedules.add(note, every(3600), "tick")
    await time_travel(to=datetime(2024, 1, 1, 2, 30, tzinfo=UTC))
    assert len(log) == 2
    await time_travel(seconds=timedelta(minutes=30))
    assert len(log) == 3
    assert now() == datetime(2024, 1, 1, 3, tzinfo=UTC)
    await time_travel(to=now())
    with pytest.raises(ValueError, match=r"it is 2024-01-01T03:00:00.*2023.* is past"):
        await time_travel(to=datetime(2023, 1, 1, tzinfo=UTC))
    for wrong in (datetime(2025, 1, 1), "tomorrow"):
        with pytest.raises(TypeError, match="expects an aware datetime"):
            await time_travel(to=wrong)  # type: ignore[arg-type]
    for seconds in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="a finite number >= 0"):
            await time_travel(seconds=seconds)
    with pytest.raises(TypeError, match="seconds or a timedelta; got '60'"):
        await time_travel(seconds="60")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="one of the two"):
        await time_travel()
    with pytest.raises(TypeError, match="one of the two"):
        await time_travel(seconds=1, to=now())


def test_a_broker_that_is_opened_again() -> None:
    """In another simulation its ledger is new, and it is listened to once."""
    broker = actorq.InMemoryBroker()
    broker.register(note)

    async def program() -> None:
        async with actorq.open_system(in_memory(broker)) as sys:
            await sys.enqueue(note, 1)
            assert len(await drain(sys)) == 1
        async with actorq.open_system(broker) as sys:
            await sys.enqueue(note, 2)
            assert len(await drain(sys)) == 1

    simulate(program)
    broker.with_id_generator(actorq.uuid7)  # the broker still knows the ids of the first time
    simulate(program)
