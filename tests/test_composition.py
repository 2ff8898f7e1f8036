"""Several tasks as one: the task nursery, gathering, mapping."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, Middleware, System, TaskProgress, open_system
from actorq.errors import (
    ArgumentsError,
    DuplicateTaskId,
    ResultGetError,
    ResultIsReadyError,
    SystemFailed,
    TaskCancelled,
    TaskLeftBehind,
)
from actorq.message import TaskMessage
from actorq.testing import Tape, crash, simulate
from queue_strategies import (
    INJECTED,
    MOMENTS,
    QUICK,
    Crash,
    Everywhere,
    Log,
    crash_as_planned,
    tapes,
)


@actorq.task
async def nap(seconds: float, then: str = "") -> float:
    """Sleep; then raise, if there is something to say."""
    await trio.sleep(seconds)
    if then:
        raise ValueError(then)
    return seconds


@actorq.task
async def stubborn(seconds: float, patience: float) -> None:
    """Does not end at once when it is cancelled."""
    try:
        await trio.sleep(seconds)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(patience)


async def live(sys: System) -> int:
    """How many tasks have not ended."""
    counts = await sys.queue_statistics()
    return counts.scheduled + counts.ready + counts.leased


# --- the task nursery ---------------------------------------------------------------------------


def test_a_nursery_waits_for_its_tasks() -> None:
    """Their handles are there at once, and their results when the block is over."""

    async def main() -> None:
        async with open_system() as sys:
            async with sys.open_task_nursery() as jobs:
                soon = jobs.start_soon(nap, 3)
                later = await jobs.enqueue(nap.using(delay=5), seconds=1)
                call = jobs.start_soon(nap.call(2))
                assert await call.result() == 2
                assert trio.current_time() == pytest.approx(2)
            assert trio.current_time() == pytest.approx(6)
            assert await live(sys) == 0
            results = [await handle.get_result() for handle in (soon, later, call)]
            assert [result.return_value for result in results] == [3, 1, 2]

    simulate(main)


def test_an_empty_nursery_is_over_at_once() -> None:
    """Nothing to wait for."""

    async def main() -> None:
        async with open_system() as sys:
            async with sys.open_task_nursery():
                pass
            assert trio.current_time() == 0

    simulate(main)


def test_when_a_task_fails_the_others_are_cancelled() -> None:
    """The running one, the waiting one and the scheduled one; the group has the failure only."""

    async def main() -> None:
        async with open_system(concurrency=2) as sys:
            handles: list[actorq.TaskHandle[Any]] = []
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.open_task_nursery() as jobs:
                    handles.append(jobs.start_soon(stubborn, 50, 2))
                    handles.append(jobs.start_soon(nap, 1, "no"))
                    handles.append(jobs.start_soon(nap.using(delay=100), 1))
                    handles.extend(jobs.start_soon(nap, 60) for _ in range(5))
                    await trio.sleep_forever()
            assert trio.current_time() == pytest.approx(3)  # the stubborn one took its time
            (failure,) = caught.value.exceptions
            assert isinstance(failure, ValueError)
            assert str(failure) == "no"
            assert await live(sys) == 0
            with pytest.raises(ValueError, match="no"):
                await handles[1].result()
            for handle in handles[:1] + handles[2:]:
                with pytest.raises(TaskCancelled):
                    await handle.result()

    simulate(main)


def test_when_the_body_fails_the_tasks_are_cancelled() -> None:
    """As in Trio's nurseries: a group, of one."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.open_task_nursery() as jobs:
                    await jobs.enqueue(nap, 50)
                    jobs.start_soon(nap, 60)
                    raise LookupError("the body")
            assert [type(error) for error in caught.value.exceptions] == [LookupError]
            assert trio.current_time() == 0
            assert await live(sys) == 0

    simulate(main)


def test_a_timeout_round_the_block_cancels_the_tasks() -> None:
    """48, A39: and is Trio's own."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def work(n: int) -> None:
            await log.job(n, 50)

        async with open_system(concurrency=2) as sys:
            with trio.move_on_after(5) as scope:
                async with sys.open_task_nursery() as jobs:
                    for n in range(4):
                        jobs.start_soon(work, n)
            assert scope.cancelled_caught
            assert trio.current_time() == pytest.approx(5)
            assert await live(sys) == 0
            assert log.starts == {0: 1, 1: 1}
            assert not log.ends

    simulate(main)


def test_a_nursery_s_cancel_scope_cancels_its_tasks() -> None:
    """Quietly, as Trio's does."""

    async def main() -> None:
        async with open_system() as sys:
            async with sys.open_task_nursery() as jobs:
                handle = await jobs.enqueue(nap, 50)
                never = jobs.start_soon(nap, 1)
                jobs.cancel_scope.cancel("enough")
                too_late = jobs.start_soon(nap, 1)
            for each in (handle, never, too_late):
                with pytest.raises(TaskCancelled):
                    await each.wait_result() if each is too_late else await each.result()
            assert await live(sys) == 0
            assert trio.current_time() == 0

    simulate(main)


def test_a_task_that_somebody_cancels_is_no_failure() -> None:
    """As a scope in one child of a Trio nursery is cancelled."""

    async def main() -> None:
        async with open_system() as sys:
            async with sys.open_task_nursery() as jobs:
                one = jobs.start_soon(nap, 5)
                other = jobs.start_soon(nap, 7)
                assert await one.cancel()
            assert await other.result() == 7

            @actorq.task
            async def raises_it() -> None:
                raise TaskCancelled("of another one")

            with pytest.raises(ExceptionGroup):
                async with sys.open_task_nursery() as jobs:
                    jobs.start_soon(raises_it)

    simulate(main)


def test_a_task_without_a_result_is_no_failure_where_nobody_wants_one() -> None:
    """A nursery waits for its end; gather has no value to give."""

    async def main() -> None:
        @actorq.task
        async def quiet() -> None:
            await trio.sleep(1)
            raise actorq.NoResult

        async with open_system() as sys:
            async with sys.open_task_nursery() as jobs:
                jobs.start_soon(quiet)
                other = jobs.start_soon(nap, 2)
            assert await other.result() == 2
            with pytest.raises(ExceptionGroup) as caught:
                await sys.gather(quiet.call())
            assert [type(error) for error in caught.value.exceptions] == [ResultGetError]

    simulate(main)


def test_wrong_arguments_are_refused_where_they_are_passed() -> None:
    """In the block, by name, and before anything is enqueued."""

    async def main() -> None:
        async with open_system() as sys:
            async with sys.open_task_nursery() as jobs:
                with pytest.raises(ArgumentsError, match="seconds"):
                    jobs.start_soon(nap, "long")  # type: ignore[arg-type]
                with pytest.raises(ArgumentsError, match="missing"):
                    await jobs.enqueue(nap.call())  # type: ignore[call-arg]
                with pytest.raises(TypeError, match="got the plain function"):
                    jobs.start_soon(trio.sleep, 1)  # type: ignore[arg-type]
            assert (await sys.queue_statistics()).done == 0
            with pytest.raises(ValueError, match="grace expects"):
                async with sys.open_task_nursery(grace=-1):
                    pass

    simulate(main)


def test_what_cannot_be_enqueued_fails_the_nursery() -> None:
    """And who asks its handle is told."""

    class Refuses(Middleware):
        async def pre_send(self, message: TaskMessage) -> TaskMessage:
            if message.labels.get("refuse"):
                raise PermissionError("not this one")
            return message

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Refuses())
        async with open_system(broker) as sys:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.open_task_nursery() as jobs:
                    other = await jobs.enqueue(nap, 50)
                    refused = jobs.start_soon(nap.using(labels={"refuse": True}), 1)
            assert [type(error) for error in caught.value.exceptions] == [PermissionError]
            for ask in (
                refused.result,
                refused.wait_result,
                refused.get_result,
                refused.is_ready,
                refused.cancel,
                refused.get_progress,
            ):
                with pytest.raises(ResultGetError, match="never enqueued: not this one"):
                    await ask()
            with pytest.raises(ResultGetError, match="never enqueued"):
                async for _ in refused.progress():
                    pass
            with pytest.raises(TaskCancelled):
                await other.result()
            # the caller's own error, if the caller waits for it: and it decides
            async with sys.open_task_nursery() as jobs:
                with pytest.raises(PermissionError):
                    await jobs.enqueue(nap.using(labels={"refuse": True}), 1)
                fine = await jobs.enqueue(nap, 1)
            assert await fine.result() == 1
            first = await sys.enqueue(nap.using(task_id="mine"), 5)
            with pytest.raises(ExceptionGroup) as caught:
                async with sys.open_task_nursery() as jobs:
                    jobs.start_soon(nap.using(task_id="mine"), 6)
            assert [type(error) for error in caught.value.exceptions] == [DuplicateTaskId]
            assert await first.result() == 5  # another call's id is another call's

    simulate(main)


def test_a_handle_of_a_nursery_tells_the_progress() -> None:
    """Also if it is asked before the task is enqueued."""

    async def main() -> None:
        @actorq.task
        async def steps(ctx: Context = INJECTED) -> None:
            for n in range(3):
                await ctx.set_progress(actorq.TaskProgress(progress=n / 3, current=n))
                await trio.sleep(1)

        async with open_system() as sys, sys.open_task_nursery() as jobs:
            handle = jobs.start_soon(steps)
            assert [update.current async for update in handle.progress()] == [0, 1, 2]

    simulate(main)


def test_a_task_that_does_not_end_is_not_waited_for_longer_than_grace() -> None:
    """What is left behind is named."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.open_task_nursery(grace=3) as jobs:
                    handle = jobs.start_soon(stubborn, 50, 20)
                    await trio.sleep(1)
                    jobs.cancel_scope.cancel("enough")
            assert trio.current_time() == pytest.approx(4)
            (left,) = caught.value.exceptions
            assert isinstance(left, TaskLeftBehind)
            assert left.task_id == handle.task_id
            with pytest.raises(TaskCancelled):
                await handle.result()

    simulate(main)


def test_a_system_that_fails_under_a_nursery_says_what_it_leaves_behind() -> None:
    """Nobody can tell any more whether the task has ended."""

    async def main() -> None:
        with pytest.raises(SystemFailed) as caught:  # noqa: PT012
            async with open_system(backoff=QUICK) as sys, sys.open_task_nursery() as jobs:
                handle = await jobs.enqueue(nap, 50)
                for _ in range(20):
                    crash(sys.actor("broker"))
                    await trio.testing.wait_all_tasks_blocked()
        assert isinstance(caught.value.__cause__, BaseExceptionGroup)
        left, _ = caught.value.__cause__.split(TaskLeftBehind)
        assert left is not None
        assert handle.task_id in repr(left)

    simulate(main)


def test_who_is_acknowledged_early_is_waited_for_all_the_same() -> None:
    """The queue has forgotten it, its function runs: the nursery waits for its end."""

    async def main() -> None:
        for ack in ("when_received", "when_executed"):
            log = Log()

            @actorq.task(ack=ack, name=ack)
            async def early() -> None:
                await log.job("early", 5)  # noqa: B023

            async with open_system() as sys:
                began = trio.current_time()
                with trio.move_on_after(1):
                    async with sys.open_task_nursery() as jobs:
                        jobs.start_soon(early)
                assert log.running == 0
                if ack == "when_received":  # nobody can cancel it any more
                    assert log.ends == {"early": 1}
                    assert trio.current_time() - began == pytest.approx(5)

    simulate(main)


def test_a_nursery_needs_results() -> None:
    """Said at once."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(actorq.DummyResultBackend())
        async with open_system(broker) as sys:
            with pytest.raises(ResultGetError, match="keeps none"):
                async with sys.open_task_nursery():
                    pass

    simulate(main)


# --- the nursery, drawn -------------------------------------------------------------------------


@attrs.frozen
class Child:
    """One drawn task of a nursery."""

    at: float
    seconds: float
    patience: float = 0.0  #: seconds for which it does not obey a cancellation
    fails: bool = False
    delay: float | None = None


children = st.lists(
    st.builds(
        Child,
        at=MOMENTS,
        seconds=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
        patience=st.sampled_from([0.0, 0.0, 2.0]),
        fails=st.booleans(),
        delay=st.sampled_from([None, 0.5, 30.0]),
    ),
    min_size=1,
    max_size=5,
)


@given(
    drawn=children,
    body_fails=st.sampled_from([None, 0.0, 1.7]),
    timeout=st.sampled_from([math.inf, 0.0, 0.5, 2.0]),
    faults=st.lists(
        st.builds(Crash, MOMENTS, st.sampled_from(["results", "broker", "pool"])), max_size=3
    ),
    slots=st.integers(1, 3),
    tape=tapes,
)
def test_a_nursery_leaves_nothing_behind(
    drawn: list[Child],
    body_fails: float | None,
    timeout: float,
    faults: list[Crash],
    slots: int,
    tape: Tape,
) -> None:
    """A39: whatever fails, whoever cancels, whichever actor crashes; and the group has all failures."""

    async def main() -> None:
        log = Log()
        handles: dict[int, actorq.TaskHandle[Any]] = {}
        broker = InMemoryBroker()

        @actorq.task
        async def child(n: int, seconds: float, patience: float, fails: bool) -> int:
            log.starts[n] += 1
            log.running += 1
            try:
                await trio.sleep(seconds)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(patience)
                raise
            finally:
                log.running -= 1
            if fails:
                raise ValueError(str(n))
            return n

        async with open_system(broker, backoff=QUICK, concurrency=slots) as sys:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash_as_planned, sys, faults)
                failures: list[BaseException] = []
                cut_off: Any = False
                try:
                    with trio.move_on_after(timeout) as scope:
                        async with sys.open_task_nursery() as jobs:
                            for n, plan in sorted(enumerate(drawn), key=lambda each: each[1].at):
                                await trio.sleep_until(plan.at)
                                handles[n] = jobs.start_soon(
                                    child.using(delay=plan.delay),
                                    n,
                                    plan.seconds,
                                    plan.patience,
                                    plan.fails,
                                )
                            if body_fails is not None:
                                await trio.sleep(body_fails)
                                raise LookupError("the body")
                    cut_off = scope.cancelled_caught
                except BaseExceptionGroup as group:
                    failures = list(group.exceptions)
                # nothing of it lives, in the queue or in a worker: but what has ended, and has to
                # run again because its settlement was lost in a crash (at least once)
                backend = broker.result_backend
                assert isinstance(backend, actorq.InMemoryResultBackend)
                assert faults or not broker.queue.live
                assert broker.queue.live.keys() <= backend.table.results.keys()
                assert log.running == 0
            told = {str(error) for error in failures if isinstance(error, ValueError)}
            assert len(told) + sum(isinstance(e, LookupError) for e in failures) == len(failures)
            failed = set()
            for n, handle in handles.items():
                try:
                    result = await handle.wait_result()
                except TaskCancelled:
                    continue  # before it was enqueued
                if isinstance(result.error, ValueError):
                    failed.add(str(n))
                elif result.error is None:
                    assert result.return_value == n
                else:
                    assert isinstance(result.error, TaskCancelled)
                assert log.starts[n] <= 1 + len(faults)
            assert told == failed
            if not failures and not cut_off and timeout == math.inf:
                assert len(handles) == len(drawn)
                for handle in handles.values():
                    assert not (await handle.get_result()).is_err

    simulate(main, tape=tape)


class StoresSlowly(InMemoryBroker):
    """A store of which the answer takes a second: time to be cancelled in."""

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        await trio.sleep(1)
        return await super().store(messages, now)


@pytest.mark.parametrize("how", ["start_soon", "enqueue", "gather", "map"])
def test_who_is_cancelled_while_it_enqueues_leaves_no_task_behind(how: str) -> None:
    """A39: the broker may accept it all the same, later than the block was cancelled."""

    async def main() -> None:
        broker = StoresSlowly()
        async with open_system(broker) as sys:
            with trio.move_on_after(0.5) as scope:
                if how == "gather":
                    await sys.gather(nap.call(50), nap.call(60))
                elif how == "map":
                    async with sys.map(nap, [50, 60]) as done:
                        await anext(done)
                else:
                    async with sys.open_task_nursery() as jobs:
                        if how == "enqueue":
                            await jobs.enqueue(nap, 50)
                        else:
                            jobs.start_soon(nap, 50)
            assert scope.cancelled_caught
            await trio.sleep(5)
            assert not broker.queue.live

    simulate(main)


def test_a_task_that_stands_for_a_unique_one_is_not_the_nursery_s_to_cancel() -> None:
    """It was enqueued by somebody else, who waits for it."""

    async def main() -> None:
        @actorq.task(unique=actorq.Unique(on_conflict="return"))
        async def only_one() -> str:
            await trio.sleep(10)
            return "done"

        async with open_system() as sys:
            before = await sys.enqueue(only_one)
            with trio.move_on_after(1):
                async with sys.open_task_nursery() as jobs:
                    assert (await jobs.enqueue(only_one)).task_id == before.task_id
            assert await before.result() == "done"

    simulate(main)


# --- gather -------------------------------------------------------------------------------------


def test_gather_gives_values_in_the_order_of_the_calls() -> None:
    """T37: whichever ends first."""

    async def main() -> None:
        async with open_system() as sys:
            earlier = await sys.enqueue(nap, 0.5)
            values = await sys.gather(nap.call(3), nap.call(seconds=1), earlier, nap.call(2))
            assert list(values) == [3, 1, 0.5, 2]
            assert trio.current_time() == pytest.approx(3)
            nothing: list[actorq.Call[float]] = []
            assert len(await sys.gather(*nothing)) == 0
            assert await sys.gather(*[nap.call(n) for n in range(20)]) == tuple(range(20))

    simulate(main)


def test_gather_cancels_what_it_enqueued_when_one_fails() -> None:
    """T37: and raises what failed, as a group.  A handle is somebody else's: it is only waited for."""

    async def main() -> None:
        async with open_system() as sys:
            earlier = await sys.enqueue(nap, 10)
            with pytest.raises(ExceptionGroup) as caught:
                await sys.gather(
                    nap.call(5), nap.call(1, "no"), nap.using(delay=99).call(1), earlier
                )
            assert [str(error) for error in caught.value.exceptions] == ["no"]
            assert trio.current_time() == pytest.approx(1)
            assert await live(sys) == 1
            assert await earlier.result() == 10
            with pytest.raises(ExceptionGroup) as caught:
                await sys.gather(nap.call(5), await sys.enqueue(nap, 0, "of the handle"))
            assert [str(error) for error in caught.value.exceptions] == ["of the handle"]
            assert await live(sys) == 0

    simulate(main)


def test_gather_can_give_results_instead() -> None:
    """T37: then nothing is raised, and nothing cancelled."""

    async def main() -> None:
        async with open_system() as sys:
            good, bad = await sys.gather(
                nap.call(5), nap.call(1, "no"), return_results=True, concurrency=1
            )
            assert (good.is_err, good.return_value) == (False, 5)
            assert (bad.is_err, str(bad.error)) == (True, "no")
            assert trio.current_time() == pytest.approx(6)

    simulate(main)


def test_a_timeout_round_gather_cancels_the_calls() -> None:
    """T37, 48, A39: Trio's own, and nothing is left in the queue."""

    async def main() -> None:
        async with open_system(concurrency=1) as sys:
            with pytest.raises(trio.TooSlowError), trio.fail_after(3):
                await sys.gather(nap.call(5), nap.call(1), nap.using(delay=99).call(1))
            assert trio.current_time() == pytest.approx(3)
            assert await live(sys) == 0
            with trio.CancelScope() as scope:
                scope.cancel("before it began")
                await sys.gather(nap.call(5))
            assert (await sys.queue_statistics()).done == 3

    simulate(main)


@given(tape=tapes, limit=st.sampled_from([0.5, 2.0, 3.0]))
def test_a_deadline_that_went_with_the_calls_is_trio_s_own(tape: Tape, limit: float) -> None:
    """48: the tasks are late at the moment at which nobody waits any more; that is no failure."""

    async def main() -> None:
        own = nap.using(propagate_deadline=True)
        async with open_system(concurrency=2) as sys:
            with trio.move_on_after(limit) as scope:
                await sys.gather(own.call(5), own.call(2.5), own.call(1), own.call(9))
            assert scope.cancelled_caught
            assert trio.current_time() == pytest.approx(limit)
            assert await live(sys) == 0

            late: list[BaseException] = []
            try:  # a deadline of the call's, and not the block's
                async with sys.open_task_nursery() as jobs:
                    with trio.fail_after(1):
                        await jobs.enqueue(own, 5)
            except* actorq.TaskTimeout as failures:
                late += failures.exceptions
            assert len(late) == 1

    simulate(main, tape=tape)


class FailsToTell(actorq.InMemoryResultBackend):
    """Cannot say whether a result is there."""

    async def is_result_ready(self, task_id: str) -> bool:
        raise ConnectionError("the results are down")


def test_gather_raises_what_the_result_backend_raises() -> None:
    """T37: as an error that says so; and the tasks are cancelled."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(FailsToTell())
        async with open_system(broker) as sys:
            with pytest.raises(ExceptionGroup) as caught:
                await sys.gather(nap.call(50), nap.call(60))
            assert {type(error) for error in caught.value.exceptions} == {ResultIsReadyError}
            assert await live(sys) == 0
            assert trio.current_time() == 0

    simulate(main)


def test_gather_refuses_what_is_no_call() -> None:
    """And everything, if one of the calls is wrong."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(ArgumentsError):
                await sys.gather(nap.call(1), nap.call("long"))  # type: ignore[arg-type]
            coroutine = nap(1)
            with pytest.raises(TypeError, match="expects calls, such as"):
                await sys.gather(coroutine)  # type: ignore[call-overload]
            with pytest.raises(TypeError, match="expects calls"):
                await sys.gather(nap)  # type: ignore[call-overload]
            for wrong in (0, -1, True, 1.5):
                with pytest.raises(ValueError, match="concurrency expects a whole number"):
                    await sys.gather(nap.call(1), concurrency=wrong)  # type: ignore[arg-type]
            counts = await sys.queue_statistics()
            assert (counts.done, counts.ready, counts.leased) == (0, 0, 0)

    simulate(main)


@given(
    seconds=st.lists(st.sampled_from([0.0, 0.3, 1.0, 5.0]), max_size=8),
    concurrency=st.none() | st.integers(1, 4),
    slots=st.integers(1, 8),
    tape=tapes,
)
def test_no_more_than_concurrency_are_in_the_queue(
    seconds: list[float], concurrency: int | None, slots: int, tape: Tape
) -> None:
    """T37: for any durations, limits and numbers of slots."""

    async def main() -> None:
        broker = InMemoryBroker()
        eye = 0

        def look() -> None:
            nonlocal eye
            eye = max(eye, len(broker.queue.live))

        async with open_system(broker, concurrency=slots) as sys:
            instrument = Everywhere(look)
            trio.lowlevel.add_instrument(instrument)
            values = await sys.gather(*[nap.call(s) for s in seconds], concurrency=concurrency)
            trio.lowlevel.remove_instrument(instrument)
            assert values == tuple(seconds)
            assert eye <= (len(seconds) if concurrency is None else concurrency)
            assert await live(sys) == 0

    simulate(main, tape=tape)


# --- map and as_completed -----------------------------------------------------------------------


def test_map_gives_pairs_as_tasks_end() -> None:
    """T37, T56: one task for each item."""

    async def main() -> None:
        async with open_system() as sys:
            ended = []
            async with sys.map(nap, [3.0, 1.0, 2.0]) as done:
                async for item, value in done:
                    assert item == value == trio.current_time()
                    ended.append(item)
            assert ended == [1, 2, 3]
            nothing: list[float] = []
            async with sys.map(nap, nothing) as done:
                assert [pair async for pair in done] == []

    simulate(main)


def test_as_completed_takes_calls_and_handles() -> None:
    """Each comes back with its value."""

    async def main() -> None:
        async with open_system() as sys:
            calls = [nap.call(2), nap.call(1)]
            async with sys.as_completed(calls) as done:
                assert [pair async for pair in done] == [(calls[1], 1), (calls[0], 2)]
            handles = await sys.enqueue_many(nap, [(2,), (1, "no")])
            async with sys.as_completed(handles, return_results=True) as results:
                pairs = [(handle, result.is_err) async for handle, result in results]
            assert pairs == [(handles[1], True), (handles[0], False)]
            wrong_list: Any = [nap]
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.as_completed(wrong_list) as wrong:
                    async for _ in wrong:
                        pass
            assert [type(error) for error in caught.value.exceptions] == [TypeError]

    simulate(main)


def test_map_reads_no_further_than_there_is_room() -> None:
    """An endless source, and a reader that takes its time."""

    async def main() -> None:
        read = 0

        async def endless() -> AsyncIterator[float]:
            nonlocal read
            try:
                while True:
                    read += 1
                    yield 1.0
            finally:
                read = -read

        async with open_system() as sys:
            async with sys.map(nap, endless(), concurrency=3) as done:
                await trio.sleep(20)
                assert read == 3
                async for _ in done:
                    await trio.sleep(10)
                    break
                assert read == 4
            assert read == -4  # the source was closed
            assert await live(sys) == 0
            assert trio.current_time() == pytest.approx(30)

    simulate(main)


def test_leaving_the_block_of_map_cancels_the_rest() -> None:
    """A39: with `break`, with an error, with a timeout; and when a task fails."""

    async def main() -> None:
        async with open_system(concurrency=3) as sys:
            async with sys.map(nap, [1, 5, 6, 7], concurrency=3) as done:
                async for item, _ in done:
                    assert item == 1
                    break
            assert await live(sys) == 0
            assert trio.current_time() == pytest.approx(1)
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.map(nap, [1, 5]) as done:
                    async for _ in done:
                        raise LookupError("the body")
            assert [type(error) for error in caught.value.exceptions] == [LookupError]
            assert await live(sys) == 0
            with trio.move_on_after(1) as scope:
                async with sys.map(nap, [2, 5]) as done:
                    async for _ in done:
                        pass
            assert scope.cancelled_caught
            assert await live(sys) == 0
            taken = []
            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.as_completed([nap.call(5), nap.call(2, "no"), nap.call(1)]) as calls:
                    async for _, value in calls:
                        taken.append(value)
            assert [str(error) for error in caught.value.exceptions] == ["no"]
            assert taken == [1]
            assert await live(sys) == 0

            def breaks() -> Iterator[int]:
                yield 1
                raise OSError("the source")

            with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012
                async with sys.map(nap, breaks()) as done:
                    async for _ in done:
                        pass
            assert [type(error) for error in caught.value.exceptions] == [OSError]
            assert await live(sys) == 0

    simulate(main)


def test_map_refuses_what_is_no_task() -> None:
    """At the call."""

    async def main() -> None:
        async with open_system() as sys:
            with pytest.raises(TypeError, match="expects a task and the items"):
                sys.map(len, ["a"])  # type: ignore[call-overload]
            with pytest.raises(ValueError, match="concurrency expects"):
                async with sys.map(nap, [1], concurrency=0):
                    pass

    simulate(main)


# --- inside jobs --------------------------------------------------------------------------------


@given(
    slots=st.integers(1, 3),
    parents=st.integers(1, 4),
    how=st.sampled_from(["gather", "nursery", "map", "as_completed"]),
    depth=st.integers(1, 2),
    concurrency=st.integers(1, 3),
    tape=tapes,
)
def test_parents_that_compose_give_their_slots_back(
    slots: int, parents: int, how: str, depth: int, concurrency: int, tape: Tape
) -> None:
    """A16: N slots, N parents, each with several children that have children."""

    async def main() -> None:
        log = Log()

        @actorq.task
        async def family(depth: int, ctx: Context = INJECTED) -> int:
            await log.job(depth, 0.3)
            if depth == 0:
                return 1
            sys, below = ctx.system, depth - 1
            total = 1
            if how == "gather":
                calls = [family.call(below)] * 3
                total += sum(await sys.gather(*calls, concurrency=concurrency))
            elif how == "nursery":
                async with sys.open_task_nursery() as jobs:
                    handles = [jobs.start_soon(family, below) for _ in range(3)]
                total += sum([await handle.result() for handle in handles])
            elif how == "map":
                async with sys.map(family, [below] * 3, concurrency=concurrency) as done:
                    async for _, value in done:
                        total += value
            else:
                async with sys.as_completed([family.call(below)] * 3) as ended:
                    async for _, value in ended:
                        total += value
            await log.job(depth, 1.0)  # runs again: it must have a slot
            return total

        async with open_system(concurrency=slots) as sys:
            handles = await sys.enqueue_many(family, [(depth,)] * parents)
            assert {await handle.result() for handle in handles} == {4 if depth == 1 else 13}
            await sys.wait_idle()
            statistics = await sys.pool_statistics()
            assert (statistics.suspended, statistics.held) == (0, 0)
        assert log.most_running <= slots

    simulate(main, tape=tape)


@given(
    slots=st.integers(1, 2),
    at=MOMENTS,
    victim=st.sampled_from(["parent", "child", "pool", "broker", "results"]),
    how=st.sampled_from(["gather", "nursery"]),
    tape=tapes,
)
def test_a_parent_that_ends_early_takes_its_children_with_it(
    slots: int, at: float, victim: str, how: str, tape: Tape
) -> None:
    """A16, A39, 36, 52: cancelled, failed by a child, or interrupted by a crash; and no slot is lost."""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker()

        @actorq.task
        async def child(n: int, parent: int) -> None:
            await log.job((parent, n), 1.0)
            if victim == "child" and n == 1:
                raise ValueError("the child")

        @actorq.task
        async def parent(ctx: Context = INJECTED) -> None:
            sys = ctx.system
            if how == "gather":
                await sys.gather(*[child.call(n, ctx.attempt) for n in range(4)])
            else:
                async with sys.open_task_nursery() as jobs:
                    for n in range(4):
                        jobs.start_soon(child, n, ctx.attempt)

        async with open_system(broker, backoff=QUICK, concurrency=slots) as sys:
            handle = await sys.enqueue(parent)
            await trio.sleep(at)
            if victim == "parent":
                await handle.cancel()
            elif victim != "child":
                crash(sys.actor(victim))
            result = await handle.wait_result()
            if victim == "child":
                assert isinstance(result.error, ExceptionGroup)
            await sys.wait_idle()
            # of an attempt that was interrupted, no child has run on; the next has its own
            assert all(count <= 2 for count in log.starts.values())
            if victim in ("pool", "broker", "results") and 0 < at < 2:
                assert result.attempts == 2
            # a worker that goes down waits for nobody, least of all for the end of its own lease
            assert trio.current_time() < 15
            statistics = await sys.pool_statistics()
            assert (statistics.suspended, statistics.held) == (0, 0)
            began = trio.current_time()
            await sys.gather(*[nap.call(1)] * (2 * slots))
            assert trio.current_time() - began == pytest.approx(2)
        assert not broker.queue.live

    simulate(main, tape=tape)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_who_iterates_impatiently_in_a_job_misses_no_pair(concurrency: int) -> None:
    """A pair that came while the slot was somebody else's was lost, and its room with it."""

    async def main() -> None:
        @actorq.task(expires=1)
        async def in_time(n: int) -> int:
            return n

        @actorq.task
        async def parent() -> list[int]:
            got: list[int] = []
            items = [1, 2, 3]
            async with sys.map(
                in_time, items, concurrency=concurrency, return_results=True
            ) as done:
                while len(got) < len(items) and trio.current_time() < 60:
                    with trio.move_on_after(0.3):
                        got.append((await anext(done))[0])
            return sorted(got)

        async with open_system(concurrency=1) as sys:
            handle = await sys.enqueue(parent)
            await sys.enqueue(nap, 5)  # takes the slot: the items expire meanwhile
            assert await handle.result() == [1, 2, 3]

    simulate(main)


def test_who_watches_a_progress_impatiently_in_a_job_misses_none() -> None:
    """The same for progress that came while the slot was somebody else's."""

    async def main() -> None:
        @actorq.task
        async def works(ctx: Context = INJECTED) -> None:
            for step in range(3):
                await trio.sleep(1)
                await ctx.set_progress(TaskProgress(current=step))
            await trio.sleep(5)

        @actorq.task
        async def watches(task_id: str) -> list[Any]:
            seen: list[Any] = []
            updates = sys.handle(task_id).progress()
            while len(seen) < 3 and trio.current_time() < 60:
                with trio.move_on_after(0.3):
                    seen.append((await anext(updates)).current)
            return seen

        async with open_system(concurrency=2) as sys:
            working = await sys.enqueue(works)
            handle = await sys.enqueue(watches, working.task_id)
            await sys.enqueue(nap, 5)
            assert await handle.result() == [0, 1, 2]

    simulate(main)
