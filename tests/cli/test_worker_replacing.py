"""Processes of `actorq worker` that are replaced, and what else they do with real tasks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from actorq.cli import exits
from cli.running import running
from cli.shop import customer, open_shop


pytestmark = pytest.mark.engine

WORKER = ("worker", "jobs:broker", "--json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the program of the workers."""
    open_shop(tmp_path)
    return tmp_path


async def test_a_process_is_replaced_after_so_many_tasks(folder: Path) -> None:
    """A30: nothing is lost, nothing runs twice, and no death is counted."""
    limits = ("--max-jobs-per-process", "5", "--concurrency", "2", "--max-restarts", "0")
    async with customer(folder) as shop, running(folder, *WORKER, *limits) as program:
        handles = await shop.system.enqueue_many(shop.nap, [(0.001,)] * 20)
        pids = [await handle.result() for handle in handles]
        assert len(set(pids)) >= 3
        assert max(map(pids.count, pids)) <= 6  # two run at a time
        began = [line for line in program.err.seen if line.startswith("nap")]
        assert len(began) == 20
        assert all("attempt=1 " in line for line in began)
        assert "has run 5 tasks" in (await program.event("replaced"))["why"]
        program.signal(signal.SIGTERM)
        assert await program.end() == exits.OK
        assert "died" not in program.events()


async def test_a_process_that_has_grown_is_replaced(folder: Path) -> None:
    """And what it held is free again."""
    limits = ("--max-memory", "250M", "--max-restarts", "0")
    async with customer(folder) as shop, running(folder, *WORKER, *limits) as program:
        first = await (await shop.system.enqueue(shop.grow, 1)).result()
        assert await (await shop.system.enqueue(shop.grow, 300)).result() == first
        replaced = await program.event("replaced")
        assert replaced["pid"] == first
        assert "more than 250M" in replaced["why"]
        assert await (await shop.system.enqueue(shop.grow, 1)).result() != first
        program.signal(signal.SIGTERM)
        assert await program.end() == exits.OK


async def test_a_failed_task_is_logged(folder: Path) -> None:
    """With the name of its process; the task's error is its enqueuer's."""
    async with customer(folder) as shop, running(folder, *WORKER) as program:
        handle = await shop.system.enqueue(shop.fail)
        with pytest.raises(RuntimeError, match="of no use"):
            await handle.result()
        line = await program.says("failed for good")
        assert "worker-1 WARNING actorq.worker: task jobs:fail" in line
        assert "of no use" in line


async def test_only_the_chosen_queues_are_served(folder: Path) -> None:
    """What is in others waits."""
    arguments = ("--queues", "mail,images")
    async with customer(folder) as shop, running(folder, *WORKER, *arguments) as program:
        await shop.system.enqueue(shop.nap.using(queue="other"), 0.0)
        served = await shop.system.enqueue(shop.nap.using(queue="images"), 0.0)
        await served.result()
        await program.event("ready")
        assert (await shop.system.queue_statistics()).ready == 1


async def test_schedules_are_run_beside_the_workers(folder: Path) -> None:
    """40: two such parents, and each slot is run once."""
    program = (folder / "jobs.py").read_text() + SCHEDULED
    (folder / "jobs.py").write_text(program)
    arguments = ("worker", "jobs:broker", "--json", "--scheduler")
    async with running(folder, *arguments) as one, running(folder, *arguments) as other:
        await one.event("ready")
        await other.event("ready")
        slots = folder / "slots"
        while not slots.exists() or len(slots.read_text().splitlines()) < 8:
            await trio.sleep(0.05)
        for each in (one, other):
            each.signal(signal.SIGTERM)
            assert await each.end() == exits.OK
        told = slots.read_text().splitlines()
        assert len(set(told)) == len(told)


SCHEDULED = """
@broker.task(schedule=[actorq.every(0.25)])
async def slot(ctx: actorq.Context = actorq.Depends()) -> None:
    with open("slots", "a") as file:
        file.write(ctx.task_id + "\\n")
"""
