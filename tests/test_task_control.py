"""What a task says of its own end: Retry, Reject, NoResult, requeue, ack; and deadlines."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, NoResult, Reject, Retry, RetryPolicy, open_system
from actorq.environment import current_environment, set_environment
from actorq.errors import TaskCancelled, TaskFailed
from actorq.testing import Tape, crash, simulate
from queue_strategies import (
    INJECTED,
    QUICK,
    Crash,
    FixedRandom,
    Log,
    crash_as_planned,
    crashes,
    tapes,
)


def exactly(retries: int, base: float = 2.0, **more: Any) -> RetryPolicy:
    """Back-off without chance."""
    return RetryPolicy.exponential(retries, base=base, **more)


# --- the policy, through the pool ---------------------------------------------------------------


def test_three_retries_are_four_runs_with_exact_pauses() -> None:
    """A20, T32: base 2 gives 2, 4, 8 seconds; the last error is the task's."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=exactly(3))
        async def fail(ctx: Context = INJECTED) -> None:
            log.started_at["a"].append(trio.current_time())
            raise ValueError(ctx.attempt)

        async with open_system() as sys:
            result = await (await sys.enqueue(fail)).wait_result()
        assert log.started_at["a"] == [0, 2, 6, 14]
        assert isinstance(result.error, ValueError)
        assert (result.error.args, result.attempts) == ((4,), 4)

    simulate(main)


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        (RetryPolicy.constant(3, base=0, retry_on=OSError), {"os": 4, "time": 4, "value": 1}),
        (
            RetryPolicy.constant(3, base=0, give_up_on=TimeoutError),
            {"os": 4, "time": 1, "value": 4},
        ),
        (
            RetryPolicy.constant(3, when=lambda error, failures: failures < 2 and 0.5),
            {"os": 2, "time": 2, "value": 2},
        ),
    ],
)
def test_filters_decide_by_the_error(policy: RetryPolicy, runs: dict[str, int]) -> None:
    """T34: listed types are tried again, others not; a call's own count keeps the task's filters."""
    errors = {"os": OSError, "time": TimeoutError, "value": ValueError}

    async def main() -> None:
        log = Log()

        @actorq.task(retries=policy)
        async def fail(kind: str) -> None:
            log.starts[kind] += 1
            raise errors[kind.removeprefix("call ")]

        async with open_system() as sys:
            call = fail.using(retries=attrs.evolve(policy, retry_on=None, give_up_on=(), when=None))
            for kind in errors:
                await sys.enqueue(fail, kind)
                await sys.enqueue(call, f"call {kind}")
            await sys.wait_idle(scheduled=True)
        assert log.starts == {**runs, **{f"call {kind}": n for kind, n in runs.items()}}

    simulate(main)


def test_a_predicate_that_fails_harms_only_its_task() -> None:
    """It means no further attempt; the pool goes on."""

    async def main() -> None:
        @actorq.task(retries=RetryPolicy(5, when=lambda _error, _failures: 1 / 0 > 1))
        async def fail() -> None:
            raise OSError("first and only")

        async with open_system() as sys:
            for _ in range(2):
                result = await (await sys.enqueue(fail)).wait_result()
                assert isinstance(result.error, OSError)
                assert result.attempts == 1

    simulate(main)


def test_retries_of_a_message_that_says_nothing_are_its_task_s() -> None:
    """T33: a message from elsewhere; one that says 0 is not tried again."""

    async def main() -> None:
        log = Log()

        @actorq.task(name="fail", retries=RetryPolicy.constant(2, base=0))
        async def fail(key: str) -> None:
            log.starts[key] += 1
            raise OSError

        async with open_system() as sys:
            await sys.register(fail)
            for key, said in (("unsaid", {}), ("none", {"retries": 0}), ("one", {"retries": 1})):
                data = {"task_id": key, "task_name": "fail", "args": [key], **said}
                await sys.send(actorq.TaskMessage.from_dict(data))
            await sys.wait_idle(scheduled=True)
        assert log.starts == {"unsaid": 3, "none": 1, "one": 2}

    simulate(main)


@given(
    policy=st.sampled_from(
        [
            RetryPolicy.constant(3, base=0.7),
            RetryPolicy.linear(2, base=1.3, jitter=0.5),
            RetryPolicy.exponential(3, base=0.3, factor=3, cap=2),
            RetryPolicy(2),
        ]
    ),
    u=st.sampled_from([0.0, 0.4, 0.999]),
    asks=st.lists(st.none() | st.sampled_from([0.0, 0.25, 3.0]), min_size=4, max_size=4),
    plan=crashes,
    tape=tapes,
)
def test_no_attempt_comes_before_its_back_off_nor_one_too_many(
    policy: RetryPolicy, u: float, asks: list[float | None], plan: list[Crash], tape: Tape
) -> None:
    """33. Attempts are at most max + crashes; none starts before its back-off, or what Retry asked.

    A21: neither a crash of the pool nor one of the scheduler loses a retry that waits.
    """

    async def main() -> None:
        log = Log()
        due, early, failed_at = [0.0], [0.0], [-1.0]

        @actorq.task(retries=policy)
        async def fail(ctx: Context = INJECTED) -> None:
            if not any(abs(each.at - failed_at[-1]) < 1e-3 for each in plan):
                early.append(due[-1] - trio.current_time())  # (or nobody heard of the failure)
            log.starts["a"] += 1
            failures = min(log.starts["a"], 4)
            await trio.sleep(0.1)
            ask = asks[failures - 1]
            # after a crash, the queue knows of fewer failures than we do
            least = min(policy.pause(n, u) for n in range(1, failures + 1))
            failed_at.append(trio.current_time())
            due.append(failed_at[-1] + (least if ask is None else ask))
            if ask is None:
                raise OSError
            raise Retry(ask)

        set_environment(attrs.evolve(current_environment(), random=FixedRandom(u)))
        async with open_system(backoff=QUICK) as sys:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, plan)
                result = await (await sys.enqueue(fail)).wait_result()
            assert result.is_err
            assert max(early) < 1e-6  # Unix seconds are no finer
            assert policy.retries + 1 <= log.starts["a"] <= policy.retries + 1 + len(plan)

    simulate(main, tape=tape)


@pytest.mark.parametrize("actor", ["pool", "scheduler", "broker"])
def test_a_retry_that_waits_survives_a_crash(actor: str) -> None:
    """A21: it is the queue's, and not in a timer of whoever crashes."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=RetryPolicy.constant(1, base=60))
        async def flaky(ctx: Context = INJECTED) -> float:
            log.starts["a"] += 1
            if ctx.attempt == 1:
                raise OSError
            return trio.current_time()

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(flaky)
            await trio.sleep(30)
            crash(sys.actor(actor))
            assert await handle.result() == 60
        assert log.starts["a"] == 2

    simulate(main)


# --- Retry --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "starts"),
    [
        (Retry(), [0, 2, 6]),
        (Retry(7), [0, 7, 14]),
        (Retry(timedelta(minutes=1), "the shop is closed"), [0, 60, 120]),
        (Retry(0), [0, 0, 0]),
        (ExceptionGroup("of a nursery", [Retry(7)]), [0, 7, 14]),
    ],
)
def test_retry_asks_for_another_attempt(said: Exception, starts: list[float]) -> None:
    """After its delay or the policy's back-off; whatever the filters say, and no oftener than it."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=exactly(2, retry_on=KeyError))
        async def ask() -> None:
            log.started_at["a"].append(trio.current_time())
            raise said from OSError("no route")

        async with open_system() as sys:
            result = await (await sys.enqueue(ask)).wait_result()
            (dead,) = await sys.dead_tasks()
        assert log.started_at["a"] == starts
        assert isinstance(result.error, actorq.RetriesExhausted)
        assert "retries=2 were all it had; allow more with @task(retries=...)" in str(result.error)
        if not isinstance(said, ExceptionGroup):
            assert isinstance(result.error.__cause__, OSError)
        assert dead.reason.startswith("RetriesExhausted: task ")

    simulate(main)


def test_retry_without_retries_says_what_to_write() -> None:
    """It is a mistake of the author's."""

    async def main() -> None:
        @actorq.task
        async def ask() -> None:
            raise Retry(reason="the disk is full")

        @actorq.task(ack="when_received")
        async def once() -> None:
            raise Retry

        async with open_system() as sys:
            with pytest.raises(
                actorq.RetriesExhausted, match=r"the disk is full.*@task\(retries=3\)"
            ):
                await (await sys.enqueue(ask)).result()
            with pytest.raises(actorq.RetriesExhausted, match="ack='when_received' the queue has"):
                await (await sys.enqueue(once)).result()

    simulate(main)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "5", True])
def test_a_delay_that_cannot_be_meant_is_refused(delay: Any) -> None:
    """Where it is said."""
    with pytest.raises(actorq.OptionError, match=r"Retry\(delay\) expects a finite number"):
        Retry(delay)


def test_control_exceptions_say_what_they_ask() -> None:
    """In logs and tracebacks."""
    assert str(Retry()) == "again"
    assert str(Retry(5, "busy")) == "again in 5 s: busy"


# --- Reject -------------------------------------------------------------------------------------


class Unpaid(Reject):
    """A refusal of one's own."""


@pytest.mark.parametrize("wrap", [False, True])
def test_reject_ends_a_task_at_once(wrap: bool) -> None:
    """T08: to the dead letters with its reason, whatever the retries; the same type at the caller."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=5, raises=(Unpaid,))
        async def deliver() -> None:
            log.starts["a"] += 1
            error = Unpaid("order 7 is not paid")
            raise ExceptionGroup("of a nursery", [error]) if wrap else error

        async with open_system() as sys:
            with pytest.raises(Unpaid, match="order 7"):
                await (await sys.enqueue(deliver)).result()
            (dead,) = await sys.dead_tasks()
        assert dead.reason == "Unpaid: order 7 is not paid"
        assert log.starts["a"] == 1

    simulate(main)


# --- NoResult -----------------------------------------------------------------------------------


@given(
    ack=st.sampled_from(["when_received", "when_executed", "when_saved", "manual"]),
    late=st.booleans(),
    tape=tapes,
)
def test_a_task_without_a_result_says_so_at_once(ack: Any, late: bool, tape: Tape) -> None:
    """T13: who waits hears at once that there is none, not after a timeout; the task is done."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack=ack)
        async def quiet(ctx: Context = INJECTED) -> None:
            log.starts["a"] += 1
            await trio.sleep(1)
            if ack == "manual":
                await ctx.ack()
            raise NoResult("nobody asks")

        async with open_system() as sys:
            handle = await sys.enqueue(quiet)
            if late:
                await sys.wait_idle()
            with pytest.raises(actorq.ResultGetError, match=r"raised NoResult \(nobody asks\)"):
                await handle.wait_result()
            assert trio.current_time() == pytest.approx(1)
            await sys.wait_idle()
            statistics = await sys.queue_statistics()
            assert (statistics.done, statistics.dead) == (1, 0)
        assert log.starts["a"] == 1

    simulate(main, tape=tape)


def test_hooks_hear_of_a_task_without_a_result() -> None:
    """It did not fail."""

    async def main() -> None:
        seen: list[object] = []

        class Ears(actorq.Middleware):
            async def on_error(self, message: Any, result: Any, error: Any) -> None:
                seen.append(error)

            async def post_execute(self, message: Any, result: actorq.TaskResult[Any]) -> None:
                seen.append(result.is_err)

            async def post_save(self, message: Any, result: Any) -> None:
                seen.append("saved")

        @actorq.task
        async def quiet() -> None:
            raise NoResult

        async with open_system(InMemoryBroker().with_middlewares(Ears())) as sys:
            await sys.enqueue(quiet)
            await sys.wait_idle()
        assert seen == [False]

    simulate(main)


# --- requeue ------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
def test_requeue_puts_a_task_back(swallows: bool) -> None:
    """33, T35: it runs again, the first run stores no result, who waits sees the second.

    However often: neither the retries nor the limit of deliveries count it.
    """

    async def main() -> None:
        log = Log()

        @actorq.task(max_deliveries=2)
        async def patient(ctx: Context = INJECTED) -> int:
            log.started_at["a"].append(trio.current_time())
            log.attempts["a"].append(ctx.attempt)
            if len(log.started_at["a"]) < 6:
                try:
                    await ctx.requeue(timedelta(seconds=10))
                except Exception:
                    if not swallows:
                        raise
            return 7

        async with open_system() as sys:
            handle = await sys.enqueue(patient)
            await trio.sleep(25)
            assert not await handle.is_ready()
            assert (await sys.queue_statistics()).scheduled == 1
            result = await handle.wait_result()
            assert not await sys.dead_tasks()
        assert (result.return_value, result.attempts) == (7, 6)
        assert log.started_at["a"] == [0, 10, 20, 30, 40, 50]
        assert log.attempts["a"] == [1, 2, 3, 4, 5, 6]

    simulate(main)


def test_what_is_requeued_goes_behind_the_others() -> None:
    """T35: with one slot, what waits gets its turn before."""

    async def main() -> None:
        order: list[str] = []

        @actorq.task
        async def work(name: str, ctx: Context = INJECTED) -> None:
            order.append(name)
            if name == "yields" and order.count(name) < 3:
                await ctx.requeue()

        async with open_system(concurrency=1) as sys:
            await sys.enqueue_many(work, [("yields",), ("b",), ("c",)])
            await sys.wait_idle()
        assert order == ["yields", "b", "c", "yields", "yields"]

    simulate(main)


def test_a_task_that_the_queue_has_forgotten_cannot_be_requeued() -> None:
    """It says what to do instead."""

    async def main() -> None:
        @actorq.task(ack="when_received")
        async def once(ctx: Context = INJECTED) -> None:
            await ctx.requeue()

        async with open_system() as sys:
            with pytest.raises(RuntimeError, match="cannot take it back; enqueue it anew"):
                await (await sys.enqueue(once)).result()

    simulate(main)


@given(tape=tapes)
def test_36_a_cancelled_task_is_not_put_back(tape: Tape) -> None:
    """36. Cancelled before or after it asks: it does not start again."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def endless(ctx: Context = INJECTED) -> None:
            log.starts["a"] += 1
            await ctx.requeue()

        async with open_system() as sys:
            handle = await sys.enqueue(endless)
            while not log.starts["a"]:
                await trio.lowlevel.checkpoint()
            assert await handle.cancel()
            with pytest.raises(actorq.TaskCancelled):
                await handle.result()
            starts = log.starts["a"]
            await sys.wait_idle(scheduled=True)
            assert log.starts["a"] == starts

    simulate(main, tape=tape)


# --- ack="manual" -------------------------------------------------------------------------------


@given(tape=tapes, again=st.integers(1, 3))
def test_ack_makes_the_queue_forget_the_task(tape: Tape, again: int) -> None:
    """T19: from inside the task, any number of times; its result is stored when it ends."""

    async def main() -> None:
        @actorq.task(ack="manual")
        async def work(ctx: Context = INJECTED) -> list[bool]:
            before = ctx.is_acked
            async with trio.open_nursery() as nursery:
                for _ in range(again):
                    nursery.start_soon(ctx.ack)
            await ctx.ack()
            counts = await ctx.system.queue_statistics()
            assert (counts.done, counts.leased) == (1, 0)
            await trio.sleep(1)
            return [before, ctx.is_acked]

        async with open_system() as sys:
            assert await (await sys.enqueue(work)).result() == [False, True]
            await sys.wait_idle()
            assert (await sys.queue_statistics()).refused == 0

    simulate(main, tape=tape)


@pytest.mark.parametrize("mode", ["when_saved", "when_executed", "when_received"])
def test_ack_in_another_mode_says_which_option_to_set(mode: Any) -> None:
    """T19, T18: the task's own policy decides; the others acknowledge by themselves."""

    async def main() -> None:
        @actorq.task(ack=mode)
        async def work(ctx: Context = INJECTED) -> bool:
            with pytest.raises(RuntimeError, match=f"ack='{mode}'.*@task\\(ack=\"manual\"\\)"):
                await ctx.ack()
            return ctx.is_acked

        async with open_system() as sys:
            assert await (await sys.enqueue(work)).result() is (mode == "when_received")

    simulate(main)


@pytest.mark.parametrize("acks_first", [False, True])
def test_a_crash_before_the_ack_runs_the_task_again_and_after_it_loses_it(acks_first: bool) -> None:
    """A01, 32: at least once before `ctx.ack()`, at most once after it; never silence."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack="manual")
        async def work(ctx: Context = INJECTED) -> int:
            log.starts["a"] += 1
            if acks_first:
                await ctx.ack()
            await trio.sleep(10)
            await ctx.ack()
            return ctx.attempt

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(5)
            crash(sys.actor("pool"))
            if acks_first:
                with pytest.raises(actorq.WorkerLost):
                    await handle.result()
            else:
                assert await handle.result() == 2
        assert log.starts["a"] == (1 if acks_first else 2)

    simulate(main)


def test_without_an_ack_a_task_is_given_back_a_bounded_number_of_times() -> None:
    """A12: each counts; at the limit it is a dead letter, and who waits learns why."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack="manual", max_deliveries=3)
        async def forgets() -> None:
            log.starts["a"] += 1

        async with open_system() as sys:
            with pytest.raises(actorq.NotAcknowledged, match=r"without `await ctx.ack\(\)`"):
                await (await sys.enqueue(forgets)).result()
            assert len(await sys.dead_tasks()) == 1
        assert log.starts["a"] == 3

    simulate(main)


def test_a_failure_after_the_ack_is_final() -> None:
    """There is nothing left to try again; before it, the policy decides as ever."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack="manual", retries=RetryPolicy.constant(2, base=1))
        async def fail(early: bool, ctx: Context = INJECTED) -> None:
            log.starts[early] += 1
            if early or ctx.attempt == 3:
                await ctx.ack()
            raise OSError(ctx.attempt)

        async with open_system() as sys:
            for early, attempts in ((True, 1), (False, 3)):
                result = await (await sys.enqueue(fail, early)).wait_result()
                assert isinstance(result.error, OSError)
                assert result.attempts == attempts
        assert log.starts == {True: 1, False: 3}

    simulate(main)


@given(at=st.sampled_from([0.0, 0.5, 1.0]), plan=crashes, tape=tapes)
def test_an_ack_whose_wait_is_cut_off_is_known_all_the_same(
    at: float, plan: list[Crash], tape: Tape
) -> None:
    """32. Whatever becomes of the wait for `ctx.ack()`, nobody waits for ever."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack="manual", retries=RetryPolicy.constant(2, base=0))
        async def work(ctx: Context = INJECTED) -> None:
            log.starts["a"] += 1
            await trio.sleep(at)
            with trio.CancelScope() as scope:
                scope.cancel()
                await ctx.ack()
            raise OSError

        async with open_system(backoff=QUICK) as sys:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, plan)
                handle = await sys.enqueue(work)
                with trio.fail_after(1000):
                    try:
                        error = (await handle.wait_result()).error
                    except actorq.ResultGetError as none:
                        error = none  # a crash between the ack and the result: that is lost
            assert isinstance(error, OSError | actorq.WorkerLost) or (plan and error is not None)
            assert log.starts["a"] <= 1 + len(plan)

    simulate(main, tape=tape)


# --- the enqueuer's deadline --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeout", "why", "ends"),
    [(None, "enqueuer's deadline", 5), (9, "enqueuer's deadline", 5), (2, "its timeout of 2 s", 8)],
)
def test_a_deadline_bounds_every_attempt(timeout: float | None, why: str, ends: float) -> None:
    """T10: no attempt runs beyond it, and none is begun after it, whatever the retries."""

    async def main() -> None:
        log = Log()

        @actorq.task(
            timeout=timeout, retries=RetryPolicy.constant(9, base=1), propagate_deadline=True
        )
        async def slow() -> None:
            log.started_at["a"].append(trio.current_time())
            await trio.sleep(100)

        async with open_system() as sys:
            with trio.move_on_after(5 if ends == 5 else 8.5):
                handle = await sys.enqueue(slow)
            with pytest.raises(actorq.TaskTimeout, match=why):
                await handle.result()
            assert trio.current_time() == pytest.approx(ends)
        assert log.started_at["a"] == pytest.approx([0] if ends == 5 else [0, 3, 6])

    simulate(main)


def test_a_retry_that_would_come_after_the_deadline_is_not_waited_for() -> None:
    """The task ends with its own error, at once."""

    async def main() -> None:
        @actorq.task(retries=RetryPolicy.constant(9, base=10), propagate_deadline=True)
        async def fail(asks: bool) -> None:
            raise Retry(10) if asks else OSError

        async with open_system() as sys:
            with trio.move_on_after(5):
                handles = [await sys.enqueue(fail, asks) for asks in (False, True)]
            errors = [(await handle.wait_result()).error for handle in handles]
            assert [type(error) for error in errors] == [OSError, actorq.RetriesExhausted]
            assert "deadline" in str(errors[1])
            assert trio.current_time() == 0

    simulate(main)


@given(tapes, st.integers(0, 6), st.integers(0, 12))
def test_a_cancellation_that_an_ack_by_hand_forestalls_does_nothing(
    tape: Tape, steps: int, pause: int
) -> None:
    """36. That it took no effect and that the task was cancelled cannot both be."""

    async def main() -> None:
        @actorq.task(ack="manual")
        async def work(ctx: Context = INJECTED) -> int:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            await ctx.ack()
            await trio.sleep(1)
            return 7

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            for _ in range(pause):
                await trio.lowlevel.checkpoint()
            took_effect = await handle.cancel()
            result = await handle.wait_result()
            assert took_effect is isinstance(result.error, TaskCancelled)

    simulate(main, tape=tape)


def test_requeues_do_not_bring_a_task_nearer_to_the_end_for_a_forgotten_ack() -> None:
    """29. `max_deliveries` does not count them."""
    runs = 0

    async def main() -> None:
        @actorq.task(ack="manual", max_deliveries=2)
        async def work(ctx: Context = INJECTED) -> int:
            nonlocal runs
            runs += 1
            if runs <= 4:
                await ctx.requeue()
            if runs > 5:
                await ctx.ack()
            return runs

        async with open_system() as sys:
            assert await (await sys.enqueue(work)).result() == 6

    simulate(main)


# --- what user code can do to the actors ----------------------------------------------------------


class Tampered(Exception):
    """Its methods are its author's."""

    def with_traceback(self, tb: Any) -> Any:
        raise RuntimeError("not even that")


def test_an_exception_that_cannot_be_given_a_traceback_fails_its_task_only() -> None:
    """32. All its methods are its author's code: none of them may end the worker."""

    async def main() -> None:
        @actorq.task
        async def fail() -> None:
            raise Tampered("told")

        async with open_system() as sys:
            result = await (await sys.enqueue(fail)).wait_result()
        assert isinstance(result.error, TaskFailed)
        assert "told" in str(result.error)

    simulate(main)


@pytest.mark.parametrize("delay", ["soon", -1.0, math.nan, math.inf, True])
def test_a_delay_that_was_put_into_retry_later_kills_the_task_only(delay: Any) -> None:
    """30. The broker is not to meet it: it would crash with the task in no place."""

    async def main() -> None:
        @actorq.task(retries=3)
        async def fail() -> None:
            again = Retry()
            again.delay = delay
            raise again

        async with open_system() as sys:
            with trio.fail_after(100):
                result = await (await sys.enqueue(fail)).wait_result()
            assert isinstance(result.error, Exception)
            await sys.wait_idle()
            assert len(await sys.dead_tasks()) == 1
            assert trio.current_time() == 0

    simulate(main)


async def test_the_rejection_of_a_child_is_an_ordinary_failure_of_its_parent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """33: its retries hold, whether it waits for one child or gathers; its own word still counts."""
    attempts: Counter[str] = Counter()

    @actorq.task
    async def child() -> None:
        raise Reject("not this one")

    @actorq.task(retries=2)
    async def waits(ctx: Context = INJECTED) -> None:
        attempts["waits"] += 1
        await (await ctx.system.enqueue(child)).result()

    @actorq.task(retries=2)
    async def gathers(ctx: Context = INJECTED) -> None:
        attempts["gathers"] += 1
        await ctx.system.gather(child.call())

    @actorq.task(retries=2)
    async def agrees(ctx: Context = INJECTED) -> None:
        attempts["agrees"] += 1
        try:
            await (await ctx.system.enqueue(child)).result()
        except Reject as rejected:
            raise Reject("so not this one either") from rejected

    async with open_system() as sys:
        for task in (waits, gathers, agrees):
            assert (await (await sys.enqueue(task)).wait_result()).is_err
    assert attempts == {"waits": 3, "gathers": 3, "agrees": 1}
