"""The simulation: one tape is one run.  The first tests are the canary for Trio's private names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
import trio.testing
from hypothesis import given
from trio._core import _run

from actorq.environment import current_environment
from actorq.testing import EPOCH, Stuck, Tape, schedules, simulate


async def _interleaving() -> list[str]:
    steps: list[str] = []

    async def walk(name: str) -> None:
        for step in range(3):
            steps.append(f"{name}{step}")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for name in "abcd":
            nursery.start_soon(walk, name)
    return steps


@given(tape=schedules())
def test_the_same_tape_gives_the_same_interleaving(tape: Tape) -> None:
    """The canary: a tape decides the schedule, wholly."""
    assert simulate(_interleaving, tape=tape) == simulate(_interleaving, tape=tape)


def test_different_tapes_give_different_interleavings() -> None:
    """The canary: the tape is what decides."""
    tapes = [Tape([n, n // 2, 1, n % 3] * 8) for n in range(8)]
    assert len({tuple(simulate(_interleaving, tape=tape)) for tape in tapes}) >= 5


def test_off_the_end_of_the_tape_tasks_step_in_creation_order() -> None:
    """A tape that has run out leaves a schedule that is easy to read."""
    assert "".join(simulate(_interleaving)) == "a0b0c0d0a1b1c1d1a2b2c2d2"


def test_the_scheduler_is_put_back_even_when_the_program_fails() -> None:
    """Trio's scheduler is left as it was found."""
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING

    async def fail() -> None:
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        simulate(fail)
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_time_is_virtual_and_the_wall_clock_follows_it() -> None:
    """Time, ids and random numbers are the same in every run."""

    async def program() -> tuple[float, float, str, str, float]:
        await trio.sleep(3600)
        here = current_environment()
        return trio.current_time(), here.wall(), here.new_id(), here.new_id(), here.random.random()

    now, wall, first, second, drawn = simulate(program)
    assert now == pytest.approx(3600)
    assert wall == pytest.approx(EPOCH + 3600)
    assert first < second
    assert simulate(program) == (now, wall, first, second, drawn)


def test_the_simulated_environment_does_not_leak() -> None:
    """After a simulation the world is real again."""
    simulate(_interleaving)
    assert current_environment().wall() > EPOCH


def test_a_deadlock_is_an_error_that_says_where() -> None:
    """A deadlock does not hang the test; it names who waits."""

    async def waits_in_vain() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.Event().wait, name="the-stuck-one")

    with pytest.raises(Stuck, match="the-stuck-one"):
        simulate(waits_in_vain)


def test_a_shielded_deadlock_is_an_error_too() -> None:
    """A shield does not save a deadlock."""

    async def waits_in_vain() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    with pytest.raises(Stuck, match="waits_in_vain"):
        simulate(waits_in_vain)


def test_a_program_that_spins_is_an_error() -> None:
    """A livelock does not hang the test either."""

    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(Stuck, match="spins"):
        simulate(spin, max_batches=1_000)


def test_arguments_value_and_instruments_are_passed_through() -> None:
    """`simulate` has the manners of `trio.run`."""

    class Count(trio.abc.Instrument):
        steps = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.steps += 1

    async def double(n: int) -> int:
        await trio.lowlevel.checkpoint()
        return 2 * n

    count = Count()
    assert simulate(double, 21, instruments=[count]) == 42
    assert count.steps >= 2


def test_it_needs_hypothesis_only_for_schedules_and_pytest_never() -> None:
    """The extras are asked for only when they are used, and by name."""
    program = """
import sys
for name in ("hypothesis", "pytest"):
    sys.modules[name] = None
import actorq.testing
try:
    actorq.testing.schedules()
except ImportError as error:
    assert "actorq[testing]" in str(error)
else:
    raise SystemExit("schedules() worked without Hypothesis")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
