"""The timers of one life, by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actorq.signals import TimerFired
from actorq.testing import Tape, simulate
from actorq.timers import VOID, Timers
from strategies import tapes


@given(
    tape=tapes,
    dues=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 7.0]), max_size=8),
    gap=st.sampled_from([0.0, 0.6]),
)
def test_each_fires_at_its_time(tape: Tape, dues: list[float], gap: float) -> None:
    """One task serves them all, re-armed when an earlier one is set."""
    fired: list[tuple[float, Any]] = []
    expected: list[tuple[float, Any]] = []

    async def program() -> None:
        async with trio.open_nursery() as nursery:

            def push(signal: TimerFired) -> None:
                fired.append((trio.current_time(), timers.take(signal)))

            timers = Timers(push, nursery.start_soon)
            for key, due in enumerate(dues):
                timers.set(key, due, f"m{key}")
                expected.append((trio.current_time() + due, f"m{key}"))
                await trio.sleep(gap)
        # the task ends with the last timer: an idle actor has none

    simulate(program, tape=tape)
    assert [when for when, _ in fired] == pytest.approx(sorted(when for when, _ in expected))
    assert {message for _, message in fired} == {message for _, message in expected}


async def test_a_replaced_or_cancelled_firing_is_void(autojump_clock: Any) -> None:
    """By its generation, even in the instant after it fired."""
    signals: list[TimerFired] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(signals.append, nursery.start_soon)
        timers.set("a", 1, "old")
        timers.set("b", 1, "old")
        await trio.sleep(2)
        first, second = signals
        timers.set("a", 1, "new")
        assert timers.cancel("b")
        assert not timers.cancel("b")
        assert timers.take(first) is VOID
        assert timers.take(second) is VOID
        await trio.sleep(2)
        assert timers.take(signals[2]) == "new"
        assert timers.take(signals[2]) is VOID
        nursery.cancel_scope.cancel()


async def test_none_is_a_message_too(autojump_clock: Any) -> None:
    """A void firing is told by a mark of its own."""
    signals: list[TimerFired] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(signals.append, nursery.start_soon)
        timers.set("a", 1, None)
    assert timers.take(signals[0]) is None


async def test_a_repeating_timer_sends_no_burst_to_a_slow_actor(autojump_clock: Any) -> None:
    """The next is counted from when the last was handled."""
    signals: list[TimerFired] = []
    async with trio.open_nursery() as nursery:
        timers = Timers(signals.append, nursery.start_soon)
        timers.set("a", 1, "tick", 1)
        await trio.sleep(10)
        assert len(signals) == 1
        assert timers.take(signals[0]) == "tick"
        await trio.sleep(1.5)
        assert len(signals) == 2
        nursery.cancel_scope.cancel()
