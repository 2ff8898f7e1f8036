"""Promises 28 to 44 and 53: the whole in-memory queue, over drawn schedules and crashes."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, Middleware, open_system
from actorq.environment import current_environment, set_environment
from actorq.errors import (
    ActorqError,
    EnqueueUncertain,
    ResultGetError,
    StaleResult,
    TaskCancelled,
    WorkerLost,
)
from actorq.message import TaskMessage
from actorq.options import TaskOptions
from actorq.protocol import OpenSession
from actorq.schedule import CatchUp, every
from actorq.statistics import SupervisorStatistics
from actorq.testing import Tape, crash, crash_at, simulate
from actorq.testing.faults import PlannedCrash
from actorq.testing.simulation import EPOCH
from queue_strategies import (
    ACKS,
    ACTORS,
    INJECTED,
    MOMENTS,
    QUICK,
    Crash,
    CrashAtStep,
    Everywhere,
    FixedRandom,
    Log,
    LosesRenewals,
    accepted,
    check_conservation,
    crash_as_planned,
    crashes,
    enqueue_for_sure,
    tapes,
)


#: What drawn jobs take; None: no checkpoint at all.
DURATIONS = st.sampled_from([None, 0.0, 0.3, 1.0, 5.0])


@attrs.frozen
class Plan:
    """One drawn task."""

    at: float
    seconds: float | None
    failures: int = 0  #: attempts that fail, the first ones
    retries: int = 0
    ack: str = "when_saved"
    delay: float | None = None


plans = st.lists(
    st.builds(
        Plan,
        at=MOMENTS,
        seconds=DURATIONS,
        failures=st.integers(0, 3),
        retries=st.integers(0, 2),
        ack=st.sampled_from(["when_executed", "when_saved"]),
        delay=st.sampled_from([None, 0.0, 0.5, 4.0]),
    ),
    min_size=1,
    max_size=6,
)


async def run_plans(
    sys: actorq.System, log: Log, drawn: list[Plan]
) -> list[actorq.TaskResult[Any] | ResultGetError]:
    """Enqueue every drawn task at its moment; their results, in order."""
    found: dict[int, actorq.TaskResult[Any] | ResultGetError] = {}

    @actorq.task
    async def work(n: int, seconds: float | None, failures: int, ctx: Context = INJECTED) -> int:
        await log.job(n, seconds, ctx.attempt)
        if log.ends[n] <= failures:
            raise ValueError(f"end {log.ends[n]} of {n}")
        return n

    async def one(n: int, plan: Plan) -> None:
        await trio.sleep_until(plan.at)
        task = work.using(
            retries=plan.retries,
            ack=plan.ack,  # type: ignore[arg-type]
            delay=plan.delay,
            task_id=f"task-{n}",
        )
        handle = await enqueue_for_sure(sys, task, n, plan.seconds, plan.failures)
        try:
            found[n] = await handle.wait_result()
        except ResultGetError as error:
            found[n] = error

    async with trio.open_nursery() as nursery:
        for n, plan in enumerate(drawn):
            nursery.start_soon(one, n, plan)
    return [found[n] for n in range(len(drawn))]


# --- storage outlives incarnations --------------------------------------------------------------


@given(plans, crashes, tapes)
# task 4 is found leased, and ends with its worker, before who found it waits for its result
@example(
    [Plan(0.0, None)] * 3
    + [Plan(0.0, 1.0, 1, 1, "when_executed"), Plan(1.0, 1.0, 0, 0, "when_executed")],
    [Crash(2.0, "results"), Crash(2.0, "broker")],
    Tape([]),
)
def test_28_30_no_crash_loses_a_task_a_lease_or_a_result(
    drawn: list[Plan], faults: list[Crash], tape: Tape
) -> None:
    """28, 30, 32: with any three crashes every task ends, and each is at each step in one place."""
    broker = InMemoryBroker()
    log = Log()
    eye = Everywhere(lambda: check_conservation(broker.queue))

    async def main() -> None:
        async with open_system(broker, backoff=QUICK, concurrency=3) as sys:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, faults)
                results = await run_plans(sys, log, drawn)
            await sys.wait_idle(scheduled=True)
            for n, (plan, result) in enumerate(zip(drawn, results, strict=True)):
                stored: actorq.TaskHandle[Any] = sys.handle(f"task-{n}")
                if isinstance(result, ResultGetError):
                    assert plan.ack == "when_executed"
                    assert log.ends[n] >= 1
                    continue
                if len(faults) < 3:  # the fourth would be too many
                    crash(sys.actor("results"))
                again = await stored.get_result()
                assert (again.is_err, again.return_value, again.attempts) == (
                    result.is_err,
                    result.return_value,
                    result.attempts,
                )
                break
            counts = await sys.queue_statistics()
        assert counts.done + counts.dead == len(drawn)
        for n, (plan, result) in enumerate(zip(drawn, results, strict=True)):
            # promise 33
            assert log.starts[n] <= plan.retries + 1 + len(faults)
            if not isinstance(result, ResultGetError):
                assert result.attempts <= plan.retries + 1 + len(faults)
                assert result.is_err == (result.return_value is None)
                if not result.is_err:
                    assert result.return_value == n
                elif not faults:
                    assert plan.failures > plan.retries
        assert accepted(broker.queue) == {f"task-{n}" for n in range(len(drawn))}

    simulate(main, tape=tape, instruments=[eye])
    eye.check()


@pytest.mark.parametrize("actor", ACTORS)
def test_28_a_crash_leaves_scheduled_ready_leased_and_stored_as_they_were(actor: str) -> None:
    """28"""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker()

        @broker.task
        async def work(key: str, seconds: float) -> str:
            return str(await log.job(key, seconds))

        async with open_system(broker, concurrency=1) as sys:
            stored = await sys.enqueue(work, "stored", 0)
            assert await stored.result() == "stored"
            leased = await sys.enqueue(work, "leased", 50)
            await trio.sleep(1)
            ready = await sys.enqueue(work, "ready", 1)
            scheduled = await sys.enqueue(work.using(delay=100), "scheduled", 1)
            before = await sys.queue_statistics()
            assert (before.scheduled, before.ready, before.leased, before.done) == (1, 1, 1, 1)
            crash(sys.actor(actor))
            assert await stored.result() == "stored"
            for handle in (leased, ready, scheduled):
                await handle.result()
            assert trio.current_time() == pytest.approx(102)
        untouched = {"stored": 1, "ready": 1, "scheduled": 1}
        assert log.ends == {**untouched, "leased": 1}
        # rest_for_one: only the scheduler starts after the pool
        assert log.starts["leased"] == (1 if actor == "scheduler" else 2)

    simulate(main)


# --- workers that die ---------------------------------------------------------------------------


def test_29_a_task_whose_worker_dies_runs_again_with_attempt_plus_one() -> None:
    """29"""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(ctx: Context = INJECTED) -> int:
            await log.job("a", 10, ctx.attempt)
            return ctx.attempt

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            for _ in range(2):
                await trio.sleep(2)
                crash(sys.actor("pool"))
            assert await handle.result() == 3
        assert log.attempts["a"] == [1, 2, 3]
        assert log.ends["a"] == 1

    simulate(main)


def test_29_a_task_that_kills_every_worker_is_dead_in_the_end_and_its_waiters_are_told() -> None:
    """29"""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def poison(ctx: Context = INJECTED) -> None:
            await log.job("a", 100, ctx.attempt)

        async with open_system() as sys:
            handle = await sys.enqueue(poison)
            told: list[float] = []

            async def wait() -> None:
                with pytest.raises(WorkerLost, match="no worker lived"):
                    await handle.result()
                told.append(trio.current_time())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                most = TaskOptions().max_deliveries
                for _ in range(most):
                    await trio.sleep(20)
                    crash(sys.actor("pool"))
            (dead,) = await sys.dead_tasks()
            assert dead.attempts == most
            assert dead.error is not None
            assert log.attempts["a"] == list(range(1, most + 1))
            assert told[0] < 20 * most + 20
            with pytest.raises(WorkerLost):
                await handle.result()

    simulate(main)


def test_29_what_had_not_begun_is_not_held_against_a_task() -> None:
    """29, 33: a delivery that waited in the pool when it crashed does not count."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(n: int, ctx: Context = INJECTED) -> int:
            await log.job(n, 10, ctx.attempt)
            return ctx.attempt

        async with open_system(concurrency=1) as sys:
            handles = await sys.enqueue_many(work, [(n,) for n in range(3)])
            await trio.sleep(5)
            crash(sys.actor("pool"))
            assert [await handle.result() for handle in handles] == [2, 1, 1]
        assert log.order == [0, 0, 1, 2]

    simulate(main)


# --- accepting ----------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 8), st.sampled_from(["broker", "middleware"]), tapes)
def test_31_what_was_accepted_survives_and_what_is_uncertain_says_so(
    count: int, k: int, actor: str, tape: Tape
) -> None:
    """31"""

    class Hooks(Middleware):
        async def pre_send(self, message: TaskMessage) -> TaskMessage:
            await trio.lowlevel.checkpoint()
            return message

        async def post_send(self, message: TaskMessage) -> None:
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker().with_middlewares(Hooks())
        returned: list[str] = []
        uncertain: list[str] = []
        refused: list[str] = []

        @broker.task
        async def work(n: int) -> None:
            await log.job(n, 0)

        async def one(n: int) -> None:
            task = work.using(task_id=f"task-{n}")
            try:
                await sys.enqueue(task, n)
                returned.append(f"task-{n}")
            except EnqueueUncertain as error:
                uncertain.extend(error.task_ids)
                await enqueue_for_sure(sys, task, n)
            except ActorqError:
                refused.append(f"task-{n}")

        async with open_system(broker, backoff=QUICK) as sys:
            crash_at(sys.actor(actor), k)
            async with trio.open_nursery() as nursery:
                for n in range(count):
                    nursery.start_soon(one, n)
            await sys.wait_idle()
            known = accepted(broker.queue)
        assert known >= {*returned, *uncertain}
        assert not known & set(refused)
        assert len(returned) + len(uncertain) + len(refused) == count
        assert set(log.starts) == {int(task_id[5:]) for task_id in known}

    simulate(main, tape=tape)


@given(tapes, st.booleans())
def test_31_one_id_sent_by_many_is_stored_once(tape: Tape, other: bool) -> None:
    """31: re-sending is harmless; another call under the same id is refused."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(n: int) -> int:
            await log.job(n, 1)
            return n

        outcomes: list[Any] = []

        async def one(n: int) -> None:
            try:
                handle = await sys.enqueue(work.using(task_id="same"), n)
            except actorq.DuplicateTaskId as error:
                outcomes.append(error)
            else:
                outcomes.append(await handle.result())

        async with open_system() as sys:
            async with trio.open_nursery() as nursery:
                for n in range(4):
                    nursery.start_soon(one, n if other else 7)
            await trio.sleep(10)
            if not other:
                await one(7)  # long after it ended
        assert log.starts.total() == 1
        values = [each for each in outcomes if isinstance(each, int)]
        assert values == [values[0]] * (1 if other else 5)

    simulate(main, tape=tape)


# --- crashes at every point ---------------------------------------------------------------------


class AllHooks(Middleware):
    """Takes part in everything, and takes its time."""

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        await trio.lowlevel.checkpoint()
        return message

    async def post_send(self, message: TaskMessage) -> None:
        await trio.lowlevel.checkpoint()

    async def pre_execute(self, message: TaskMessage) -> TaskMessage:
        await trio.lowlevel.checkpoint()
        return message

    async def post_execute(self, message: TaskMessage, result: Any) -> None:
        await trio.lowlevel.checkpoint()

    async def post_save(self, message: TaskMessage, result: Any) -> None:
        await trio.lowlevel.checkpoint()


#: How a waiter hears that an acknowledged task was lost; TaskFailed: with the middleware chain.
_LOST = (ResultGetError, WorkerLost, actorq.TaskFailed)


def swept(
    ack: str,
    prepare: Callable[[actorq.System], object],
    instruments: tuple[trio.abc.Instrument, ...] = (),
    *,
    hooks: bool,
    tape: Tape | None = None,
) -> None:
    """One run of enqueue, run, result, acknowledge, with one crash in it; nothing may be lost."""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker()
        if hooks:
            broker.with_middlewares(AllHooks())

        @broker.task(ack=ack)  # type: ignore[call-overload, untyped-decorator]
        async def work(n: int) -> int:
            await log.job(n, 1)
            return n

        outcomes: list[Any] = []

        async def one(n: int) -> None:
            handle = await enqueue_for_sure(sys, work.using(task_id=f"task-{n}"), n)
            try:
                outcomes.append(await handle.result())
            except _LOST as lost:
                assert ack != "when_saved"
                outcomes.append(lost)

        async with open_system(broker, backoff=QUICK) as sys:
            prepare(sys)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, 0)
                nursery.start_soon(one, 1)
            await sys.wait_idle()
            counts = await sys.queue_statistics()
            assert (counts.done, counts.dead, counts.leased, counts.ready) == (2, 0, 0, 0)
            (queue,) = [each for each in sys.statistics().children if each.name == "queue"]
            assert isinstance(queue, SupervisorStatistics)
            assert queue.incidents <= 1  # promise 22: what the others make of it is none of theirs
            for n in range(2):  # who asks later is told too
                try:
                    assert await sys.handle(f"task-{n}").result() == n
                except _LOST:
                    assert ack != "when_saved"
        if ack == "when_saved":
            assert sorted(outcomes) == [0, 1]
        if ack == "when_received":
            assert max(log.starts.values(), default=0) <= 1
        else:
            assert log.ends[0] >= 1
            assert log.ends[1] >= 1
        assert log.starts.total() <= 4  # one crash, no more than one repetition

    simulate(main, tape=tape, instruments=instruments)


@pytest.mark.parametrize("actor", ["results", "broker", "middleware", "pool"])
@pytest.mark.parametrize("ack", ACKS)
def test_32_a_crash_on_any_message_loses_nothing(ack: str, actor: str) -> None:
    """32: swept over every message of every actor: k = 1, 2, ... until the run has no k-th."""
    for k in itertools.count(1):
        plans: list[PlannedCrash] = []

        def prepare(sys: actorq.System, k: int = k, plans: list[PlannedCrash] = plans) -> None:
            plans.append(crash_at(sys.actor(actor), k))

        swept(ack, prepare, hooks=True)
        if not plans[0].struck:
            break  # it was never reached
    assert k > (2 if actor in ("results", "broker") else 0)


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("actor", ["results", "broker", "middleware", "pool"])
@pytest.mark.parametrize("ack", ACKS)
def test_32_a_crash_at_any_await_point_loses_nothing(ack: str, actor: str, hooks: bool) -> None:
    """32: swept over every step of the run loop."""
    for step in itertools.count():
        bomb = CrashAtStep(step)

        def prepare(sys: actorq.System, bomb: CrashAtStep = bomb) -> None:
            bomb.arm(sys.actor(actor))

        swept(ack, prepare, (bomb,), hooks=hooks)
        if not bomb.spent:
            break
    assert step > 20


@given(
    st.sampled_from(ACKS),
    st.sampled_from(ACTORS),
    st.integers(0, 80),
    st.booleans(),
    tapes,
)
def test_32_a_crash_at_any_await_point_of_any_schedule_loses_nothing(
    ack: str, actor: str, step: int, hooks: bool, tape: Tape
) -> None:
    """32"""
    bomb = CrashAtStep(step)
    swept(ack, lambda sys: bomb.arm(sys.actor(actor)), (bomb,), hooks=hooks, tape=tape)


# --- attempts -----------------------------------------------------------------------------------


@given(
    retries=st.integers(0, 9),
    failures=st.integers(0, 10),
    u=st.sampled_from([0.0, 0.25, 0.999]),
    tape=tapes,
)
def test_33_attempts_and_their_distance(retries: int, failures: int, u: float, tape: Tape) -> None:
    """33, A20, T32: n retries are n + 1 runs at most; each waits as long as its back-off says."""

    async def main() -> None:
        set_environment(attrs.evolve(current_environment(), random=FixedRandom(u)))
        log = Log()

        @actorq.task(retries=retries)
        async def flaky(ctx: Context = INJECTED) -> str:
            await log.job("a", 0.5, ctx.attempt)
            if len(log.order) <= failures:
                raise ValueError(len(log.order))
            return "done"

        async with open_system() as sys:
            handle = await sys.enqueue(flaky)
            result = await handle.wait_result()
            dead = await sys.dead_tasks()
        runs = min(failures, retries) + 1
        assert log.attempts["a"] == list(range(1, runs + 1))
        assert result.attempts == runs
        for n, (before, after) in enumerate(itertools.pairwise(log.started_at["a"]), start=1):
            delay = u * min(300.0, 2.0 ** (n - 1))
            assert after - (before + 0.5) == pytest.approx(delay, abs=1e-5)
        if failures > retries:
            assert isinstance(result.error, ValueError)
            assert result.error.args == (runs,)
            (letter,) = dead  # the result is stored AND the task is in the dead letters
            assert letter.message.task_id == handle.task_id
            assert letter.attempts == runs
            assert letter.reason.startswith("ValueError")
        else:
            assert result.return_value == "done"
            assert dead == ()

    simulate(main, tape=tape)


# --- fencing ------------------------------------------------------------------------------------


@given(shielded=st.booleans(), tape=tapes)
def test_34_a_job_whose_lease_lapsed_is_cancelled_and_its_word_refused(
    shielded: bool, tape: Tape
) -> None:
    """34: its scope is cancelled; its late progress, result and settlement are refused."""

    async def main() -> None:
        log = Log()
        broker = LosesRenewals(lease=30)
        cancelled_at: list[float] = []
        stale: list[Exception] = []

        @broker.task
        async def work(ctx: Context = INJECTED) -> str:
            attempt = ctx.attempt
            log.attempts["a"].append(attempt)
            if attempt > 1:
                broker.deaf = False
                await ctx.set_progress(actorq.TaskProgress(status="second"))
                await trio.sleep(40)
                return "second"
            try:
                with trio.CancelScope(shield=shielded):
                    await trio.sleep(100)
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                cancelled_at.append(trio.current_time())
                with trio.CancelScope(shield=True):
                    try:
                        await ctx.set_progress(actorq.TaskProgress(status="first"))
                    except StaleResult as refusal:
                        stale.append(refusal)
                raise
            return "first"

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            assert await handle.result() == "second"
            progress = await handle.get_progress()
            assert progress is not None
            assert progress.status == "second"
            await trio.sleep(200)
            assert await handle.result() == "second"
            assert (await handle.get_result()).attempts == 2
            counts = await sys.queue_statistics()
            assert (counts.done, counts.leased, counts.dead) == (1, 0, 0)
        assert log.attempts["a"] == [1, 2]
        assert len(stale) == 1
        if shielded:
            assert cancelled_at == [100]
        else:
            assert 30 <= cancelled_at[0] <= 41

    simulate(main, tape=tape)


def test_34_what_was_acknowledged_has_no_lease_to_lose() -> None:
    """34, 32: a task of ack=when_received goes on when its worker's lease lapses."""

    async def main() -> None:
        log = Log()
        broker = LosesRenewals(lease=30)

        @broker.task
        async def work(key: str) -> str:
            if log.starts["saved"]:
                broker.deaf = log.starts["saved"] == 1
            await log.job(key, 100)
            return key

        async with open_system(broker) as sys:
            once = await sys.enqueue(work.using(ack="when_received"), "once")
            saved = await sys.enqueue(work, "saved")
            assert await once.result() == "once"
            assert trio.current_time() == 100
            broker.deaf = False
            assert await saved.result() == "saved"
        assert log.starts["once"] == 1
        assert log.starts["saved"] >= 2

    simulate(main)


@given(at=st.sampled_from([0.5, 1.0, 1.5]), swallows=st.booleans(), tape=tapes)
def test_34_a_job_whose_session_was_taken_over_is_cancelled_and_its_word_refused(
    at: float, swallows: bool, tape: Tape
) -> None:
    """34: another worker of the same name opens a session; the jobs are its own from then on."""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker()

        @broker.task
        async def work(ctx: Context = INJECTED) -> int:
            attempt = ctx.attempt
            log.attempts["a"].append(attempt)
            if attempt == 1:
                try:
                    await trio.sleep(1)
                except trio.Cancelled:
                    log.ends["cancelled"] += 1
                    if not swallows:
                        raise
                return 1
            await trio.sleep(5)
            return attempt

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            await trio.sleep_until(at)
            # the same name as the pool's
            await sys.actor("broker").ask(
                OpenSession(str(sys._broker.worker), lambda _batch: False, 0)
            )
            result = await handle.wait_result()
            if at < 1:
                assert log.ends["cancelled"] == 1
                assert log.attempts["a"] == [1, 2]
                assert result.return_value == 2
            elif at > 1:
                assert result.return_value == 1
            await sys.wait_idle()
            # whoever won: what is stored is of the last attempt that ran
            assert (await handle.get_result()).attempts == log.attempts["a"][-1]
            counts = await sys.queue_statistics()
            assert (counts.done, counts.leased, counts.ready) == (1, 0, 0)

    simulate(main, tape=tape)


@given(st.integers(1, 40), tapes)
def test_35_a_long_job_under_a_live_worker_keeps_its_lease(thirds: int, tape: Tape) -> None:
    """35, A02: far longer than the lease, one run."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work() -> None:
            await log.job("a", thirds * 10 + 1)

        async with open_system(InMemoryBroker(lease=30)) as sys:
            await (await sys.enqueue(work)).result()
            assert (await sys.queue_statistics()).refused == 0
        assert log.starts["a"] == 1

    simulate(main, tape=tape)


# --- cancelling ---------------------------------------------------------------------------------


@given(
    cancels=st.lists(st.tuples(st.integers(0, 3), MOMENTS), min_size=1, max_size=5),
    durations=st.lists(st.sampled_from([None, 0.3, 1.0, 2.0]), min_size=4, max_size=4),
    delay=st.sampled_from([None, 1.0, 2.0]),
    failing=st.integers(0, 4),
    swallows=st.booleans(),
    faults=st.lists(st.builds(Crash, MOMENTS, st.sampled_from(ACTORS)), max_size=2),
    tape=tapes,
)
def test_36_cancel_answers_truly(
    cancels: list[tuple[int, float]],
    durations: list[float | None],
    delay: float | None,
    failing: int,
    swallows: bool,
    faults: list[Crash],
    tape: Tape,
) -> None:
    """36: if it took effect, no start, no success, `TaskCancelled`; else the result stands."""

    async def main() -> None:
        log = Log()
        answers: dict[int, list[tuple[float, bool]]] = {n: [] for n in range(4)}
        ends: dict[int, Any] = {}

        @actorq.task(retries=1)
        async def work(n: int, seconds: float | None) -> int:
            try:
                await log.job(n, seconds)
            except trio.Cancelled:
                if not swallows:
                    raise
            if n == failing:
                raise ValueError(n)
            return n

        async def watch(n: int, handle: actorq.TaskHandle[int]) -> None:
            ends[n] = (await handle.wait_result()).error

        async def cancel(n: int, at: float) -> None:
            await trio.sleep_until(at)
            answer = await handles[n].cancel()
            answers[n].append((trio.current_time(), answer))
            if answer:  # visible from now on
                assert await handles[n].is_ready()
                with pytest.raises(TaskCancelled):
                    await handles[n].result()

        async with open_system(backoff=QUICK, concurrency=2) as sys:
            handles = [
                await sys.enqueue(work.using(delay=delay if n % 2 else None), n, durations[n])
                for n in range(4)
            ]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, faults)
                for n, handle in enumerate(handles):
                    nursery.start_soon(watch, n, handle)
                for n, at in cancels:
                    nursery.start_soon(cancel, n, at)
            await sys.wait_idle(scheduled=True)
        for n in range(4):
            took_effect = any(answer for _, answer in answers[n])
            assert isinstance(ends[n], TaskCancelled) == took_effect, (n, ends[n], answers[n])
            for at, answer in answers[n]:
                if answer:
                    assert all(start <= at for start in log.started_at[n])

    simulate(main, tape=tape)


def test_36_a_task_that_waits_in_the_queue_never_starts_once_it_is_cancelled() -> None:
    """36"""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(n: int) -> None:
            await log.job(n, 1)

        async with open_system(concurrency=1) as sys:
            first, second = await sys.enqueue_many(work, [(1,), (2,)])
            third = await sys.enqueue(work.using(delay=3), 3)
            assert await second.cancel()
            assert await third.cancel()
            assert await third.cancel()  # it had taken effect before
            await first.result()
            assert not await first.cancel()
            assert not await sys.handle("never heard of").cancel()
            for handle in (second, third):
                with pytest.raises(TaskCancelled, match="before it began"):
                    await handle.result()
            await sys.wait_idle(scheduled=True)
            await trio.sleep(10)
        assert log.order == [1]

    simulate(main)


def test_36_a_job_that_has_not_begun_in_the_pool_never_starts_once_it_is_cancelled() -> None:
    """36: between the claim and the first line of the function too."""
    never_started = 0

    async def main(at: AtStep, ack: str, hooks: bool) -> None:
        nonlocal never_started
        log = Log()
        answers: list[bool] = []
        broker = InMemoryBroker()
        if hooks:  # between the claim and the first line
            broker.with_middlewares(AllHooks())

        @broker.task
        async def work(n: int) -> int:
            log.starts[n] += 1
            assert True not in answers
            await log.job(n, 1)
            return n

        async with open_system(broker) as sys:

            async def cancel() -> None:
                with trio.move_on_after(0.5):
                    await gate.wait()
                answers.append(await sys.handle("a").cancel())

            async with trio.open_nursery() as nursery:
                gate = at.arm()
                nursery.start_soon(cancel)
                task = work.using(task_id="a", ack=ack)  # type: ignore[arg-type]
                result = await (await sys.enqueue(task, 1)).wait_result()
            if answers == [True]:
                assert isinstance(result.error, TaskCancelled)
                never_started += not log.starts
            else:
                assert result.return_value == 1
                assert log.ends[1] == 1
            await sys.wait_idle()

    for step, ack, hooks in itertools.product(range(70), ACKS, [False, True]):
        at = AtStep(step)
        simulate(main, at, ack, hooks, instruments=[at])
    assert never_started


def test_36_a_job_that_is_cancelled_before_its_first_line_never_reaches_it() -> None:
    """36: while a hook still looks at it."""

    class Slow(Middleware):
        async def pre_execute(self, message: TaskMessage) -> TaskMessage:
            await trio.sleep(1)
            return message

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker().with_middlewares(Slow())

        @broker.task
        async def work() -> None:
            log.starts["a"] += 1

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(0.5)
            assert await handle.cancel()
            with pytest.raises(TaskCancelled):
                await handle.result()
        assert not log.starts

    simulate(main)


# --- order --------------------------------------------------------------------------------------


@given(
    priorities=st.lists(st.integers(-2, 2), min_size=1, max_size=12),
    many=st.booleans(),
    tape=tapes,
)
def test_37_one_worker_starts_tasks_by_priority_and_in_order(
    priorities: list[int], many: bool, tape: Tape
) -> None:
    """37, A37"""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(key: int) -> None:
            await log.job(key, 1)

        async with open_system(concurrency=1) as sys:
            blocker = await sys.enqueue(work, -1)
            await trio.sleep(0.5)
            if many and len(set(priorities)) == 1:
                task = work.using(priority=priorities[0])
                await sys.enqueue_many(task, [(n,) for n in range(len(priorities))])
            else:
                for n, priority in enumerate(priorities):
                    await sys.enqueue(work.using(priority=priority), n)
            await blocker.result()
            await sys.wait_idle()
        expected = sorted(range(len(priorities)), key=lambda n: -priorities[n])
        assert log.order == [-1, *expected]
        assert log.most_running == 1

    simulate(main, tape=tape)


@given(
    tasks=st.lists(
        st.tuples(MOMENTS, st.sampled_from([None, 0.0, 0.1, 1.0, 7.5])), min_size=1, max_size=8
    ),
    leaps=st.lists(st.tuples(MOMENTS, st.sampled_from([-3600.0, 3600.0])), max_size=2),
    faults=crashes,
    tape=tapes,
)
def test_38_nothing_starts_before_its_time(
    tasks: list[tuple[float, float | None]],
    leaps: list[tuple[float, float]],
    faults: list[Crash],
    tape: Tape,
) -> None:
    """38, T53: by the engine's clock, whatever the wall clock does and whoever crashes."""

    def wall() -> float:
        now = trio.current_time()
        return EPOCH + now + sum(leap for at, leap in leaps if at <= now)

    async def main() -> None:
        set_environment(attrs.evolve(current_environment(), wall=wall))
        log = Log()
        due: dict[int, float] = {}

        @actorq.task
        async def work(n: int) -> None:
            await log.job(n, 0)

        async def one(n: int, at: float, delay: float | None) -> None:
            await trio.sleep_until(at)
            task = work.using(delay=delay, task_id=f"task-{n}")
            due[n] = trio.current_time() + (delay or 0.0)
            await enqueue_for_sure(sys, task, n)

        async with open_system(backoff=QUICK) as sys:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, faults)
                for n, (at, delay) in enumerate(tasks):
                    nursery.start_soon(one, n, at, delay)
            await sys.wait_idle(scheduled=True)
        for n in due:
            (started, *_) = log.started_at[n]
            assert started >= due[n] - 1e-6  # the two clocks round differently
            assert started <= due[n] + 1e-3

    simulate(main, tape=tape)


# --- schedules ----------------------------------------------------------------------------------


@given(
    period=st.sampled_from([3.0, 7.0]),
    catch_up=st.sampled_from(CatchUp),
    faults=st.lists(
        st.builds(
            Crash, st.sampled_from([1.0, 3.0, 6.0, 7.0, 20.0, 21.0]), st.sampled_from(ACTORS)
        ),
        max_size=3,
    ),
    leap=st.sampled_from([0.0, 0.0, 100.0, -100.0]),
    tape=tapes,
)
def test_40_each_slot_is_enqueued_exactly_once(
    period: float, catch_up: CatchUp, faults: list[Crash], leap: float, tape: Tape
) -> None:
    """40: over crashes of every actor and a leap of the wall clock, by the policy chosen."""

    def wall() -> float:
        now = trio.current_time()
        return EPOCH + now + (leap if now >= 10 else 0.0)

    async def main() -> None:
        set_environment(attrs.evolve(current_environment(), wall=wall))
        ran: list[str] = []
        broker = InMemoryBroker()

        @broker.task(schedule=[every(period, catch_up=catch_up, name="s")])
        async def tick(ctx: Context = INJECTED) -> None:
            assert ctx.labels["schedule_id"].endswith("/s")
            ran.append(ctx.task_id)

        async with open_system(broker, backoff=QUICK) as sys:
            await crash_as_planned(sys, faults)
            await trio.sleep_until(40.5 if leap >= 0 else 140.5)
            await sys.wait_idle()
            fired = accepted(broker.queue)
        assert set(ran) == fired
        assert len(ran) <= len(fired) + len(faults)
        assert broker.queue.n_done == len(fired)
        planned = sorted(
            datetime.fromisoformat(task_id.rsplit("@", 1)[1]).timestamp() - EPOCH
            for task_id in fired
        )
        assert len(planned) == len(set(planned))
        end = 40.5 + leap if leap >= 0 else 40.5
        every_slot = [period * k for k in range(1, int(end // period) + 1)]
        assert set(planned) <= set(every_slot)
        if leap <= 0 or catch_up is CatchUp.ALL:
            assert planned == every_slot
        else:
            # the leap is noticed when the next slot was due; the newest one that was missed is not
            # older than the period, which is less than what CatchUp.SKIP forgives
            noticed = next(slot for slot in every_slot if slot > 10) + leap
            missed = [slot for slot in every_slot if 10 < slot <= noticed]
            assert planned == [s for s in every_slot if s not in missed[:-1]]

    simulate(main, tape=tape)


def test_40_a_scheduler_that_cannot_enqueue_keeps_the_slot_and_holds_up_no_other() -> None:
    """40, A23: it tries again, under the same id; other schedules go on meanwhile."""

    async def main() -> None:
        ran: list[tuple[str, float]] = []

        class Refuses(Middleware):
            def pre_send(self, message: TaskMessage) -> TaskMessage:
                if message.task_name == "sick" and trio.current_time() < 100:
                    raise ValueError("not now")
                return message

        broker = InMemoryBroker().with_middlewares(Refuses())

        @broker.task(name="sick", schedule=[every(30, catch_up="all")])
        async def sick(ctx: Context = INJECTED) -> None:
            ran.append((ctx.task_id.rsplit("T", 1)[1], trio.current_time()))

        @broker.task(name="well", schedule=[every(30)])
        async def well() -> None:
            ran.append(("well", trio.current_time()))

        async with open_system(broker):
            await trio.sleep(200)
        assert [at for name, at in ran if name == "well"] == pytest.approx(
            [30, 60, 90, 120, 150, 180], abs=1e-3
        )
        slots = [name for name, _ in ran if name != "well"]
        assert slots == [f"00:{s // 60:02}:{s % 60:02}+00:00" for s in range(30, 200, 30)]

    simulate(main)


# --- strangers ----------------------------------------------------------------------------------


@given(st.integers(0, 3), crashes, tapes)
def test_42_an_unknown_task_waits_for_a_worker_that_knows_it(
    before: int, faults: list[Crash], tape: Tape
) -> None:
    """42, A11, T21: and hurts nobody else meanwhile."""

    async def main() -> None:
        log = Log()

        @actorq.task(name="known")
        async def known(n: int) -> int:
            await log.job(n, 0.1)
            return n

        @actorq.task(name="stranger")
        async def stranger(n: int) -> int:
            await log.job(("stranger", n), 0.1)
            return n

        async with open_system(backoff=QUICK, concurrency=1) as sys:
            waiting = []
            for n in range(2):
                while True:
                    try:
                        waiting.append(await sys.send(TaskMessage(f"s{n}", "stranger", (n,))))
                        break
                    except EnqueueUncertain:
                        continue
            handles = [
                await enqueue_for_sure(sys, known.using(task_id=f"k{n}"), n) for n in range(before)
            ]
            await crash_as_planned(sys, faults)
            for n, handle in enumerate(handles):
                assert await handle.result() == n
            await sys.wait_idle()
            counts = await sys.queue_statistics()
            assert counts.parked == counts.ready == 2
            assert not any(isinstance(key, tuple) for key in log.starts)
            await sys.register(stranger)
            assert [await handle.result() for handle in waiting] == [0, 1]
            assert (await sys.queue_statistics()).parked == 0

    simulate(main, tape=tape)


class AtStep(trio.abc.Instrument):
    """Opens a gate after so many steps of the program, counted from `arm`."""

    def __init__(self, step: int) -> None:
        self._left = step
        self.gate: trio.Event | None = None

    def arm(self) -> trio.Event:
        """Begin to count."""
        self.gate = trio.Event()
        return self.gate

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if self.gate is not None:
            self._left -= 1
            if self._left < 0:
                self.gate.set()


@pytest.mark.parametrize("step", range(25))
def test_42_a_task_that_becomes_known_while_it_is_being_parked_is_not_forgotten(
    step: int,
) -> None:
    """42"""

    async def main(at: AtStep) -> None:
        @actorq.task(name="stranger")
        async def stranger() -> int:
            return 1

        async with open_system() as sys:

            async def register() -> None:
                with trio.move_on_after(1):
                    await gate.wait()
                await sys.register(stranger)

            async with trio.open_nursery() as nursery:
                gate = at.arm()
                nursery.start_soon(register)
                handle = await sys.send(TaskMessage("s", "stranger"))
                assert await handle.result() == 1

    at = AtStep(step)
    simulate(main, at, instruments=[at])


def test_42_a_message_that_cannot_be_read_is_dead_with_its_reason() -> None:
    """42, A15: it is not tried again, its waiter is told, the next one is processed."""

    async def main() -> None:
        @actorq.task(name="work", retries=5)
        async def work(n: int) -> int:
            return n

        async with open_system(concurrency=1) as sys:
            await sys.register(work)
            bad = [
                await sys.send(TaskMessage("b1", "work", ("not a number",))),
                await sys.send(TaskMessage("b2", "work", (1, 2, 3))),
                await sys.send(TaskMessage("b3", "work", (), {"m": 1})),
            ]
            good = await sys.enqueue(work, 5)
            assert await good.result() == 5
            for handle in bad:
                with pytest.raises(actorq.ArgumentsError):
                    await handle.result()
            dead = await sys.dead_tasks()
            assert [each.message.task_id for each in dead] == ["b1", "b2", "b3"]
            assert all(each.reason.startswith("ArgumentsError: ") for each in dead)
            assert {each.attempts for each in dead} == {1}

    simulate(main)


# --- waiting ------------------------------------------------------------------------------------


@given(
    seconds=st.sampled_from([None, 0.0, 1.0, 1000.0]),
    waiters=st.integers(1, 4),
    faults=st.lists(st.builds(Crash, MOMENTS, st.just("results")), max_size=1),
    tape=tapes,
)
def test_43_a_waiter_is_woken_by_the_result(
    seconds: float | None, waiters: int, faults: list[Crash], tape: Tape
) -> None:
    """43, A27: in the moment in which it is there; a crash of the backend forgets nobody."""

    async def main() -> None:
        log = Log()
        woken: list[float] = []
        ended: list[float] = []

        @actorq.task
        async def work() -> int:
            await log.job("a", seconds)
            ended.append(trio.current_time())
            return 1

        async def wait(handle: actorq.TaskHandle[int]) -> None:
            assert await handle.result() == 1
            woken.append(trio.current_time())

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(work)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, faults)
                for _ in range(waiters):
                    nursery.start_soon(wait, handle)
        assert woken == [ended[-1]] * waiters or faults

    simulate(main, tape=tape)


def test_43_nobody_polls() -> None:
    """43, A27: with a waiter and a parked task, and nothing due, there is not one timer."""

    async def main() -> None:
        @actorq.task
        async def work() -> None:
            await trio.sleep(1)

        async with open_system() as sys:
            handle = await sys.send(TaskMessage("s", "stranger"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(handle.wait_result)
                await (await sys.enqueue(work)).result()
                await trio.sleep(10)  # the last look at leases that were is a third of a lease away
                await trio.testing.wait_all_tasks_blocked()
                assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
                nursery.cancel_scope.cancel()

    simulate(main, limit=math.inf)


def test_43_a_short_job_is_reported_though_its_neighbours_run_on() -> None:
    """43: the end of one job waits for no other."""

    async def main() -> None:
        for count in range(2, 6):
            for short in range(count):
                async with open_system() as sys:

                    @actorq.task
                    async def work(seconds: float | None) -> None:
                        if seconds is not None:
                            await trio.sleep(seconds)

                    began = trio.current_time()
                    calls = [(None if n == short else 100.0,) for n in range(count)]
                    handles = await sys.enqueue_many(work, calls)
                    await handles[short].result()
                    assert trio.current_time() == began
                    await sys.wait_idle()

    simulate(main)


@given(
    durations=st.lists(st.sampled_from([None, 0.0, 1.0, 50.0]), min_size=1, max_size=9),
    concurrency=st.integers(1, 4),
    one_by_one=st.booleans(),
    tape=tapes,
)
def test_43_every_job_is_reported_when_it_ends(
    durations: list[float | None], concurrency: int, one_by_one: bool, tape: Tape
) -> None:
    """43, 41, T22, A30: whatever runs beside it; and never more than *concurrency* run."""

    async def main() -> None:
        log = Log()
        late: list[float] = []
        ended: dict[int, float] = {}

        @actorq.task
        async def work(n: int, seconds: float | None) -> None:
            await log.job(n, seconds)
            ended[n] = trio.current_time()

        async def wait(n: int, handle: actorq.TaskHandle[None]) -> None:
            await handle.result()
            late.append(trio.current_time() - ended[n])

        async with open_system(concurrency=concurrency) as sys, trio.open_nursery() as nursery:
            calls = list(enumerate(durations))
            if one_by_one:
                handles = [await sys.enqueue(work, *call) for call in calls]
            else:
                handles = await sys.enqueue_many(work, calls)
            for n, handle in enumerate(handles):
                nursery.start_soon(wait, n, handle)
        assert late == [0.0] * len(durations)
        assert log.most_running <= concurrency
        assert log.starts == dict.fromkeys(range(len(durations)), 1)
        busy = sorted(durations, key=lambda s: s or 0.0)
        if None not in durations and set(busy) == {1.0}:
            assert log.most_running == min(concurrency, len(durations))

    simulate(main, tape=tape)


# --- middlewares --------------------------------------------------------------------------------

HOOKS = ("pre_send", "post_send", "pre_execute", "post_execute", "on_error", "post_save")


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("hook", HOOKS)
def test_44_what_a_hook_raises(hook: str, fails: bool, is_async: bool) -> None:
    """44, A10, T12: pre_send tells the enqueuer, pre_execute fails the attempt, others nothing."""

    async def main() -> None:
        calls: Counter[str] = Counter()

        class Breaks(Middleware):
            pass

        def broken(self: Any, message: TaskMessage, *_: Any) -> Any:
            calls[hook] += 1
            raise KeyError(hook)

        async def broken_async(self: Any, message: TaskMessage, *_: Any) -> Any:
            await trio.lowlevel.checkpoint()
            calls[hook] += 1
            raise KeyError(hook)

        setattr(Breaks, hook, broken_async if is_async else broken)
        broker = InMemoryBroker().with_middlewares(Breaks())

        @broker.task
        async def work() -> int:
            calls["run"] += 1
            if fails:
                raise ValueError
            return 1

        async with open_system(broker) as sys:
            if hook == "pre_send":
                with pytest.raises(KeyError, match=hook):
                    await sys.enqueue(work)
                assert not accepted(broker.queue)
                return
            handle = await sys.enqueue(work)
            result = await handle.wait_result()
            if hook == "pre_execute":
                assert isinstance(result.error, KeyError)
                assert not calls["run"]
                assert len(await sys.dead_tasks()) == 1
            else:
                assert isinstance(result.error, ValueError) == fails
                assert result.return_value == (None if fails else 1)
                assert calls["run"] == 1
            await sys.wait_idle()
            expected = 0 if hook == "on_error" and not fails else 1
            assert calls[hook] == expected
            assert sys.actor("middleware").statistics().restarts == 0

    simulate(main)


@given(st.booleans(), st.integers(0, 60), tapes)
def test_44_a_crash_of_the_chain_is_not_the_tasks_fault(
    all_hooks: bool, step: int, tape: Tape
) -> None:
    """44, 32: the attempt that was on its way through the chain is not counted as a failure."""

    class OnlyBefore(Middleware):
        async def pre_execute(self, message: TaskMessage) -> TaskMessage:
            await trio.sleep(1)
            return message

    async def main(bomb: CrashAtStep) -> None:
        broker = InMemoryBroker().with_middlewares(AllHooks() if all_hooks else OnlyBefore())

        @broker.task
        async def work() -> int:
            return 1

        async with open_system(broker, backoff=QUICK) as sys:
            handle = await sys.enqueue(work)
            bomb.arm(sys.actor("middleware"))
            assert await handle.result() == 1
            await sys.wait_idle()
            assert await sys.dead_tasks() == ()

    bomb = CrashAtStep(step)
    simulate(main, bomb, tape=tape, instruments=[bomb])


# --- shutdown -----------------------------------------------------------------------------------


@given(
    durations=st.lists(st.sampled_from([None, 0.0, 3.0, 9.0, 11.0, 50.0]), min_size=1, max_size=7),
    concurrency=st.integers(1, 4),
    tape=tapes,
)
def test_53_shutdown_lets_running_jobs_finish_and_gives_the_rest_back(
    durations: list[float | None], concurrency: int, tape: Tape
) -> None:
    """53: within the grace; what is given back burns no attempt, and the next opening runs it."""
    broker = InMemoryBroker()
    log = Log()

    @broker.task
    async def work(n: int, seconds: float | None, ctx: Context = INJECTED) -> int:
        await log.job(n, seconds, ctx.attempt)
        return n

    async def main() -> None:
        async with open_system(broker, concurrency=concurrency, grace=10) as sys:
            handles = await sys.enqueue_many(work, list(enumerate(durations)))
            await trio.testing.wait_all_tasks_blocked()
            running = set(log.starts) - set(log.ends)
            done = set(log.ends)
            closing = trio.current_time()
        took = trio.current_time() - closing
        in_time = {n for n in running if (durations[n] or 0.0) <= 9}
        assert set(log.ends) == done | in_time
        if running - in_time:
            assert took == pytest.approx(10)
        else:
            assert took == max([durations[n] or 0.0 for n in running], default=0.0)
        counts = broker.queue.statistics()
        assert counts.leased == counts.scheduled == 0
        assert counts.ready == len(durations) - len(log.ends)
        assert counts.done == len(log.ends)
        for entry in broker.queue.live.values():
            assert entry.attempt == 0
        started_before = set(log.starts)

        async with open_system(broker, concurrency=concurrency) as sys:
            for n, handle in enumerate(handles):
                assert await sys.handle(handle.task_id, work).result() == n
        for n in range(len(durations)):
            assert log.ends[n] == 1
            assert set(log.attempts[n]) == {1}
            assert log.starts[n] == (2 if n in started_before - done - in_time else 1)

    simulate(main, tape=tape)


def test_53_a_job_that_ended_in_the_grace_is_reported() -> None:
    """53, 43: its waiter, outside of the body, is woken before the system has closed."""

    async def main() -> None:
        results: list[int] = []
        broker = InMemoryBroker()

        @broker.task
        async def work(n: int) -> int:
            await trio.sleep(n)
            return n

        async def wait(handle: actorq.TaskHandle[int]) -> None:
            results.append(await handle.result())

        async with trio.open_nursery() as nursery, open_system(broker, concurrency=2) as sys:
            for n in (1, 2):
                nursery.start_soon(wait, await sys.enqueue(work, n))
            await trio.sleep(0.5)
        assert sorted(results) == [1, 2]

    simulate(main)


@given(moment=st.sampled_from([-1.0, 0.0, 2.0, 9.0]), tape=tapes)
def test_53_hurried_jobs_are_given_back_at_once(moment: float, tape: Tape) -> None:
    """53: before the end or in the grace; it burns no attempt, and what is stored is what was done."""
    broker = InMemoryBroker()
    log = Log()

    @broker.task
    async def work(n: int, seconds: float, ctx: Context = INJECTED) -> int:
        await log.job(n, seconds, ctx.attempt)
        return n

    async def main() -> None:
        closing = math.inf

        async def hurry(sys: actorq.System) -> None:
            await trio.sleep(2 + moment)
            sys.hurry()

        async with trio.open_nursery() as nursery:
            async with open_system(broker, concurrency=2, grace=10) as sys:
                quick = await sys.enqueue(work, 0, 3.0)
                await sys.enqueue(work, 1, 50.0)
                nursery.start_soon(hurry, sys)
                await trio.sleep(2)
                closing = trio.current_time()
            assert trio.current_time() - closing == max(0.0, moment)
        assert (0 in log.ends) == (moment >= 2)
        assert broker.queue.statistics().ready == (1 if moment >= 2 else 2)
        assert all(entry.attempt == 0 for entry in broker.queue.live.values())
        async with open_system(broker) as again:
            assert await again.handle(quick.task_id, work).result() == 0

    simulate(main, tape=tape)


# --- parents ------------------------------------------------------------------------------------


@given(
    slots=st.integers(1, 3),
    parents=st.integers(1, 6),
    depth=st.integers(1, 3),
    seconds=st.sampled_from([None, 0.0, 1.0]),
    others=st.integers(0, 4),
    tape=tapes,
)
def test_41_parents_that_wait_for_children_give_their_slots_back(
    slots: int, parents: int, depth: int, seconds: float | None, others: int, tape: Tape
) -> None:
    """A16, 41: N slots and N parents do not deadlock, and no more than N ever run."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def family(depth: int, ctx: Context = INJECTED) -> int:
            await log.job(depth, seconds)
            if depth == 0:
                return 1
            child = await ctx.system.enqueue(family, depth - 1)
            waited = await child.result()
            await log.job(depth, 1.0)  # runs again: it must have a slot
            return waited + 1

        @actorq.task
        async def other() -> None:
            await log.job("other", 1.0)

        async with open_system(concurrency=slots) as sys:
            handles = await sys.enqueue_many(family, [(depth,)] * parents)
            bystanders = await sys.enqueue_many(other, [()] * others)
            assert [await handle.result() for handle in handles] == [depth + 1] * parents
            for bystander in bystanders:
                await bystander.result()
            await sys.wait_idle()
            assert (await sys.pool_statistics()).suspended == 0
            assert (await sys.pool_statistics()).held == 0
        assert log.most_running <= slots

    simulate(main, tape=tape)


@given(st.integers(1, 2), MOMENTS, tapes)
def test_41_a_parent_that_is_cancelled_while_it_waits_leaves_no_slot_behind(
    slots: int, at: float, tape: Tape
) -> None:
    """A16, 36"""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def child() -> None:
            await log.job("child", 1.0)

        @actorq.task
        async def parent(ctx: Context = INJECTED) -> None:
            await (await ctx.system.enqueue(child)).result()

        async with open_system(concurrency=slots) as sys:
            handles = [await sys.enqueue(parent) for _ in range(3)]
            await trio.sleep(at)
            for handle in handles:
                await handle.cancel()
            await sys.wait_idle()
            statistics = await sys.pool_statistics()
            assert (statistics.suspended, statistics.held) == (0, 0)
            began = trio.current_time()
            calls = await sys.enqueue_many(child, [()] * (2 * slots))
            for call in calls:
                await call.result()
            assert trio.current_time() - began == pytest.approx(2)
        assert log.most_running <= slots

    simulate(main, tape=tape)
