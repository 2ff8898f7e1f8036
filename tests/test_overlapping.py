"""Calls that overlap, slots that are free early, work ahead: what counts these must not drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

import actorq
from actorq import Concurrency, Rate, open_system
from actorq.actors.worker_pool import Inlet, WorkerPool
from actorq.errors import EngineUnavailable
from actorq.testing import Tape, crash, simulate
from queue_strategies import INJECTED, QUICK, Everywhere, check_conservation
from strategies import examples, tapes
from together import Together, unwell


@attrs.frozen
class Lot:
    """Some tasks that are enqueued together."""

    count: int
    seconds: float
    kind: str = "plain"
    at: float = 0.0


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fails": {"retries": 1},
    "large": {},  # its result cannot be stored
    "limited": {"concurrency": Concurrency(1)},
    "rated": {"rate": Rate(30, smooth=False)},
    "executed": {"ack": "when_executed"},
    "received": {"ack": "when_received"},
    "cancelled": {},
    "waits": {},  # for another
}

lots = st.lists(
    st.builds(
        Lot,
        count=st.sampled_from([1, 2, 3, 10, 25]),
        seconds=st.sampled_from([0.0, 0.0, 0.002, 0.03, 0.06, 1.0]),
        kind=st.sampled_from(["plain", *KINDS]),
        at=st.sampled_from([0.0, 0.0, 0.01, 0.05, 0.5]),
    ),
    min_size=1,
    max_size=5,
)
moments = st.sampled_from([0.003, 0.02, 0.051, 0.3, 1.2])
mishaps = st.lists(
    st.tuples(moments, st.sampled_from(["pool", "broker", "results", "session"])), max_size=3
)
spans = st.lists(st.tuples(moments, st.sampled_from([0.01, 0.2, 1.0])), max_size=2)


def pool_of(broker: Together) -> WorkerPool | None:
    """Who works for it now."""
    counter = getattr(broker, "_counter", None)
    inlets = [] if counter is None else [each.deliver for each in counter.demands.values()]
    pools = [each._pool for each in inlets if isinstance(each, Inlet)]
    return pools[0] if pools else None


def check_counts(pool: WorkerPool) -> None:
    """What it counts is what there is."""
    jobs, slots = pool._jobs.values(), pool._slots
    assert pool._settling == sum(each.settling for each in jobs)
    assert slots.running == sum(not each.slotless for each in jobs) - len(pool._waiting)
    assert 0 <= slots.suspended <= slots.running
    assert slots.running - slots.suspended <= slots.concurrency


@given(
    drawn=lots,
    mishaps=mishaps,
    spans=spans,
    seconds=st.sampled_from([0.0, 0.001, 0.004, 0.02, 0.3]),
    concurrency=st.integers(1, 4),
    steps=st.integers(0, 2),
    overlaps=st.sampled_from([True, True, False]),
    tape=tapes,
)
@example(  # an end that was published in one life was taken out of the outbox in the next one, again
    drawn=[
        Lot(25, 0.0, "cancelled"),
        Lot(2, 0.06, "executed"),
        Lot(25, 1.0, "cancelled"),
        Lot(2, 0.03, "cancelled", 0.5),
        Lot(25, 0.002, "cancelled", 0.01),
    ],
    mishaps=[(0.3, "broker")] * 3,
    spans=[],
    seconds=0.02,
    concurrency=1,
    steps=0,
    overlaps=True,
    tape=Tape([]),
)
@settings(max_examples=examples(150))
def test_30_32_no_count_drifts_and_nobody_starves(
    drawn: list[Lot],
    mishaps: list[tuple[float, str]],
    spans: list[tuple[float, float]],
    seconds: float,
    concurrency: int,
    steps: int,
    overlaps: bool,
    tape: Tape,
) -> None:
    """30, 32: whatever goes wrong, at the end a worker gets as much as it has slots, and no more."""
    sick = [(begin, begin + long) for begin, long in spans]
    broker: Together = unwell(
        Together, sick, lease=30.0, steps=steps, overlaps=overlaps, seconds=seconds
    ).with_size_limit(2_000)
    running = most = 0
    begun: Counter[str] = Counter()
    order: list[str] = []

    def look() -> None:
        check_conservation(broker.queue)
        pool = pool_of(broker)
        if pool is not None and not pool.is_ending():
            check_counts(pool)

    eye = Everywhere(look)

    systems: list[actorq.System] = []

    @actorq.task
    async def leaf() -> int:
        return 1

    @actorq.task
    async def work(kind: str, length: float, ctx: actorq.Context = INJECTED) -> str:
        nonlocal running, most
        begun[ctx.task_id] += 1
        order.append(ctx.task_id)
        running += 1
        most = max(most, running)
        try:
            await trio.sleep(length)
        finally:
            running -= 1
        if kind == "waits":
            await (await systems[-1].enqueue(leaf)).result()
        if kind == "fails" and ctx.attempt == 1:
            raise ValueError(kind)
        return "x" * 5_000 if kind == "large" else kind

    async def for_sure(call: Callable[[], Any]) -> Any:
        while True:
            try:
                return await call()
            except (EngineUnavailable, actorq.EnqueueUncertain):
                await trio.sleep(0.05)

    async def one(sys: actorq.System, number: int, lot: Lot) -> None:
        await trio.sleep_until(lot.at)
        names = [f"{number:02}-{n:02}" for n in range(lot.count)]
        for each in names:
            task = work.using(task_id=each, **KINDS[lot.kind])
            handle = await for_sure(partial(sys.enqueue, task, lot.kind, lot.seconds))
            if lot.kind == "cancelled":
                await for_sure(handle.cancel)

    async def go_wrong(sys: actorq.System) -> None:
        for moment, what in sorted(mishaps):
            await trio.sleep_until(moment)
            if what == "session":
                for session in tuple(broker.queue.sessions):
                    broker.queue.close_session(session, broker._wiring.clock())
            else:
                crash(sys.actor(what))

    async def main() -> None:
        async with open_system(broker, concurrency=concurrency, backoff=QUICK) as sys:
            systems.append(sys)
            await sys.register(work)
            await sys.register(leaf)
            with trio.fail_after(2_000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(go_wrong, sys)
                    for number, lot in enumerate(drawn):
                        nursery.start_soon(one, sys, number, lot)
                await trio.sleep_until(3)  # all is well again
                await for_sure(lambda: sys.wait_idle(scheduled=True))
                await trio.sleep(100)  # what was acknowledged early may run still
                pool = pool_of(broker)
                assert pool is not None
                check_counts(pool)
                assert not pool._jobs
                (demand,) = broker._counter.demands.values()
                assert demand.sent == pool._received
                assert concurrency <= demand.allowed - demand.sent <= 2 * concurrency
                assert broker._counter.arrived is None
                began = trio.current_time()
                handles = await sys.enqueue_many(work, [("plain", 0.0)] * (4 * concurrency))
                for handle in handles:
                    assert await handle.result() == "plain"
                assert trio.current_time() - began <= 12 * (seconds + 0.001), "it is starved"
                if not mishaps:
                    assert sys.actor("broker").statistics().restarts == 0
                    assert sys.actor("pool").statistics().restarts == 0

    simulate(main, tape=tape, instruments=[eye])
    eye.check()
    if not mishaps:
        assert most <= concurrency
        assert max(begun.values()) <= 2


# --- one by one -----------------------------------------------------------------------------------


@given(
    lots=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.01, 0.04, 0.049, 0.051, 0.1]),
            st.sampled_from([1, 2, 5, 30]),
            st.sampled_from([0.0, 0.0, 0.001, 0.045, 0.06, 0.2]),
        ),
        min_size=1,
        max_size=8,
    ),
    seconds=st.sampled_from([0.001, 0.004, 0.02, 0.045, 0.1]),
    concurrency=st.integers(1, 3),
    tape=tapes,
)
@settings(max_examples=examples(150))
def test_37_what_went_back_begins_before_what_came_later(
    lots: list[tuple[float, int, float]], seconds: float, concurrency: int, tape: Tape
) -> None:
    """37: also while it is on its way back."""
    broker = Together(overlaps=True, seconds=seconds)
    begun: list[int] = []
    accepted: list[int] = []

    @actorq.task
    async def work(number: int, length: float) -> None:
        begun.append(number)
        await trio.sleep(length)

    async def main() -> None:
        async with open_system(broker, concurrency=concurrency) as sys:
            await sys.register(work)
            for pause, count, length in lots:
                await trio.sleep(pause)
                numbers = range(len(accepted), len(accepted) + count)
                accepted.extend(numbers)
                await sys.enqueue_many(work, [(number, length) for number in numbers])
            await sys.wait_idle()

    simulate(main, tape=tape)
    assert begun == accepted


@pytest.mark.parametrize("ends", [0.195 + n * 0.005 for n in range(6)])
def test_37_what_comes_while_something_is_on_its_way_back_does_not_pass_it(ends: float) -> None:
    """37: a slot is free just then."""
    broker = Together(overlaps=True, seconds=0.02)
    begun: list[str] = []

    @actorq.task
    async def work(name: str, length: float) -> None:
        begun.append(name)
        await trio.sleep(length)

    async def main() -> None:
        async with open_system(broker, concurrency=2) as sys:
            await sys.register(work)
            await sys.enqueue_many(work, [("quick", 0.0)] * 100)
            await sys.wait_idle()
            start = trio.current_time()
            await sys.enqueue_many(work, [("slow", ends), ("slower", 1.0)])
            await trio.sleep_until(start + 0.1)
            await sys.enqueue(work, "first", 0.0)
            await trio.sleep_until(start + 0.17)
            await sys.enqueue(work, "second", 0.0)
            await sys.wait_idle()

    simulate(main)
    assert begun[100:] == ["slow", "slower", "first", "second"]


def quick(sys: actorq.System, task: Any, n: int = 100) -> Any:
    """So that work is fetched ahead from now on."""
    return sys.enqueue_many(task, [("quick", 0.0)] * n)


def test_41_a_rate_is_not_used_up_by_what_goes_back() -> None:
    """Each worker that fetched a task with a rate ahead would cost it a start."""
    broker = Together(overlaps=True, seconds=0.004)
    started: list[float] = []

    @actorq.task
    async def work(name: str, length: float) -> None:
        await trio.sleep(length)

    @actorq.task(rate=Rate(20, 10.0, smooth=False))
    async def paced() -> None:
        started.append(trio.current_time())

    async def main() -> None:
        async with open_system(broker, concurrency=1) as sys:
            await sys.register(work)
            await sys.register(paced)
            began = trio.current_time()
            for _ in range(10):
                await quick(sys, work)
                await sys.enqueue(work, "slow", 0.2)
                await sys.enqueue(paced)
            await sys.wait_idle()
            assert len(started) == 10
            assert started[-1] - began < 9
            # one start may be lost before it is known that there are rates
            await sys.enqueue_many(paced, [()] * 9)
            await sys.wait_idle()
            assert started[-1] - began < 10

    simulate(main)


def test_38_what_expires_while_it_waits_in_a_worker_does_not_start() -> None:
    """38: the queue ends it, as ever."""
    broker = Together(overlaps=True, seconds=0.004)
    begun: list[str] = []

    @actorq.task
    async def work(name: str, length: float) -> None:
        begun.append(name)
        await trio.sleep(length)

    async def main() -> None:
        async with open_system(broker, concurrency=1) as sys:
            await sys.register(work)
            await quick(sys, work)
            await sys.wait_idle()
            await sys.enqueue(work, "slow", 0.1)
            await trio.sleep(0.07)
            handle = await sys.enqueue(work.using(expires=0.02), "late", 0.0)
            with pytest.raises(actorq.TaskExpired):
                await handle.result()

    simulate(main)
    assert "late" not in begun


def test_what_goes_back_goes_back_though_the_mailbox_is_full() -> None:
    """29: nobody else would get it while this worker lives and is busy."""
    broker = Together(overlaps=True, seconds=0.004)

    @actorq.task
    async def work(name: str, length: float) -> None:
        await trio.sleep(length)

    async def main() -> None:
        async with open_system(broker, concurrency=1) as sys:
            await sys.register(work)
            await quick(sys, work)
            await sys.wait_idle()
            await sys.enqueue(work, "slow", 10.0)
            await trio.sleep(0.05)
            handle = await sys.enqueue(work, "ahead", 0.0)
            await trio.sleep(0.02)
            assert await broker.locate(handle.task_id) == "leased"
            broker.seconds = 1.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sys.enqueue, work, "ahead", 0.0)
                await trio.sleep(0.001)  # the call is on its way
                for _ in range(10_100):
                    nursery.start_soon(sys.queue_statistics)
                await trio.sleep(0.05)
                assert sys.actor("broker").statistics().queued == 10_000
            broker.seconds = 0.004
            await trio.sleep(1)
            assert await broker.locate(handle.task_id) == "ready"
            await sys.wait_idle()

    simulate(main)


def test_a_session_that_was_opened_while_all_slots_were_taken_gets_whole_portions() -> None:
    """After a lease was lost each call would bring one task, for as long as the worker lives."""
    broker = Together(overlaps=True, seconds=0.004)

    @actorq.task
    async def work(name: str, length: float) -> None:
        try:
            await trio.sleep(length)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1 if length else 0)

    async def main() -> None:
        async with open_system(broker, concurrency=50) as sys:
            await sys.register(work)
            await sys.enqueue_many(work, [("slow", 100.0)] * 50)
            await trio.sleep(1)
            (session,) = broker.queue.sessions
            broker.queue.close_session(session, broker._wiring.clock())
            await trio.sleep(1)
            await sys.purge("default")
            for each in await sys.queued_tasks():
                await sys.handle(each.message.task_id).cancel()
            await sys.wait_idle()
            before = len(broker.batches)
            await quick(sys, work, 1_000)
            await sys.wait_idle()
            assert len(broker.batches) - before < 100

    simulate(main)


def test_36_who_cancels_while_the_engine_cannot_is_told() -> None:
    """36: it waited for ever."""
    broker = unwell(Together, [(1.0, 2.0)])

    @actorq.task
    async def work() -> None: ...

    async def main() -> None:
        async with open_system(broker) as sys:
            handle = await sys.enqueue(work.using(delay=60))
            await trio.sleep_until(1.5)
            with trio.fail_after(3), pytest.raises(EngineUnavailable):
                await handle.cancel()
            await trio.sleep_until(5)
            assert await handle.cancel()

    simulate(main)
