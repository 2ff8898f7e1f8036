"""Chains: the result of one task is the first argument of the next."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, TaskMessage, open_system
from actorq.errors import (
    ArgumentsError,
    ChainBroken,
    OptionError,
    ResultGetError,
    TaskCancelled,
    TaskDefinitionError,
    TaskExpired,
    TaskNotBound,
    WorkerLost,
)
from actorq.limits import Concurrency
from actorq.message import Terms
from actorq.protocol import Replay
from actorq.succession import following
from actorq.testing import Tape, crash, simulate
from queue_strategies import (
    INJECTED,
    MOMENTS,
    QUICK,
    Crash,
    Everywhere,
    Log,
    check_conservation,
    crash_as_planned,
    tapes,
)


@actorq.task
async def add(a: int, b: int = 1) -> int:
    """Takes a second."""
    await trio.sleep(1)
    return a + b


@actorq.task
async def show(n: int, *, unit: str = "s") -> str:
    """Takes a second."""
    await trio.sleep(1)
    return f"{n} {unit}"


@actorq.task
async def fail(n: int) -> int:
    """Does not succeed."""
    raise ValueError(f"no {n}")


# --- how it is written --------------------------------------------------------------------------


def test_a_chain_passes_each_result_on() -> None:
    """T56: steps in order; the handle is that of the last, and knows all of them."""

    async def main() -> None:
        async with open_system() as sys:
            handle = await sys.enqueue(add | add.step(10) | show.step(unit="m"), 1, b=2)
            assert await handle.result() == "13 m"
            assert trio.current_time() == pytest.approx(3)
            assert [await step.result() for step in handle.steps] == [3, 13, "13 m"]
            assert handle.steps[-1] is handle
            assert [step.task_id for step in handle.steps[:2]] == [
                f"{handle.task_id}.1",
                f"{handle.task_id}.2",
            ]
            single = await sys.enqueue(add, 1)
            assert single.steps == (single,)

    simulate(main)


def test_a_chain_is_made_of_tasks_calls_steps_and_chains() -> None:
    """However it is put together; and it is a value, to be enqueued again and again."""

    async def main() -> None:
        async with open_system() as sys:
            call = add.call(1) | add.step(10) | show
            assert repr(call) == "<Call test_chains:add(1) | test_chains:add | test_chains:show>"
            for _ in range(2):
                assert await (await sys.enqueue(call)).result() == "12 s"
            step: actorq.Step[int, int] = add.step(10)
            end = step | show
            both = add | end
            assert repr(both) == "<Chain test_chains:add | test_chains:add | test_chains:show>"
            assert await (await sys.enqueue(both, 1)).result() == "12 s"
            tail = add | show
            longer = add.call(1, 2) | add | tail
            assert await (await sys.enqueue(longer)).result() == "5 s"
            assert repr(add.step(2)) == "<Step test_chains:add(..., 2)>"
            # wherever a call, or a task of one argument, is taken
            assert await sys.gather(call, add.call(1)) == ("12 s", 2)
            async with sys.map(add | show, [1, 2]) as done:
                assert {pair async for pair in done} == {(1, "2 s"), (2, "3 s")}
            async with sys.map(add.step(5), [1]) as more:
                assert [pair async for pair in more] == [(1, 6)]
            async with sys.open_task_nursery() as jobs:
                handle = jobs.start_soon(add | show, 1)
            assert [await step.result() for step in handle.steps] == [2, "2 s"]

    simulate(main)


def test_kiq_of_a_chain() -> None:
    """On the system of the first task's broker."""

    async def main() -> None:
        broker = InMemoryBroker()

        @broker.task
        async def double(n: int) -> int:
            return 2 * n

        async with open_system(broker):
            assert await (await (double | show).kiq(2)).result() == "4 s"
            assert await (await (double.call(3) | double).kiq()).result() == 12
            with pytest.raises(TaskNotBound):
                await (add | show).kiq(1)

    simulate(main)


def test_what_cannot_be_a_chain_is_refused() -> None:
    """Where it is written, or where it is enqueued; and then nothing is enqueued."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(TaskDefinitionError, match="consists of tasks"):
                add | trio.sleep  # type: ignore[operator]
            with pytest.raises(TaskDefinitionError, match="has all its arguments"):
                add | add.call(1)  # type: ignore[operator]
            with pytest.raises(ArgumentsError, match=r"step 2 of a chain.*'c'"):
                await sys.enqueue(add | add.step(c=1), 1)  # type: ignore[call-arg]
            with pytest.raises(ArgumentsError, match=r"step 3 of a chain.*b"):
                await sys.enqueue(add | add | add.step("x"), 1)  # type: ignore[arg-type]
            with pytest.raises(ArgumentsError, match="missing"):
                await sys.enqueue(add | add)  # type: ignore[call-arg]

            @actorq.task
            async def nullary() -> int:
                return 1

            with pytest.raises(ArgumentsError, match="takes 0 positional"):
                await sys.enqueue(add | nullary, 1)  # type: ignore[operator]
            for wrong in (
                add.using(ack="when_received") | add,
                add | add.using(ack="manual") | add,
                add.using(unique=True) | add,
                add | add.using(unique=True),
                add.using(task_id="x") | add,
                add | add.using(concurrency=Concurrency(1, key="{a}")),
            ):
                with pytest.raises(OptionError, match=r"step \d of a chain"):
                    await sys.enqueue(wrong, 1)
            counts = await sys.queue_statistics()
            assert (counts.ready, counts.leased, counts.done, counts.dead) == (0, 0, 0, 0)

    simulate(main)


# --- options of steps ---------------------------------------------------------------------------


def test_each_step_has_its_own_options() -> None:
    """Retries, delays and expiry count from when the step is enqueued; labels go on."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def flaky(n: int, ctx: Context = INJECTED) -> int:
            log.attempts["flaky"].append(ctx.attempt)
            assert dict(ctx.labels) == {"a": 1, "b": 2}
            if ctx.attempt < 3:
                raise OSError("not yet")
            return n

        async with open_system() as sys:
            chain = (
                add.using(labels={"a": 1, "b": 1})
                | flaky.using(retries=2, labels={"b": 2}, delay=10)
                | add.using(task_id="the whole", ack="when_received", expires=1)
            )
            handle = await sys.enqueue(chain, 1)
            assert handle.task_id == "the whole"
            assert await handle.result() == 3
            assert log.attempts["flaky"] == [1, 2, 3]
            assert trio.current_time() >= 12
            # the same id once more: it is stored once
            again = await sys.enqueue(chain, 1)
            assert await again.result() == 3
            assert len(log.attempts["flaky"]) == 3
            # an id that was passed on is found from elsewhere
            elsewhere: actorq.TaskHandle[Any] = sys.handle("the whole.1")
            assert await elsewhere.result() == 2

    simulate(main)


def test_the_message_of_the_next_step() -> None:
    """Seconds become moments when the step is enqueued; a moment stays what it is."""
    step = TaskMessage("x", "b", (2,), {}, terms=Terms(delay=10.0, expires=5.0))
    last = TaskMessage("y", "c", eta=99.0)
    first = TaskMessage("x.1", "a", terms=Terms(chain=(step, last)))
    (second,) = following(first, [1], 100.0)
    assert (second.args, second.eta, second.enqueued_at) == (([1], 2), 110.0, 100.0)
    assert second.terms == Terms(expires_at=115.0, chain=(last,))
    (third,) = following(second, None, 200.0)
    assert (third.args, third.eta, third.terms) == ((None,), 99.0, None)
    assert following(third, None, 300.0) == ()
    bounded = attrs.evolve(step, terms=Terms(expires=5.0, expires_at=103.0))
    (early,) = following(TaskMessage("x.1", "a", terms=Terms(chain=(bounded,))), 0, 100.0)
    assert early.terms == Terms(expires_at=103.0)
    # and it travels
    wire = json.loads(json.dumps(first.to_dict()))
    (again,) = following(TaskMessage.from_dict(wire), [1], 100.0)
    assert again.to_dict() == second.to_dict()


# --- steps that do not succeed ------------------------------------------------------------------


def test_a_step_that_fails_ends_the_chain() -> None:
    """T56: the handle carries it, at once; later steps are never enqueued."""

    async def main() -> None:
        async with open_system() as sys:
            handle = await sys.enqueue(add | fail | add | show, 1)
            with pytest.raises(ChainBroken, match=r"fail \(.* ValueError: no 2") as it:
                await handle.result()
            assert trio.current_time() == pytest.approx(1)
            assert isinstance(it.value.__cause__, ValueError)
            assert it.value.task_id == f"{handle.task_id}.2"
            assert it.value.task_name == "test_chains:fail"
            assert await handle.steps[0].result() == 2
            with pytest.raises(ValueError, match="no 2"):
                await handle.steps[1].result()
            with pytest.raises(ChainBroken):
                await handle.steps[2].result()
            assert await handle.cancel() is False
            (dead,) = await sys.dead_tasks()
            assert dead.message.task_name == "test_chains:fail"
            # its id, asked from elsewhere and before it was enqueued
            other = await sys.enqueue(add | fail | add, 1)
            elsewhere = sys.handle(other.task_id, add)
            with pytest.raises(ChainBroken):
                await elsewhere.result()

    simulate(main)


def test_a_dead_step_that_is_replayed_goes_on_with_its_chain() -> None:
    """The dead letter carries the rest."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def moody(n: int) -> int:
            log.starts["moody"] += 1
            if log.starts["moody"] == 1:
                raise OSError("not today")
            return n

        async with open_system() as sys:
            handle = await sys.enqueue(add | moody | show, 1)
            with pytest.raises(ChainBroken):
                await handle.result()
            (dead,) = await sys.dead_tasks()
            replayed = attrs.evolve(dead.message, task_id="once more")
            pairs = ((dead.task_id, replayed),)
            assert await sys.wiring.broker.ask(Replay(pairs)) == ("once more",)
            await sys.wait_idle()
            assert await handle.result() == "2 s"

    simulate(main)


@pytest.mark.parametrize("at", [0.5, 1.5])
def test_a_chain_that_goes_on_after_a_replay_can_be_cancelled(at: float) -> None:
    """36: that it was broken before counts for nothing."""

    async def main() -> None:
        async with open_system() as sys:
            handle = await sys.enqueue(fail | add | add, 1)
            with pytest.raises(ChainBroken):
                await handle.result()
            (dead,) = await sys.dead_tasks()
            mended = attrs.evolve(dead.message, task_id="mended", task_name=add.name)
            assert await sys.wiring.broker.ask(Replay(((dead.task_id, mended),))) == ("mended",)
            await trio.sleep(at)
            assert await handle.cancel() is True
            assert trio.current_time() == pytest.approx(at)
            with pytest.raises(TaskCancelled):
                await handle.result()

    simulate(main)


def test_a_nursery_and_gather_hear_of_a_broken_chain() -> None:
    """As a failure of the chain."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(ExceptionGroup) as caught:
                await sys.gather(add.call(1) | add | add, fail.call(1) | add)
            assert [type(error) for error in caught.value.exceptions] == [ChainBroken]
            counts = await sys.queue_statistics()
            assert (counts.ready, counts.leased, counts.scheduled) == (0, 0, 0)

    simulate(main)


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0, 1.5, 4.0])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_cancelling_a_chain_cancels_the_step_that_is_live(at: float, which: int) -> None:
    """36: whichever step's handle is used, as long as that step has not ended."""

    async def main() -> None:
        async with open_system() as sys:
            handle = await sys.enqueue(add | add.using(delay=2) | show, 1)
            await trio.sleep(at + 0.01)
            took_effect = await handle.steps[which].cancel()
            assert took_effect == (not ((at >= 1 and which == 0) or (at >= 4 and which == 1)))
            if took_effect:
                assert trio.current_time() == pytest.approx(at + 0.01)
                with pytest.raises(TaskCancelled):
                    await handle.result()
                assert await handle.cancel() is True
            else:
                assert await handle.result() == "3 s"
            counts = await sys.queue_statistics()
            assert (counts.ready, counts.leased, counts.scheduled) == (0, 0, 0)

    simulate(main)


def test_a_chain_that_is_cancelled_does_not_go_on_if_its_step_succeeds_all_the_same() -> None:
    """36: the step's result stands, and nothing comes after it."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def deaf(n: int) -> int:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            return n

        @actorq.task
        def plain(n: int) -> int:
            return n

        @actorq.task(ack="when_executed")
        async def noted(n: int) -> int:
            return int(await log.job(n, 1))

        async with open_system() as sys:
            handle = await sys.enqueue(deaf | noted, 1)
            await trio.sleep(1)
            assert await handle.cancel() is True
            with pytest.raises(TaskCancelled):
                await handle.result()
            assert not log.starts
            # where the queue had been told just before: the next step is cancelled
            other = await sys.enqueue(noted | noted, 2)
            await trio.sleep(1)
            assert await other.cancel() is True
            with pytest.raises(TaskCancelled):
                await other.result()

    simulate(main)


def test_a_chain_whose_step_kills_its_workers_or_expires_is_broken() -> None:
    """29, 38: nobody waits for ever."""

    async def main() -> None:
        async with open_system(intensity=1000) as sys:
            handle = await sys.enqueue(add.using(max_deliveries=1) | add, 1)
            await trio.sleep(0.5)
            crash(sys.actor("pool"))
            with pytest.raises(ChainBroken) as caught:
                await handle.result()
            assert isinstance(caught.value.__cause__, WorkerLost)
        async with open_system(concurrency=1) as sys:
            # the second step waits for its turn for longer than it may
            late = await sys.enqueue(add | add.using(expires=3, priority=-1) | add, 1)
            await sys.enqueue_many(add, [(1,)] * 10)
            with pytest.raises(ChainBroken) as caught:
                await late.result()
            assert isinstance(caught.value.__cause__, TaskExpired)
            assert trio.current_time() < 6

    simulate(main)


def test_a_value_that_the_next_step_cannot_take_breaks_the_chain() -> None:
    """Types are checked by a type checker, and again where it runs."""

    async def main() -> None:
        async with open_system() as sys:
            wrong: Any = show | add  # type: ignore[operator]
            handle = await sys.enqueue(wrong | show, 1)
            with pytest.raises(ChainBroken) as caught:
                await handle.result()
            assert isinstance(caught.value.__cause__, ArgumentsError)

    simulate(main)


# --- crashes ------------------------------------------------------------------------------------


@attrs.frozen
class Link:
    """One drawn step."""

    seconds: float | None
    ack: str = "when_saved"
    fails: bool = False
    retries: int = 0


links = st.lists(
    st.builds(
        Link,
        seconds=st.sampled_from([None, 0.0, 0.3, 1.0]),
        ack=st.sampled_from(["when_saved", "when_executed"]),
        fails=st.sampled_from([False, False, False, True]),
        retries=st.integers(0, 1),
    ),
    min_size=1,
    max_size=4,
)


@given(
    drawn=links,
    faults=st.lists(
        st.builds(Crash, MOMENTS, st.sampled_from(["results", "broker", "middleware", "pool"])),
        max_size=3,
    ),
    cancel_at=st.none() | MOMENTS,
    tape=tapes,
)
def test_a_chain_survives_every_crash(
    drawn: list[Link], faults: list[Crash], cancel_at: float | None, tape: Tape
) -> None:
    """28, 32, T56: steps run in order, at least once each, none before the one before is completed.

    Without crashes, exactly once; and whoever waits hears of the end in any case.
    """
    broker = InMemoryBroker()
    log = Log()

    def look() -> None:
        check_conservation(broker.queue)
        assert len(broker.queue.live) <= 1  # one step at a time

    eye = Everywhere(look)

    async def main() -> None:
        @actorq.task
        async def link(done: list[int], seconds: float | None, fails: bool) -> list[int]:
            n = len(done)
            assert done == list(range(n))
            assert all(log.ends[before] for before in done)
            await log.job(n, seconds)
            if fails:
                raise ValueError(f"step {n}")
            return [*done, n]

        async with open_system(broker, backoff=QUICK) as sys:
            tasks = [
                link.using(ack=each.ack, retries=each.retries)  # type: ignore[arg-type]
                for each in drawn
            ]
            chain: Any = tasks[0].call([], drawn[0].seconds, drawn[0].fails)
            for task, each in zip(tasks[1:], drawn[1:], strict=True):
                chain = chain | task.step(each.seconds, each.fails)
            async with trio.open_nursery() as nursery:
                handle = await sys.enqueue(chain)
                nursery.start_soon(crash_as_planned, sys, faults)
                cancelled = False
                if cancel_at is not None:
                    await trio.sleep_until(cancel_at)
                    cancelled = await handle.cancel()
                result = None
                try:
                    result = await handle.wait_result()
                except ResultGetError:  # acknowledged before it was stored, and lost in between
                    assert faults
                    assert drawn[-1].ack == "when_executed"
            await sys.wait_idle(scheduled=True)
            assert not broker.queue.live
            assert not broker.queue.chains.pending
            assert not broker.queue.chains.severed
            steps = len(drawn)
            failing = next((n for n, each in enumerate(drawn) if each.fails), None)
            if cancelled:
                assert result is not None
                assert isinstance(result.error, TaskCancelled)
            elif failing is None:
                if result is not None:
                    assert result.return_value == list(range(steps))
                assert all(log.ends[n] for n in range(steps))
            else:
                if result is not None:
                    kind = ValueError if failing == steps - 1 else ChainBroken
                    assert type(result.error) is kind
                assert not any(log.starts[n] for n in range(failing + 1, steps))
            for n, each in enumerate(drawn):
                assert log.starts[n] <= 1 + len(faults) + (each.retries if each.fails else 0)
            if not faults and not cancelled and failing is None:
                assert log.order == list(range(steps))

    simulate(main, tape=tape, instruments=[eye])
    eye.check()
