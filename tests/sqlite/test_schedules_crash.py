"""40. Several scheduler processes, killed again and again: each slot is enqueued exactly once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
import trio

import actorq

from .here import HERE


pytestmark = pytest.mark.engine

PROGRAM = Path(__file__).with_name("scheduler_program.py")


def start(path: Path) -> subprocess.Popen[str]:
    """A scheduler that is at work."""
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path)], stdout=subprocess.PIPE, env=HERE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_schedulers_fire_each_slot_once(seed: int, path: Path) -> None:
    """40: no slot is left out, and none runs twice."""
    dice = random.Random(seed)
    ran: list[str] = []
    broker = actorq.SQLiteBroker(path)

    @broker.task(name="tick")
    async def tick(ctx: actorq.Context = actorq.Depends()) -> None:
        ran.append(ctx.task_id)
        bell.set()

    bell = trio.Event()

    async def heard(count: int) -> None:
        nonlocal bell
        while len(ran) < count:
            bell = trio.Event()
            await bell.wait()

    async def main() -> None:
        async with actorq.open_system(broker, role="worker"):
            programs = [await trio.to_thread.run_sync(start, path) for _ in range(3)]
            try:
                for _ in range(4):
                    await heard(len(ran) + dice.randrange(3, 8))
                    victim = programs.pop(dice.randrange(len(programs)))
                    victim.kill()
                    victim.communicate()
                    programs.append(await trio.to_thread.run_sync(start, path))
                await heard(len(ran) + 10)
            finally:
                for program in programs:
                    program.kill()
                    program.communicate()

    async def bounded() -> None:
        with trio.fail_after(90):
            await main()

    trio.run(bounded)
    assert [task for task, times in Counter(ran).items() if times > 1] == []
    slots = sorted(datetime.fromisoformat(task.rpartition("@")[2]).timestamp() for task in ran)
    steps = [round(later - earlier, 3) for earlier, later in pairwise(slots)]
    assert set(steps) == {0.1}
