"""What runs before the first task and after the last: startup and shutdown handlers, lifespans."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import InMemoryBroker, State, open_system
from actorq.testing import Tape, schedules, simulate


class Sad(Exception):
    """Nobody knows it."""


def _traced(*, fails: str = "") -> tuple[InMemoryBroker, list[str]]:
    """A broker with two of everything; each notes its name, and raises if it is the one."""
    broker, seen = InMemoryBroker(), []

    async def note(what: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(what)
        if what == fails:
            raise Sad(what)

    def lifespan(name: str) -> Callable[[State], Any]:
        @asynccontextmanager
        async def manager(state: State) -> AsyncIterator[None]:
            await note(f"enter {name}")
            state[name] = name
            try:
                yield
            finally:
                await note(f"leave {name}")

        return manager

    @broker.on_shutdown
    async def close(state: State) -> None:
        await note("close")

    @broker.on_startup
    async def connect(state: State) -> None:
        assert (state["a"], state.b) == ("a", "b")
        await note("connect")

    @broker.on_startup
    def warm(state: State) -> None:
        seen.append("warm")
        if fails == "warm":
            raise Sad("warm")

    @broker.on_shutdown
    def flush(state: State) -> None:
        seen.append("flush")
        if fails == "flush":
            raise Sad("flush")

    return broker.with_lifespan(lifespan("a")).with_lifespan(lifespan("b")), seen


INWARD = ["enter a", "enter b", "connect", "warm"]
OUTWARD = ["flush", "close", "leave b", "leave a"]


async def test_handlers_run_round_the_tasks() -> None:
    """T03, T04: sync and async, with the state, in order and in reverse, before and after all tasks."""
    broker, seen = _traced()

    @broker.task
    async def work() -> None:
        seen.append(f"work with {broker.state.a}")

    async with open_system(broker):
        assert seen == INWARD
        await (await work.kiq()).result()
        await work.kiq()  # runs while the system drains
    assert seen == [*INWARD, "work with a", "work with a", *OUTWARD]

    seen.clear()
    async with open_system(broker):
        pass
    assert seen == [*INWARD, *OUTWARD]


async def test_handlers_of_both_roles_run_in_memory() -> None:
    """T04: it has clients and workers."""
    broker, seen = InMemoryBroker(), []
    broker.on_startup(role="worker")(lambda _: seen.append("worker"))
    broker.on_startup(role="client")(lambda _: seen.append("client"))
    broker.on_shutdown(role="worker")(lambda _: seen.append("worker ends"))
    async with open_system(broker):
        pass
    assert seen == ["worker", "client", "worker ends"]

    seen.clear()
    async with broker.lifespan.run(broker.state, frozenset({"client"})):
        pass
    assert seen == ["client"]


async def test_the_body_s_exception_runs_them_and_surfaces() -> None:
    """T03: leaving by exception fires the shutdown handlers too."""
    broker, seen = _traced()
    with pytest.raises(Sad, match="the body"):
        async with open_system(broker):
            raise Sad("the body")
    assert seen == [*INWARD, *OUTWARD]


@pytest.mark.parametrize(
    ("fails", "left"),
    [
        ("enter a", []),
        ("enter b", ["leave a"]),
        ("connect", OUTWARD),
        ("warm", OUTWARD),
    ],
)
async def test_a_failing_start_leaves_what_was_entered(fails: str, left: list[str]) -> None:
    """Its error surfaces naked and names who raised it; no task runs; the broker can be used again."""
    broker, seen = _traced(fails=fails)
    for _ in range(2):
        seen.clear()
        with pytest.raises(Sad) as caught:
            async with open_system(broker):
                seen.append("body")
        assert seen == [*INWARD[: INWARD.index(fails) + 1], *left]
        assert str(caught.value) == fails
        (note,) = caught.value.__notes__
        assert "test_lifespan:_traced" in note
        assert fails.split()[-1] in note or "lifespan" in note


@pytest.mark.parametrize("fails", OUTWARD)
async def test_a_failing_end_does_not_keep_the_others_from_running(fails: str) -> None:
    """And surfaces; what the body raised is its context."""
    broker, seen = _traced(fails=fails)
    with pytest.raises(Sad, match=fails) as caught:
        async with open_system(broker):
            raise KeyError("the body")
    assert seen == [*INWARD, *OUTWARD]
    assert isinstance(caught.value.__cause__, KeyError)


@given(st.floats(0, 12), schedules())
def test_a_cancellation_leaves_what_was_entered(moment: float, tape: Tape) -> None:
    """47, 48: whenever it strikes, and a task that drains still has its background task's answers."""

    async def main() -> None:
        broker, inside = InMemoryBroker(), []
        answers: list[bool] = []

        def lifespan(name: str) -> Callable[[State], Any]:
            @asynccontextmanager
            async def manager(state: State) -> AsyncIterator[None]:
                await trio.sleep(2)
                inside.append(name)
                send, receive = trio.open_memory_channel[trio.Event](0)

                async def answer() -> None:
                    async for question in receive:
                        question.set()

                async with trio.open_nursery() as nursery:  # it may hold scopes of its own
                    nursery.start_soon(answer)
                    state[name] = send
                    try:
                        yield
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.sleep(0.5)
                        inside.remove(name)
                        nursery.cancel_scope.cancel()

            return manager

        broker.with_lifespan(lifespan("a")).with_lifespan(lifespan("b"))

        @broker.on_startup
        async def slow(_: State) -> None:
            await trio.sleep(2)
            inside.append("started")

        @broker.on_shutdown
        async def stop(_: State) -> None:
            await trio.sleep(1)
            if "started" in inside:
                inside.remove("started")

        @broker.task
        async def work() -> None:
            await trio.sleep(9)
            for name in "ab":
                question = trio.Event()
                await broker.state[name].send(question)
                await question.wait()
            answers.append(True)

        with trio.move_on_after(moment) as scope:
            async with open_system(broker):
                assert inside == ["a", "b", "started"]
                await work.kiq()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert inside == []
        assert answers == ([True] if moment > 6 else [])

    simulate(main, tape=tape)


async def test_in_a_cancelled_scope_no_handler_runs() -> None:
    """51. It returns promptly."""
    broker, seen = _traced()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_system(broker):
            pass
    assert scope.cancelled_caught
    assert seen == []


@pytest.mark.parametrize("body", [None, Sad("the body")])
async def test_ends_are_bounded(
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    body: Exception | None,
) -> None:
    """52. What does not end is cut off after five seconds, and the body's exception is not lost."""
    caplog.set_level("ERROR", logger="actorq")
    broker, left = InMemoryBroker(), []

    @asynccontextmanager
    async def lifespan(_: State) -> AsyncIterator[None]:
        try:
            yield
        finally:
            left.append(True)

    broker.with_lifespan(lifespan)

    @broker.on_shutdown
    async def stall(_: State) -> None:
        await trio.sleep_forever()

    start, raised = trio.current_time(), None
    try:
        async with open_system(broker):
            if body is not None:
                raise body
    except Sad as error:
        raised = error
    assert trio.current_time() - start == pytest.approx(5)
    assert raised is body
    assert left == [True]
    assert "longer than 5 s" in caplog.text


async def test_a_failing_background_task_of_a_lifespan_ends_the_system() -> None:
    """As a nursery round the body would; so does one that gives up without an error."""
    broker = InMemoryBroker()

    @asynccontextmanager
    async def lifespan(_: State) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:

            async def fail() -> None:
                raise Sad("in the background")

            nursery.start_soon(fail)
            yield

    with pytest.RaisesGroup(Sad):
        async with open_system(broker.with_lifespan(lifespan)):
            await trio.sleep_forever()


async def test_a_lifespan_that_ends_by_itself_ends_the_system(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What it kept open is gone."""
    broker = InMemoryBroker()

    @asynccontextmanager
    async def lifespan(_: State) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = trio.current_time() + 5
            yield

    with pytest.raises(RuntimeError, match="ended by itself"):
        async with open_system(broker.with_lifespan(lifespan)):
            await trio.sleep_forever()


async def test_a_handler_cannot_enqueue() -> None:
    """Neither before nor after: there is nothing to enqueue on."""
    broker = InMemoryBroker()
    errors: list[Exception] = []

    @broker.task
    async def work() -> None:
        pass

    @broker.on_startup
    @broker.on_shutdown
    async def early(_: State) -> None:
        try:
            await work.kiq()
        except actorq.SystemClosed as error:
            errors.append(error)

    async with open_system(broker):
        pass
    assert len(errors) == 2


async def test_a_broker_that_is_starting_is_taken() -> None:
    """Two systems would share its state."""
    broker = InMemoryBroker()
    problem: list[str] = []

    @broker.on_startup
    async def again(_: State) -> None:
        with pytest.raises(actorq.SystemClosed) as caught:
            async with open_system(broker):
                pass
        problem.append(str(caught.value))

    async with open_system(broker):
        pass
    assert "open in another system already" in problem[0]


async def test_no_handler_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged, and no scope is round the body."""
    caplog.set_level(logging.DEBUG, logger="actorq.lifespan")
    async with InMemoryBroker().lifespan.run(State()):
        pass
    assert caplog.records == []


def test_what_is_no_handler_is_refused() -> None:
    """When it is registered."""
    broker = InMemoryBroker()
    with pytest.raises(TypeError, match=r"on_startup\(\) expects a function of the state; got 3"):
        broker.on_startup(3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="expects 'client', 'worker' or None"):
        broker.on_shutdown(role="boss")(print)  # type: ignore[call-overload]

    async def generator(_: State) -> AsyncIterator[None]:
        yield

    with pytest.raises(TypeError, match=r"decorate .*generator with @contextlib"):
        broker.with_lifespan(generator)  # type: ignore[arg-type]


async def test_what_is_no_context_manager_is_refused() -> None:
    """When the system opens."""
    broker = InMemoryBroker().with_lifespan(lambda _: 5)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="returned 5"):
        async with open_system(broker):
            pass


def test_nothing_begins_in_a_scope_that_is_cancelled_already() -> None:
    """51: neither a handler that does not wait, nor the way into a context manager."""
    called: list[str] = []

    async def main() -> None:
        broker = InMemoryBroker()
        broker.on_startup(lambda _: called.append("startup"))
        broker.on_shutdown(lambda _: called.append("shutdown"))
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_system(broker):
                called.append("body")

    simulate(main)
    assert called == []


async def test_who_enqueues_while_the_system_opens_is_told_or_accepted() -> None:
    """At every step of it: `SystemClosed` until there is somebody who takes it, and then it is run."""
    broker, refused = InMemoryBroker(), 0

    @broker.task
    async def double(n: int) -> int:
        return 2 * n

    handles: list[actorq.TaskHandle[int]] = []

    @asynccontextmanager
    async def life(state: State) -> AsyncIterator[None]:
        async def early() -> None:
            nonlocal refused
            while not handles:
                try:
                    handles.append(await double.kiq(21))
                except actorq.SystemClosed:
                    refused += 1
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(early)
            yield

    broker.with_lifespan(life)
    async with open_system(broker):
        while not handles:
            await trio.lowlevel.checkpoint()
        assert await handles[0].result() == 42
    assert refused
