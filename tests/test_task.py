"""Tasks: names, direct calls, how each kind of function runs, and what is seen of its end."""

from __future__ import annotations

import contextvars
import functools
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, TaskFailed, TaskTimeout, open_system
from actorq.testing import Tape, crash, simulate
from queue_strategies import INJECTED, QUICK, Log, tapes


@actorq.task
async def double(n: int) -> int:
    """Twice *n*."""
    return 2 * n


@actorq.task
def half(n: int) -> float:
    """Half of *n*."""
    return n / 2


@actorq.task(name="billing.charge")
async def charge() -> None:
    """Named."""


class AppError(Exception):
    """The application's own."""


class BadExit(BaseException):
    """No Exception at all: as pytest's, asyncio's and greenlets' own are."""


def test_names() -> None:
    """T01: module and function, or as told."""
    assert double.name == "test_task:double"
    assert charge.name == "billing.charge"
    assert repr(charge) == "<Task billing.charge>"
    assert (double.__name__, double.__doc__) == ("double", "Twice *n*.")


async def test_a_task_called_directly_is_its_function() -> None:
    """T05: without a queue."""
    assert await double(4) == 8
    assert half(4) == 2
    with pytest.raises(ZeroDivisionError):
        await actorq.task(_divides_by_zero)()


async def _divides_by_zero() -> None:
    raise ZeroDivisionError


async def test_an_async_task_runs_in_the_loop_and_a_plain_one_in_a_thread() -> None:
    """T06, T07"""
    here = threading.current_thread()

    @actorq.task
    async def where_async() -> bool:
        return threading.current_thread() is here

    @actorq.task
    def where_plain() -> bool:
        return threading.current_thread() is here

    async with open_system() as sys:
        assert await (await sys.enqueue(double, 4)).result() == 8
        assert await (await sys.enqueue(half, 4)).result() == 2
        assert await (await sys.enqueue(where_async)).result()
        assert not await (await sys.enqueue(where_plain)).result()


async def test_plain_tasks_keep_to_the_concurrency() -> None:
    """T22: N at a time, in threads too."""
    gate = threading.Barrier(3, timeout=30)
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    @actorq.task
    def work() -> None:
        with lock:
            running.append(1)
            most.append(len(running))
        gate.wait()  # passes only when three are here at once
        with lock:
            running.pop()

    async with open_system(concurrency=3) as sys:
        with trio.fail_after(60):
            for handle in await sys.enqueue_many(work, [()] * 6):
                await handle.result()
    assert max(most) <= 3


async def test_a_sync_wrapper_of_an_async_function_is_awaited() -> None:
    """T25"""

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    @actorq.task
    @traced
    async def work(n: int) -> int:
        await trio.lowlevel.checkpoint()
        return n + 1

    async with open_system() as sys:
        assert await (await sys.enqueue(work, 1)).result() == 2


@pytest.mark.parametrize("says_so", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("gives_awaitable", [True, False])
async def test_what_a_wrapper_gives_back_decides(
    says_so: bool, is_async: bool, gives_awaitable: bool
) -> None:
    """T25: awaited if it can be, whatever the function looked like, and under the same timeout."""

    async def answer(n: int) -> int:
        await trio.lowlevel.checkpoint()
        return n + 1

    def wrapper(n: int) -> Any:
        return answer(n) if gives_awaitable else n + 1

    async def looks_async(n: int) -> int:
        raise AssertionError

    def looks_plain(n: int) -> int:
        raise AssertionError

    if says_so:
        wrapper = functools.wraps(looks_async if is_async else looks_plain)(wrapper)
    wrapped = actorq.task(name="wrapped", timeout=60)(wrapper)
    async with open_system() as sys:
        assert await (await sys.enqueue(wrapped, 1)).result() == 2
        # without options, too, which may take a shorter way
        bare = actorq.task(name="bare")(wrapper)
        assert await (await sys.enqueue(bare, 2)).result() == 3


async def test_a_limit_that_never_binds_costs_nothing() -> None:
    """T23: there is always a limit, and slots are made when they are needed, however large it is."""
    together = 300
    here, all_here = 0, trio.Event()

    @actorq.task
    async def work() -> None:
        nonlocal here
        here += 1
        if here == together:
            all_here.set()
        await all_here.wait()

    async with open_system(concurrency=10**9) as sys:
        assert (await sys.pool_statistics()).slots < 5
        for handle in await sys.enqueue_many(work, [()] * together):
            await handle.result()
        assert (await sys.pool_statistics()).slots <= together + 5


async def test_waiting_for_one_and_for_all() -> None:
    """T29: a task's end is waited for by its handle, everybody's by `wait_idle`."""
    ended: list[int] = []

    @actorq.task
    async def work(n: int) -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()
        ended.append(n)

    async with open_system() as sys:
        await (await sys.enqueue(work, 3)).wait_result()
        assert ended == [3]
        await sys.enqueue_many(work, [(9,), (0,), (50,)])
        await sys.wait_idle()
        assert sorted(ended) == [0, 3, 9, 50]


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_that_raises(is_async: bool) -> None:
    """T08: error flag, no value, same type and arguments at the caller, and where it happened."""

    def fail() -> int:
        raise KeyError("gone", 3)

    async def fail_async() -> int:
        return fail()

    async with open_system() as sys:
        handle = await sys.enqueue(actorq.task(fail_async if is_async else fail))
        result = await handle.wait_result()
        assert result.is_err
        assert result.return_value is None
        assert isinstance(result.error, KeyError)
        assert result.error.args == ("gone", 3)
        with pytest.raises(KeyError) as caught:
            await handle.result()
        assert caught.value.args == ("gone", 3)
        assert 'raise KeyError("gone", 3)' in str(caught.value.__cause__)
        with pytest.raises(KeyError):
            result.raise_for_error()


async def test_errors_of_the_application() -> None:
    """T38, DESIGN: as themselves if they are declared, else told of."""

    @actorq.task
    async def silent() -> None:
        raise AppError("boom")

    async with open_system() as sys:
        with pytest.raises(TaskFailed, match="AppError: boom"):
            await (await sys.enqueue(silent)).result()
        with pytest.raises(AppError, match="boom"):
            await (await sys.enqueue(silent.using(raises=(AppError,)))).result()


@given(tapes, st.integers(0, 2))
def test_an_error_that_is_no_exception_fails_the_task_and_not_the_system(
    tape: Tape, kind: int
) -> None:
    """32: a job cannot bring its worker down."""

    async def main() -> None:
        @actorq.task
        async def bad() -> None:
            match kind:
                case 0:
                    raise BadExit("out")
                case 1:
                    raise BaseExceptionGroup("many", [BadExit("out"), ValueError()])
                case 2:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(trio.sleep, 100)
                        await trio.lowlevel.checkpoint()
                        raise BadExit("out")

        async with open_system(concurrency=1) as sys:
            handle = await sys.enqueue(bad)
            with pytest.raises(RuntimeError, match=r"BadExit|BaseExceptionGroup"):
                await handle.result()
            assert await (await sys.enqueue(double, 1)).result() == 2
            assert sys.actor("pool").statistics().restarts == 0

    simulate(main, tape=tape)


@pytest.mark.parametrize("value", [object(), float("nan"), {"a": {1: object()}}])
def test_a_return_value_that_json_cannot_carry_is_an_error_result(value: Any) -> None:
    """A09: at once; a further attempt would end no better."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=5)
        async def work() -> Any:
            log.starts["a"] += 1
            return value

        async with open_system() as sys:
            with pytest.raises(actorq.NotSerializable):
                await (await sys.enqueue(work)).result()
            assert len(await sys.dead_tasks()) == 1
        assert log.starts["a"] == 1
        assert trio.current_time() == 0

    simulate(main)


def test_a_return_value_that_is_not_as_declared_comes_as_it_is() -> None:
    """The work is done; a wrong annotation does not undo it."""

    async def main() -> None:
        @actorq.task
        async def work() -> int:
            wrong: Any = "five"
            return wrong  # type: ignore[no-any-return]

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            found: Any = await handle.result()
            assert found == "five"
            assert not (await handle.wait_result()).is_err

    simulate(main)


# --- timeouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
def test_a_timeout_ends_the_attempt(swallows: bool) -> None:
    """T10: a timeout error, in time; what is returned after the deadline does not count."""

    async def main() -> None:
        @actorq.task(timeout=0.3)
        async def work() -> int:
            try:
                await trio.sleep(2)
            except trio.Cancelled:
                if not swallows:
                    raise
            return 1

        async with open_system() as sys:
            result = await (await sys.enqueue(work)).wait_result()
            assert isinstance(result.error, TaskTimeout)
            assert isinstance(result.error, TimeoutError)
            assert "0.3 s" in str(result.error)
            assert result.execution_time == pytest.approx(0.3)
            assert trio.current_time() == pytest.approx(0.3)

    simulate(main)


@given(st.integers(0, 3), tapes)
def test_a_timeout_is_for_each_attempt(retries: int, tape: Tape) -> None:
    """33"""

    async def main() -> None:
        log = Log()

        @actorq.task(timeout=1, retries=retries)
        async def work() -> None:
            await log.job("a", 0.9 if log.starts["a"] == 3 else 5)

        async with open_system() as sys:
            result = await (await sys.enqueue(work)).wait_result()
        assert result.attempts == min(retries, 3) + 1
        assert result.is_err == (retries < 3)

    simulate(main, tape=tape)


async def test_a_thread_that_overruns_its_timeout_is_waited_for_and_failed() -> None:
    """T11: a thread cannot be killed; its late value does not count."""
    running, release = threading.Event(), threading.Event()

    @actorq.task(timeout=0.001)
    def work() -> int:
        running.set()
        release.wait(30)
        return 1

    async with open_system() as sys:
        handle = await sys.enqueue(work)
        await trio.to_thread.run_sync(running.wait, 30)
        with trio.move_on_after(0.02):
            await handle.result()
        assert not await handle.is_ready()
        release.set()
        with trio.fail_after(30), pytest.raises(TaskTimeout):
            await handle.result()


def test_an_error_of_the_tasks_own_about_time_is_not_our_timeout() -> None:
    """`trio.TooSlowError` of an inner scope is the task's."""

    async def main() -> None:
        @actorq.task(timeout=50)
        async def work() -> None:
            with trio.fail_after(1):
                await trio.sleep(10)

        async with open_system() as sys:
            result = await (await sys.enqueue(work)).wait_result()
            assert not isinstance(result.error, TaskTimeout)
            assert "TooSlowError" in repr(result.error)

    simulate(main)


# --- cancellation -------------------------------------------------------------------------------


@given(st.sampled_from(["swallows", "raises", "cleans up"]), tapes)
def test_a_running_task_sees_its_cancellation(how: str, tape: Tape) -> None:
    """A13, 36: the caller gets a cancelled result, whatever the task makes of it."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=3)
        async def work() -> int:
            log.starts["a"] += 1
            try:
                await trio.sleep(100)
            except trio.Cancelled:
                log.ends["cancelled"] += 1
                if how == "swallows":
                    return 1
                if how == "raises":
                    raise ValueError("in the middle of it") from None
                with trio.CancelScope(shield=True):
                    await trio.sleep(5)
                raise
            return 2

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(1)
            assert await handle.cancel()
            assert trio.current_time() == (6 if how == "cleans up" else 1)
            result = await handle.wait_result()
            assert isinstance(result.error, actorq.TaskCancelled)
            assert result.is_err
            assert result.return_value is None
            await trio.sleep(50)
            assert await sys.dead_tasks() == ()
            assert (await sys.queue_statistics()).done == 1
            # the slot is as good as new
            assert await (await sys.enqueue(double, 1)).result() == 2
        assert log.starts["a"] == log.ends["cancelled"] == 1

    simulate(main, tape=tape)


@given(st.sampled_from(["pool", "broker", "results", "middleware"]), tapes)
def test_a_job_that_swallows_the_end_of_its_worker_has_not_succeeded(
    actor: str, tape: Tape
) -> None:
    """32: what it returns when it is cut short is nobody's result; it runs again."""

    async def main() -> None:
        seen: list[int] = []

        @actorq.task
        async def work(ctx: Context = INJECTED) -> str:
            try:
                await trio.sleep(10)
            except trio.Cancelled:
                return "cut short"
            return f"attempt {ctx.attempt}"

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(5)
            crash(sys.actor(actor))
            assert await handle.result() == "attempt 2"
            assert not seen

    simulate(main, tape=tape)


def test_a_job_that_swallows_the_shutdown_is_given_back() -> None:
    """53: cancelled when its grace is over, it has not ended by itself."""

    async def main() -> None:
        broker = InMemoryBroker()

        @broker.task
        async def work() -> str:
            try:
                await trio.sleep(100)
            except trio.Cancelled:
                return "cut short"
            return "done"

        async with open_system(broker, grace=5) as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(1)
        async with open_system(broker) as sys:
            assert await sys.handle(handle.task_id).result() == "done"

    simulate(main)


# --- context ------------------------------------------------------------------------------------

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


@given(tapes, st.integers(1, 3))
def test_context_variables(tape: Tape, concurrency: int) -> None:
    """T24, A19: the opener's are seen by every job; one job's are seen by no other."""

    async def main() -> None:
        tenant.set("opener")

        @actorq.task
        async def work(n: int, seconds: float | None) -> str:
            before = tenant.get()
            tenant.set(f"job {n}")
            if seconds is not None:
                await trio.sleep(seconds)
            assert tenant.get() == f"job {n}"
            return before

        async with open_system(concurrency=concurrency) as sys:
            tenant.set("body")
            calls = [(n, [None, 0.0, 1.0][n % 3]) for n in range(7)]
            handles = await sys.enqueue_many(work, calls)
            assert {await handle.result() for handle in handles} == {"opener"}
            assert (await sys.pool_statistics()).slots <= concurrency
        assert tenant.get() == "body"

    simulate(main, tape=tape)


async def test_context_variables_of_plain_tasks() -> None:
    """T24: in threads too."""
    tenant.set("opener")

    @actorq.task
    def work() -> str:
        before = tenant.get()
        tenant.set("a job's")
        return before

    async with open_system(concurrency=1) as sys:
        for _ in range(3):
            assert await (await sys.enqueue(work)).result() == "opener"


def test_each_job_gets_its_own_context() -> None:
    """A18, A19: id, attempt, labels, message, system."""

    async def main() -> None:
        @actorq.task(labels={"all": 1})
        async def work(n: int, ctx: Context = INJECTED) -> list[Any]:
            await trio.sleep(1)
            return [n, ctx.task_id, ctx.attempt, dict(ctx.labels), ctx.message.args[0]]

        async with open_system() as sys:
            handles = [
                await sys.enqueue(work.using(labels={"n": n} if n % 2 else {}), n) for n in range(5)
            ]
            for n, handle in enumerate(handles):
                labels = {"all": 1, "n": n} if n % 2 else {"all": 1}
                assert await handle.result() == [n, handle.task_id, 1, labels, n]
                assert (await handle.get_result()).labels == labels

    simulate(main)


def test_labels_of_any_shape_survive_a_retry() -> None:
    """A18: list, dict, None, text."""
    labels = {"list": [1, [2]], "dict": {"a": None}, "none": None, "text": "ž", "flag": False}

    async def main() -> None:
        seen: list[dict[str, Any]] = []

        @actorq.task(retries=1)
        async def work(ctx: Context = INJECTED) -> None:
            seen.append(dict(ctx.labels))
            if ctx.attempt == 1:
                raise ValueError

        async with open_system() as sys:
            handle = await sys.enqueue(work.using(labels=labels))
            assert (await handle.wait_result()).labels == labels
        assert seen == [labels, labels]

    simulate(main)


def test_a_retry_shows_only_the_last_result() -> None:
    """T30: under the original id; no error result is seen on the way."""

    async def main() -> None:
        log = Log()

        @actorq.task(retries=3)
        async def flaky(ctx: Context = INJECTED) -> str:
            log.starts[ctx.task_id] += 1
            if ctx.attempt < 3:
                raise ValueError(ctx.attempt)
            return "fine"

        async with open_system() as sys:
            handle = await sys.enqueue(flaky)
            while log.starts[handle.task_id] < 3:
                assert not await handle.is_ready()
                with pytest.raises(actorq.ResultGetError):
                    await handle.get_result()
                await trio.sleep(0.01)
            result = await handle.wait_result()
            assert (result.return_value, result.attempts) == ("fine", 3)

    simulate(main)


def test_a_task_of_the_program_itself_is_called_as_others_import_it(tmp_path: Path) -> None:
    """42: a worker that imports the file knows what the file enqueued when it was run."""
    source = "import actorq\n\n@actorq.task\nasync def greet() -> None: ...\n\nprint(greet.name)\n"
    (tmp_path / "one.py").write_text(source)
    (tmp_path / "not-a-name.py").write_text(source)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(source)
    (tmp_path / "package" / "part.py").write_text(source)

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert said("one.py") == "one:greet"
    assert said("-m", "one") == "one:greet"
    assert said("-m", "package") == "package:greet"
    assert said("-m", "package.part") == "package.part:greet"
    assert said("not-a-name.py") == "__main__:greet"
    assert said("-c", "import one") == "one:greet"
