"""Jobs that could harm others: each ends as itself, and the pool goes on."""

from __future__ import annotations

import contextvars
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.actors.broker import Broker
from actorq.depends import Depends
from actorq.testing import Tape, simulate
from strategies import tapes


INJECTED = Depends()
secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="nothing")


class Unreadable(Exception):
    """Its message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


class Untouchable(Exception):
    """Neither its attributes nor its arguments can be had."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)

    def __reduce__(self) -> Any:
        raise KeyError("reduce")


class Sealed(Exception):
    """Nothing can be set on it once it is made."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


@actorq.task
async def innocent() -> str:
    """The neighbour."""
    await trio.sleep(1)
    return "ok"


async def restarts(sys: actorq.System) -> int:
    """Of the pool."""
    statistics = sys.statistics().find("pool")
    assert isinstance(statistics, actorq.MailboxStatistics)
    return statistics.restarts


@pytest.mark.parametrize("kind", [Unreadable, Untouchable, Sealed])
@pytest.mark.parametrize("declared", [False, True])
def test_33_an_exception_that_cannot_be_read_fails_its_own_task_only(
    kind: type[Exception], declared: bool
) -> None:
    """33. One attempt, one failure, no restart; the neighbour does not notice."""
    runs: list[int] = []

    @actorq.task(name="bad", raises=(kind,) if declared else ())
    async def bad() -> None:
        runs.append(1)
        raise kind

    async def main() -> None:
        async with actorq.open_system() as sys:
            neighbour = await sys.enqueue(innocent)
            handle = await sys.enqueue(bad)
            with pytest.raises((actorq.TaskFailed, kind)):
                await handle.result()
            assert await neighbour.result() == "ok"
            await sys.wait_idle()
            assert len(await sys.dead_tasks()) == 1
            assert await restarts(sys) == 0
        assert runs == [1]

    simulate(main)


@given(tape=tapes, grouped=st.booleans())
def test_48_a_stray_cancellation_is_a_failure_of_its_task(tape: Tape, grouped: bool) -> None:
    """48. A `Cancelled` that was kept and is raised again cancels nobody: the attempt fails."""

    @actorq.task(name="stray")
    async def stray() -> None:
        kept: list[BaseException] = []
        with trio.CancelScope() as scope:
            scope.cancel("to have one")
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as cancelled:
                kept.append(cancelled)
                raise
        raise BaseExceptionGroup("kept", [kept[0], ValueError(1)]) if grouped else kept[0]

    async def main() -> None:
        async with actorq.open_system() as sys:
            neighbour = await sys.enqueue(innocent)
            outcome = await (await sys.enqueue(stray)).wait_result()
            assert outcome.is_err
            assert await neighbour.result() == "ok"
            assert await restarts(sys) == 0

    simulate(main, tape=tape)


@given(tape=tapes)
def test_36_a_cancelled_job_that_fails_in_its_cleanup_harms_nobody(tape: Tape) -> None:
    """36. Its own end is TaskCancelled; what its nursery's children raise meanwhile is logged."""

    @actorq.task(name="messy")
    async def messy() -> None:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the clean-up")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
            await trio.sleep_forever()

    async def main() -> None:
        async with actorq.open_system(concurrency=2) as sys:
            handle = await sys.enqueue(messy)
            neighbour = await sys.enqueue(innocent)
            await trio.sleep(0.5)
            assert await handle.cancel()
            with pytest.raises(actorq.TaskCancelled):
                await handle.result()
            outcome = await neighbour.wait_result()
            assert (outcome.return_value, outcome.attempts) == ("ok", 1)
            assert await restarts(sys) == 0

    simulate(main, tape=tape)


@given(tape=tapes, cancelled=st.booleans())
def test_no_job_sees_what_another_left_in_its_context(tape: Tape, cancelled: bool) -> None:
    """T24. Slots live on from job to job; context variables do not, cancelled or not."""

    @actorq.task(name="leaves")
    async def leaves() -> None:
        secret.set("of another job")
        if cancelled:
            await trio.sleep_forever()

    @actorq.task(name="looks")
    async def looks() -> str:
        return secret.get()

    async def main() -> None:
        async with actorq.open_system(concurrency=1) as sys:
            handle = await sys.enqueue(leaves)
            await trio.sleep(0.5)
            assert await handle.cancel() is cancelled
            assert await (await sys.enqueue(looks)).result() == "nothing"

    simulate(main, tape=tape)


@given(tape=tapes, seconds=st.sampled_from([5.0, 28.0]))
def test_35_a_drain_keeps_the_lease(tape: Tape, seconds: float) -> None:
    """35. A job that finishes within the grace keeps its lease, whenever that was last renewed."""
    finished: list[float] = []

    @actorq.task(name="long")
    async def long() -> None:
        await trio.sleep(19.5 + seconds)
        finished.append(trio.current_time())

    async def main() -> actorq.InMemoryBroker:
        broker = actorq.InMemoryBroker(lease=30)
        async with actorq.open_system(broker, grace=30) as sys:
            await sys.enqueue(long)
            await trio.sleep(19.5)
        return broker

    broker = simulate(main, tape=tape)
    assert finished == [19.5 + seconds]
    assert broker.queue.n_done == 1


@given(tape=tapes, concurrency=st.integers(1, 3))
def test_34_a_pool_that_lost_its_lease_goes_on_working(tape: Tape, concurrency: int) -> None:
    """34. Its jobs are others' now, that is: its own again, in a new session."""

    class LosesOnce(actorq.InMemoryBroker):
        lost = False

        async def extend(self, session: int, now: float) -> float | None:
            if not self.lost:
                self.lost = True
                self.queue.close_session(session, now)
            return await super().extend(session, now)

    @actorq.task(name="long")
    async def long() -> int:
        await trio.sleep(25)
        return 1

    async def main() -> None:
        broker: Broker = LosesOnce(lease=30)
        async with actorq.open_system(broker, concurrency=concurrency) as sys:
            handles = await sys.enqueue_many(long, [()] * (concurrency + 2))
            with trio.fail_after(500):
                assert [await handle.result() for handle in handles] == [1] * len(handles)

    simulate(main, tape=tape)


@given(tape=tapes)
def test_a_slot_that_is_given_back_goes_to_who_waits_for_one(tape: Tape) -> None:
    """A16. One slot, two parents: the second resumes as soon as the first waits again."""
    log: list[tuple[str, float]] = []

    @actorq.task(name="first")
    async def first() -> None:
        await trio.sleep(1)

    @actorq.task(name="parent")
    async def parent(name: str, ids: list[str], ctx: actorq.Context = INJECTED) -> None:
        for task_id in ids:
            await ctx.system.handle(task_id).wait_result()
            log.append((name, trio.current_time()))
            await trio.sleep(0.5)

    async def main() -> None:
        async with actorq.open_system(concurrency=1) as sys:
            x = await sys.enqueue(first)
            late = await sys.enqueue(first.using(delay=100))
            one = await sys.enqueue(parent, "one", [x.task_id, late.task_id])
            two = await sys.enqueue(parent, "two", [x.task_id])
            await one.result()
            await two.result()

    simulate(main, tape=tape)
    assert max(moment for name, moment in log if name == "two") < 50


@pytest.mark.parametrize("blocked", [20.0, 31.0, 200.0])
def test_35_a_job_that_blocks_the_loop_runs_once(blocked: float) -> None:
    """35. However long the loop stands still: its result is stored under a renewed lease."""
    runs: list[int] = []

    @actorq.task(name="blocks")
    async def blocks() -> int:
        runs.append(1)
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(blocked)  # as time.sleep would
        return 1

    async def main() -> None:
        async with actorq.open_system() as sys:
            assert await (await sys.enqueue(blocks)).result() == 1
            await sys.wait_idle()

    simulate(main)
    assert runs == [1]
