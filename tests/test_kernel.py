"""The kernel's front door: bad arguments, names, closed systems, what people read."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from actorq.actor import Actor
from actorq.dead_letters import DeadLetter, LetterReason
from actorq.errors import (
    ActorFailed,
    ActorStopped,
    NameTaken,
    SystemClosed,
    UnsupportedOption,
)
from actorq.kernel import open_kernel
from actorq.ref import ActorRef
from actorq.restart import Backoff, Restart, Strategy
from actorq.statistics import MailboxStatistics, SupervisorStatistics
from actorq.testing import crash, crash_at
from strategies import ask_any, crashing_kernel


class Echo(Actor[Any]):
    async def receive(self, message: Any) -> Any:
        if message == "defer":
            self.defer().send("later")
        return message


async def test_spawn_wants_a_class_not_an_instance() -> None:
    """The error writes the call as it should be."""
    async with open_kernel() as kernel:
        with pytest.raises(TypeError, match=r"spawn\(Echo, \.\.\.\)"):
            await kernel.spawn(Echo())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected an Actor class or a factory"):
            await kernel.spawn("Echo")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"restart": "permanent"}, TypeError, "Restart.TRANSIENT"),
        ({"capacity": -1}, ValueError, "capacity"),
        ({"capacity": 1.5}, ValueError, "whole number"),
        ({"drain": -1}, ValueError, "drain"),
        ({"grace": -0.1}, ValueError, "grace"),
    ],
)
async def test_spawn_refuses_bad_options(
    arguments: dict[str, Any], error: type[Exception], match: str
) -> None:
    """Before anything is started."""
    async with open_kernel() as kernel:
        with pytest.raises(error, match=match):
            await kernel.spawn(Echo, **arguments)
        assert kernel.statistics().find("app").children == ()  # type: ignore[union-attr]


async def test_a_factory_that_makes_no_actor_fails_in_spawn() -> None:
    """What it made is named."""
    async with open_kernel() as kernel:
        with pytest.raises(ActorFailed) as caught:
            await kernel.spawn(dict, name="d")  # type: ignore[arg-type]
        assert isinstance(caught.value.__cause__, TypeError)
        assert "expected an Actor" in str(caught.value.__cause__)


async def test_a_name_is_unique_under_one_supervisor() -> None:
    """The second is refused, the first lives on; elsewhere the name is free, and later too."""
    async with open_kernel() as kernel:
        first = await kernel.spawn(Echo, restart=Restart.TEMPORARY)
        with pytest.raises(NameTaken, match="Echo"):
            await kernel.spawn(Echo)
        assert await ask_any(first, 1) == 1
        group = await kernel.spawn_supervisor("group")
        assert group.name == "group"
        await group.spawn(Echo)
        with pytest.raises(NameTaken):
            await group.spawn(Echo)
        crash(first)
        await first.stopped()
        assert await ask_any(await kernel.spawn(Echo), 2) == 2


async def test_a_closed_system_takes_no_more_actors() -> None:
    """The error says where to call it."""
    async with open_kernel() as kernel:
        group = await kernel.spawn_supervisor("group")
        assert kernel.is_open
    with pytest.raises(SystemClosed, match="async with"):
        await kernel.spawn(Echo)
    with pytest.raises(SystemClosed):
        await kernel.spawn_supervisor("another")
    with pytest.raises(ActorStopped):
        await group.spawn(Echo)
    assert not kernel.is_open


async def test_an_actor_may_spawn_another() -> None:
    """From a handler, and it is nobody's child task: it outlives its spawner's restart."""

    class Spawns(Actor[Any]):
        async def receive(self, message: Any) -> Any:
            if message == "crash":
                raise ValueError
            return await kernel.spawn(Echo)

    async with crashing_kernel() as kernel:
        spawner = await kernel.spawn(Spawns)
        echo = await ask_any(spawner, "spawn")
        await spawner.tell("crash")
        await trio.testing.wait_all_tasks_blocked()
        assert await ask_any(echo, 1) == 1
        assert echo.statistics().restarts == 0


async def test_statistics_show_the_tree() -> None:
    """Names, states and counts; `find` looks all the way down."""
    async with open_kernel() as kernel:
        group = await kernel.spawn_supervisor("group", strategy=Strategy.REST_FOR_ONE, intensity=7)
        ref = await group.spawn(Echo, name="e", capacity=5)
        await ask_any(ref, 1)
        await ask_any(ref, "defer")
        found = kernel.statistics().find("e")
        assert isinstance(found, MailboxStatistics)
        assert found == ref.statistics()
        assert (found.state, found.handled, found.accepted) == ("running", 2, 2)
        tree = kernel.statistics().find("group")
        assert isinstance(tree, SupervisorStatistics)
        assert tree == group.statistics()
        assert (tree.strategy, tree.intensity, tree.state) == ("rest_for_one", 7, "running")
        with pytest.raises(LookupError, match="nobody"):
            kernel.statistics().find("nobody")
        assert repr(ref) == "<ActorRef 'e' running>"
    assert repr(ref) == "<ActorRef 'e' stopped>"
    assert kernel.statistics().state == "stopped"


async def test_dead_letters_are_kept_counted_and_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the actor, the reason and the message."""
    caplog.set_level(logging.WARNING, logger="actorq")
    heard: list[DeadLetter] = []
    async with crashing_kernel() as kernel:
        kernel.dead_letters.listen(heard.append)
        ref = await kernel.spawn(Echo)
        crash_at(ref, 1)
        await ref.tell("poison")
        await trio.testing.wait_all_tasks_blocked()
        letter = DeadLetter("Echo", "poison", LetterReason.CRASHED)
        assert list(kernel.dead_letters) == heard == [letter]
        assert len(kernel.dead_letters) == kernel.dead_letters.counts[LetterReason.CRASHED] == 1
    assert "'Echo'" in caplog.text
    assert "'poison'" in caplog.text


async def test_what_an_actor_calls_too_early_says_so() -> None:
    """An actor that was made by hand is not running."""
    with pytest.raises(RuntimeError, match=r"sys\.spawn\(Echo"):
        Echo().set_timer("t", 1, "m")


async def test_defer_outside_of_a_message_says_so() -> None:
    """There is nothing to defer in `on_start`."""

    class Early(Actor[Any]):
        async def on_start(self) -> None:
            self.defer()

    async with open_kernel() as kernel:
        with pytest.raises(ActorFailed) as caught:
            await kernel.spawn(Early)
        assert "while a message is handled" in str(caught.value.__cause__)


async def test_an_actor_without_receive_says_what_to_write() -> None:
    """And names the message."""
    async with crashing_kernel() as kernel:
        ref: ActorRef[Any] = await kernel.spawn(Actor, name="empty")
        with pytest.raises(ActorFailed) as caught:
            await ask_any(ref, "hello")
        assert isinstance(caught.value.__cause__, NotImplementedError)
        assert "'hello'" in str(caught.value.__cause__)


async def test_on_stop_that_fails_or_hangs_does_not_hold_up_the_rest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It has its grace; the next incarnation begins after it."""

    class Hangs(Actor[Any]):
        async def on_stop(self) -> None:
            await trio.sleep_forever()

    class Fails(Actor[Any]):
        async def on_stop(self) -> None:
            raise ValueError

    async with open_kernel(backoff=Backoff(base=0, jitter=0)) as kernel:
        await kernel.spawn(Hangs, grace=2)
        await kernel.spawn(Fails)
    assert trio.current_time() == 2


async def test_flush_is_called_after_a_burst_and_before_a_halt() -> None:
    """What a burst has put aside is answered as one batch."""
    batches: list[int] = []

    class Batches(Actor[Any]):
        def __init__(self) -> None:
            self.waiting: list[Any] = []

        async def receive(self, message: Any) -> None:
            self.waiting.append(self.defer())
            if message == "stop":
                self.stop()

        async def flush(self) -> None:
            if self.waiting:
                batches.append(len(self.waiting))
            for reply in self.waiting:
                reply.send("done")
            self.waiting.clear()

    async with open_kernel() as kernel:
        ref = await kernel.spawn(Batches, restart=Restart.TEMPORARY)
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask_any, ref, 1)
        assert batches == [10]
        assert await ask_any(ref, "stop") == "done"


async def test_an_option_error_is_what_it_inherits() -> None:
    """`except ValueError` and `except NotImplementedError` mean what they say."""
    assert issubclass(UnsupportedOption, ValueError)
    assert issubclass(UnsupportedOption, NotImplementedError)
    assert issubclass(NameTaken, ValueError)
