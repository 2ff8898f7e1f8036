"""Simulated processes: what dies between two steps does nothing any more, and others go on."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.engines.memory.storage import MemoryStorage
from actorq.testing import Tape, schedules, simulate
from actorq.testing.process import open_processes
from actorq.testing.simulation import current_simulation


@given(tape=schedules(), moment=st.integers(0, 12))
def test_a_killed_process_does_nothing_any_more(tape: Tape, moment: int) -> None:
    """No `finally`, no step of a child task, no timer; until everything has been looked at."""
    seen: list[str] = []

    async def main() -> None:
        async def child(name: str) -> None:
            try:
                while True:
                    seen.append(name)
                    await trio.sleep(1)
            finally:
                seen.append(f"{name} cleans up")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, "a")
            nursery.start_soon(child, "b")

    async def program() -> tuple[list[str], list[str]]:
        async with open_processes() as processes:
            process = processes.start(main)
            await trio.sleep(moment)
            process.kill()
            at_death = list(seen)
            await trio.sleep(100)
            assert not process.is_running
            return at_death, list(seen)

    at_death, later = simulate(program, tape=tape)
    assert at_death == later
    assert len(at_death) in range(2 * moment, 2 * moment + 3)
    assert not any("cleans" in each for each in later)


def test_a_killed_process_holds_nothing_up() -> None:
    """Shielded as it may have been."""

    async def main() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(main)
            await trio.sleep(1)
            process.kill()

    simulate(program)


def test_a_stopped_process_goes_on_where_it_was() -> None:
    """As after SIGSTOP and SIGCONT: time has gone by."""
    ticks: list[float] = []

    async def main() -> None:
        for _ in range(3):
            await trio.sleep(1)
            ticks.append(trio.current_time())

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(main)
            await trio.sleep(1.5)
            process.stop()
            await trio.sleep(10)
            assert ticks == [1]
            process.go_on()

    simulate(program)
    assert ticks == [1, 11.5, 12.5]


def test_what_a_process_raised_is_told_and_hurts_no_other() -> None:
    """Each program ends for itself."""

    async def fail() -> None:
        raise ValueError("of its own")

    async def program() -> None:
        async with open_processes() as processes:
            one = processes.start(fail)
            two = processes.start(trio.sleep, 5)
            await one.ended()
            assert isinstance(one.error, ValueError)
            await two.ended()
            assert two.error is None
            assert trio.current_time() == 5

    simulate(program)


@given(tape=schedules())
def test_going_step_by_step_changes_no_order(tape: Tape) -> None:
    """Whoever counts steps sees the schedule that is there without him."""

    async def program(*, count: bool) -> list[str]:
        steps: list[str] = []
        if count:
            current_simulation().player.step_by_step = True

        async def walk(name: str, length: int) -> None:
            for step in range(length):
                steps.append(f"{name}{step}")
                await trio.sleep(step % 2)

        async with trio.open_nursery() as nursery:
            for length, name in enumerate("abcd", start=2):
                nursery.start_soon(walk, name, length)
        return steps

    async def counted() -> list[str]:
        return await program(count=True)

    async def plain() -> list[str]:
        return await program(count=False)

    assert simulate(counted, tape=tape) == simulate(plain, tape=tape)


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 1.5])
def test_another_process_goes_on_with_what_is_stored(moment: float) -> None:
    """29, 31: after the lease of the dead one has run out."""
    runs: list[float] = []

    async def program() -> None:
        storage = MemoryStorage()

        async def main() -> None:
            broker = actorq.InMemoryBroker(storage=storage)

            @broker.task
            async def work() -> str:
                runs.append(trio.current_time())
                await trio.sleep(1)
                return "done"

            async with actorq.open_system(broker) as sys:
                handle = await sys.enqueue(work.using(task_id="once"))
                assert await handle.result() == "done"

        async with open_processes() as processes:
            first = processes.start(main)
            await trio.sleep(moment)
            first.kill()
            second = processes.start(main)
            await second.ended()
            assert second.error is None
            assert storage.queue.locate("once") == "done"

    simulate(program)
    # its workers go by another name: the job is theirs when the lease of the first has run out
    assert len(runs) == (2 if moment in (0.5, 1.0) else 1)
    with suppress(IndexError):
        assert 30 <= runs[1] <= 41


def test_a_thread_of_a_killed_process_keeps_nobody_waiting() -> None:
    """It answers the dead, who do not take it: time goes on for the living."""

    async def main() -> None:
        begun, gate = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            gate.wait(10)

        async with open_processes() as processes:
            process = processes.start(trio.to_thread.run_sync, work)
            while not begun.is_set():
                await trio.lowlevel.checkpoint()
            process.kill()
            gate.set()
            await trio.sleep(5)
            assert trio.current_time() == 5

    simulate(main)


def test_a_stopped_process_does_not_hide_why_the_body_ended() -> None:
    """Nobody would let it go on: it is unwound with the dead."""

    async def main() -> None:
        with trio.move_on_after(5) as scope:
            async with open_processes() as processes:
                processes.start(trio.sleep_forever).stop()
                process = processes.start(trio.sleep, 100)
                await trio.sleep(1)
                process.stop()
                await trio.sleep(100)
        assert scope.cancelled_caught
        async with open_processes() as processes:
            process = processes.start(trio.sleep, 100)
            await trio.sleep(1)
            process.stop()
            raise LookupError("the test's own")

    with pytest.raises(ExceptionGroup) as caught:
        simulate(main)
    assert caught.group_contains(LookupError, match="the test's own")
