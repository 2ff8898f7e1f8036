"""32, 43. Tasks that are acknowledged before they have ended, waited for in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

import actorq
from actorq.errors import WorkerLost

from .here import HERE


pytestmark = pytest.mark.engine

PROGRAM = Path(__file__).with_name("early_program.py")


@actorq.task(name="hangs", ack="when_received")
async def hangs() -> None:
    """Never ends."""


@actorq.task(name="ends", ack="when_received")
async def ends(value: int) -> int:
    """Give it back."""
    return value


@actorq.task(name="executed", ack="when_executed")
async def executed(value: int) -> int:
    """Give it back."""
    return value


@contextmanager
def start(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker; killed at the end, or who has failed would wait for it for ever."""
    command = [sys.executable, str(PROGRAM), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=HERE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


async def said(program: subprocess.Popen[str], word: str) -> None:
    """Wait until it says so."""
    assert program.stdout is not None
    assert await trio.to_thread.run_sync(program.stdout.readline) == word + "\n"


def test_who_waits_elsewhere_hears_of_a_worker_that_was_killed(path: Path) -> None:
    """32, 43: whoever enqueued it, and whoever has only its id; the worker runs nothing else."""

    async def main() -> None:
        with trio.fail_after(60), start(path) as program:
            await said(program, "ready")
            broker = actorq.SQLiteBroker(path)
            async with actorq.open_system(broker, role="client") as system:
                handle = await system.enqueue(hangs)
                await said(program, "began")
                errors: list[WorkerLost] = []

                async def wait(waited: actorq.TaskHandle[None]) -> None:
                    try:
                        await waited.result()
                    except WorkerLost as error:
                        errors.append(error)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wait, handle)
                    nursery.start_soon(wait, system.handle(handle.task_id, hangs))
                    await trio.sleep(0.2)
                    assert errors == []
                    program.kill()
                await wait(system.handle(handle.task_id, hangs))
                assert len(errors) == 3

    trio.run(main)


def test_results_that_come_after_the_acknowledgement_reach_who_waits(path: Path) -> None:
    """43: by handle and by id, many at a time: at no moment is a task taken for lost."""

    async def main() -> None:
        with trio.fail_after(60), start(path) as program:
            await said(program, "ready")
            broker = actorq.SQLiteBroker(path)
            async with actorq.open_system(broker, role="client") as system:
                for task in (ends, executed):
                    handles = [await system.enqueue(task, n) for n in range(50)]
                    got: dict[int, list[int]] = {n: [] for n in range(50)}

                    async def wait(
                        n: int, waited: actorq.TaskHandle[int], got: dict[int, list[int]]
                    ) -> None:
                        got[n].append(await waited.result())

                    async with trio.open_nursery() as nursery:
                        for n, handle in enumerate(handles):
                            nursery.start_soon(wait, n, handle, got)
                            nursery.start_soon(wait, n, system.handle(handle.task_id, task), got)
                    assert got == {n: [n, n] for n in range(50)}

    trio.run(main)
