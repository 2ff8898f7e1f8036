"""`run_task` and `TaskRun`: one attempt, as a worker would run it, without a queue."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, Depends, RetryPolicy, TaskProgress
from actorq.protocol import Ending
from actorq.testing import TaskRun, run_task, simulate
from actorq.testing.stand_in import in_memory


class Refused(Exception):
    """A task's own."""


def in_virtual_time(async_fn: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that needs no fixture but time."""

    def test() -> None:
        simulate(async_fn)

    test.__name__, test.__doc__ = async_fn.__name__, async_fn.__doc__
    return test


@actorq.task(raises=(Refused,))
async def shift(days: list[date], by: tuple[int, ...] = (1,)) -> dict[str, datetime]:
    """Days later."""
    assert type(by) is tuple
    return {
        str(n): datetime(day.year, day.month, day.day + by[0], tzinfo=UTC)
        for n, day in enumerate(days)
    }


@actorq.task
async def unannotated(value: Any) -> Any:
    """Plain data."""
    return value


@in_virtual_time
async def test_arguments_and_the_value_travel() -> None:
    """What a task gets and gives is what JSON makes of it; annotations bring it back."""
    assert await run_task(shift, [date(2024, 1, 1)], by=(2,)) == {
        "0": datetime(2024, 1, 3, tzinfo=UTC)
    }
    assert await run_task(unannotated, (1, 2)) == [1, 2]
    with pytest.raises(actorq.ArgumentsError, match="days"):
        await run_task(shift, "today")  # type: ignore[arg-type]
    with pytest.raises(actorq.ArgumentsError, match="missing 'days'"):
        await run_task(shift)  # type: ignore[call-arg]
    with pytest.raises(actorq.NotSerializable):
        await run_task(unannotated, object())


@in_virtual_time
async def test_the_tasks_own_error_comes_out_itself() -> None:
    """The very object, with the task's frames, and no group round it."""
    refusal = Refused("no")

    @actorq.task
    async def refuses() -> None:
        raise refusal

    with pytest.raises(Refused) as caught:
        await run_task(refuses)
    assert caught.value is refusal
    assert caught.traceback[-1].name == "refuses"


@in_virtual_time
async def test_a_timeout_holds() -> None:
    """In virtual time, and for plain functions when they end."""

    @actorq.task(timeout=5)
    async def slow() -> None:
        await trio.sleep(6)

    with pytest.raises(actorq.TaskTimeout, match="timeout of 5 s"):
        await run_task(slow)
    assert trio.current_time() == 5
    await run_task(slow.using(timeout=7))


def test_on_a_real_clock_and_in_a_thread() -> None:
    """Nothing of it needs a simulation; a plain function runs in a thread, as in a worker."""

    @actorq.task
    def where(seconds: float) -> bool:
        time.sleep(seconds)
        trio.from_thread.run(trio.lowlevel.checkpoint)
        return True

    async def program() -> bool:
        return await run_task(where, 0.0)

    assert trio.run(program)


def test_in_a_process_of_its_own() -> None:
    """executor="process" is no exception; nothing of it is left."""
    from process_tasks import where

    async def program() -> int:
        return await run_task(where)

    assert trio.run(program) != os.getpid()


# --- the broker's parts ---------------------------------------------------------------------------


class Notes(actorq.Middleware):
    """Notes every hook."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def startup(self) -> None:
        self.seen.append("startup")

    def shutdown(self) -> None:
        self.seen.append("shutdown")

    def around_send(self, messages: Any) -> Any:
        return self._around("send")

    def pre_send(self, message: Any) -> Any:
        self.seen.append("pre_send")
        return message.with_labels(signed=True)

    async def post_send(self, message: Any) -> None:
        self.seen.append("post_send")

    async def pre_execute(self, message: Any) -> Any:
        assert message.labels["signed"]
        self.seen.append("pre_execute")
        return message

    def around_execute(self, context: Any) -> Any:
        return self._around("execute")

    def on_error(self, message: Any, result: Any, error: Exception) -> None:
        self.seen.append(f"on_error {error!r}")

    def on_retry(self, message: Any, error: Exception, delay: float) -> None:
        self.seen.append(f"on_retry {delay:g}")

    def on_dead(self, message: Any, result: Any, error: Exception) -> None:
        self.seen.append("on_dead")

    def post_execute(self, message: Any, result: Any) -> None:
        self.seen.append("post_execute")

    def post_save(self, message: Any, result: Any) -> None:
        self.seen.append(f"post_save {result.is_err}")

    @contextmanager
    def _around(self, what: str) -> Any:
        self.seen.append(f"<{what}")
        try:
            yield
        finally:
            self.seen.append(f"{what}>")


SENT = ["<send", "pre_send", "post_send", "send>"]


def a_broker() -> tuple[actorq.InMemoryBroker, Notes]:
    """A broker, and what its middleware sees."""
    notes = Notes()
    return actorq.InMemoryBroker().with_middlewares(notes), notes


@in_virtual_time
async def test_every_hook_runs_as_in_a_worker() -> None:
    """Those of a success, of a failure that is retried, and of one that is not: as in a system."""
    broker, notes = a_broker()

    @broker.task(retries=RetryPolicy.constant(1, base=3))
    async def fails(times: int, ctx: Context = Depends()) -> int:
        if ctx.attempt <= times:
            raise Refused
        return ctx.attempt

    async def by_itself(attempt: int) -> list[str]:
        notes.seen.clear()
        with suppress(Refused):
            await TaskRun(fails, attempt=attempt)(attempt)
        return notes.seen

    assert await by_itself(1) == [
        *("startup", *SENT, "pre_execute", "<execute", "execute>"),
        *("on_error Refused()", "on_retry 3", "post_execute", "shutdown"),
    ]
    assert await by_itself(2) == [
        *("startup", *SENT, "pre_execute", "<execute", "execute>"),
        *("on_error Refused()", "on_dead", "post_execute", "post_save True", "shutdown"),
    ]
    notes.seen.clear()
    assert await run_task(fails, 0) == 1
    alone = list(notes.seen)
    notes.seen.clear()
    async with actorq.open_system(broker):
        await (await fails.kiq(0)).result()
    assert alone == notes.seen


@in_virtual_time
async def test_what_a_hook_raises() -> None:
    """A refusal before comes out; one after is reported, and the task goes on (promise 44)."""

    class Guard(actorq.Middleware):
        def pre_execute(self, message: Any) -> Any:
            raise Refused("not today")

    broker = actorq.InMemoryBroker().with_middlewares(Guard())

    @broker.task
    async def never() -> None:
        raise AssertionError

    with pytest.raises(Refused, match="not today"):
        await run_task(never)


@in_virtual_time
async def test_dependencies_overrides_and_the_lifespan() -> None:
    """Injected as in a worker, cleaned up, and what the lifespan opens is open meanwhile."""
    broker = actorq.InMemoryBroker()
    seen: list[str] = []

    @broker.with_lifespan
    @asynccontextmanager
    async def opened(state: actorq.State) -> AsyncIterator[None]:
        state.url = "db://app"
        yield
        seen.append("closed")

    async def connection(state: actorq.State = Depends()) -> AsyncIterator[str]:
        yield state.url
        seen.append("given back")

    @broker.task
    async def query(what: str, db: str = Depends(connection)) -> str:
        return f"{what} from {db}"

    assert await run_task(query, "all") == "all from db://app"
    assert seen == ["given back", "closed"]
    with broker.override(connection, lambda: "fake"):
        assert await run_task(query, "all") == "all from fake"

    other = actorq.InMemoryBroker().with_dependency(str, "other")
    other.dependency_overrides[connection] = lambda: "other"
    assert await TaskRun(query, broker=other)("all") == "all from other"


@in_virtual_time
async def test_inside_an_open_system() -> None:
    """Its middlewares are up already, and what the task enqueues goes to its queue."""
    broker, notes = a_broker()

    @broker.task
    async def parent(ctx: Context = Depends()) -> str:
        handle = await ctx.system.enqueue(child)
        return f"{await handle.result()} {await (await child.kiq()).result()}"

    @broker.task
    async def child() -> str:
        return "child"

    async with actorq.open_system(in_memory(broker)) as sys:
        assert await run_task(parent) == "child child"
        assert (await sys.queue_statistics()).done == 2
    assert notes.seen.count("startup") == 1

    with pytest.raises(actorq.SystemClosed):
        await child.kiq()
    with pytest.raises(RuntimeError, match=r"ctx\.system\.enqueue: run_task.* without a queue"):
        await run_task(parent)


# --- what it knows afterwards ---------------------------------------------------------------------


@given(steps=st.lists(st.floats(0, 1), max_size=5), attempt=st.integers(1, 4))
def test_progress_attempt_and_what_would_follow(steps: list[float], attempt: int) -> None:
    """The updates in order; a retry is decided by the real policy, with the real back-off."""

    @actorq.task(retries=RetryPolicy.exponential(2, base=10))
    async def work(ctx: Context = Depends()) -> None:
        for step in steps:
            await ctx.set_progress(TaskProgress(step, meta={"step": (step,)}))
        raise Refused(ctx.attempt)

    async def program() -> None:
        run = TaskRun(work, attempt=attempt)
        with pytest.raises(Refused) as caught:
            await run()
        assert caught.value.args == (attempt,)
        assert [each.progress for each in run.progress] == steps
        assert [each.meta for each in run.progress] == [{"step": [step]} for step in steps]
        if attempt <= 2:
            assert (run.ending, run.retry_in, run.result) == (Ending.RETRY, 10 * attempt, None)
        else:
            assert (run.ending, run.retry_in) == (Ending.DEAD, None)
            assert run.result is not None
            assert run.result.is_err
            assert run.result.attempts == attempt

    simulate(program)


@in_virtual_time
async def test_what_a_task_says_of_itself() -> None:
    """Retry, Reject, NoResult, a requeue, an ack, a log: all as a worker understands them."""

    @actorq.task(retries=1)
    async def says(error: str) -> None:
        raise {"retry": actorq.Retry(7), "reject": actorq.Reject("no"), "none": actorq.NoResult()}[
            error
        ]

    for word, kind, ending, retry_in in (
        ("retry", actorq.Retry, Ending.RETRY, 7),
        ("reject", actorq.Reject, Ending.DEAD, None),
        ("none", actorq.NoResult, Ending.DONE, None),
    ):
        run = TaskRun(says)
        with pytest.raises(kind):
            await run(word)
        assert (run.ending, run.retry_in) == (ending, retry_in)
        assert (run.result is None) == (word != "reject")

    @actorq.task(ack="manual", capture_logs=True)
    async def acks(do: str, ctx: Context = Depends()) -> bool:
        if do == "ack":
            await ctx.ack()
        if do == "requeue":
            await ctx.requeue(5)
        return ctx.is_acked

    taken = TaskRun(acks)
    assert await taken("ack")
    assert taken.acked
    assert taken.ending is Ending.DONE
    assert taken.result is not None
    assert taken.result.log == ""
    with pytest.raises(actorq.NotAcknowledged):
        await run_task(acks, "nothing")
    back = TaskRun(acks)
    with pytest.raises(actorq.Requeued):
        await back("requeue")
    assert (back.ending, back.retry_in, back.acked) == (Ending.REQUEUE, 5, False)


@in_virtual_time
async def test_labels_and_a_task_id_of_ones_own() -> None:
    """Options of the call are said with `using`, as for a queue."""

    @actorq.task
    async def told(ctx: Context = Depends()) -> Any:
        return ctx.task_id, ctx.labels["tenant"]

    assert await run_task(told.using(task_id="t-1", labels={"tenant": 7})) == ["t-1", 7]


@in_virtual_time
async def test_how_not_to_use_it() -> None:
    """Each mistake says what was expected."""

    async def plain() -> None: ...

    with pytest.raises(TypeError, match=r"run_task\(task, 1, 2\); got <function"):
        await run_task(plain)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attempt expects a whole number >= 1; got 0"):
        TaskRun(shift, attempt=0)
    with pytest.raises(TypeError, match=r"broker expects a broker object.*got 'redis:"):
        TaskRun(shift, broker="redis://")  # type: ignore[arg-type]
    run = TaskRun(unannotated)
    await run(1)
    with pytest.raises(RuntimeError, match="make one for each attempt"):
        await run(1)
