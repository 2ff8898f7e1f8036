"""The middleware chain: the order of its hooks, what they may change, and their lives."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import (
    Context,
    InMemoryBroker,
    InMemoryResultBackend,
    Middleware,
    TaskMessage,
    TaskResult,
)
from actorq.middleware import HOOKS, hooks_of
from actorq.protocol import Ending, Settlement
from actorq.testing import Tape, crash, simulate
from queue_strategies import INJECTED, QUICK, tapes


class Notes(Middleware):
    """Notes every hook; takes a step in each if it is *slow*."""

    def __init__(self, name: str, log: list[str], *, slow: bool = False) -> None:
        self.name = name
        self.log = log
        self.slow = slow

    async def _note(self, hook: str) -> None:
        if self.slow:
            await trio.lowlevel.checkpoint()
        self.log.append(f"{hook} {self.name}")

    async def startup(self) -> None:
        await self._note("startup")

    async def shutdown(self) -> None:
        await self._note("shutdown")

    async def pre_send(self, message: TaskMessage) -> TaskMessage:
        await self._note("pre_send")
        return message

    async def post_send(self, message: TaskMessage) -> None:
        await self._note("post_send")

    async def pre_execute(self, message: TaskMessage) -> TaskMessage:
        await self._note("pre_execute")
        return message

    async def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        await self._note("post_execute")

    async def on_error(
        self, message: TaskMessage, result: TaskResult[Any], error: Exception
    ) -> None:
        await self._note("on_error")

    async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        await self._note("post_save")


class NotesSaving(InMemoryResultBackend):
    """Notes when a result is stored."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        await super().set_result(task_id, result)
        self.log.append("save")


class NotesAcks(InMemoryBroker):
    """Notes when a delivery is settled."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    async def settle(self, session: int, settlements: Any, now: float) -> tuple[bool, ...]:
        settled: list[Settlement] = list(settlements)
        self.log.extend("ack" if each.ending is Ending.DONE else "nack" for each in settled)
        return await super().settle(session, settled, now)


@given(
    ack=st.sampled_from(["when_received", "when_executed", "when_saved"]),
    slow=st.booleans(),
    fails=st.booleans(),
    tape=tapes,
)
def test_the_order_of_everything(ack: Any, slow: bool, fails: bool, tape: Tape) -> None:
    """T15, T16, T17, T12: by ack mode; pre hooks first to last, the others last to first."""

    async def main() -> None:
        log: list[str] = []
        broker = NotesAcks(log).with_result_backend(NotesSaving(log))
        broker.with_middlewares(Notes("1", log, slow=slow), Notes("2", log))

        @broker.task(ack=ack)
        async def work() -> None:
            log.append("task")
            if fails:
                raise ValueError

        async with actorq.open_system(broker) as sys:
            handle = await sys.enqueue(work)
            await handle.wait_result()
            await sys.wait_idle()
            await trio.sleep(1)
        end = "nack" if fails else "ack"
        started = ["pre_execute 1", "pre_execute 2", "task"]
        failed = ["on_error 2", "on_error 1"] if fails else []
        executed = [*failed, "post_execute 2", "post_execute 1"]
        saved = ["save", "post_save 2", "post_save 1"]
        expected = {
            "when_received": ["ack", *started, *executed, *saved],
            "when_executed": [*started, *executed, end, *saved],
            "when_saved": [*started, *executed, *saved, end],
        }[ack]
        assert log[:4] == ["startup 1", "startup 2", "pre_send 1", "pre_send 2"]
        assert log[-2:] == ["shutdown 2", "shutdown 1"]
        middle = log[4:-2]
        sent = [note for note in middle if note.startswith("post_send")]
        assert sent == ["post_send 2", "post_send 1"]
        assert [note for note in middle if note not in sent] == expected

    simulate(main, tape=tape)


@given(
    declared=st.sampled_from([None, "when_received", "when_executed", "when_saved"]),
    called=st.sampled_from([None, "when_received", "when_executed", "when_saved"]),
    slow=st.booleans(),
    tape=tapes,
)
def test_a_delivery_is_acknowledged_once_and_as_the_call_says(
    declared: Any, called: Any, slow: bool, tape: Tape
) -> None:
    """T14, T18: the call's mode before the declared one, and that before when_saved."""

    async def main() -> None:
        log: list[str] = []
        broker = NotesAcks(log).with_result_backend(NotesSaving(log))
        broker.with_middlewares(Notes("1", log, slow=slow))

        @broker.task
        async def work() -> None:
            log.append("task")

        task = work if declared is None else work.using(ack=declared)
        task = task if called is None else task.using(ack=called)
        async with actorq.open_system(broker) as sys:
            for _ in range(3):
                await (await sys.enqueue(task)).result()
                await sys.wait_idle()
                await trio.sleep(1)
                seen = [each for each in log if each in ("ack", "nack", "task", "save")]
                assert (
                    seen
                    == {
                        "when_received": ["ack", "task", "save"],
                        "when_executed": ["task", "ack", "save"],
                        "when_saved": ["task", "save", "ack"],
                    }[called or declared or "when_saved"]
                )
                log.clear()
        assert work.options.ack is actorq.AckMode.WHEN_SAVED

    simulate(main, tape=tape)


@given(st.lists(st.sampled_from([0, 0, 5]), min_size=1, max_size=6), tapes)
def test_a_slow_post_save_holds_up_its_own_task_only(pauses: list[int], tape: Tape) -> None:
    """Jobs that end together are settled together, but for those whose hooks wait."""

    class Slow(Middleware):
        async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
            await trio.sleep(message.args[0])

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Slow())

        @broker.task
        async def work(pause: int) -> None: ...

        async with actorq.open_system(broker) as sys:
            await sys.enqueue_many(work, [(pause,) for pause in pauses])
            await trio.sleep(1)
            assert (await sys.queue_statistics()).leased == len([each for each in pauses if each])
            await trio.sleep(5)
            assert (await sys.queue_statistics()).leased == 0

    simulate(main, tape=tape)


@given(st.integers(0, 3), tapes)
def test_hooks_are_called_once_for_each_attempt(retries: int, tape: Tape) -> None:
    """T12: `on_error` with the exception itself, its result and the message."""

    async def main() -> None:
        seen: list[tuple[str, int, BaseException | None]] = []
        original = ValueError("x")

        class Watches(Middleware):
            def on_error(
                self, message: TaskMessage, result: TaskResult[Any], error: Exception
            ) -> None:
                assert result.is_err
                assert type(result.error) is ValueError
                assert message.task_name == work.name
                seen.append(("on_error", result.attempts, error))

            def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:
                seen.append(("post_execute", result.attempts, None))

            def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
                seen.append(("post_save", result.attempts, None))

        @actorq.task(retries=retries)
        async def work() -> None:
            raise original

        broker = InMemoryBroker().with_middlewares(Watches())
        async with actorq.open_system(broker) as sys:
            await (await sys.enqueue(work)).wait_result()
            await sys.wait_idle()
        attempts = range(1, retries + 2)
        expected = [("on_error", n, original) for n in attempts]
        assert [each for each in seen if each[0] == "on_error"] == expected
        assert [n for hook, n, _ in seen if hook == "post_execute"] == list(attempts)
        assert [n for hook, n, _ in seen if hook == "post_save"] == [retries + 1]

    simulate(main, tape=tape)


def test_a_hook_may_change_the_message() -> None:
    """pre_send: what is stored; pre_execute: what this attempt runs with.  A18: no other call's."""

    class Stamps(Middleware):
        def pre_send(self, message: TaskMessage) -> TaskMessage:
            return message.with_labels(sent=message.args[0])

        def pre_execute(self, message: TaskMessage) -> TaskMessage:
            return message.with_labels(attempt="yes")

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Stamps())

        @broker.task(labels={"own": 1})
        async def work(n: int, ctx: Context = INJECTED) -> dict[str, Any]:
            return dict(ctx.labels)

        async with actorq.open_system(broker):
            for handle, n in [(await work.kiq(n), n) for n in range(3)]:
                assert await handle.result() == {"own": 1, "sent": n, "attempt": "yes"}
        assert dict(work.options.labels) == {"own": 1}

    simulate(main)


def test_a_slow_hook_holds_up_its_own_task_and_no_other() -> None:
    """Hooks of different tasks run at the same time."""

    class Slow(Middleware):
        async def pre_execute(self, message: TaskMessage) -> TaskMessage:
            await trio.sleep(message.args[0])
            return message

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Slow())

        @broker.task
        async def work(seconds: float) -> None: ...

        async with actorq.open_system(broker) as sys:
            slow = await sys.enqueue(work, 100.0)
            await (await sys.enqueue(work, 1.0)).result()
            assert trio.current_time() == 1
            await slow.result()
            assert trio.current_time() == 100

    simulate(main)


def test_the_chain_starts_again_after_a_crash() -> None:
    """28: each life of the chain starts and stops its middlewares, in order."""

    async def main() -> None:
        log: list[str] = []
        broker = InMemoryBroker().with_middlewares(Notes("1", log), Notes("2", log))
        async with actorq.open_system(broker, backoff=QUICK) as sys:
            crash(sys.actor("middleware"))
            await trio.sleep(1)
        life = ["startup 1", "startup 2", "shutdown 2", "shutdown 1"]
        assert log == life * 2

    simulate(main)


def test_a_middleware_that_cannot_start_stops_those_before_it() -> None:
    """27"""

    class Broken(Middleware):
        async def startup(self) -> None:
            raise ConnectionError("no metrics server")

    async def main() -> None:
        log: list[str] = []
        broker = InMemoryBroker().with_middlewares(Notes("1", log), Broken(), Notes("3", log))
        with pytest.raises(actorq.SystemFailed):
            async with actorq.open_system(broker):
                raise AssertionError("unreachable")
        assert log == ["startup 1", "shutdown 1"]

    simulate(main)


def test_hooks_that_nobody_wrote_cost_nothing() -> None:
    """Known by whether a class overrides them."""

    class One(Middleware):
        def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None: ...

    assert hooks_of((Middleware(),)) == frozenset()
    assert hooks_of((Middleware(), One())) == {"post_save"}
    assert hooks_of((Notes("1", []),)) <= set(HOOKS)


class Ends(Middleware):
    """Notes how attempts end."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        self.seen.append(("on_error", result.attempts))

    async def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None:
        self.seen.append(("on_retry", str(error), delay >= 0))

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        self.seen.append(("on_dead", str(error)))

    async def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        assert isinstance(result.error, actorq.TaskCancelled)
        self.seen.append(("on_cancelled",))

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        self.seen.append(("post_execute", result.attempts))


@given(tapes)
def test_each_end_has_its_hook(tape: Tape) -> None:
    """T12: on_error, then on_retry or on_dead, then post_execute; a cancellation is no failure."""

    async def main() -> None:
        ends = Ends()
        broker = InMemoryBroker().with_middlewares(ends)

        @broker.task(retries=1)
        async def fails(ctx: Context = INJECTED) -> None:
            raise ValueError(ctx.attempt)

        @broker.task
        async def hangs() -> None:
            await trio.sleep_forever()

        async with actorq.open_system(broker) as sys:
            await (await fails.kiq()).wait_result()
            await sys.wait_idle()
            assert ends.seen == [
                ("on_error", 1),
                ("on_retry", "1", True),
                ("post_execute", 1),
                ("on_error", 2),
                ("on_dead", "2"),
                ("post_execute", 2),
            ]
            ends.seen.clear()
            handle = await hangs.kiq()
            await trio.sleep(1)
            assert await handle.cancel()
            await sys.wait_idle()
            assert ends.seen == [("on_cancelled",), ("post_execute", 1)]

    simulate(main, tape=tape)


@given(slow=st.booleans(), tape=tapes)
def test_who_ends_without_a_worker_has_its_hook_too(slow: bool, tape: Tape) -> None:
    """36, 38: cancelled or expired while it waited; and what such a hook raises harms nobody."""

    class Hears(Middleware):
        def __init__(self) -> None:
            self.seen: list[tuple[Any, ...]] = []

        async def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None:
            if slow:
                await trio.sleep(1)
            self.seen.append((message.args[0], "cancelled", type(result.error)))
            raise RuntimeError("the hook's own")

        def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
            self.seen.append((message.args[0], "dead", type(error)))
            raise RuntimeError("the hook's own")

    async def main() -> None:
        hears = Hears()
        broker = InMemoryBroker().with_middlewares(hears)

        @broker.task
        async def work(n: int) -> None:
            await trio.sleep(55)

        async with actorq.open_system(broker, concurrency=1) as sys:
            await work.kiq(0)
            await trio.sleep(1)
            waits = await work.kiq(1)
            await work.using(expires=50).kiq(2)
            assert await waits.cancel()
            await trio.sleep(60)
            assert sorted(hears.seen) == [
                (1, "cancelled", actorq.TaskCancelled),
                (2, "dead", actorq.TaskExpired),
            ]
            assert sys.actor("middleware").statistics().restarts == 0

    simulate(main, tape=tape)


def test_a_task_whose_workers_die_is_reported_once() -> None:
    """29: `on_dead` with the `WorkerLost`."""
    lost: list[Exception] = []

    class Hears(Middleware):
        def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
            lost.append(error)

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Hears())

        @broker.task(max_deliveries=1)
        async def work() -> None:
            await trio.sleep_forever()

        async with actorq.open_system(broker, backoff=QUICK) as sys:
            handle = await work.kiq()
            await trio.sleep(1)
            crash(sys.actor("pool"))
            assert isinstance((await handle.wait_result()).error, actorq.WorkerLost)
            await trio.sleep(1)
        (error,) = lost
        assert isinstance(error, actorq.WorkerLost)

    simulate(main)


@pytest.mark.parametrize("hook", ["on_error", "on_retry", "on_dead", "post_execute"])
@pytest.mark.parametrize("style", ["def", "async def", "no Exception"])
def test_44_what_a_hook_raises_changes_no_end(
    hook: str, style: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A10: it is logged once, with the hook's name, and the task ends as it would have."""

    class Odd(BaseException):
        pass

    def plain(self: Middleware, *args: Any) -> None:
        raise Odd if style == "no Exception" else RuntimeError("the hook's own")

    async def waits(self: Middleware, *args: Any) -> None:
        await trio.sleep(1)
        raise RuntimeError("the hook's own")

    raises: type[Middleware] = type(
        "Raises", (Middleware,), {hook: waits if style == "async def" else plain}
    )
    ends = Ends()

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(ends, raises())

        @broker.task(retries=1)
        async def fails() -> None:
            raise ValueError("no")

        async with actorq.open_system(broker) as sys:
            assert isinstance((await (await fails.kiq()).wait_result()).error, ValueError)
            assert sys.actor("middleware").statistics().restarts == 0
            assert sys.actor("pool").statistics().restarts == 0

    with caplog.at_level(logging.ERROR, "actorq.middleware"):
        simulate(main)
    assert [each[0] for each in ends.seen] == [
        *("on_error", "on_retry", "post_execute"),
        *("on_error", "on_dead", "post_execute"),
    ]
    times = 1 if hook in ("on_retry", "on_dead") else 2
    records = [each for each in caplog.records if each.name == "actorq.middleware"]
    told = [record.getMessage() for record in records]
    assert told == [told[0]] * times
    assert told[0].startswith("Raises.")


current: ContextVar[str] = ContextVar("current", default="nothing")


class Surrounds(Middleware):
    """Sets a context variable round the sending and round the function."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    @contextmanager
    def _as(self, where: str) -> Iterator[None]:
        self.log.append(f"enter {where} {self.name} in {current.get()}")
        token = current.set(self.name)
        try:
            yield
        except BaseException as error:
            self.log.append(f"{self.name} sees {type(error).__name__}")
            raise
        finally:
            current.reset(token)
            self.log.append(f"leave {where} {self.name}")

    def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
        return self._as(f"send {len(messages)}")

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        self.log.append(f"pre_send {self.name} in {current.get()}")
        return message

    def around_execute(self, context: Context) -> AbstractContextManager[None]:
        return self._as(f"run {context.attempt}")


@given(st.booleans(), tapes)
def test_around_hooks_are_in_the_context_of_who_sends_and_who_runs(
    limited: bool, tape: Tape
) -> None:
    """T24: variables of the caller are seen by pre_send, and those set round the function in it."""

    async def main() -> None:
        log: list[str] = []
        broker = InMemoryBroker().with_middlewares(Surrounds("1", log), Surrounds("2", log))

        @broker.task(timeout=1 if limited else None)
        async def work(seconds: float) -> str:
            await trio.sleep(seconds)
            return current.get()

        async with actorq.open_system(broker, concurrency=1) as sys:
            current.set("a request")
            handle = await work.kiq(0.5)
            assert [line for line in log if "send" in line] == [
                "enter send 1 1 in a request",
                "enter send 1 2 in 1",
                "pre_send 1 in 2",
                "pre_send 2 in 2",
                "leave send 1 2",
                "leave send 1 1",
            ]
            assert await handle.result() == "2"
            around = ["enter run 1 1 in nothing", "enter run 1 2 in 1"]
            runs = [line for line in log if "send" not in line]  # it may begin before we go on
            assert runs == [*around, "leave run 1 2", "leave run 1 1"]
            log.clear()
            if limited:
                outcome = await (await work.kiq(5)).wait_result()
                assert isinstance(outcome.error, actorq.TaskTimeout)
                seen = ["2 sees TaskTimeout", "leave run 1 2", "1 sees TaskTimeout"]
                runs = [line for line in log if "send" not in line]
                assert runs == [*around, *seen, "leave run 1 1"]
            statistics = await sys.pool_statistics()
            assert statistics.slots == 1  # nothing is left in the slot's context

    simulate(main, tape=tape)


def test_around_hooks_cannot_swallow_an_error() -> None:
    """44: whatever `__exit__` returns or raises, the task's end is its own."""

    class Swallows(Middleware):
        def __init__(self, error: Exception | None) -> None:
            self.error = error

        @contextmanager
        def around_execute(self, context: Context) -> Iterator[None]:
            try:
                yield
            except ValueError:
                if self.error is not None:
                    raise self.error from None

    async def main() -> None:
        log: list[str] = []
        broker = InMemoryBroker().with_middlewares(
            Surrounds("1", log), Swallows(None), Swallows(OSError("the hook's own"))
        )

        @broker.task
        async def fails() -> None:
            raise ValueError("no")

        async with actorq.open_system(broker):
            outcome = await (await fails.kiq()).wait_result()
        assert isinstance(outcome.error, ValueError)
        assert "1 sees ValueError" in log

    simulate(main)


def test_around_hooks_are_all_left_when_one_raises_a_cancellation_anew() -> None:
    """44: `except*` makes a new group of what it leaves; those further out were never left then."""

    class Picks(Middleware):
        @contextmanager
        def around_execute(self, context: Context) -> Iterator[None]:
            try:
                yield
            except* OSError:
                log.append("picked")

    log: list[str] = []

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Surrounds("1", log), Picks())

        async def fails_in_its_end() -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("lost")

        @broker.task
        async def work() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails_in_its_end)
                await trio.sleep_forever()

        async with actorq.open_system(broker):
            handle = await work.kiq()
            await trio.sleep(1)
            assert await handle.cancel()
            outcome = await handle.wait_result()
        assert isinstance(outcome.error, actorq.TaskCancelled)
        assert log[-3:] == ["picked", "1 sees BaseExceptionGroup", "leave run 1 1"]

    simulate(main)


def test_an_around_hook_that_cannot_begin_fails_the_attempt_or_refuses_the_call() -> None:
    """44: as pre_execute and pre_send do; what was entered before it is left."""

    class Refuses(Middleware):
        def __init__(self, where: str) -> None:
            self.where = where

        def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
            if self.where == "send":
                raise actorq.Reject("not now")
            return super().around_send(messages)  # type: ignore[return-value]

        def around_execute(self, context: Context) -> AbstractContextManager[None]:
            if self.where == "run":
                raise OSError("no tracer")
            return super().around_execute(context)  # type: ignore[return-value]

    async def main(where: str) -> None:
        log: list[str] = []
        broker = InMemoryBroker().with_middlewares(Surrounds("1", log), Refuses(where))

        @broker.task
        async def work() -> None:
            log.append("ran")

        async with actorq.open_system(broker) as sys:
            if where == "send":
                with pytest.raises(actorq.Reject, match="not now"):
                    await work.kiq()
                assert log[-2:] == ["1 sees Reject", "leave send 1 1"]
                assert (await sys.queue_statistics()).done == 0
            else:
                outcome = await (await work.kiq()).wait_result()
                assert isinstance(outcome.error, OSError)
                assert log[-2:] == ["1 sees OSError", "leave run 1 1"]
        assert "ran" not in log

    simulate(main, "send")
    simulate(main, "run")


def test_an_async_around_hook_is_refused_with_what_to_write() -> None:
    """It would have been awaited by nobody."""

    class Wrong(Middleware):
        async def around_send(self, messages: Any) -> Any: ...  # type: ignore[override]

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Wrong())

        @broker.task
        async def work() -> None: ...

        async with actorq.open_system(broker):
            with pytest.raises(
                actorq.MiddlewareError,
                match=r"Wrong.around_send must be a plain `def` that returns",
            ):
                await work.kiq()

    simulate(main)


def test_a_middleware_reaches_its_system() -> None:
    """T03, T04: from startup to shutdown, which may be sync or async; in one system at a time."""

    class Looks(Middleware):
        def __init__(self) -> None:
            self.seen: list[object] = []

        def startup(self) -> None:
            self.seen.append(self.system)

        async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
            self.seen.append((await self.system.queue_statistics()).leased)

        def shutdown(self) -> None:
            self.seen.append(self.system)

    async def main() -> None:
        looks = Looks()
        with pytest.raises(RuntimeError, match=r"Looks.system is there from its startup\(\)"):
            looks.system  # noqa: B018
        broker = InMemoryBroker().with_middlewares(looks)

        @broker.task
        async def work() -> None: ...

        for _ in range(2):
            looks.seen.clear()
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is the body that raises
                async with actorq.open_system(broker) as sys:
                    await (await work.kiq()).result()
                    await sys.wait_idle()
                    raise ZeroDivisionError
            assert looks.seen == [sys, 1, sys]
        async with actorq.open_system(broker):
            other = InMemoryBroker().with_middlewares(looks)
            with pytest.raises(actorq.SystemClosed, match="make one for each broker"):
                async with actorq.open_system(other):
                    raise AssertionError("unreachable")

    simulate(main)


@given(st.integers(0, 60), tapes)
def test_sending_waits_while_the_chain_starts_again(step: int, tape: Tape) -> None:
    """28, 44: no hook runs on a middleware that is down, and nobody is refused for that."""

    class Connected(Middleware):
        up = False

        async def startup(self) -> None:
            await trio.sleep(1)
            self.up = True

        def shutdown(self) -> None:
            self.up = False

        def pre_send(self, message: TaskMessage) -> TaskMessage:
            assert self.up
            return message

        async def pre_execute(self, message: TaskMessage) -> TaskMessage:
            assert self.up
            await trio.lowlevel.checkpoint()
            assert self.up
            return message

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(Connected())

        @broker.task
        async def work(n: int) -> int:
            return n

        async with actorq.open_system(broker, backoff=QUICK) as sys:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def bomb() -> None:
                    for _ in range(step):
                        await trio.lowlevel.checkpoint()
                    crash(sys.actor("middleware"))

                for n in range(3):
                    handle = await sys.enqueue(work, n)
                    assert await handle.result() == n
            assert await sys.dead_tasks() == ()

    simulate(main, tape=tape)


class Lives(Middleware):
    """Says when its life begins and ends; waits in what it is told to wait in."""

    def __init__(self, name: str, log: list[str], stuck_in: str = "") -> None:
        self.name = name
        self.log = log
        self.stuck_in = stuck_in

    async def _do(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        await trio.sleep(math.inf if self.stuck_in == what else 1)
        self.log.append(f"{what} {self.name} done")

    async def startup(self) -> None:
        await self._do("startup")

    async def shutdown(self) -> None:
        await self._do("shutdown")


def test_a_start_that_is_cancelled_shuts_down_what_was_started() -> None:
    """T03: the cancellation cut the first shutdown off where it waited, and the others were not run."""
    log: list[str] = []

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(
            Lives("1", log), Lives("2", log), Lives("3", log, "startup")
        )
        with trio.move_on_after(10):
            async with actorq.open_system(broker):
                raise AssertionError
        assert log[5:] == ["shutdown 2", "shutdown 2 done", "shutdown 1", "shutdown 1 done"]

    simulate(main)


def test_a_shutdown_that_hangs_keeps_no_other_from_being_run() -> None:
    """T03: none was, once the time for all had run out; now each does what it can without waiting."""
    log: list[str] = []

    async def main() -> None:
        broker = InMemoryBroker().with_middlewares(
            Lives("1", log), Lives("2", log), Lives("3", log, "shutdown")
        )
        async with actorq.open_system(broker):
            log.clear()
        assert log == ["shutdown 3", "shutdown 2", "shutdown 1"]

    simulate(main)


@pytest.mark.parametrize("hook", ["post_send", "post_execute", "post_save"])
def test_a_hook_that_returns_what_cannot_be_looked_at_harms_nobody(hook: str) -> None:
    """44. Such as a proxy that is bound to nothing: even its class is somebody's code."""

    class Unbound:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError("working outside of its context")

    def returns_it(self: Middleware, *args: object) -> Unbound:
        return Unbound()

    strange = type("Strange", (Middleware,), {hook: returns_it})

    async def main() -> None:
        @actorq.task
        async def one() -> int:
            return 1

        broker = InMemoryBroker().with_middlewares(strange())
        async with actorq.open_system(broker) as sys:
            assert await (await sys.enqueue(one)).result() == 1
            await sys.wait_idle()

    simulate(main)


def test_a_misspelt_hook_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """It would never be called, and nobody would know."""

    class Typo(Middleware):
        def pre_exceute(self, message: TaskMessage) -> TaskMessage:
            return message

        def of_its_own(self) -> None: ...

    with caplog.at_level(logging.WARNING, "actorq.broker"):
        InMemoryBroker().with_middlewares(Typo())
    assert [record.getMessage() for record in caplog.records] == [
        "Typo.pre_exceute is never called: there is no such hook; did you mean pre_execute?"
    ]
