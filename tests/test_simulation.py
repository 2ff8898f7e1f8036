"""The simulation: one tape is one run.  The first tests are the canary for Trio's private names."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trio._core import _run

import actorq
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


# --- what a failure tells -----------------------------------------------------------------------


def note_on(error: BaseException) -> str:
    """Ours."""
    (note,) = [each for each in error.__notes__ if each.startswith("What happened")]
    return note


@actorq.task
async def double(n: int) -> int:
    """Twice as much, in a second."""
    await trio.sleep(1)
    return 2 * n


async def _fails() -> None:
    async with actorq.open_system() as system:
        late = await system.enqueue(double.using(delay=50), 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late.result, name="who waits")
            assert await (await system.enqueue(double, 1)).result() == 3


def test_a_failure_tells_what_happened_who_waited_and_how_to_see_it_again() -> None:
    """In a note, so that Python, pytest and Hypothesis print it."""
    with pytest.raises(ExceptionGroup) as caught:
        simulate(_fails, tape=Tape([3, 1, 2, 0, 0, 0]), seed=7)
    note = note_on(caught.value)
    happened, waited, again = note.split("\n\n")
    assert "1.000  double #2  ○ returned 2\n" in happened
    # the end of it is where it failed: no shutdown after it
    assert " ".join(happened.splitlines()[-2].split()).startswith("1.000 main ! raises Assertion")
    assert waited.splitlines()[0] == "When main raised AssertionError:"
    assert "who waits  waits for the result of #1 (scheduled)" in waited
    assert again == "To see it again:\n    simulate(_fails, tape=Tape([3, 1, 2]), seed=7)"


def test_the_error_of_a_child_task_is_told_with_its_name() -> None:
    """And with what others waited for when it came up, deadlines included."""

    async def fails() -> None:
        await trio.sleep(2)
        raise ValueError("broken")

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            with trio.fail_after(9):
                await trio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        simulate(program)
    note = note_on(caught.value)
    assert "2.000  fails ! raises ValueError: broken" in note
    assert "When fails raised ValueError:" in note
    assert "main  waits for an event to be set, until 9.000, in " in note


def test_stuck_tells_what_happened_before_it_was_found_out() -> None:
    """Its own message has who waits for whom."""

    async def waits() -> None:
        async with actorq.open_system() as system:
            await (await system.enqueue(double, 1)).result()
            await trio.sleep_forever()

    with pytest.raises(Stuck) as caught:
        simulate(waits, limit=30)
    note = note_on(caught.value)
    assert "double #1  ○ returned 2" in note
    assert "stopped" not in note
    assert "When" not in note
    assert note.endswith("    simulate(waits)")


@given(tape=schedules(), seed=st.integers(0, 3))
@settings(max_examples=15)
def test_what_it_says_to_run_again_runs_exactly_that_again(tape: Tape, seed: int) -> None:
    """The choices that were used are all that the run hangs on."""

    async def fails() -> None:
        await _interleaving()
        async with actorq.open_system() as system:
            handles = [await system.enqueue(double, n) for n in range(3)]
            for handle in handles:
                await handle.result()
        raise LookupError

    with pytest.raises(LookupError) as first:
        simulate(fails, tape=tape, seed=seed)
    head, _, said = note_on(first.value).partition("To see it again:\n    ")
    with pytest.raises(LookupError) as second:
        eval(said, {"simulate": simulate, "Tape": Tape, "fails": fails})
    assert note_on(second.value).partition("To see it again:")[0] == head
    assert len(repr(tape.played(len(tape.choices)))) <= len(repr(tape))


def test_an_error_that_is_raised_again_keeps_the_latest_note_only() -> None:
    """Of two runs that raise one object."""
    error = ValueError("one and the same")

    async def fails(n: int) -> None:
        await trio.sleep(n)
        raise error

    for n in (1, 2):
        with pytest.raises(ValueError, match="one and the same"):
            simulate(fails, n)
    assert note_on(error).endswith("simulate(fails, ...)")


def test_words_between_a_test_and_its_runner_carry_no_note() -> None:
    """A Ctrl-C, a skip, an `assume` that does not hold."""

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def skips() -> None:
        pytest.skip("not today")

    async def assumes() -> None:
        assume(False)

    for program in (interrupted, skips, assumes):
        with pytest.raises(BaseException) as caught:
            simulate(program)
        assert not getattr(caught.value, "__notes__", [])


def test_trio_s_nursery_is_put_back() -> None:
    """It was watched for errors."""
    before = _run.Nursery._add_exc
    with pytest.raises(ExceptionGroup):
        simulate(_fails)
    assert _run.Nursery._add_exc is before


# --- bad input ----------------------------------------------------------------------------------


def test_a_coroutine_is_refused_with_what_to_write() -> None:
    """And is closed: no warning that nobody awaited it."""
    with pytest.raises(TypeError, match=r"simulate\(_interleaving, \.\.\.\), not simulate\(_int"):
        simulate(_interleaving())  # type: ignore[arg-type]


async def _generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda: 5, "<lambda> is none: it returned 5"),
        (_generator, "_generator has a `yield` in it"),
        (5, "expects an async function, got 5"),
        (None, "expects an async function, got None"),
    ],
)
def test_what_is_no_async_function_is_refused(program: Any, says: str) -> None:
    """With what came."""
    with pytest.raises(TypeError, match=re.escape(says)):
        simulate(program)


def test_a_lambda_round_an_async_function_is_one() -> None:
    """As for `trio.run`."""
    assert simulate(lambda: _interleaving()) == simulate(_interleaving)


@pytest.mark.parametrize("tape", [[3, 0, 1], (3, 0, 1), Tape([3, 0, 1])])
def test_a_list_of_numbers_is_a_tape(tape: Any) -> None:
    """It can mean nothing else."""
    assert simulate(_interleaving, tape=tape) == simulate(_interleaving, tape=Tape([3, 0, 1]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tape": 7}, "tape expects a Tape; got 7: simulate(main, tape=Tape([3, 0, 1]))"),
        ({"tape": schedules()}, "draw from it: @given(tape=schedules())"),
        ({"tape": ["a"]}, "a Tape is made of whole numbers"),
        ({"seed": "x"}, "seed expects a whole number; got 'x'"),
        ({"seed": True}, "seed expects a whole number; got True"),
        ({"limit": 0}, "limit expects a number, more than 0; got 0"),
        ({"limit": "long"}, "limit expects a number, more than 0; got 'long'"),
        ({"max_batches": -1}, "max_batches expects a number, more than 0; got -1"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], says: str) -> None:
    """Before anything runs."""
    with pytest.raises((TypeError, ValueError), match=re.escape(says)):
        simulate(_interleaving, **arguments)


async def test_a_simulation_in_a_program_that_runs_is_refused() -> None:
    """With where to call it from."""
    with pytest.raises(RuntimeError, match="call it from a plain `def test_"):
        simulate(_interleaving)


@pytest.mark.parametrize("wrong", ["120", 5, None, [1.5], [True]])
def test_a_tape_of_something_else_is_refused(wrong: Any) -> None:
    """With how one is made."""
    with pytest.raises(TypeError, match=r"a Tape is made of whole numbers: Tape\(\[3, 0, 1\]\)"):
        Tape(wrong)


def test_a_tape_of_a_seed_is_written_short() -> None:
    """And is the one that its numbers make."""
    tape = Tape.of_seed(7)
    assert repr(tape) == "Tape.of_seed(7)"
    assert repr(Tape.of_seed(7, 3)) == "Tape.of_seed(7, 3)"
    assert tape == Tape(tape.choices) == Tape.of_seed(7) != Tape.of_seed(8)
    assert repr(Tape(tape.choices[:2])).startswith("Tape([")
    assert tape.played(2) == Tape(tape.choices[:2])
    assert repr(tape.played(5_000)) == repr(tape)
    for wrong in ({"seed": "7"}, {"seed": 7, "length": -1}):
        with pytest.raises(TypeError, match=r"Tape\.of_seed\(\) expects whole numbers; got"):
            Tape.of_seed(**wrong)
