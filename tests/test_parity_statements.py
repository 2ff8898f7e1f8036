"""Statements about task queues that no other test makes; docs/parity.md has all of them.

The letters and numbers that docstrings here begin with are those of that page.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, TaskMessage, every, open_system
from actorq.engines.memory.queue import Queue
from actorq.options import TaskOptions
from actorq.protocol import Ending, Settlement
from actorq.testing import simulate
from queue_strategies import INJECTED, QUICK


def _call(task_id: str, *, eta: float | None = None) -> TaskMessage:
    return TaskMessage(task_id, "add", (1,), {}, TaskOptions(), eta)


async def test_raise_for_error_gives_a_success_back() -> None:
    """T09: so that it can stand in the middle of a line."""

    @actorq.task
    async def work() -> int:
        return 4

    async with open_system() as sys:
        result = await (await sys.enqueue(work)).wait_result()
    assert result.raise_for_error() is result
    assert result.raise_for_error().return_value == 4


@given(limit=st.integers(1, 12), more=st.integers(0, 5))
def test_the_limit_is_exact(limit: int, more: int) -> None:
    """T22, T23: N at a time, not N and a random number; and as many as you like."""
    running = 0
    most = 0

    @actorq.task
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async def main() -> None:
        async with open_system(concurrency=limit) as sys:
            handles = await sys.enqueue_many(work, [()] * (limit + more))
            for handle in handles:
                await handle.result()

    simulate(main)
    assert most == limit


def test_intervals_of_less_than_a_second() -> None:
    """T43: due a period after it was activated, not at once; fractions of seconds are fine."""
    ran: list[float] = []

    @actorq.task(schedule=[every(timedelta(seconds=0.5))])
    async def work() -> None:
        ran.append(round(trio.current_time(), 2))

    async def main() -> None:
        async with open_system(tasks=[work]):
            await trio.sleep(1.75)

    simulate(main)
    assert ran == [0.5, 1.0, 1.5]
    with pytest.raises(actorq.OptionError, match=r"0\.001"):
        every(0)


async def test_what_belongs_to_nobody_is_a_typed_error() -> None:
    """T49: a task without a broker, of a closed one, of a name that two functions want."""

    @actorq.task(name="work")
    async def work() -> None: ...

    @actorq.task(name="work")
    async def another() -> None: ...

    with pytest.raises(actorq.TaskNotBound):
        await work.kiq()
    with pytest.raises(actorq.SystemClosed):
        await InMemoryBroker().task(name="w")(work.function).kiq()
    with pytest.raises(actorq.TaskDefinitionError, match="two functions want the task name 'work'"):
        InMemoryBroker().register(work, another)

    first, second = InMemoryBroker().register(work), InMemoryBroker().register(work)
    async with open_system(first) as one, open_system(second) as two:  # a task is no broker's
        await (await one.enqueue(work)).result()
        await (await two.enqueue(work)).result()


# --- the queue's law, which every engine has ------------------------------------------------------


@given(
    calls=st.integers(1, 30),
    turns=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), max_size=30),
)
def test_two_workers_share_what_there_is(calls: int, turns: list[tuple[str, int]]) -> None:
    """T51: whoever asks when, each message goes to exactly one of them."""
    queue = Queue()
    queue.enqueue([_call(str(n)) for n in range(calls)], 0)
    sessions = {name: queue.open_session(name, 0).id for name in "ab"}
    given_out: list[str] = []
    for name, limit in [*turns, ("a", calls), ("b", calls)]:
        given_out += [each.message.task_id for each in queue.claim(sessions[name], limit, 0)]
    assert sorted(given_out, key=int) == [str(n) for n in range(calls)]


def test_a_worker_takes_no_more_than_it_has_room_for() -> None:
    """A17: with one slot each and forty tasks of one length, two workers run twenty each."""
    queue = Queue()
    queue.enqueue([_call(str(n)) for n in range(40)], 0)
    sessions = [queue.open_session(name, 0).id for name in "ab"]
    ran = [0, 0]
    for _ in range(20):
        leased = [queue.claim(session, 1, 0) for session in sessions]
        for worker, deliveries in enumerate(leased):
            ran[worker] += len(deliveries)
            done = [Settlement(delivery.fence, Ending.DONE) for delivery in deliveries]
            assert all(queue.settle(sessions[worker], done, 0))
    assert ran == [20, 20]


async def test_the_pool_claims_for_its_slots_only(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A17: what it could not begin is left to other workers."""

    @actorq.task
    async def work() -> None:
        await trio.sleep(1)

    async with open_system(concurrency=1) as sys:
        handles = await sys.enqueue_many(work, [()] * 40)
        await trio.sleep(0.5)
        assert (await sys.queue_statistics()).leased <= 2
        for handle in handles:
            await handle.result()


@given(late=st.floats(0.001, 100), worker=st.sampled_from(["the same", "another"]))
def test_what_was_not_acknowledged_goes_to_another(late: float, worker: str) -> None:
    """T52: after the lease, and not before; for as long as a worker lives it renews it."""
    queue = Queue(lease=30)
    queue.enqueue([_call("t")], 0)
    first = queue.open_session("the same", 0).id
    assert len(queue.claim(first, 1, 0)) == 1
    assert queue.extend(first, 20) == 50

    queue.lapse(49.999)
    assert first in queue.sessions
    assert queue.n_leased == 1
    queue.lapse(50 + late)
    second = queue.open_session(worker, 50 + late).id
    (again,) = queue.claim(second, 1, 50 + late)
    assert (again.message.task_id, again.fence.attempt) == ("t", 2)


@given(delay=st.floats(0, 1000, allow_subnormal=False), by=st.floats(0.001, 10))
def test_a_delayed_message_is_not_given_out_before_its_time(delay: float, by: float) -> None:
    """T53: and is from then on."""
    queue = Queue()
    queue.enqueue([_call("t", eta=delay + by)], 0)
    session = queue.open_session("w", 0).id
    queue.promote(delay)
    assert queue.claim(session, 1, delay) == ()
    queue.promote(delay + by)
    assert len(queue.claim(session, 1, delay + by)) == 1


def test_what_ended_leaves_the_store() -> None:
    """A29: after 50,000 tasks it holds what it holds after 1,000."""
    queue = Queue(remember=500, keep_dead=500)
    session = queue.open_session("w", 0).id
    sizes: list[tuple[int, ...]] = []
    for batch in range(50):
        queue.enqueue([_call(f"{batch}/{n}") for n in range(1_000)], 0)
        claimed = queue.claim(session, 1_000, 0)
        queue.settle(session, [Settlement(each.fence, Ending.DONE) for each in claimed], 0)
        sizes.append((len(queue.live), len(queue.done), len(queue.dead), len(queue.outbox)))
    assert set(sizes) == {(0, 500, 0, 0)}


# --- systems that come and go --------------------------------------------------------------------


def test_a_graceful_stop_gives_back_what_has_not_begun() -> None:
    """A03: who comes next begins it at once, as the first attempt."""

    async def main() -> None:
        broker, attempts = InMemoryBroker(), []

        @broker.task
        async def work(ctx: Context = INJECTED) -> None:
            attempts.append((ctx.attempt, trio.current_time()))
            await trio.sleep(5)

        async with open_system(broker, concurrency=2, grace=10):
            for _ in range(6):
                await work.kiq()
            await trio.sleep(1)
        closed = trio.current_time()
        assert len(attempts) == 2
        async with open_system(broker) as sys:
            await trio.sleep(1)
            assert [attempt for attempt, _ in attempts] == [1] * 6
            assert max(moment for _, moment in attempts) - closed < 1
            await sys.wait_idle()

    simulate(main)


def test_what_was_enqueued_before_there_is_a_worker_runs_when_there_is_one() -> None:
    """A34: by a system that does not know it, which has closed since."""

    async def main() -> None:
        broker, ran = InMemoryBroker(), []

        async def work(name: str) -> None:
            ran.append(name)

        async with open_system(broker) as sys:
            await sys.send(TaskMessage("1", "late", ("unknown",)))
            await sys.send(TaskMessage("2", "late", ("too",)))
        assert ran == []
        broker.register(actorq.task(name="late")(work))
        async with open_system(broker) as sys:
            await sys.wait_idle()
        assert ran == ["unknown", "too"]

    simulate(main)


def test_an_idle_system_stays_up() -> None:
    """A07: ten minutes without a task: no restart, no timer of its own, and the next one runs."""

    async def main() -> None:
        @actorq.task
        async def work() -> str:
            return "done"

        async with open_system(backoff=QUICK) as sys:
            lives = {name: sys.actor(name).statistics() for name in ("results", "broker", "pool")}
            await trio.sleep(600)
            assert (await (await sys.enqueue(work)).result()) == "done"
            for name, before in lives.items():
                assert sys.actor(name).statistics().restarts == before.restarts == 0

    simulate(main)


async def test_a_program_sees_its_queue_and_its_workers() -> None:
    """A33: what waits, what runs, and how many slots there are."""
    gate = trio.Event()

    @actorq.task
    async def work() -> None:
        await gate.wait()

    async with open_system(concurrency=2) as sys:
        handles = await sys.enqueue_many(work, [()] * 5)
        await trio.testing.wait_all_tasks_blocked()
        queue, pool = await sys.queue_statistics(), await sys.pool_statistics()
        assert (pool.concurrency, pool.slots) == (2, 2)
        assert queue.ready + queue.leased == 5
        gate.set()
        for handle in handles:
            await handle.result()
        await sys.wait_idle()
        assert (await sys.queue_statistics()).done == 5


def test_no_other_event_loop_is_imported() -> None:
    """A38: a whole program, from the first task to the end, without asyncio."""
    program = """
        import sys, trio, actorq

        @actorq.task
        async def work(n: int) -> int:
            return n + 1

        async def main() -> None:
            async with actorq.open_system() as system:
                print(await (await system.enqueue(work, 1)).result())

        trio.run(main)
        print([name for name in sys.modules if name.split(".")[0] in ("asyncio", "anyio")])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "2\n[]\n"


async def test_enqueueing_from_a_thread() -> None:
    """Code that cannot await enqueues and waits by way of the event loop."""
    broker = InMemoryBroker()

    @broker.task
    async def double(n: int) -> int:
        return 2 * n

    def plain_code() -> int:
        handle = trio.from_thread.run(double.kiq, 4)
        return trio.from_thread.run(handle.result)

    async with open_system(broker):
        assert await trio.to_thread.run_sync(plain_code) == 8
