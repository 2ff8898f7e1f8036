"""Result backends: eviction, and backends that fail in every way.  The rest is in the contract."""

from __future__ import annotations

import math
import traceback
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import (
    DummyResultBackend,
    EngineUnavailable,
    InMemoryBroker,
    InMemoryResultBackend,
    ResultBackend,
    ResultGetError,
    ResultIsReadyError,
    TaskProgress,
    TaskResult,
    open_system,
)
from actorq.engines.memory import results as memory
from actorq.handle import ask_again
from actorq.protocol import (
    Ending,
    GetResult,
    IsResultReady,
    Lease,
    Locate,
    Outcome,
    SetProgress,
    SetResults,
    Settlement,
)
from actorq.ref import ActorRef
from actorq.testing import EPOCH, MemoryStorage, Tape, crash, simulate
from queue_strategies import INJECTED, QUICK, Log, tapes


# --- where a task is ----------------------------------------------------------------------------


class EndsMeanwhile(InMemoryBroker):
    """Between two looks at it a worker elsewhere acknowledges a task early: its result comes later."""

    looks = 0

    async def locate(self, task_id: str) -> str:
        self.looks += 1
        return "leased" if self.looks == 1 else "done"

    async def is_ending(self, task_id: str) -> bool:
        self.looks += 1
        return self.looks > 1


def test_43_acknowledged_while_one_looks_where_it_is_it_has_not_ended_without_a_result() -> None:
    """43: two looks are two moments; who asks must not hear that there will be no result."""

    async def main() -> None:
        async with open_system(EndsMeanwhile()) as sys:
            assert await sys.wiring.broker.ask(Locate("a")) == "ending"

    simulate(main)


# --- keeping nothing ----------------------------------------------------------------------------


def test_a_dummy_backend_keeps_nothing_and_says_so_at_once() -> None:
    """A28: no wait, no None that looks like a success."""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker().with_result_backend(DummyResultBackend())

        @broker.task
        async def work(ctx: actorq.Context = INJECTED) -> int:
            await ctx.set_progress(TaskProgress(progress=0.5))
            await log.job("a", 5)
            return 1

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            for ask in (handle.wait_result, handle.result):
                with pytest.raises(ResultGetError, match=r"with_result_backend\(InMemoryResult"):
                    await ask()
            with pytest.raises(ResultGetError, match="DummyResultBackend keeps no results"):
                await handle.get_result()
            assert not await handle.is_ready()
            assert trio.current_time() == 0
            assert [each.progress async for each in handle.progress()] in ([], [0.5])
            await sys.wait_idle()
            assert not await handle.is_ready()
            with pytest.raises(ResultGetError):
                await handle.result()
            with pytest.raises(ResultGetError):
                await sys.handle(handle.task_id).result()
            counts = await sys.queue_statistics()
            assert (counts.done, counts.dead) == (1, 0)
            assert not await handle.cancel()
        assert log.ends["a"] == 1

    simulate(main)


# --- eviction -----------------------------------------------------------------------------------


@given(limit=st.integers(1, 4), count=st.integers(1, 8), tape=tapes)
def test_a_waiter_that_was_there_before_always_gets_its_result(
    limit: int, count: int, tape: Tape
) -> None:
    """However few are kept; and who comes too late is told at once."""

    async def main() -> None:
        backend = InMemoryResultBackend(max_stored_results=limit)
        broker = InMemoryBroker().with_result_backend(backend)
        got: list[int] = []

        @broker.task
        async def work(n: int) -> int:
            await trio.sleep(1)
            return n

        async def wait(handle: actorq.TaskHandle[int]) -> None:
            got.append(await handle.result())

        async with open_system(broker) as sys:
            handles = await sys.enqueue_many(work, [(n,) for n in range(count)])
            async with trio.open_nursery() as nursery:
                for handle in handles:
                    nursery.start_soon(wait, handle)
            assert sorted(got) == list(range(count))
            ready = [handle for handle in handles if await handle.is_ready()]
            assert len(ready) == len(backend.table.results) == min(limit, count)
            for handle in handles:
                if handle in ready:
                    await handle.result()
                    continue
                for ask in (handle.wait_result, handle.get_result, handle.result):
                    with pytest.raises(ResultGetError, match=r"evicted.*raise max_stored_results"):
                        await ask()
                assert [each async for each in handle.progress()] == []

    simulate(main, tape=tape)


def test_eviction_that_is_forgotten_itself_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiters find out at the broker that the task is not live any more."""
    monkeypatch.setattr(memory, "EVICTED_KEPT", 2)

    async def main() -> None:
        backend = InMemoryResultBackend(max_stored_results=1)
        broker = InMemoryBroker().with_result_backend(backend)

        @broker.task
        async def work(n: int) -> int:
            await trio.sleep(n)
            return n

        async with open_system(broker) as sys:
            handles = [await sys.enqueue(work, 0) for _ in range(6)]
            await sys.wait_idle()
            assert backend.may_have_forgotten()
            for handle in handles[:5]:
                with pytest.raises(ResultGetError):
                    await handle.result()
                with pytest.raises(ResultGetError):
                    await handle.wait_result()
                assert [each async for each in handle.progress()] == []
            live = await sys.enqueue(work, 5)
            assert await live.result() == 5  # and a live one is waited for all the same
            assert trio.current_time() == 5

    simulate(main)


async def put(results: ActorRef[Any], task_id: str, result: TaskResult[Any]) -> None:
    """What the pool does."""
    assert await results.ask(SetResults((Outcome(task_id, result),))) == (None,)


def test_without_a_limit_everything_is_kept() -> None:
    """max_stored_results=-1; replacing a result evicts nothing."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(InMemoryResultBackend(-1))
        async with open_system(broker) as sys:
            results = sys.actor("results")
            for n in range(500):
                await put(results, f"t{n}", TaskResult(return_value=n))
            for n in range(500):
                assert (await results.ask(GetResult(f"t{n}"))).return_value == n
        small = InMemoryResultBackend(2)
        async with open_system(InMemoryBroker().with_result_backend(small)) as sys:
            results = sys.actor("results")
            for task_id in ("a", "b", "a", "a", "b"):
                await put(results, task_id, TaskResult(return_value=1))
            assert await results.ask(IsResultReady("a"))
            assert await results.ask(IsResultReady("b"))
            await results.ask(SetProgress("c", TaskProgress(progress=0.5), 1, Lease(math.inf)))
            await put(results, "c", TaskResult(return_value=1))
            await put(results, "d", TaskResult(return_value=1))
            await put(results, "e", TaskResult(return_value=1))
            assert not small.table.progress  # it goes with its result

    simulate(main)


def test_an_earlier_attempt_comes_too_late_after_a_crash_too() -> None:
    """34: for a backend as well that does not say whose result it keeps."""

    class Forgetful(InMemoryResultBackend):
        stored_attempt = ResultBackend.stored_attempt

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Forgetful())
        async with open_system(broker, backoff=QUICK) as sys:
            results = sys.actor("results")
            await put(results, "a", TaskResult(return_value="late", attempts=2))
            crash(results)
            early: TaskResult[Any] = TaskResult(return_value="early", attempts=1)
            (verdict,) = await ask_again(results, SetResults((Outcome("a", early),)))
            assert isinstance(verdict, actorq.StaleResult)
            assert await sys.handle("a").result() == "late"

    simulate(main)


@pytest.mark.parametrize(
    ("given_limit", "kind", "said"),
    [
        (0, ValueError, r"at least 1, or -1 for no limit; got 0; .*DummyResultBackend"),
        (-2, ValueError, "got -2"),
        (True, TypeError, "whole number, or -1 for no limit; got True"),
        ("9", TypeError, "got '9'"),
        (1.5, TypeError, "got 1.5"),
    ],
)
def test_a_wrong_limit(given_limit: Any, kind: type[Exception], said: str) -> None:
    """Refused where it is written."""
    with pytest.raises(kind, match=said):
        InMemoryResultBackend(given_limit)


# --- backends that fail -------------------------------------------------------------------------


class Fails(InMemoryResultBackend):
    """Raises in *method*, the first *times* times."""

    def __init__(self, method: str, times: float) -> None:
        super().__init__()
        self._method = method
        self.left = times

    def _fail(self, method: str) -> None:
        if method == self._method and self.left > 0:
            self.left -= 1
            raise ConnectionError(f"{method} is down")

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Fail, or do it."""
        self._fail("set_result")
        await super().set_result(task_id, result)

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """Fail, or do it."""
        self._fail("get_result")
        return await super().get_result(task_id, with_logs)

    async def is_result_ready(self, task_id: str) -> bool:
        """Fail, or do it."""
        self._fail("is_result_ready")
        return await super().is_result_ready(task_id)

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        """Fail, or do it."""
        self._fail("set_progress")
        await super().set_progress(task_id, progress)

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        """Fail, or do it."""
        self._fail("get_progress")
        return await super().get_progress(task_id)

    async def startup(self) -> None:
        """Fail, or do it."""
        self._fail("startup")


@given(times=st.integers(1, 5), ack=st.sampled_from(["when_saved", "when_executed"]), tape=tapes)
def test_a_result_that_could_not_be_stored_is_tried_again(times: int, ack: Any, tape: Tape) -> None:
    """A08, 32: the function does not run again for that."""

    async def main() -> None:
        log = Log()
        broker = InMemoryBroker().with_result_backend(Fails("set_result", times))

        @broker.task(ack=ack)
        async def work() -> int:
            await log.job("a", 1)
            return 1

        async with open_system(broker) as sys:
            assert await (await sys.enqueue(work)).result() == 1
            await sys.wait_idle()
            counts = await sys.queue_statistics()
            assert (counts.done, counts.dead) == (1, 0)
            assert sys.actor("results").statistics().restarts == 0
        assert log.starts["a"] == 1

    simulate(main, tape=tape)


@given(ack=st.sampled_from(["when_saved", "when_executed", "when_received"]), tape=tapes)
def test_a_result_that_can_never_be_stored(ack: Any, tape: Tape) -> None:
    """A08, 32: waiters are told, before and after; when_saved keeps it in the dead letters."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Fails("set_result", float("inf")))

        @broker.task(ack=ack)
        async def work() -> int:
            return 1

        async with open_system(broker, concurrency=2) as sys:
            handles = [await sys.enqueue(work) for _ in range(5)]
            for _ in range(2):
                for handle in handles:
                    for ask in (handle.result, handle.wait_result):
                        with pytest.raises(ResultGetError, match=r"could not be stored.*is down"):
                            await ask()
                    assert [each async for each in handle.progress()] == []
            await sys.wait_idle()
            dead = await sys.dead_tasks()
            if ack == "when_saved":
                assert len(dead) == 5
                assert all("the result could not be stored" in each.reason for each in dead)
                with pytest.raises(ResultGetError, match="could not be stored"):
                    await sys.handle(handles[0].task_id).result()
            else:
                assert not dead
            assert (await sys.pool_statistics()).held == 0

    simulate(main, tape=tape)


@given(tapes)
def test_ends_that_no_worker_reports_and_no_backend_takes(tape: Tape) -> None:
    """36, 43: neither `cancel`, nor `wait_idle`, nor a waiter hangs."""

    async def main() -> None:
        backend = Fails("set_result", float("inf"))
        broker = InMemoryBroker().with_result_backend(backend)

        @broker.task
        async def work() -> int:
            return 1

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work.using(delay=100))
            told: list[Exception] = []

            async def wait() -> None:
                with pytest.raises(ResultGetError, match="could not be stored") as caught:
                    await handle.result()
                told.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                assert await handle.cancel()
                await sys.wait_idle(scheduled=True)
            assert told
            assert trio.current_time() < 60
            backend.left = 0
            await (await sys.enqueue(work)).result()

    simulate(main, tape=tape)


def test_wait_idle_is_answered_when_the_last_unreported_end_is_stored() -> None:
    """A cancelled task in the queue, and nothing else."""

    async def main() -> None:
        @actorq.task
        async def work() -> int:
            return 1

        async with open_system() as sys:
            for _ in range(3):
                handle = await sys.enqueue(work.using(delay=100))
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(handle.cancel)
                    nursery.start_soon(sys.wait_idle)
                await sys.wait_idle(scheduled=True)
            assert trio.current_time() == 0

    simulate(main)


@pytest.mark.parametrize(
    ("method", "kind"),
    [("is_result_ready", ResultIsReadyError), ("get_result", ResultGetError)],
)
def test_a_backend_that_cannot_be_read_says_so(method: str, kind: type[Exception]) -> None:
    """T37: the actor lives on, and the next question is answered."""

    async def main() -> None:
        backend = Fails(method, 0)
        broker = InMemoryBroker().with_result_backend(backend)

        @broker.task
        async def work() -> int:
            return 1

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            await sys.wait_idle()
            backend.left = 2
            with pytest.raises(kind, match=f"Fails.{method} failed.*ConnectionError.*is down"):
                await handle.wait_result()
            ask = handle.get_result if method == "get_result" else handle.is_ready
            with pytest.raises(kind, match="is down"):
                await ask()
            assert await handle.result() == 1
            assert sys.actor("results").statistics().restarts == 0

    simulate(main)


@pytest.mark.parametrize("method", ["set_progress", "get_progress"])
def test_a_backend_whose_progress_fails(method: str) -> None:
    """T36: the one who asked is told; the task's result is untouched."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Fails(method, 1))
        told: list[Exception] = []

        @broker.task
        async def work(ctx: actorq.Context = INJECTED) -> int:
            try:
                await ctx.set_progress(TaskProgress(progress=0.5))
            except actorq.ResultBackendError as error:
                told.append(error)
            await ctx.set_progress(TaskProgress(progress=1.0))
            return 1

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            assert await handle.result() == 1
            if method == "get_progress":
                with pytest.raises(ResultGetError, match="get_progress is down"):
                    await handle.get_progress()
            else:
                assert len(told) == 1
            assert await handle.get_progress() == TaskProgress(progress=1.0)

    simulate(main)


def test_a_backend_that_cannot_start_ends_the_system_with_its_error() -> None:
    """27: `open_system` raises; a restart that fails is tried again (23)."""

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Fails("startup", 1))
        with pytest.raises(actorq.SystemFailed) as caught:
            async with open_system(broker):
                raise AssertionError("unreachable")
        assert "startup is down" in "".join(traceback.format_exception(caught.value))

        backend = Fails("startup", 0)
        broker = InMemoryBroker().with_result_backend(backend)

        @broker.task
        async def work() -> int:
            return 1

        async with open_system(broker) as sys:
            assert await (await sys.enqueue(work)).result() == 1
            backend.left = 2
            crash(sys.actor("results"))
            assert await (await sys.enqueue(work)).result() == 1
            assert backend.left == 0

    simulate(main)


class Hangs(InMemoryResultBackend):
    """Never comes back from storing, until told."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging = True
        self.calls = 0

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Hang."""
        self.calls += 1
        if self.hanging:
            await trio.sleep_forever()
        await super().set_result(task_id, result)


def test_a_backend_that_hangs_delays_but_loses_nothing() -> None:
    """32, 52: the system closes within its bounds; the task is in the queue, and runs next time."""

    async def main() -> None:
        backend = Hangs()
        broker = InMemoryBroker().with_result_backend(backend)
        log = Log()

        @broker.task
        async def work(n: int) -> int:
            await log.job(n, 1)
            return n

        async with open_system(broker, grace=5, shutdown_timeout=15) as sys:
            handles = await sys.enqueue_many(work, [(1,), (2,)])
            await trio.sleep(100)
            assert backend.calls == 1
            assert (await sys.queue_statistics()).leased == 2  # the lease is kept all the while
            closing = trio.current_time()
        assert trio.current_time() - closing <= 15 + 5
        assert broker.queue.statistics().ready == 2
        backend.hanging = False
        async with open_system(broker) as sys:
            for n, handle in enumerate(handles, start=1):
                assert await sys.handle(handle.task_id).result() == n
        assert log.ends == {1: 2, 2: 2}

    simulate(main)


# --- lives --------------------------------------------------------------------------------------


@given(st.sampled_from(["results", "broker", "pool"]), st.sampled_from([1.5, 2.5, 4.5]), tapes)
def test_a_progress_reader_outlives_a_crash(actor: str, at: float, tape: Tape) -> None:
    """28: it sees the updates of the attempt that runs after it, all of them, and then the end."""

    async def main() -> None:
        @actorq.task
        async def work(ctx: actorq.Context = INJECTED) -> None:
            for n in range(1, 6):
                await trio.sleep(1)
                await ctx.set_progress(TaskProgress(current=n, meta={"attempt": ctx.attempt}))

        seen: list[tuple[int, int | None]] = []

        async with open_system(backoff=QUICK) as sys:
            handle = await sys.enqueue(work)

            async def read() -> None:
                seen.extend(
                    [(each.meta["attempt"], each.current) async for each in handle.progress()]
                )

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.sleep_until(at)
                crash(sys.actor(actor))
        first = [current for attempt, current in seen if attempt == 1]
        second = [current for attempt, current in seen if attempt == 2]
        assert first == list(range(1, int(at) + 1))
        assert second == [1, 2, 3, 4, 5]

    simulate(main, tape=tape)


def test_the_progress_of_what_never_was_ends_at_once() -> None:
    """A mistyped id waits for nobody."""

    async def main() -> None:
        async with open_system() as sys:
            assert [each async for each in sys.handle("nonsense").progress()] == []
            with pytest.raises(ResultGetError, match="nonsense"):
                await sys.handle("nonsense").result()
            with pytest.raises(ResultGetError, match="nonsense"):
                await sys.handle("nonsense").get_result()

    simulate(main)


@given(tapes, st.booleans())
def test_a_strangers_handle_hears_of_an_end_that_is_on_its_way(tape: Tape, at_once: bool) -> None:
    """36: between the queue's verdict and the backend's, nobody is told that there is no result."""

    async def main() -> None:
        @actorq.task
        async def work() -> None:
            await trio.sleep(1)

        async with open_system() as sys:
            await sys.enqueue(work.using(delay=100, task_id="a"))

            async def wait() -> None:
                with pytest.raises(actorq.TaskCancelled):
                    await sys.handle("a").result()

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(wait)
                if not at_once:
                    await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(sys.handle("a").cancel)
                for _ in range(5):
                    nursery.start_soon(wait)

    simulate(main, tape=tape)


def test_who_waits_gets_copies() -> None:
    """What one reader does to its result, no other sees."""

    async def main() -> None:
        @actorq.task
        async def work() -> list[int]:
            return [1]

        @actorq.task
        async def fails() -> None:
            raise ValueError([1])

        async with open_system() as sys:
            handle = await sys.enqueue(work)
            (await handle.result()).append(2)
            (await handle.wait_result()).labels["x"] = 1
            assert await handle.result() == [1]
            assert (await handle.get_result()).labels == {}
            failed = await sys.enqueue(fails)
            one, other = await failed.wait_result(), await failed.get_result()
            assert one.error is not other.error

    simulate(main)


@given(tape=tapes)
def test_who_sends_again_what_ended_without_its_result_hears_so_at_once(tape: Tape) -> None:
    """31, 43. It was acknowledged by a process that died before it stored the result."""

    @actorq.task
    async def work() -> None:
        raise AssertionError("it has ended")

    async def program() -> None:
        storage = MemoryStorage()
        session = storage.queue.open_session("of the dead", EPOCH)
        storage.queue.enqueue([work.message((), {}, task_id="once", now=EPOCH)], EPOCH)
        (delivery,) = storage.queue.claim(session.id, 1, EPOCH)
        storage.queue.settle(session.id, [Settlement(delivery.fence, Ending.DONE)], EPOCH)
        async with open_system(InMemoryBroker(storage=storage)) as sys:
            handle = await sys.enqueue(work.using(task_id="once"))
            with pytest.raises(ResultGetError, match="there is no result"):
                await handle.result()
            assert [update async for update in handle.progress()] == []

    simulate(program, tape=tape, limit=100)


@pytest.mark.parametrize("ack", ["when_received", "when_executed"])
@given(tape=tapes)
def test_who_sends_again_what_still_runs_waits_for_it(ack: Any, tape: Tape) -> None:
    """32, 43. It was acknowledged early, so the queue has forgotten it; its worker has not."""

    @actorq.task(ack=ack)
    async def slow() -> str:
        await trio.sleep(1)
        return "the result"

    async def wait(sys: actorq.System, delay: float, got: list[str]) -> None:
        await trio.sleep(delay)
        handle = await sys.enqueue(slow.using(task_id="once"))
        got.append(await handle.result())

    async def program() -> None:
        got: list[str] = []
        async with open_system() as sys, trio.open_nursery() as nursery:
            for delay in (0, 0, 0.5, 1, 1.5):
                nursery.start_soon(wait, sys, delay, got)
        assert got == ["the result"] * 5

    simulate(program, tape=tape, limit=100)


async def test_a_storage_that_cannot_for_a_while_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A task reports its progress twenty times a second, and a server may be away for an hour."""

    class Away(InMemoryResultBackend):
        away = False

        async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
            if self.away:
                raise EngineUnavailable("the server is away")
            await super().set_progress(task_id, progress)

    backend = Away()

    @actorq.task
    async def work(ctx: actorq.Context = actorq.Depends()) -> int:
        for step in range(30):
            backend.away = 10 <= step < 20
            await ctx.set_progress(TaskProgress(current=step))
        return 1

    caplog.set_level("INFO", logger="actorq")
    broker = actorq.InMemoryBroker().with_result_backend(backend)
    async with actorq.open_system(broker) as sys:
        assert await (await sys.enqueue(work)).result() == 1
    said = [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    assert (
        len([text for text in said if "the server is away" in text]) == 2
    )  # the backend, the task
    assert len([text for text in said if "works again" in text]) == 1


def test_that_a_result_is_not_stored_is_noted_when_the_storage_is_there_again() -> None:
    """43: it was away when the result came, and when that was to be noted for other processes."""

    class Away(InMemoryResultBackend):
        noted: dict[str, float]
        tries = 0

        async def set_result(self, task_id: str, result: actorq.TaskResult[Any]) -> None:
            raise EngineUnavailable("the server is away")

        async def give_up(self, task_id: str, error: Exception) -> None:
            self.tries += 1
            if trio.current_time() < 120:
                raise EngineUnavailable("the server is away")
            self.noted[task_id] = trio.current_time()

    async def main() -> None:
        backend = Away()
        backend.noted = {}
        broker = InMemoryBroker().with_result_backend(backend)

        @broker.task(ack="when_received")
        async def work() -> None:
            pass

        async with open_system(broker) as sys:
            handle = await sys.enqueue(work)
            with pytest.raises(ResultGetError, match="could not be stored"):
                await handle.result()
            await trio.sleep(120)
        assert 120 <= backend.noted[handle.task_id] <= 122
        assert 50 < backend.tries < 65

    simulate(main)


@pytest.mark.parametrize("away", [2.0, 50.0])
def test_the_result_of_an_acknowledged_task_waits_for_its_storage(away: float) -> None:
    """32: nobody else would have it; a server that restarts takes longer than a few tries."""

    class Away(InMemoryResultBackend):
        async def set_result(self, task_id: str, result: actorq.TaskResult[Any]) -> None:
            if trio.current_time() < away:
                raise EngineUnavailable("the server is away")
            await super().set_result(task_id, result)

    async def main() -> None:
        broker = InMemoryBroker().with_result_backend(Away())

        @broker.task(ack="when_received")
        async def work() -> int:
            return 1

        async with open_system(broker) as sys:
            assert await (await sys.enqueue(work)).result() == 1
        assert away <= trio.current_time() <= away + 4

    simulate(main)
