"""What every result backend must do, whatever it keeps results in.

Subclass `ResultBackendSuite`, give it a `backend` fixture, and pytest runs it for your backend.
Real clock, no sleeping: a backend may use threads, files and sockets.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import actorq
from actorq import ResultBackend, ResultGetError, TaskFailed, TaskProgress, TaskResult
from actorq.protocol import (
    DeleteResult,
    GetProgress,
    GetResult,
    IsResultReady,
    Lease,
    NextProgress,
    Outcome,
    SetProgress,
    SetResults,
    WaitResult,
)
from actorq.ref import ActorRef
from queue_strategies import INJECTED


class OwnError(Exception):
    """Of a type that only the task's module knows."""


FULL: TaskResult[Any] = TaskResult(
    return_value={"text": "žluťoučký 🐎", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}},
    execution_time=1.25,
    labels={"tenant": "acme", "list": [1, {"two": None}]},
    attempts=3,
    log="line 1\nline 2",
)


def same(one: TaskResult[Any], other: TaskResult[Any]) -> bool:
    """Whether both tell the same, their errors included."""
    return (
        one.is_err == other.is_err
        and one.return_value == other.return_value
        and type(one.error) is type(other.error)
        and str(one.error) == str(other.error)
        and one.execution_time == other.execution_time
        and one.labels == other.labels
        and one.attempts == other.attempts
        and one.log == other.log
    )


async def store(results: ActorRef[Any], task_id: str, result: TaskResult[Any]) -> Exception | None:
    """What the pool does."""
    verdicts = await results.ask(SetResults((Outcome(task_id, result),)))
    assert len(verdicts) == 1
    verdict: Exception | None = verdicts[0]
    return verdict


async def report(results: ActorRef[Any], task_id: str, progress: TaskProgress, n: int = 1) -> None:
    """What a job does."""
    await results.ask(SetProgress(task_id, progress, n, Lease(float("inf"))))


class ResultBackendSuite:
    @pytest.fixture
    def backend(self, tmp_path: Any) -> ResultBackend:
        """The backend under test, new and empty."""
        raise NotImplementedError

    def reopened(self, backend: ResultBackend) -> ResultBackend | None:
        """Another object on the same storage; None if it outlives nothing."""
        return None

    # --- the user's methods, on their own ---

    async def test_what_was_set_can_be_got(self, backend: ResultBackend) -> None:
        """Every field survives."""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            for task_id in ("a", "with/slash", "..", "Ünïcode", "a" * 200, "CON", "a b\n"):
                assert not await results.ask(IsResultReady(task_id))
                assert await store(results, task_id, FULL) is None
                assert await results.ask(IsResultReady(task_id))
                assert same(await results.ask(GetResult(task_id)), FULL)
            without = await results.ask(GetResult("a", with_logs=False))
            assert without.log is None

    async def test_ids_that_differ_are_kept_apart(self, backend: ResultBackend) -> None:
        """In letter case, in slashes, in length."""
        ids = ["a", "A", "a/b", "a_b", "a%2Fb", "a" * 255, "a" * 254, "é", "e\u0301", "a.", "a "]
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            for n, task_id in enumerate(ids):
                await store(results, task_id, TaskResult(return_value=n))
            for n, task_id in enumerate(ids):
                assert (await results.ask(GetResult(task_id))).return_value == n

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("nope", 3),
            KeyError("k"),
            OSError(2, "No such file"),
            actorq.TaskCancelled("by hand"),
            TaskFailed("app.Boom", "it went wrong", "Traceback ..."),
            ExceptionGroup("many", [ValueError(1), KeyError("k")]),
        ],
    )
    async def test_errors_come_back_as_themselves(
        self, backend: ResultBackend, error: Exception
    ) -> None:
        """Builtin ones, actorq's own, groups."""
        failed: TaskResult[Any] = TaskResult(is_err=True, error=error)
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            await store(sys.actor("results"), "a", failed)
            found = await sys.actor("results").ask(GetResult("a"))
            assert same(found, failed)
            back: Any = found.error
            if isinstance(error, TaskFailed):
                assert back.remote_traceback == error.remote_traceback
            if isinstance(error, ExceptionGroup):
                assert [type(each) for each in back.exceptions] == [ValueError, KeyError]
            with pytest.raises(type(error)):
                await sys.handle("a").result()

    async def test_an_error_of_a_type_unknown_here_is_a_task_failed(
        self, backend: ResultBackend
    ) -> None:
        """With its name, message and traceback."""

        @actorq.task
        async def work() -> None:
            raise OwnError("mine")

        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            handle = await sys.enqueue(work)
            for _ in range(2):
                with pytest.raises(TaskFailed) as caught:
                    await handle.result()
                assert caught.value.type_name.endswith("OwnError")
                assert caught.value.message == "mine"
                assert "raise OwnError" in caught.value.remote_traceback

    async def test_what_is_not_there_is_said(self, backend: ResultBackend) -> None:
        """`ResultGetError`, which is a LookupError and names the task."""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            with pytest.raises(ResultGetError, match="nothing-here") as caught:
                await sys.actor("results").ask(GetResult("nothing-here"))
            assert isinstance(caught.value, LookupError)
            assert await sys.actor("results").ask(GetProgress("nothing-here")) is None
            await sys.actor("results").ask(DeleteResult("nothing-here"))
            assert sys.actor("results").statistics().restarts == 0

    async def test_what_was_deleted_is_gone(self, backend: ResultBackend) -> None:
        """Result and progress; deleting twice is harmless; it can be set again."""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            await report(results, "a", TaskProgress(progress=0.5))
            await store(results, "a", TaskResult(return_value=1))
            for _ in range(2):
                await results.ask(DeleteResult("a"))
                assert not await results.ask(IsResultReady("a"))
                assert await results.ask(GetProgress("a")) is None
                with pytest.raises(ResultGetError):
                    await results.ask(GetResult("a"))
            await store(results, "a", TaskResult(return_value=2))
            assert (await results.ask(GetResult("a"))).return_value == 2

    async def test_a_later_attempt_replaces_and_an_earlier_one_is_refused(
        self, backend: ResultBackend
    ) -> None:
        """34"""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            for attempt, taken in [(2, True), (3, True), (1, False), (2, False), (3, True)]:
                result: TaskResult[Any] = TaskResult(return_value=attempt, attempts=attempt)
                verdict = await store(results, "a", result)
                assert isinstance(verdict, actorq.StaleResult) == (not taken)
            assert (await results.ask(GetResult("a"))).attempts == 3
            with pytest.raises(actorq.StaleResult):
                await report(results, "a", TaskProgress(progress=0.9), 2)

    async def test_a_result_under_a_lost_lease_is_refused(self, backend: ResultBackend) -> None:
        """34"""
        lost, lapsed = Lease(float("inf")), Lease(0.0)
        lost.lost = True
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            for lease in (lost, lapsed):
                outcome = Outcome("a", TaskResult(return_value=1), lease)
                (verdict,) = await results.ask(SetResults((outcome,)))
                assert isinstance(verdict, actorq.StaleResult)
                with pytest.raises(actorq.StaleResult):
                    await results.ask(SetProgress("a", TaskProgress(), 1, lease))
            assert not await results.ask(IsResultReady("a"))
            assert await results.ask(GetProgress("a")) is None

    # --- waiting ---

    async def test_waiters_are_woken_each_by_its_own_task(self, backend: ResultBackend) -> None:
        """43: several tasks, several waiters; those who come later are answered at once."""
        got: list[tuple[str, Any]] = []

        async def wait(results: ActorRef[Any], task_id: str) -> None:
            result = await results.ask(WaitResult(task_id))
            assert result is not None
            got.append((task_id, result.return_value))

        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    for task_id in ("a", "b", "a", "c"):
                        nursery.start_soon(wait, results, task_id)
                    nursery.start_soon(wait, results, "d")
                    await results.ask(GetProgress("a"))  # handled after those before it
                    await store(results, "b", TaskResult(return_value="B"))
                    for task_id in ("a", "c", "d"):
                        await store(results, task_id, TaskResult(return_value=task_id.upper()))
                await wait(results, "a")
        assert sorted(got) == [(i, i.upper()) for i in ("a", "a", "a", "b", "c", "d")]

    async def test_a_waiter_that_gave_up_disturbs_nobody(self, backend: ResultBackend) -> None:
        """14, 43"""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            for _ in range(10):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(results.ask, WaitResult("a"))
                        await results.ask(GetProgress("a"))
                        scope.cancel()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(results.ask, WaitResult("a"))
                await results.ask(GetProgress("a"))
                await store(results, "a", TaskResult(return_value=1))

    # --- progress ---

    async def test_progress_round_trip(self, backend: ResultBackend) -> None:
        """The latest counts; every field survives."""
        full = TaskProgress(0.5, "half", 5, 10, {"list": [1, None], "text": "ž"})
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            await report(results, "a", TaskProgress(progress=0.1))
            await report(results, "a", full)
            await report(results, "b", TaskProgress())
            assert await results.ask(GetProgress("a")) == full
            assert await results.ask(GetProgress("b")) == TaskProgress()

    async def test_a_reader_sees_every_update_and_then_the_end(
        self, backend: ResultBackend
    ) -> None:
        """T36: pushed, in order, whether it was there before the task or came later."""
        broker = actorq.InMemoryBroker().with_result_backend(backend)
        go = trio.Event()

        @broker.task
        async def work(count: int, ctx: actorq.Context = INJECTED) -> str:
            await go.wait()
            for n in range(1, count + 1):
                await ctx.set_progress(TaskProgress(n / count, "at it", n, count))
            return "done"

        async def read(handle: actorq.TaskHandle[str], into: list[int | None]) -> None:
            into += [each.current async for each in handle.progress()]

        early: list[int | None] = []
        late: list[int | None] = []
        async with actorq.open_system(broker) as sys:
            with trio.fail_after(30):
                handle = await sys.enqueue(work, 20)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(read, handle, early)
                    await trio.testing.wait_all_tasks_blocked()
                    go.set()
                    assert await handle.result() == "done"
                await read(handle, late)
                await read(sys.handle(handle.task_id), late)
        assert early == list(range(1, 21))
        assert late in ([], 2 * early)

    async def test_a_reader_of_a_task_that_ended_ends(self, backend: ResultBackend) -> None:
        """Without any progress too."""
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            results = sys.actor("results")
            await store(results, "a", TaskResult(return_value=1))
            assert await results.ask(NextProgress("a")) is None

    # --- lives ---

    async def test_a_crash_of_the_actor_loses_no_result(self, backend: ResultBackend) -> None:
        """28: and those who wait go on waiting."""
        broker = actorq.InMemoryBroker().with_result_backend(backend)
        go = trio.Event()

        @broker.task
        async def work(n: int) -> int:
            if n:
                await go.wait()
            return n

        async with actorq.open_system(broker, backoff=actorq.Backoff(base=0, jitter=0)) as sys:
            first = await sys.enqueue(work, 0)
            assert await first.result() == 0
            second = await sys.enqueue(work, 1)
            got: list[int] = []

            async def wait() -> None:
                got.append(await second.result())

            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait)
                    await trio.testing.wait_all_tasks_blocked()
                    actorq.testing.crash(sys.actor("results"))
                    assert await first.result() == 0
                    go.set()
            assert got == [1]
            assert sys.actor("results").statistics().restarts == 1

    async def test_what_is_kept_elsewhere_outlives_the_system(self, backend: ResultBackend) -> None:
        """A second backend on the same storage finds what the first stored."""
        other = self.reopened(backend)
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(backend)) as sys:
            await store(sys.actor("results"), "a", FULL)
            await report(sys.actor("results"), "b", TaskProgress(progress=0.5))
        if other is None:
            return
        async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(other)) as sys:
            assert same(await sys.actor("results").ask(GetResult("a")), FULL)
            assert same(await sys.handle("a").wait_result(), FULL)
            assert await sys.actor("results").ask(GetProgress("b")) == TaskProgress(progress=0.5)
