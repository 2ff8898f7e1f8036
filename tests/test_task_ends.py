"""How tasks end whose worker, system or wire has its own word in it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, RetryPolicy, open_system
from actorq.testing import Tape, crash, simulate
from queue_strategies import INJECTED, QUICK, Log, tapes


@given(
    limit=st.integers(1, 3),
    ack=st.sampled_from(["when_saved", "when_executed", "manual"]),
    tape=tapes,
)
def test_a_task_that_crashes_its_worker_is_given_up_after_its_limit(
    limit: int, ack: Any, tape: Tape
) -> None:
    """A12, 29: `max_deliveries` times, through the pool; who waits gets `WorkerLost`, others run."""

    async def main() -> None:
        log = Log()

        @actorq.task(ack=ack, max_deliveries=limit)
        async def poison(ctx: Context = INJECTED) -> None:
            log.attempts["a"].append(ctx.attempt)
            crash(ctx.system.actor("pool"))
            await trio.sleep_forever()

        @actorq.task
        async def innocent() -> int:
            return 7

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(poison)
            with pytest.raises(actorq.WorkerLost):
                await handle.result()
            assert await (await sys.enqueue(innocent)).result() == 7
            (dead,) = await sys.dead_tasks()
            assert dead.message.task_id == handle.task_id
        assert log.attempts["a"] == list(range(1, limit + 1))

    simulate(main, tape=tape)


def test_a_policy_crosses_a_wire_in_numbers() -> None:
    """T34, A20: where messages are bytes, the filters are those of the task as the worker knows it."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=RetryPolicy.constant(1, base=1, retry_on=OSError))
        async def fail(kind: str) -> None:
            log.started_at[kind].append(trio.current_time())
            raise OSError if kind == "os" else ValueError

        async with open_system(InMemoryBroker(encoded=True)) as sys:
            call = fail.using(retries=RetryPolicy.exponential(3, base=2))
            for kind in ("os", "value"):
                await sys.enqueue(call, kind)
            await sys.wait_idle(scheduled=True)
        assert log.started_at == {"os": [0, 2, 6, 14], "value": [0]}

    simulate(main)


def test_no_result_of_an_attempt_is_seen_before_the_last() -> None:
    """T31: in taskiq the first error can be read and is replaced; here hooks see each, readers one."""

    async def main() -> None:
        seen: list[int] = []

        class Ears(actorq.Middleware):
            async def post_execute(self, message: Any, result: actorq.TaskResult[Any]) -> None:
                seen.append(result.attempts)

        @actorq.task(retries=RetryPolicy.constant(2, base=5))
        async def flaky(ctx: Context = INJECTED) -> str:
            if ctx.attempt < 3:
                raise OSError
            return "fine"

        async with open_system(InMemoryBroker().with_middlewares(Ears())) as sys:
            handle = await sys.enqueue(flaky)
            for now in (1, 6):
                await trio.sleep_until(now)
                with pytest.raises(actorq.ResultGetError):
                    await handle.get_result()
            assert await handle.result() == "fine"
        assert seen == [1, 2, 3]

    simulate(main)


def test_an_invalid_ack_mode_never_runs_the_task() -> None:
    """T20: refused where it is said, and in a message from elsewhere."""

    @actorq.task
    async def work() -> None:
        raise AssertionError

    with pytest.raises(actorq.OptionError, match=r"ack expects one of .*'manual'; got 'sometimes'"):
        work.using(ack="sometimes")  # type: ignore[arg-type]
    with pytest.raises(actorq.EnvelopeError, match="ack expects one of"):
        actorq.TaskMessage.from_dict({"task_id": "1", "task_name": work.name, "ack": "sometimes"})


@pytest.mark.parametrize("ack", ["when_saved", "manual"])
def test_a_shutdown_lets_a_task_finish_in_the_grace_and_gives_it_back_after(ack: Any) -> None:
    """A05: in process; what asked for an attempt of its own meanwhile is given back as well."""

    async def main() -> None:
        ends: list[str] = []
        broker = InMemoryBroker()

        @actorq.task(ack=ack)
        async def work(seconds: float, ctx: Context = INJECTED) -> None:
            try:
                await trio.sleep(seconds)
                if ack == "manual":
                    await ctx.ack()
                ends.append("finished")
            except trio.Cancelled:
                ends.append("cut off")
                raise

        async with open_system(broker, grace=10) as sys:
            await sys.enqueue_many(work, [(5,), (50,)])
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(11)
        assert ends == ["finished", "cut off"]
        counts = broker.queue.statistics()
        assert (counts.done, counts.ready, counts.leased) == (1, 1, 0)

    simulate(main)


@given(st.lists(st.sampled_from(["ok", "fail", "retry", "reject", "none", "requeue"]), max_size=6))
def test_every_ending_is_counted_once(plan: list[str]) -> None:
    """30, 33: whatever tasks say of themselves, each is in one place at the end, and no slot is lost."""

    async def main() -> None:
        requeued: set[int] = set()

        @actorq.task(retries=RetryPolicy.constant(1, base=0.1))
        async def work(n: int, ctx: Context = INJECTED) -> int:
            match plan[n]:
                case "fail":
                    raise OSError
                case "retry":
                    raise actorq.Retry(0.5)
                case "reject":
                    raise actorq.Reject
                case "none":
                    raise actorq.NoResult
                case "requeue" if n not in requeued:
                    requeued.add(n)
                    await ctx.requeue(0.2)
            return n

        async with open_system(concurrency=2) as sys:
            for _ in itertools.repeat(None, 2):
                requeued.clear()
                handles = await sys.enqueue_many(work, [(n,) for n in range(len(plan))])
                await sys.wait_idle(scheduled=True)
                for kind, handle in zip(plan, handles, strict=True):
                    assert await handle.is_ready() == (kind != "none")
            counts = await sys.queue_statistics()
            failed = sum(kind in ("fail", "retry", "reject") for kind in plan)
            assert (counts.dead, counts.done) == (2 * failed, 2 * (len(plan) - failed))
            assert (counts.ready, counts.leased, counts.scheduled, counts.refused) == (0, 0, 0, 0)
            assert (await sys.pool_statistics()).held == 0

    simulate(main)
