"""The system as a whole: opening, closing, looking; and the programs of the design."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Any, Final

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import InMemoryBroker, open_system
from actorq.testing import Tape, crash, simulate
from queue_strategies import INJECTED, Log, tapes


@actorq.task
async def fibonacci(n: int) -> int:
    """A task is still callable."""
    return n if n < 2 else await fibonacci(n - 1) + await fibonacci(n - 2)


async def test_the_first_program_of_the_design() -> None:
    """T03, T06: in memory, no sockets, nothing to install."""
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(fibonacci, 10)
        assert await handle.result() == 55
        assert repr(handle) == f"<TaskHandle {handle.task_id} of test_system:fibonacci>"


async def test_the_second_program_of_the_design() -> None:
    """T36: progress is pushed and ends with the task; the outcome tells the rest."""
    broker = InMemoryBroker().with_result_backend(
        actorq.InMemoryResultBackend(max_stored_results=500)
    )

    @broker.task(timeout=30, retries=3)
    async def process(path: str, ctx: actorq.Context = INJECTED) -> dict[str, int]:
        items = list(path)
        for done, item in enumerate(items, start=1):
            await ctx.set_progress(
                actorq.TaskProgress(
                    progress=done / len(items),
                    status=f"Processed {done}/{len(items)} items",
                    current=done,
                    total=len(items),
                    meta={"last": item},
                )
            )
        return {"processed_count": len(items)}

    async with actorq.open_system(broker):
        handle = await process.kiq("abc")
        seen = [(update.current, update.meta["last"]) async for update in handle.progress()]
        assert seen == [(1, "a"), (2, "b"), (3, "c")]
        outcome = await handle.wait_result()
        assert outcome.return_value == {"processed_count": 3}
        assert (outcome.is_err, outcome.error, outcome.attempts) == (False, None, 1)
        assert outcome.execution_time >= 0


async def test_calls_in_bulk() -> None:
    """Tuples and mappings; all in one hop, in order."""

    @actorq.task
    async def sub(a: int, b: int = 1) -> int:
        return a - b

    async with open_system() as sys:
        calls: list[Any] = [(5,), (5, 2), [5, 3], {"a": 9, "b": 4}, {"a": 0}]
        handles = await sys.enqueue_many(sub, calls)
        assert [await handle.result() for handle in handles] == [4, 3, 2, 5, -1]
        assert len({handle.task_id for handle in handles}) == 5
        assert await sys.enqueue_many(sub, []) == []


def test_ids_of_ones_own() -> None:
    """`with_id_generator`, and `task_id` for one call."""

    async def main() -> None:
        ids = iter(f"mine-{n}" for n in range(9))
        broker = InMemoryBroker().with_id_generator(lambda: next(ids))
        async with open_system(broker) as sys:
            assert (await sys.enqueue(fibonacci, 1)).task_id == "mine-0"
            assert (await sys.enqueue(fibonacci.using(task_id="x"), 1)).task_id == "x"
            many = await sys.enqueue_many(fibonacci, [(1,), (2,)])
            assert [handle.task_id for handle in many] == ["mine-1", "mine-2"]

    simulate(main)


@given(st.booleans(), tapes)
def test_nothing_outlives_the_system(fails: bool, tape: Tape) -> None:
    """A39, 52, T03: no task is left, by exception too."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(n: int) -> None:
            await log.job(n, n)

        class Enough(Exception):
            """Of the body."""

        before = trio.lowlevel.current_statistics().tasks_living
        try:
            async with open_system(grace=1, concurrency=2) as sys:
                await sys.enqueue_many(work, [(n,) for n in (0, 5, 100)])
                await trio.sleep(2)
                if fails:
                    raise Enough
        except Enough:
            assert fails
        assert trio.lowlevel.current_statistics().tasks_living == before
        assert log.running == 0

    simulate(main, tape=tape)


def test_a_worker_that_was_cancelled_runs_nothing_more() -> None:
    """T48: an embedded worker, its scheduler too; what it had not begun waits for the next."""

    async def main() -> None:
        broker = actorq.InMemoryBroker()
        ran: list[int] = []

        @broker.task
        async def work(n: int) -> None:
            ran.append(n)

        @broker.task(schedule=[actorq.every(10, args=(99,))])
        async def tick(n: int) -> None:
            ran.append(n)

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            async with open_system(broker):
                task_status.started()
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            for n in range(3):
                await work.kiq(n)
            await trio.sleep(5)
            assert ran == [0, 1, 2]
            nursery.cancel_scope.cancel()
        with pytest.raises(actorq.SystemClosed):
            await work.kiq(3)
        await trio.sleep(60)
        assert ran == [0, 1, 2]

    simulate(main)


async def test_no_thread_is_left_running_a_task() -> None:
    """A39: closing waits for threads, however short the grace."""
    release, running = threading.Event(), threading.Event()
    ended: list[int] = []

    @actorq.task
    def work() -> None:
        running.set()
        release.wait(30)
        ended.append(1)

    async with trio.open_nursery() as nursery:
        async with open_system(grace=0, shutdown_timeout=0) as sys:
            await sys.enqueue(work)
            await trio.to_thread.run_sync(running.wait, 30)
            nursery.start_soon(_set_later, release)
        assert ended


async def _set_later(event: threading.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    event.set()


def test_the_body_of_a_broken_system_is_cancelled_and_the_failure_surfaces() -> None:
    """22, 50: more crashes than the queue puts up with."""

    async def main() -> None:
        async def program() -> None:
            async with open_system() as sys:
                for _ in range(4):
                    crash(sys.actor("broker"))
                    await trio.sleep(1)
                await trio.sleep_forever()

        with pytest.raises(actorq.SystemFailed, match="queue") as caught:
            await program()
        assert isinstance(caught.value.__cause__, ExceptionGroup)

    simulate(main)


def test_a_clients_wait_ends_with_the_system() -> None:
    """45: outside of the body, nobody waits for what will not come."""

    async def main() -> None:
        told: list[Exception] = []
        broker = InMemoryBroker()

        @broker.task
        async def work() -> None:
            await trio.sleep(100)

        async def wait(ask: Any) -> None:
            try:
                await ask()
            except (actorq.SystemClosed, StopAsyncIteration) as error:
                told.append(error)

        async with trio.open_nursery() as nursery, open_system(broker, grace=5) as sys:
            handle = await sys.enqueue(work)
            for ask in (handle.result, handle.wait_result, handle.progress().__anext__):
                nursery.start_soon(wait, ask)
            nursery.start_soon(wait, lambda: sys.wait_idle(scheduled=True))
            await trio.sleep(1)
        assert len(told) >= 3
        assert trio.current_time() < 20

    simulate(main)


def test_statistics() -> None:
    """What is where, and how busy the pool is."""

    async def main() -> None:
        @actorq.task
        async def work(seconds: float) -> None:
            if seconds < 0:
                raise ValueError
            await trio.sleep(seconds)

        async with open_system(concurrency=2) as sys:
            await sys.enqueue_many(work, [(5,), (5,), (5,), (-1,)])
            await sys.enqueue(work.using(delay=50), 1)
            await trio.sleep(1)
            counts = await sys.queue_statistics()
            assert (counts.ready, counts.leased, counts.scheduled) == (2, 2, 1)
            pool = await sys.pool_statistics()
            assert (pool.concurrency, pool.held, pool.suspended) == (2, 2, 0)
            await sys.wait_idle()
            assert trio.current_time() == 10
            await sys.wait_idle(scheduled=True)
            assert trio.current_time() == pytest.approx(51)
            counts = await sys.queue_statistics()
            assert (counts.done, counts.dead, counts.ready, counts.leased) == (4, 1, 0, 0)
            assert {child.name for child in sys.statistics().children} >= {"queue", "app"}

    simulate(main)


def test_a_broker_that_is_opened_again_has_kept_everything() -> None:
    """28: queue, results and dead letters are the broker's, not the system's."""

    async def main() -> None:
        broker = InMemoryBroker()

        @broker.task
        async def work(n: int) -> int:
            if n < 0:
                raise ValueError(n)
            return n

        async with open_system(broker) as sys:
            done = await sys.enqueue(work, 1)
            dead = await sys.enqueue(work, -1)
            later = await sys.enqueue(work.using(delay=100), 2)
            await dead.wait_result()
            await done.result()
        await trio.sleep(200)
        async with open_system(broker) as sys:
            assert await sys.handle(done.task_id, work).result() == 1
            assert await sys.handle(later.task_id, work).result() == 2
            with pytest.raises(ValueError, match="-1"):
                await sys.handle(dead.task_id).result()
            (letter,) = await sys.dead_tasks()
            assert letter.message.task_id == dead.task_id
            again = await sys.enqueue(work.using(task_id=done.task_id), 1)  # known: not run again
            assert await again.result() == 1
            assert (await sys.queue_statistics()).done == 2

    simulate(main)


def test_two_systems_side_by_side_know_nothing_of_each_other() -> None:
    """The system is a value."""

    async def main() -> None:
        async with open_system() as one, open_system() as two:
            handle = await one.enqueue(fibonacci, 5)
            assert await handle.result() == 5
            with pytest.raises(actorq.ResultGetError):
                await two.handle(handle.task_id).result()
            assert (await two.queue_statistics()).done == 0

    simulate(main)


def test_a_cancelled_waiter_harms_nobody() -> None:
    """14: the task goes on; others get its result."""

    async def main() -> None:
        @actorq.task
        async def work() -> int:
            await trio.sleep(10)
            return 1

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            with trio.move_on_after(5) as scope:
                await handle.result()
            assert scope.cancelled_caught
            assert await handle.result() == 1
            assert trio.current_time() == 10

    simulate(main)


PRESSED: Final = """
import trio, actorq

@actorq.task
async def nothing() -> None: ...

async def client(sys):
    while True:
        await (await sys.enqueue(nothing)).result()

async def main():
    async with actorq.open_system(concurrency=20) as sys:
        print("up", flush=True)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client, sys)

try:
    trio.run(main)
except* KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.engine
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals as POSIX has them")
@pytest.mark.parametrize("number", range(8))
def test_ctrl_c_at_any_moment_of_a_busy_system_ends_it_cleanly(number: int) -> None:
    """49. A real SIGINT, wherever it strikes: no internal error of Trio's, no hang."""
    with subprocess.Popen(
        [sys.executable, "-c", PRESSED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "up\n"
        program.send_signal(signal.SIGINT)
        try:
            output, errors = program.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            program.kill()  # or leaving the block waits for ever
            pytest.fail(f"it goes on after a Ctrl-C; it said {program.communicate()}")
    assert output == "interrupted\n", errors
