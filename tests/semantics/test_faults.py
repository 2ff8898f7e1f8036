"""Promises 28 to 36, 41 and 43 while everything goes wrong that may: drawn programs, drawn faults."""

from __future__ import annotations

import functools
import inspect
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import Concurrency, Context, InMemoryBroker, InMemoryResultBackend, open_system
from actorq.engine import Engine
from actorq.errors import ResultGetError, TaskCancelled
from actorq.protocol import Lease, Outcome, SetResults
from actorq.result import TaskResult
from actorq.schedule import every
from actorq.testing import Tape, simulate
from actorq.testing.faults import (
    Crash,
    Delay,
    Drop,
    Duplicate,
    FailCall,
    Fault,
    HangCall,
    Leap,
    Reorder,
    Stall,
    StallLoop,
    faults,
    hang_call,
    inject,
)
from actorq.testing.faults.strategies import KINDS
from queue_strategies import (
    ACTORS,
    INJECTED,
    QUICK,
    Everywhere,
    Log,
    accepted,
    check_conservation,
    enqueue_for_sure,
    tapes,
)


@attrs.frozen
class Plan:
    """One drawn task."""

    at: float = 0.0
    seconds: float | None = 0.0  #: that it takes; None: no checkpoint at all
    failures: int = 0  #: attempts that fail, the first ones
    retries: int = 0
    ack: Any = "when_saved"
    limited: bool = False  #: two of these may run at a time
    cancel_at: float | None = None

    @property
    def attempts(self) -> int:
        """That it has; when_received has one."""
        return 1 if self.ack == "when_received" else self.retries + 1


programs = st.lists(
    st.builds(
        Plan,
        at=st.sampled_from([0.0, 0.5, 2.0]),
        seconds=st.sampled_from([0.0, None, 0.3, 1.0, 5.0, 40.0]),
        failures=st.integers(0, 2),
        retries=st.integers(0, 2),
        ack=st.sampled_from(["when_saved", "when_executed", "when_received"]),
        limited=st.booleans(),
        cancel_at=st.none() | st.sampled_from([0.0, 1.0, 3.0]),
    ),
    min_size=1,
    max_size=4,
)

LIMIT = Concurrency(1)

WITHOUT_LEAPS = tuple([kind for kind in KINDS if kind is not Leap])


class Remembers(InMemoryResultBackend):
    """Knows what was stored, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: dict[str, list[TaskResult[Any]]] = defaultdict(list)

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store it, and know that."""
        await super().set_result(task_id, result)
        self.stored[task_id].append(result)


@attrs.define
class Seen:
    """What one run of a program showed."""

    results: dict[str, TaskResult[Any] | ResultGetError] = attrs.field(factory=dict)
    cancels: dict[str, bool] = attrs.field(factory=dict)
    too_late: set[str] = attrs.field(factory=set)  #: who waited was answered before the cancel
    log: Log = attrs.field(factory=Log)


async def run_program(sys: actorq.System, drawn: list[Plan], seen: Seen) -> None:
    """Enqueue every task at its moment, wait for its result, cancel it perhaps."""

    @actorq.task
    async def work(n: int, seconds: float | None, failures: int, ctx: Context = INJECTED) -> int:
        await seen.log.job(n, seconds, ctx.attempt)
        if seen.log.ends[n] <= failures:
            raise ValueError(f"end {seen.log.ends[n]} of {n}")
        return n

    async def cancel(handle: actorq.TaskHandle[Any], at: float) -> None:
        await trio.sleep_until(at)
        took_effect = await handle.cancel()
        seen.cancels[handle.task_id] = took_effect
        if handle.task_id in seen.results:
            seen.too_late.add(handle.task_id)

    async def one(n: int, plan: Plan, nursery: trio.Nursery) -> None:
        await trio.sleep_until(plan.at)
        options: dict[str, Any] = {"concurrency": LIMIT} if plan.limited else {}
        task = work.using(retries=plan.attempts - 1, ack=plan.ack, task_id=f"task-{n}", **options)
        handle = await enqueue_for_sure(sys, task, n, plan.seconds, plan.failures)
        if plan.cancel_at is not None:
            nursery.start_soon(cancel, handle, plan.cancel_at)
        for _ in range(3):  # a backend that fails may say so
            try:
                seen.results[handle.task_id] = await handle.wait_result()
                return
            except ResultGetError as error:
                seen.results[handle.task_id] = error
            except actorq.ResultIsReadyError:
                continue

    async with trio.open_nursery() as nursery:
        for n, plan in enumerate(drawn):
            nursery.start_soon(one, n, plan, nursery)


def check_limit(broker: InMemoryBroker) -> None:
    """41, over live leases, now."""
    queue = broker.queue
    leased = [task for session in queue.sessions.values() for task in session.held]
    limited = [
        each
        for each in leased
        if each in queue.live
        and (terms := queue.live[each].message.terms) is not None
        and terms.permits
    ]
    assert len(limited) <= 1, limited


@given(programs, faults(horizon=8.0), tapes)
@settings(max_examples=60)
def test_28_36_41_43_whatever_goes_wrong(drawn: list[Plan], plan: list[Fault], tape: Tape) -> None:
    """28, 29, 30, 31, 32, 33, 34, 36, 41, 43."""
    results = Remembers()
    broker = InMemoryBroker(lease=3.0).with_result_backend(results)
    seen = Seen()

    def look() -> None:
        check_conservation(broker.queue)
        check_limit(broker)

    eye = Everywhere(look)

    async def main() -> None:
        async with open_system(broker, backoff=QUICK, concurrency=3) as sys:
            async with inject(sys, plan) as injection:
                await run_program(sys, drawn, seen)
                await sys.wait_idle(scheduled=True)
            counts = await sys.queue_statistics()
        assert counts.done + counts.dead == len(drawn)
        struck = len(injection.struck)
        for n, each in enumerate(drawn):
            task_id = f"task-{n}"
            result = seen.results[task_id]
            stored = results.stored[task_id]
            assert [one.attempts for one in stored] == sorted(one.attempts for one in stored)  # 34
            most = 1 if each.ack == "when_received" else each.attempts + struck
            assert seen.log.starts[n] <= most  # 32, 33
            if isinstance(result, ResultGetError):
                assert struck, result
                if each.ack == "when_saved":  # 32
                    assert stored
                    result = stored[-1]
                else:
                    continue
            if seen.cancels.get(task_id):  # 36
                # a result may have been seen, and its worker be lost before it had settled
                assert task_id in seen.too_late or isinstance(result.error, TaskCancelled), result
                assert isinstance(stored[-1].error, TaskCancelled)
            elif result.is_err:
                assert isinstance(result.error, actorq.WorkerLost) or each.failures >= each.attempts
            else:
                assert result.return_value == n
                assert seen.log.ends[n] > each.failures
        assert accepted(broker.queue) == {f"task-{n}" for n in range(len(drawn))}

    simulate(main, tape=tape, instruments=[eye])
    eye.check()


@given(
    programs,
    faults(Delay, Reorder, Duplicate, HangCall, Stall, StallLoop, Leap, horizon=4.0),
    tapes,
)
@settings(max_examples=40)
def test_35_without_a_crash_each_attempt_is_made_once(
    drawn: list[Plan], plan: list[Fault], tape: Tape
) -> None:
    """5, 31, 35, 43: late, twice, overtaken, stalled for less than a lease: nothing runs again."""
    broker = InMemoryBroker()
    seen = Seen()

    async def main() -> None:
        async with open_system(broker, concurrency=3) as sys:
            async with inject(sys, plan):
                await run_program(sys, drawn, seen)
                await sys.wait_idle(scheduled=True)
            counts = await sys.queue_statistics()
            for ref in map(sys.actor, ACTORS):
                assert ref.statistics().restarts == 0
        assert counts.refused <= sum(isinstance(fault, Duplicate) for fault in plan)
        for n, each in enumerate(drawn):
            result = seen.results[f"task-{n}"]
            assert isinstance(result, TaskResult)
            if isinstance(result.error, TaskCancelled):
                assert seen.cancels[f"task-{n}"]
                continue
            assert not seen.cancels.get(f"task-{n}")
            attempts = min(each.failures + 1, each.attempts)
            assert seen.log.attempts[n] == list(range(1, attempts + 1))
            assert result.attempts == attempts
            assert result.is_err == (each.failures >= each.attempts)

    simulate(main, tape=tape)


@given(faults(*WITHOUT_LEAPS, horizon=30.0), st.sampled_from([4.0, 15.0]), tapes)
@settings(max_examples=30)
def test_40_each_slot_is_enqueued_once(plan: list[Fault], period: float, tape: Tape) -> None:
    """40: whatever happens to the scheduler, to its source and to the broker."""
    broker = InMemoryBroker()
    began: list[str] = []

    @broker.task(name="tick", schedule=[every(period, catch_up="all", name="s")])
    async def tick(ctx: Context = INJECTED) -> None:
        began.append(ctx.task_id)

    async def main() -> None:
        async with open_system(broker, backoff=QUICK) as sys:
            async with inject(sys, plan) as injection:
                await trio.sleep(40)
            await trio.sleep(120)  # the longest stall, and the longest pause between two tries
            await sys.schedules.pause("tick/s")
            await sys.wait_idle(scheduled=True)
        enqueued = accepted(broker.queue)
        assert set(began) == enqueued
        # a crash sends back all that ran then, but each of it once
        assert max(Counter(began).values()) <= 1 + len(injection.struck)
        due = [n for n in range(1, 100) if n * period <= 40]
        assert len(enqueued) >= len(due), sorted(enqueued)

    simulate(main, tape=tape)


# --- what the above, and looking for more of the kind, has found ----------------------------------


class OneAtATime(InMemoryBroker):
    """Takes its time over each call of its engine, and minds if another comes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = ""
        for name, method in inspect.getmembers(Engine, inspect.iscoroutinefunction):
            if name not in ("startup", "shutdown"):
                setattr(self, name, self._slowly(name, getattr(self, name), method))

    def _slowly(self, name: str, call: Callable[..., Any], declared: Any) -> Any:
        @functools.wraps(declared)
        async def called(*args: Any, **kwargs: Any) -> Any:
            assert not self.busy, f"{name}() is called during {self.busy}()"
            self.busy = name
            try:
                await trio.lowlevel.checkpoint()
                return await call(*args, **kwargs)
            finally:
                self.busy = ""

        return called


@given(st.integers(1, 3), tapes)
@settings(max_examples=30)
def test_an_engine_is_called_once_at_a_time(n: int, tape: Tape) -> None:
    """30, 36: also when ends that no worker reports are published while others are asked for."""
    broker = OneAtATime()

    @broker.task
    async def work() -> None:
        await trio.sleep(1)

    async def main() -> None:
        async with open_system(broker, backoff=QUICK) as sys:
            handles = [await sys.enqueue(work.using(delay=60)) for _ in range(n)]
            await sys.enqueue(work.using(expires=30, delay=20))

            async def cancel(handle: actorq.TaskHandle[Any], steps: int) -> None:
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                assert await handle.cancel()

            async with trio.open_nursery() as nursery:
                for number, handle in enumerate(handles):
                    for steps in (0, 4, 8):
                        nursery.start_soon(cancel, handle, steps + number)
                for pause in range(12):  # at all moments of the ends' way to the results
                    await sys.queue_statistics()
                    for _ in range(pause):
                        await trio.lowlevel.checkpoint()
            await sys.wait_idle(scheduled=True)
            assert sys.actor("broker").statistics().restarts == 0

    simulate(main, tape=tape)


@pytest.mark.parametrize(
    "faults",
    [
        [FailCall("results", "set_result"), Crash("pool", at=1.0)],
        [Drop("results", of=SetResults), Crash("pool", at=1.0)],
        [FailCall("results", "set_result"), Crash("results", at=1.0)],
    ],
    ids=repr,
)
@pytest.mark.parametrize("late", [False, True])
def test_43_who_waits_for_what_was_lost_with_its_worker_is_told(
    faults: list[Fault], late: bool
) -> None:
    """43: at most once, and the word that it is lost is lost as well; also who comes afterwards."""

    @actorq.task(ack="when_received")
    async def work() -> None:
        await trio.sleep(10)

    async def main() -> None:
        async with open_system(backoff=QUICK) as sys, inject(sys, faults):
            handle = await sys.enqueue(work)
            if late:
                await trio.sleep(5)
            with trio.fail_after(100), pytest.raises((ResultGetError, actorq.WorkerLost)):
                await handle.result()
            with trio.fail_after(100), pytest.raises((ResultGetError, actorq.WorkerLost)):
                await handle.result()

    simulate(main)


def test_34_a_lease_that_lapses_while_others_are_stored_counts() -> None:
    """34: what is stored after it is looked at after it, though they came together."""

    async def main() -> None:
        broker = InMemoryBroker()
        async with open_system(broker) as sys:
            lease = Lease(sys.wiring.clock() + 10)
            outcomes = [Outcome(name, TaskResult(return_value=name), lease) for name in "ab"]
            hang_call(broker.result_backend, "set_result", 20)
            verdicts = await sys.actor("results").ask(SetResults(tuple(outcomes)))
            assert verdicts[0] is None
            assert isinstance(verdicts[1], actorq.StaleResult)

    simulate(main)
