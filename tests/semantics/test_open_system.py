"""Promises 27 and 47 to 52 for the whole system: every way in which `open_system` can end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.testing import Tape, crash, simulate
from strategies import tapes


QUICK = actorq.Backoff(base=0.1, max=0.1, jitter=0)
QUEUE = ("results", "broker", "middleware", "pool", "scheduler")


class Broken(Exception):
    """What goes wrong here."""


@actorq.task
async def nap(seconds: float) -> None:
    """Sleep."""
    await trio.sleep(seconds)


@actorq.task
async def interrupted(kind: str) -> None:
    """Be interrupted after a second."""
    await trio.sleep(1)
    raise KeyboardInterrupt if kind == "KeyboardInterrupt" else SystemExit(3)


class Sleeper(actorq.Actor[Any]):
    async def on_start(self) -> None:
        self.start_soon(trio.sleep_forever)

    async def receive(self, message: Any) -> None:
        await trio.sleep(message)


def everything() -> set[str]:
    """The names of all tasks of this run."""
    names: set[str] = set()
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        names.add(f"{task.name} {id(task)}")
        for nursery in task.child_nurseries:
            waiting.extend(nursery.child_tasks)
    return names


async def fill(sys: actorq.System) -> None:
    """Work of every kind, and an actor of one's own, so that there is something to leave behind."""
    sleeper = await sys.spawn(Sleeper, name="sleeper")
    await sleeper.tell(2)
    await sys.enqueue_many(nap, [(seconds,) for seconds in (0, 0.5, 3, 1000)])
    await sys.enqueue(nap.using(delay=5), 1)


End = Callable[[actorq.System], Awaitable[None]]


async def ends_by_itself(_: actorq.System) -> None:
    """A normal end."""
    await trio.sleep(1)


async def raises(_: actorq.System) -> None:
    """An exception in the body."""
    await trio.sleep(1)
    raise Broken("the body")


async def is_cancelled(_: actorq.System) -> None:
    """Wait for the cancellation from outside."""
    await trio.sleep_forever()


async def crash_loop(sys: actorq.System, name: str) -> None:
    """Crash one actor again and again."""
    while True:
        crash(sys.actor(name), Broken(name))
        await trio.sleep(0.3)


async def interrupts(sys: actorq.System, kind: str) -> None:
    """An interrupt in a job."""
    await sys.enqueue(interrupted, kind)
    await trio.sleep_forever()


def surfaces(body: End, tape: Tape | None = None) -> BaseException | str | None:
    """Run a full system that ends by *body*; what came out of it, once nothing of it is left."""

    async def main() -> BaseException | str | None:
        before = everything()
        surfaced: BaseException | str | None = None
        with trio.move_on_after(20) as scope:
            try:
                async with actorq.open_system(
                    concurrency=3, grace=2, backoff=QUICK, tasks=[nap]
                ) as sys:
                    await fill(sys)
                    await body(sys)
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                surfaced = error
        assert everything() == before  # promise 52
        assert trio.current_time() < 20 + 2 + 10 + 5
        return "cancelled" if scope.cancelled_caught else surfaced

    return simulate(main, tape=tape)


@given(tape=tapes)
def test_52_nothing_is_left_when_the_body_ends_by_itself(tape: Tape) -> None:
    """52. A normal end: running jobs get their grace, the rest is cancelled, no task lives."""
    assert surfaces(ends_by_itself, tape) is None


@given(tape=tapes)
def test_50_the_bodys_exception_surfaces_naked(tape: Tape) -> None:
    """50. Nothing else failed: it is the exception itself, with nothing of ours round it."""
    surfaced = surfaces(raises, tape)
    assert isinstance(surfaced, Broken)
    assert surfaced.__cause__ is None


@given(tape=tapes)
def test_48_a_cancelled_scope_round_the_system_catches_its_cancellation(tape: Tape) -> None:
    """48. `cancelled_caught` is true, and nothing is left."""
    assert surfaces(is_cancelled, tape) == "cancelled"


@pytest.mark.parametrize("name", QUEUE)
@given(tape=tapes)
def test_50_a_crash_loop_of_any_actor_ends_the_system(name: str, tape: Tape) -> None:
    """50. Beyond its intensity a failure surfaces as SystemFailed from a group with the cause."""
    surfaced = surfaces(lambda sys: crash_loop(sys, name), tape)
    assert isinstance(surfaced, actorq.SystemFailed)
    assert isinstance(surfaced.__cause__, ExceptionGroup)
    (failure,) = surfaced.__cause__.exceptions
    assert isinstance(failure, actorq.SupervisorFailed)
    assert isinstance(failure.__cause__, Broken)
    assert str(failure.__cause__) == name


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@given(tape=tapes)
def test_49_an_interrupt_in_a_job_surfaces_as_itself(kind: type[BaseException], tape: Tape) -> None:
    """49. It is no crash and no failed task: the system ends, and it comes out of open_system."""
    surfaced = surfaces(lambda sys: interrupts(sys, kind.__name__), tape)
    assert type(surfaced) is kind
    if isinstance(surfaced, SystemExit):
        assert surfaced.code == 3


@given(tape=tapes, at=st.sampled_from([0.0, 0.5, 1.0]))
def test_47_actors_answer_while_the_body_unwinds(tape: Tape, at: float) -> None:
    """47. In the body's cleanup, shielded, a task still runs and its result is there."""
    answers: list[int] = []

    @actorq.task(name="answer")
    async def answer() -> int:
        return 42

    async def main() -> None:
        with trio.move_on_after(at) as scope:
            async with actorq.open_system() as sys:
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        answers.append(await (await sys.enqueue(answer)).result())
        assert scope.cancelled_caught

    simulate(main, tape=tape)
    assert answers == ([42] if at > 0 else [])  # in a cancelled scope, nothing begins (51)


def test_51_entering_in_a_cancelled_scope_starts_nothing() -> None:
    """51. No middleware, backend or task begins, and no time passes."""
    begun: list[str] = []

    class Backend(actorq.InMemoryResultBackend):
        async def startup(self) -> None:
            begun.append("backend")

    class Hook(actorq.Middleware):
        async def startup(self) -> None:
            begun.append("middleware")

    async def main() -> None:
        broker = actorq.InMemoryBroker().with_result_backend(Backend()).with_middlewares(Hook())
        with trio.CancelScope() as scope:
            scope.cancel("before")
            async with actorq.open_system(broker):
                begun.append("body")
        assert scope.cancelled_caught
        assert trio.current_time() == 0
        async with actorq.open_system(broker):  # and the broker is free again
            pass

    simulate(main)
    assert begun == ["backend", "middleware"]


@pytest.mark.parametrize("part", ["backend", "middleware"])
def test_27_a_part_that_fails_to_start_is_raised_by_open_system(part: str) -> None:
    """27. What started before it is stopped in reverse, the body never runs."""
    events: list[str] = []

    class Backend(actorq.InMemoryResultBackend):
        async def startup(self) -> None:
            if part == "backend":
                raise Broken(part)
            events.append("backend up")

        async def shutdown(self) -> None:
            events.append("backend down")

    class Hook(actorq.Middleware):
        async def startup(self) -> None:
            if part == "middleware":
                raise Broken(part)
            events.append("middleware up")

    async def main() -> None:
        before = everything()
        broker = actorq.InMemoryBroker().with_result_backend(Backend()).with_middlewares(Hook())
        with pytest.raises(actorq.SystemFailed, match="on_start") as caught:
            async with actorq.open_system(broker):
                events.append("body")
        group = caught.value.__cause__
        assert isinstance(group, ExceptionGroup)
        assert isinstance(group.exceptions[0].__cause__, Broken)
        assert everything() == before

    simulate(main)
    assert events == ([] if part == "backend" else ["backend up", "backend down"])
