"""Engines that do what comes together in one step: the contract, and drawn programs under faults."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import InMemoryBroker, TaskCancelled, open_system
from actorq.errors import EngineUnavailable, EnqueueUncertain, ResultGetError
from actorq.testing import BrokerContract, Tape, simulate
from actorq.testing.faults import Fault, crash, faults, inject
from queue_strategies import QUICK, Everywhere, accepted, check_conservation
from semantics.test_faults import Plan, Seen, programs, run_program
from strategies import examples, tapes
from together import Doubtful, Together, unwell


class TestTogether(BrokerContract):
    factory = Together
    simulated = True
    max_examples = 25


class TestOverlapping(BrokerContract):
    """Each call is made before what the last one brought is read."""

    simulated = True
    max_examples = 25

    @staticmethod
    def factory() -> Together:
        return Together(overlaps=True)


@given(
    drawn=programs,
    plan=faults(horizon=8.0),
    tape=tapes,
    steps=st.integers(0, 2),
    overlaps=st.booleans(),
    seconds=st.sampled_from([0.0, 0.01, 0.3]),
)
@settings(max_examples=examples(80))
def test_31_32_34_43_result_and_ack_are_one_step(
    drawn: list[Plan], plan: list[Fault], tape: Tape, steps: int, overlaps: bool, seconds: float
) -> None:
    """31, 32, 33, 34, 43: whatever goes wrong, a task that has ended by its worker has a result."""
    broker = Together(lease=3.0, steps=steps, overlaps=overlaps, seconds=seconds)
    seen = Seen()
    eye = Everywhere(lambda: check_conservation(broker.queue))

    async def main() -> None:
        async with open_system(broker, backoff=QUICK, concurrency=3) as sys:
            async with inject(sys, plan) as injection:
                await run_program(sys, drawn, seen)
                await sys.wait_idle(scheduled=True)
            for n, each in enumerate(drawn):
                task_id = f"task-{n}"
                stored = broker.stored[task_id]
                assert [one.attempts for one in stored] == sorted(one.attempts for one in stored)
                most = 1 if each.ack == "when_received" else each.attempts + len(injection.struck)
                assert seen.log.starts[n] <= most
                result = seen.results[task_id]
                if isinstance(result, ResultGetError):
                    assert injection.struck, result
                elif not result.is_err:
                    assert result.return_value == n
                elif not isinstance(result.error, TaskCancelled | actorq.WorkerLost):
                    assert each.failures >= each.attempts
        assert accepted(broker.queue) == {f"task-{n}" for n in range(len(drawn))}

    simulate(main, tape=tape, instruments=[eye])
    eye.check()


@given(tape=tapes, callers=st.integers(2, 60))
@settings(max_examples=examples(30))
def test_who_enqueues_at_the_same_time_shares_a_step(tape: Tape, callers: int) -> None:
    """Group commit: fifty callers are no fifty transactions."""
    broker = Together()

    async def main() -> None:
        @actorq.task
        async def work(n: int) -> int:
            return n

        async with open_system(broker, concurrency=5) as sys:
            await sys.register(work)
            before = len(broker.batches)

            async def one(n: int) -> None:
                assert await (await sys.enqueue(work, n)).result() == n

            async with trio.open_nursery() as nursery:
                for n in range(callers):
                    nursery.start_soon(one, n)
            assert len(broker.batches) - before <= 3 + callers
            assert max(broker.batches[before:]) >= callers

    simulate(main, tape=tape)


FATES = ("done", "after", "before", "longer", "cannot")


@given(
    fates=st.lists(st.sampled_from(FATES), max_size=20),
    tape=tapes,
    tasks=st.integers(1, 8),
    overlaps=st.booleans(),
)
@settings(max_examples=examples(150))
def test_31_32_33_what_is_in_doubt_is_found_out_and_nothing_is_done_twice(
    fates: list[str], tape: Tape, tasks: int, overlaps: bool
) -> None:
    """31, 32, 33: no task is lost or run twice by it, and no enqueuer is kept waiting for long."""
    broker = Doubtful(fates, overlaps=overlaps)
    begun: list[int] = []
    waited: list[float] = []
    uncertain: list[bool] = []  #: whether it said of which task

    @actorq.task
    async def work(n: int) -> int:
        begun.append(n)
        return n

    async def main() -> None:
        async with open_system(broker, concurrency=3, backoff=QUICK) as sys:

            async def one(n: int) -> None:
                while True:
                    asked = trio.current_time()
                    try:
                        handle = await sys.enqueue(work.using(task_id=f"task-{n}"), n)
                        break
                    except EnqueueUncertain as error:
                        uncertain.append(error.task_ids == (f"task-{n}",))
                    except EngineUnavailable:
                        await trio.sleep(0.1)
                    finally:
                        waited.append(trio.current_time() - asked)
                assert await handle.result() == n

            async with trio.open_nursery() as nursery:
                for n in range(tasks):
                    nursery.start_soon(one, n)
            await sys.wait_idle()

    simulate(main, tape=tape)
    assert sorted(begun) == list(range(tasks))
    assert all(uncertain)
    assert max(waited) <= 2.5, "longer than the longest pause between two tries"


def test_a_refusal_in_a_batch_spoils_no_other() -> None:
    """31: each enqueuer is told of its own call."""
    broker = Together()

    @actorq.task
    async def work(n: int) -> int:
        return n

    async def main() -> None:
        told: list[object] = []
        async with open_system(broker) as sys:
            await sys.enqueue(work.using(task_id="a", delay=5), 1)

            async def one(task_id: str, n: int) -> None:
                try:
                    handle = await sys.enqueue(work.using(task_id=task_id), n)
                except actorq.DuplicateTaskId as refusal:
                    told.append(type(refusal))
                else:
                    told.append(await handle.result())

            async with trio.open_nursery() as nursery:
                for task_id, n in [("b", 2), ("a", 3), ("c", 4)]:
                    nursery.start_soon(one, task_id, n)
        assert sorted(told, key=str) == [2, 4, actorq.DuplicateTaskId]

    simulate(main)


def test_a_result_that_cannot_be_written_is_that_tasks_alone() -> None:
    """32: it is in the dead letters, with why; the others are done."""
    broker = Together().with_size_limit(2_000)

    @actorq.task
    async def work(n: int) -> str:
        return "x" * n

    async def main() -> None:
        async with open_system(broker) as sys:
            large = await sys.enqueue(work, 5_000)
            small = await sys.enqueue(work, 5)
            assert await small.result() == "xxxxx"
            with pytest.raises(ResultGetError, match="bytes"):
                await large.result()
            (dead,) = await sys.dead_tasks()
            assert dead.task_id == large.task_id

    simulate(main)


def test_the_drain_is_not_given_new_work_with_the_last_results() -> None:
    """53: what a settlement asks for is nothing once the pool drains."""
    broker = Together()
    attempts: dict[int, int] = {}

    @actorq.task
    async def work(n: int, ctx: actorq.Context = actorq.Depends()) -> None:
        attempts[n] = ctx.attempt
        await trio.sleep(1)

    async def main() -> None:
        async with open_system(broker, concurrency=2) as sys:
            await sys.enqueue_many(work, [(n,) for n in range(6)])
            await trio.sleep(0.5)
        assert set(attempts) == {0, 1}
        async with open_system(broker, tasks=[work]) as sys:
            await sys.wait_idle()
        assert attempts == dict.fromkeys(range(6), 1)

    simulate(main)


# --- an engine that cannot, for a while ---------------------------------------------------------

spans = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 1.0, 2.5, 6.0]), st.sampled_from([0.01, 0.2, 1.0, 2.0])),
    max_size=3,
).map(lambda drawn: [(begin, begin + seconds) for begin, seconds in drawn])


@given(programs, spans, tapes, st.sampled_from([InMemoryBroker, Together]))
@settings(max_examples=examples(60))
def test_31_32_an_engine_that_cannot_for_a_while_loses_nothing(
    drawn: list[Plan], sick: list[tuple[float, float]], tape: Tape, kind: type[InMemoryBroker]
) -> None:
    """31, 32, 33: enqueuers are told, what workers had to say is said later, nothing crashes."""
    broker = unwell(kind, sick, lease=30.0)
    seen = Seen()

    async def main() -> None:
        async with open_system(broker, concurrency=3) as sys:
            async with trio.open_nursery() as nursery:
                for n, plan in enumerate(drawn):
                    nursery.start_soon(one, sys, n, plan)
            await wait_idle(sys)
            for name in ("broker", "pool", "results"):
                assert sys.actor(name).statistics().restarts == 0, name
        assert accepted(broker.queue) == {f"task-{n}" for n in range(len(drawn))}
        for n, plan in enumerate(drawn):
            result = seen.results[f"task-{n}"]
            assert isinstance(result, actorq.TaskResult)
            assert result.is_err == (plan.failures >= plan.attempts)
            assert seen.log.starts[n] <= plan.attempts

    @actorq.task
    async def work(n: int, ctx: actorq.Context = actorq.Depends()) -> int:
        await seen.log.job(n, drawn[n].seconds, ctx.attempt)
        if seen.log.ends[n] <= drawn[n].failures:
            raise ValueError(str(n))
        return n

    async def one(sys: actorq.System, n: int, plan: Plan) -> None:
        await trio.sleep_until(plan.at)
        task = work.using(retries=plan.attempts - 1, ack=plan.ack, task_id=f"task-{n}")
        while True:
            try:
                handle = await sys.enqueue(task, n)
                break
            except EngineUnavailable:
                await trio.sleep(0.1)
        while True:
            try:
                seen.results[f"task-{n}"] = await handle.wait_result()
                return
            except EngineUnavailable:
                await trio.sleep(0.1)

    async def wait_idle(sys: actorq.System) -> None:
        while True:
            try:
                return await sys.wait_idle(scheduled=True)
            except EngineUnavailable:
                await trio.sleep(0.1)

    simulate(main, tape=tape)


@pytest.mark.parametrize("kind", [InMemoryBroker, Together])
def test_who_enqueues_while_the_engine_cannot_is_told(kind: Any) -> None:
    """31: nothing was stored, and it does not wait for ever."""
    broker = unwell(kind, [(1.0, 10_000.0)])

    @actorq.task
    async def work() -> None: ...

    async def main() -> None:
        async with open_system(broker) as sys:
            await (await sys.enqueue(work)).result()
            await trio.sleep_until(2)
            for _ in range(5):
                with trio.fail_after(3), pytest.raises(EngineUnavailable, match="disk is full"):
                    await sys.enqueue(work)
            assert sys.actor("broker").statistics().restarts == 0
            broker.spans = ()
            await (await sys.enqueue(work)).result()

    simulate(main)


def test_a_system_closes_while_its_engine_cannot() -> None:
    """53: nothing hangs for what cannot be told."""
    broker = unwell(Together, [(1.0, 10_000.0)])

    @actorq.task
    async def work() -> None:
        await trio.sleep(2)

    async def main() -> None:
        async with open_system(broker, grace=5) as sys:
            await sys.enqueue_many(work, [()] * 5)
            await trio.sleep(1.5)
        assert trio.current_time() < 60

    simulate(main)


def test_enqueue_is_uncertain_if_the_broker_crashes_with_it_put_aside() -> None:
    """31: it may have been stored in the step in which the broker crashed."""

    class Crashes(Together):
        async def perform(self, steps: Any, now: float) -> Any:
            answers = await super().perform(steps, now)
            if len(self.batches) == 1:
                raise RuntimeError("in the middle of it")
            return answers

    @actorq.task
    async def work(n: int) -> int:
        return n

    async def main() -> None:
        async with open_system(Crashes(), backoff=QUICK) as sys:
            with pytest.raises(EnqueueUncertain):
                await sys.enqueue(work.using(task_id="once"), 1)
            assert await (await sys.enqueue(work.using(task_id="once"), 1)).result() == 1

    simulate(main)


@pytest.mark.parametrize("kind", [InMemoryBroker, Together])
def test_a_broker_that_crashes_while_its_engine_cannot_begins_when_it_can(kind: Any) -> None:
    """28, 31: no incident is counted for what the engine cannot."""
    broker = unwell(kind, [(1.0, 90.0)])

    @actorq.task
    async def work(n: int) -> int:
        return n

    async def main() -> None:
        async with open_system(broker, backoff=QUICK) as sys:
            handle = await sys.enqueue(work.using(delay=50), 1)
            await trio.sleep_until(2)
            crash(sys.actor("broker"))
            await trio.sleep_until(60)
            with pytest.raises(EngineUnavailable):
                await sys.enqueue(work, 2)
            await trio.sleep_until(100)
            assert await handle.result() == 1
            assert await (await sys.enqueue(work, 3)).result() == 3
            assert sys.actor("broker").statistics().restarts == 1

    simulate(main)


@pytest.mark.parametrize("kind", [InMemoryBroker, Together])
def test_an_engine_that_cannot_be_opened_says_so_itself(kind: Any) -> None:
    """27: its own error, and not the tree's that failed with it."""
    broker = unwell(kind, [(0.0, 5.0)])
    entered: list[float] = []

    async def main() -> None:
        with pytest.raises(EngineUnavailable, match="make room") as caught:
            async with open_system(broker):
                entered.append(0)
        assert caught.value.__cause__ is None
        await trio.sleep_until(6)
        async with open_system(broker):
            entered.append(6)

    simulate(main)
    assert entered == [6]


def test_progress_that_cannot_be_stored_for_a_while_fails_no_task() -> None:
    """33, 43: what a task says of itself on the way is not worth an attempt."""

    class Full(actorq.InMemoryResultBackend):
        async def set_progress(self, task_id: str, progress: actorq.TaskProgress) -> None:
            if progress.progress < 0.5:
                raise EngineUnavailable("the disk is full")
            await super().set_progress(task_id, progress)

    @actorq.task
    async def work(ctx: actorq.Context = actorq.Depends()) -> int:
        for n in range(4):
            await ctx.set_progress(actorq.TaskProgress(progress=n / 4))
        return ctx.attempt

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Full())
        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            assert await handle.result() == 1
            seen = await handle.get_progress()
            assert seen is not None
            assert seen.progress == 0.75

    simulate(main)


def test_ends_wait_for_a_result_backend_that_is_away_however_long() -> None:
    """36: who waits for a cancelled task hears so, also after a minute without the server."""

    class Away(actorq.InMemoryResultBackend):
        async def set_result(self, task_id: str, result: actorq.TaskResult[Any]) -> None:
            if trio.current_time() < 60:
                raise EngineUnavailable("the server is away")
            await super().set_result(task_id, result)

    async def main() -> None:
        @actorq.task
        async def work() -> None: ...

        async with open_system(InMemoryBroker().with_result_backend(Away())) as sys:
            handle = await sys.enqueue(work.using(delay=3600))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handle.cancel)
                with pytest.raises(TaskCancelled):
                    await handle.result()
            assert 60 <= trio.current_time() < 65

    simulate(main)
