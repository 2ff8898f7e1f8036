"""`assert_crash_safe`: programs that are known to break are found out at the smallest point."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

import actorq
from actorq.engines.memory.storage import MemoryStorage
from actorq.testing import CrashReport, NotCrashSafe, Tape, assert_crash_safe
from actorq.testing.simulation import current_simulation
from actorq.testing.tally import TALLY


@attrs.define
class Bank:
    """A world: two accounts and a note, changed one by one."""

    a: int = 10
    b: int = 0
    begun: bool = False
    visits: list[tuple[int, int]] = attrs.field(factory=list)


async def transfer(bank: Bank) -> None:
    """Loses money, if it dies between the two."""
    if not bank.begun:
        bank.begun = True
        bank.a -= 5
        await trio.sleep(1)
        bank.b += 5
        await trio.sleep(1)


async def careful_transfer(bank: Bank) -> None:
    """What is half done is seen, and finished."""
    if bank.a == 10:
        bank.a -= 5
    await trio.sleep(1)
    if bank.b == 0:
        bank.b += 5
    await trio.sleep(1)


def money_is_there(bank: Bank) -> None:
    """The invariant."""
    assert bank.a + bank.b == 10, f"{bank.a} + {bank.b}"


def test_the_earliest_point_is_found() -> None:
    """And told: where the program was, what the invariant said, how to see it again."""
    with pytest.raises(NotCrashSafe) as caught:
        assert_crash_safe(transfer, money_is_there, world=Bank)
    story = caught.value.story
    assert caught.value.only == (1,)
    assert "transfer is not crash safe: money_is_there did not hold" in story
    assert "killed after 1 s, at crash point 1 of 2" in story
    assert "await trio.sleep(1)" in story
    assert "5 + 0" in story
    assert "assert_crash_safe(transfer, money_is_there, world=Bank, only=1)" in story


def test_the_line_to_run_it_again_runs_it_again() -> None:
    """One run and no other."""
    runs = []

    def world() -> Bank:
        runs.append(Bank())
        return runs[-1]

    with pytest.raises(NotCrashSafe, match="point 1 of 2"):
        assert_crash_safe(transfer, money_is_there, world=world, only=1)
    assert len(runs) == 2  # one to count, one to see
    assert_crash_safe(transfer, money_is_there, world=Bank, only=2)


def test_what_holds_is_reported() -> None:
    """With how much was tried; the tally of this test knows it too."""
    TALLY.take()
    report = assert_crash_safe(careful_transfer, money_is_there, world=Bank, pairs=500)
    assert report == CrashReport(2, 4, 4, 1, 2 + 4 * 2, report.virtual_seconds)
    assert report.virtual_seconds == 2 + (3 + 4) + (4 + 5 + 5 + 6)
    assert TALLY.take().crash_points == 2 + 4 * 2
    assert "4 of 4 pairs" in str(report)


@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_a_crash_point_and_is_visited(seed: int) -> None:
    """Each step of each task of the program, and no other's; the numbers are the same in each run."""
    deaths: set[tuple[str, ...]] = set()
    steps: list[str] = []

    async def walk(name: str, steps: list[str]) -> None:
        for step in range(3):
            steps.append(f"{name}{step}")
            await trio.lowlevel.checkpoint()

    async def program(lives: list[list[str]]) -> None:
        steps: list[str] = []
        lives.append(steps)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(walk, "a", steps)
            nursery.start_soon(walk, "b", steps)

    def note(lives: list[list[str]]) -> None:
        if len(lives) == 1:
            steps[:] = lives[0]
        else:
            deaths.add(tuple(lives[0]))

    assert_crash_safe(program, note, world=list, tape=Tape.of_seed(seed))
    assert deaths == {tuple(steps[:length]) for length in range(len(steps) + 1)}
    assert len(steps) == 6


def test_both_sides_of_an_engine_call_are_crash_points() -> None:
    """The task was stored, and nobody knew; and the other way round."""
    seen: set[tuple[bool, bool]] = set()

    async def program(world: dict[str, Any]) -> None:
        storage = world.setdefault("storage", MemoryStorage())
        async with actorq.open_system(actorq.InMemoryBroker(storage=storage)) as sys:
            if "known" not in world:
                await sys.enqueue(nothing)
                world["known"] = True
            await sys.wait_idle()

    def note(world: dict[str, Any]) -> None:
        seen.add((world["ids"] > 0, world["known"] > 0))

    def at_each_step(world: dict[str, Any]) -> None:
        storage = world.get("storage")
        ids = 0 if storage is None else len(storage.queue.live) + len(storage.queue.done)
        world["ids"] = ids
        seen.add((ids > 0, "known" in world))

    report = assert_crash_safe(program, note, world=dict, always=at_each_step)
    assert seen == {(False, False), (True, False), (True, True)}
    assert report.points > 50


@actorq.task
async def nothing() -> None:
    """As it says."""


def test_a_second_crash_is_found_after_every_single_one() -> None:
    """A pair is told only if no point alone is enough."""

    async def three_lives(lives: list[int]) -> None:
        lives.append(1)
        await trio.sleep(1)

    def at_most_two(lives: list[int]) -> bool:
        return len(lives) <= 2

    assert_crash_safe(three_lives, at_most_two, world=list)
    with pytest.raises(NotCrashSafe) as caught:
        assert_crash_safe(three_lives, at_most_two, world=list, pairs=500)
    assert caught.value.only == (1, 1)
    assert "process 2 was killed after 2 s, at crash point 1:" in caught.value.story
    assert "at_most_two returned False" in caught.value.story
    with pytest.raises(NotCrashSafe):
        assert_crash_safe(three_lives, at_most_two, world=list, only=caught.value.only)


def test_pairs_are_bounded_and_the_report_says_so() -> None:
    """Evenly drawn, the same ones each time."""
    drawn: list[list[float]] = []

    async def program(world: list[float]) -> None:
        world.append(trio.current_time())
        for _ in range(10):
            await trio.sleep(1)

    for _ in range(2):
        starts: list[float] = []

        def note(world: list[float], starts: list[float] = starts) -> None:
            if len(world) == 3:
                starts.append(world[1])

        report = assert_crash_safe(program, note, world=list, pairs=20)
        assert (report.pairs, report.all_pairs) == (20, 100)
        drawn.append(starts)
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == set(range(1, 11))  # two for each first crash


def test_what_must_always_hold_is_looked_at_after_each_step() -> None:
    """Even if it holds again in the end."""

    def never_less(bank: Bank) -> None:
        assert bank.a + bank.b == 10

    with pytest.raises(NotCrashSafe, match="without any crash, never_less did not hold"):
        assert_crash_safe(careful_transfer, lambda bank: None, world=Bank, always=never_less)


def test_an_invariant_may_be_async() -> None:
    """It may open a system of its own on what is left."""

    async def holds(storage: MemoryStorage) -> bool:
        async with actorq.open_system(actorq.InMemoryBroker(storage=storage)) as sys:
            return (await sys.queue_statistics()).done == 1

    async def program(storage: MemoryStorage) -> None:
        async with actorq.open_system(actorq.InMemoryBroker(storage=storage)) as sys:
            await sys.enqueue(nothing.using(task_id="once"))
            await sys.wait_idle()

    report = assert_crash_safe(program, holds)
    assert report.restarts == report.points


def test_a_program_that_cannot_go_on_is_not_crash_safe() -> None:
    """Unless a service manager would start it once more."""

    async def program(files: list[str]) -> None:
        if files.count("lock"):
            files.remove("lock")
            raise FileExistsError("lock")
        files.append("lock")
        await trio.sleep(1)
        files.remove("lock")
        await trio.sleep(1)

    with pytest.raises(
        NotCrashSafe, match="the program failed when it was started again"
    ) as caught:
        assert_crash_safe(program, lambda files: True, world=list)
    assert "FileExistsError: lock" in caught.value.story
    report = assert_crash_safe(program, lambda files: not files, world=list, restarts=1)
    assert report.restarts == 1 + 2


def test_duplicates_are_counted_if_somebody_can_tell_them() -> None:
    """At least once is twice now and then."""

    async def program(seen: list[int]) -> None:
        if not seen or len(seen) < 2:
            seen.append(1)
            await trio.sleep(1)

    report = assert_crash_safe(
        program, lambda seen: seen, world=list, duplicates=lambda seen: len(seen) - 1
    )
    assert report.duplicates == 1


def test_a_program_that_fails_of_itself_is_told_apart() -> None:
    """There is nothing to explore."""

    async def fails(world: object) -> None:
        await trio.sleep(1)
        raise ValueError("of its own")

    with pytest.raises(NotCrashSafe, match="without any crash, the program failed") as caught:
        assert_crash_safe(fails, lambda world: True)
    assert isinstance(caught.value.__cause__, ValueError)

    with pytest.raises(NotCrashSafe, match="without any crash, returns_false did not hold"):
        assert_crash_safe(careful_transfer, returns_false, world=Bank)


def returns_false(world: object) -> bool:
    """An invariant that says so without words."""
    return False


def test_a_program_that_never_ends_is_told_so() -> None:
    """With or without a crash; where it sits is in the story."""

    async def serve(world: object) -> None:
        await trio.sleep_forever()

    with pytest.raises(NotCrashSafe, match=r"without any crash, .* limit=50") as caught:
        assert_crash_safe(serve, lambda world: True, limit=50)
    assert "await trio.sleep_forever()" in caught.value.story
    assert "sys.wait_idle()" in caught.value.story

    async def waits_for_the_dead(world: list[int]) -> None:
        world.append(1)
        if len(world) > 1:
            await trio.sleep_forever()
        await trio.sleep(1)

    with pytest.raises(NotCrashSafe, match="did not end within limit=50 virtual seconds") as caught:
        assert_crash_safe(waits_for_the_dead, lambda world: True, world=list, limit=50)
    assert caught.value.only == (1,)
    assert "it waits here:" in caught.value.story
    waits = caught.value.story.split("it waits here:")[1].split("What happened:")[0]
    assert "process 2" in waits
    assert "process 1" not in waits


def test_a_program_without_crash_points_is_refused() -> None:
    """It would always pass."""

    async def sync(world: object) -> None:
        pass

    with pytest.raises(ValueError, match="sync has no crash point"):
        assert_crash_safe(sync, lambda world: True)


def test_a_program_that_differs_from_run_to_run_is_refused() -> None:
    """Its points would mean nothing."""
    runs: list[int] = []

    async def differs(world: object) -> None:
        runs.append(1)
        async with trio.open_nursery() as nursery:
            for _ in range(len(runs) % 3):
                nursery.start_soon(trio.sleep, 1)
        await trio.sleep(1)

    with pytest.raises(RuntimeError, match="not the same in each run"):
        assert_crash_safe(differs, lambda world: True)


async def fine(world: object) -> None:
    """Has one crash point."""
    await trio.sleep(1)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((fine(None), bool), {}, "pass fine, not fine"),
        ((lambda: None, bool), {}, "one argument, the world"),
        ((returns_false, bool), {}, "write `async def`"),
        ((fine, None), {}, "invariant expects a function"),
        ((fine, bool), {"world": MemoryStorage()}, "world expects a function"),
        ((fine, bool), {"limit": 0}, "limit expects"),
        ((fine, bool), {"restarts": -1}, "restarts expects"),
        ((fine, bool), {"pairs": True}, "500, 0 for none"),
        ((fine, bool), {"pairs": -1}, "pairs expects"),
        ((fine, bool), {"only": 0}, "only= expects"),
        ((fine, bool), {"only": 77}, "names a point that is not there"),
        ((fine, bool), {"tape": [1]}, "expects a Tape"),
        ((fine, bool), {"tape": Tape(), "tapes": [Tape()]}, "not both"),
    ],
)
def test_a_wrong_argument_is_told(
    arguments: tuple[Any, Any], options: dict[str, Any], says: str
) -> None:
    """What was expected, and what to write instead."""
    with pytest.raises((TypeError, ValueError), match=says):
        assert_crash_safe(*arguments, **options)
    for each in arguments:
        getattr(each, "close", int)()


def test_nothing_listens_outside_of_a_run() -> None:
    """The tap is the simulation's, and goes with it."""
    with pytest.raises(RuntimeError, match="in a simulation only"):
        current_simulation()
