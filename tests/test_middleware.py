"""The middleware chain: the order of its hooks, what they may change, and their lives."""

from __future__ import annotations

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
    assert hooks_of((Notes("1", []),)) == set(HOOKS)
