"""How many steps a task takes on its way, and which of them wait for the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import actorq
from actorq.engines.sqlite.queue.claiming import HELD_BACK
from actorq.engines.sqlite.storage import SQLiteStorage


pytestmark = pytest.mark.engine

NORMAL, FULL = 1, 2  #: as the pragma says it


def synchronous(connection: sqlite3.Connection) -> int:
    """Whether the connection's last commit waited for the disk."""
    (value,) = connection.execute("pragma synchronous").fetchone()
    return int(value)


async def add(n: int) -> int:
    """A task of both."""
    return n + 1


async def test_what_need_not_survive_a_power_cut_by_itself_does_not_wait(path: Path) -> None:
    """31: unless it shares its transaction with something that must."""
    storage = SQLiteStorage(path)
    await storage.open()
    await storage.write(lambda c: c.execute("create table made (x)"), synced=False)
    assert await storage.read(synchronous) == NORMAL
    await storage.write(lambda c: c.execute("insert into made values (1)"))
    assert await storage.read(synchronous) == FULL
    seen: list[int] = []

    def step(connection: sqlite3.Connection) -> None:
        seen.append(synchronous(connection))

    async with trio.open_nursery() as nursery:
        for synced in (False, True, False):  # the first may be alone, the others come together
            nursery.start_soon(partial(storage.write, step, synced=synced))
    assert seen in ([FULL] * 3, [NORMAL, FULL, FULL])
    await storage.close()


@pytest.mark.parametrize("chosen", ["normal", "off"])
async def test_a_weaker_promise_is_left_as_it_is(path: Path, chosen: str) -> None:
    """Nothing waits there, and nothing is made to."""
    storage = SQLiteStorage(path, synchronous=chosen)  # type: ignore[arg-type]
    await storage.open()
    before = await storage.read(synchronous)
    for synced in (False, True):
        await storage.write(lambda _: None, synced=synced)
        assert await storage.read(synchronous) == before
    await storage.close()


def note_waits(broker: actorq.SQLiteBroker) -> list[bool]:
    """Whether each step that its storage writes waits for the disk, as they come."""
    waits: list[bool] = []
    write = broker.storage.write

    async def noted(step: Callable[[sqlite3.Connection], Any], *, synced: bool = True) -> Any:
        waits.append(synced)
        return await write(step, synced=synced)

    broker.storage.write = noted  # type: ignore[method-assign]
    return waits


@pytest.mark.promise(31)
async def test_a_claim_waits_for_no_disk_and_all_else_does(path: Path) -> None:
    """31: what was accepted and what was settled is on the disk when its caller hears of it."""
    client, worker = actorq.SQLiteBroker(path), actorq.SQLiteBroker(path)
    task = client.task(name="add")(add)
    worker.task(name="add")(add)
    async with (
        actorq.open_system(client, role="client") as sys,
        actorq.open_system(worker, role="worker") as working,
    ):
        await (await sys.enqueue(task, 0)).result()
        await working.wait_idle()
        enqueuing, running = note_waits(client), note_waits(worker)
        assert await (await sys.enqueue(task, 1)).result() == 2
        await working.wait_idle()
    assert enqueuing[0] is True
    assert running[:2] == [False, True]


async def test_a_worker_that_hears_of_work_claims_it_in_one_step(path: Path) -> None:
    """It does not look first whether there is any."""
    client, worker = actorq.SQLiteBroker(path), actorq.SQLiteBroker(path)
    there = client.task(name="add")(add)
    worker.task(name="add")(add)
    looks = 0
    refresh = worker.refresh

    async def counted(now: float) -> None:
        nonlocal looks
        looks += 1
        await refresh(now)

    async with (
        actorq.open_system(client, role="client") as sys,
        actorq.open_system(worker, role="worker") as working,
    ):
        await (await sys.enqueue(there, 0)).result()
        await working.wait_idle()
        worker.refresh = counted  # type: ignore[method-assign]
        for n in range(5):
            assert await (await sys.enqueue(there, n)).result() == n + 1
    assert looks == 0


async def test_a_crowd_that_limits_hold_back_is_gone_through_in_slices(path: Path) -> None:
    """41: no step takes long, and those behind the crowd get their turn."""
    client, worker = actorq.SQLiteBroker(path), actorq.SQLiteBroker(path)
    ran: list[int] = []

    async def one_at_a_time(n: int) -> None:
        ran.append(n)

    crowded = client.task(name="crowded", concurrency=actorq.Concurrency(1))(one_at_a_time)
    free = client.task(name="free")(add)
    worker.task(name="crowded", concurrency=actorq.Concurrency(1))(one_at_a_time)
    worker.task(name="free")(add)
    crowd = 3 * HELD_BACK
    async with actorq.open_system(client, role="client") as sys:
        await sys.enqueue_many(crowded, [(n,) for n in range(crowd)])
        last = await sys.enqueue(free, 1)
        async with actorq.open_system(worker, role="worker"):
            waits = note_waits(worker)
            assert await last.result() == 2
            assert len(waits) > 3
            assert ran == sorted(ran)
            assert await client.storage.read(count_of("held = 'limited'")) > crowd - 100


def count_of(where: str) -> Callable[[sqlite3.Connection], int]:
    """Tasks of which this is so; a step."""

    def step(connection: sqlite3.Connection) -> int:
        query = f"select count(*) from actorq_tasks where {where}"
        return int(connection.execute(query).fetchone()[0])

    return step
