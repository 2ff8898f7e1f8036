"""What a machine does to a queue: full disks, files that vanish, clocks that are wrong, locks held."""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest
import trio

import actorq
from crash import tasks
from crash.fleet import open_fleet
from crash.program import PAGES, WALL
from crash.tables import look, look_at_the_end
from crash.test_promises import LEASE, began, fleet_and_client, runs_of, worker
from crash.verdict import executions


pytestmark = pytest.mark.engine


async def test_a_wrong_wall_clock_takes_no_lease(tmp_path: Path) -> None:
    """34, 35: workers whose clocks are an hour off, this way and that, take nobody's jobs."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        await worker(fleet, 5)
        for off in (3600, -3600):
            odd = await fleet.start("worker", 5, environment={WALL: str(off)})
            await fleet.up(odd)
        handles = await sys.enqueue_many(tasks.step, [(1.5 * LEASE,)] * 15)
        for handle in handles:
            assert (await handle.wait_result()).attempts == 1
        assert {len(runs) for runs in executions(fleet.journal.entries).values()} == {1}


async def test_a_killed_worker_with_a_wrong_clock_is_noticed(tmp_path: Path) -> None:
    """29: what it had runs again, as if its clock had been right."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        odd = await fleet.start("worker", 5, environment={WALL: "3600"})
        await fleet.up(odd)
        handle = await sys.enqueue(tasks.hold, 1)
        await began(fleet)
        await worker(fleet)
        killed = time.monotonic_ns()
        odd.signal(signal.SIGKILL)
        await handle.result()
        assert (runs_of(fleet, handle.task_id)[1].began - killed) / 1e9 < 2 * LEASE


async def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """31: who enqueues is told in words that help; what was accepted runs when there is room."""
    async with open_fleet(tmp_path, lease=LEASE) as fleet:
        small = {PAGES: "200"}
        client = await fleet.start("fill", 20_000, environment=small)
        await fleet.journal.until(lambda: bool(fleet.journal.said("refused")))
        (refused,) = fleet.journal.said("refused")
        assert refused.words[0] == "EngineUnavailable"
        assert "full" in refused.words[1]
        working = await fleet.start("worker", 4, environment=small)
        await fleet.up(working)
        for member in (working, client):
            member.signal(signal.SIGUSR1)  # there is room
        client.signal(signal.SIGUSR2)
        assert await client.process.wait() == 0
        async with actorq.open_system(fleet.client(), role="client") as sys:
            accepted = [entry.words[2] for entry in fleet.journal.said("accepted")]
            for task_id in accepted:
                assert not (await sys.handle(task_id).wait_result()).is_err
        await fleet.stop("worker")
        assert not look_at_the_end(fleet.file, accepted)
        assert {len(runs) for runs in executions(fleet.journal.entries).values()} == {1}


async def test_a_file_that_vanishes_is_told_of(tmp_path: Path) -> None:
    """31: who enqueues learns that the file is gone; workers end well when they are told to."""
    async with open_fleet(tmp_path, lease=LEASE) as fleet:
        await worker(fleet)
        async with actorq.open_system(fleet.client(), role="client") as sys:
            await (await sys.enqueue(tasks.step, 0.0)).result()
            for path in tmp_path.glob("crash.db*"):
                if path.is_file():
                    path.unlink()
            with pytest.raises(actorq.EngineUnavailable, match=r"gone|deleted|moved|replaced"):
                await sys.enqueue(tasks.step, 0.0)
        await fleet.stop("worker")


@pytest.mark.parametrize("seconds", [0.5 * LEASE, 1.7 * LEASE])
async def test_a_lock_held_by_others_costs_no_lease(seconds: float, tmp_path: Path) -> None:
    """35: while another program writes to the file nobody can renew a lease; none is lost for that."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        for _ in range(3):
            await worker(fleet)
        handles = await sys.enqueue_many(tasks.step, [(seconds + LEASE,)] * 30)
        await began(fleet, 30)

        def hold() -> None:
            connection = sqlite3.connect(fleet.file, isolation_level=None, timeout=30)
            connection.execute("begin immediate")
            time.sleep(seconds)
            connection.execute("rollback")
            connection.close()

        await trio.to_thread.run_sync(hold)
        for handle in handles:
            assert (await handle.wait_result()).attempts == 1
        assert not await trio.to_thread.run_sync(
            look, fleet.file, [handle.task_id for handle in handles]
        )
