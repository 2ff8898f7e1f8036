"""Promises of the queue with real processes on one SQLite file: killed, stopped, out of their minds."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

import actorq
from crash import tasks
from crash.fleet import Fleet, Member, open_fleet
from crash.journal import Entry
from crash.rounds import missing_slots
from crash.tables import look_at_the_end
from crash.verdict import Execution, executions


pytestmark = pytest.mark.engine

LEASE = 2.0


@asynccontextmanager
async def fleet_and_client(
    folder: Path, *, lease: float = LEASE
) -> AsyncIterator[tuple[Fleet, actorq.System]]:
    """A fleet without processes yet, and a system in this one that only asks."""
    async with (
        open_fleet(folder, lease=lease, patience=30) as fleet,
        actorq.open_system(fleet.client(), role="client") as sys,
    ):
        yield fleet, sys


async def worker(fleet: Fleet, concurrency: int = 10) -> Member:
    """One more, that is up."""
    member = await fleet.start("worker", concurrency)
    await fleet.up(member)
    return member


async def began(fleet: Fleet, count: int = 1) -> list[Entry]:
    """Return when so many executions have begun in all."""
    await fleet.journal.until(lambda: len(fleet.journal.said("begin")) >= count)
    return fleet.journal.said("begin")


def runs_of(fleet: Fleet, task_id: str) -> list[Execution]:
    """All executions of a task."""
    return executions(fleet.journal.entries).get(task_id, [])


async def test_what_a_killed_worker_had_runs_elsewhere(tmp_path: Path) -> None:
    """29, A01: ten jobs of a worker that is killed run again on another one, soon and once."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        first = await worker(fleet)
        handles = await sys.enqueue_many(tasks.hold, [(1,)] * 10)
        await began(fleet, 10)
        await worker(fleet)
        killed = time.monotonic_ns()
        first.signal(signal.SIGKILL)
        for handle in handles:
            assert (await handle.wait_result()).attempts == 2
            once, again = runs_of(fleet, handle.task_id)
            assert once.pid == first.pid
            assert again.pid != first.pid
            assert (again.began - killed) / 1e9 < 2 * LEASE


async def test_the_dead_are_noticed_long_before_their_lease_ends(tmp_path: Path) -> None:
    """29: with a lease of an hour, what a killed worker had runs again within seconds."""
    async with fleet_and_client(tmp_path, lease=3600) as (fleet, sys):
        first = await worker(fleet)
        handle = await sys.enqueue(tasks.hold, 1)
        await began(fleet)
        await worker(fleet)
        killed = time.monotonic_ns()
        first.signal(signal.SIGKILL)
        await handle.result()
        assert (runs_of(fleet, handle.task_id)[1].began - killed) / 1e9 < 10


async def test_what_was_accepted_outlives_all_processes(tmp_path: Path) -> None:
    """31: workers and client are killed at once; another worker, and later another client, go on."""
    async with open_fleet(tmp_path, lease=LEASE) as fleet:
        await worker(fleet, 2)
        client = await fleet.start("client", 0, 60, "PLAIN", "")
        await fleet.journal.until(lambda: len(fleet.journal.said("accepted")) > 10)
        for member in fleet.living("worker", "client"):
            member.signal(signal.SIGKILL)
        await client.process.wait()
        await worker(fleet)
        accepted = [each for entry in fleet.journal.said("accepted") for each in entry.words[2:]]
        async with actorq.open_system(fleet.client(), role="client") as sys:
            for task_id in accepted:
                assert not (await sys.handle(task_id).wait_result()).is_err


async def test_a_stopped_worker_is_fenced_off(tmp_path: Path) -> None:
    """34: who is stopped for longer than its lease is not heard afterwards, and its job is cancelled."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        stopped = await worker(fleet)
        handle = await sys.enqueue(tasks.hold, 1)
        await began(fleet)
        stopped.signal(signal.SIGSTOP)
        await worker(fleet)
        outcome = await handle.wait_result()
        stopped.signal(signal.SIGCONT)
        await fleet.journal.until(lambda: bool(fleet.journal.said("cancelled", stopped.pid)))
        first, second = runs_of(fleet, handle.task_id)
        assert (first.how, second.how) == ("cancelled", "end")
        assert outcome.return_value == second.name
        assert await handle.result() == second.name


async def test_a_late_result_is_refused(tmp_path: Path) -> None:
    """34: a job in a thread goes on to its end after the lease is lost; its result is nobody's."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        stopped = await worker(fleet)
        # long enough that it has not ended when the process is stopped
        handle = await sys.enqueue(tasks.in_thread, 1.0)
        await began(fleet)
        stopped.signal(signal.SIGSTOP)
        await worker(fleet)
        outcome = await handle.wait_result()
        stopped.signal(signal.SIGCONT)
        await fleet.journal.until(lambda: bool(fleet.journal.said("end", stopped.pid)))
        await fleet.stop("worker")  # all that it had to say is said
        first, second = runs_of(fleet, handle.task_id)
        assert (first.how, first.pid) == ("end", stopped.pid)
        assert outcome.return_value == second.name
        assert await handle.result() == second.name


async def test_a_busy_loop_costs_no_lease(tmp_path: Path) -> None:
    """35: a job that holds up its worker's event loop for more than two leases keeps its lease."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        await worker(fleet)
        handles = [await sys.enqueue(tasks.hold, 0), await sys.enqueue(tasks.stall, 2.5 * LEASE)]
        await began(fleet, 2)
        await worker(fleet)
        for handle in handles:
            outcome = await handle.wait_result()
            assert (outcome.attempts, outcome.is_err) == (1, False)
            assert len(runs_of(fleet, handle.task_id)) == 1


async def test_a_long_job_keeps_its_lease(tmp_path: Path) -> None:
    """35: a job of three leases runs once, with another worker waiting for it."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        await worker(fleet)
        handle = await sys.enqueue(tasks.step, 3 * LEASE)
        await began(fleet)
        await worker(fleet)
        assert (await handle.wait_result()).attempts == 1
        assert len(runs_of(fleet, handle.task_id)) == 1


async def test_a_running_job_is_cancelled_from_another_process(tmp_path: Path) -> None:
    """36: its scope is cancelled, its waiters are told, and it does not come back."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        await worker(fleet)
        handle = await sys.enqueue(tasks.hold, 9)
        await began(fleet)
        assert await handle.cancel()
        with pytest.raises(actorq.TaskCancelled):
            await handle.result()
        await fleet.journal.until(lambda: bool(fleet.journal.said("cancelled")))
        await fleet.stop("worker")
        (run,) = runs_of(fleet, handle.task_id)
        assert run.how == "cancelled"


async def test_a_waiting_task_is_cancelled_from_another_process(tmp_path: Path) -> None:
    """36: it never starts; what has ended cannot be cancelled."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        handle, other = await sys.enqueue_many(tasks.step, [(0.0,)] * 2)
        assert await handle.cancel()
        await worker(fleet)
        await other.result()
        with pytest.raises(actorq.TaskCancelled):
            await handle.result()
        assert not await other.cancel()
        await fleet.stop("worker")
        assert not runs_of(fleet, handle.task_id)


async def test_tasks_start_in_order(tmp_path: Path) -> None:
    """37: in the order in which another process enqueued them, a higher priority first."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        handles = await sys.enqueue_many(tasks.step, [(0.0,)] * 50)
        urgent = await sys.enqueue(tasks.step.using(priority=1), 0.0)
        await worker(fleet, 1)
        for handle in handles:
            await handle.result()
        expected = [urgent.task_id, *(handle.task_id for handle in handles)]
        assert [entry.words[0] for entry in fleet.journal.said("begin")] == expected


async def test_a_delay_outlives_its_workers(tmp_path: Path) -> None:
    """38, A21: neither early nor lost, though the worker is killed; what expired never starts."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        first = await worker(fleet)
        due = time.time() + 1.5
        handle = await sys.enqueue(tasks.step.using(eta=datetime.fromtimestamp(due, tz=UTC)), 0.0)
        first.signal(signal.SIGKILL)
        await first.process.wait()
        expired = await sys.enqueue(tasks.step.using(expires=0.2), 0.0)
        with pytest.raises(actorq.TaskExpired):
            await expired.result()
        await worker(fleet)
        await handle.result()
        assert time.time() >= due
        await fleet.stop("worker")
        assert not runs_of(fleet, expired.task_id)


async def test_of_many_processes_with_one_key_one_wins(tmp_path: Path) -> None:
    """39: four processes enqueue under one key at once; one call is stored, the others learn which."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        rivals = [await fleet.start("rival", "tea", 25) for _ in range(4)]
        for rival in rivals:
            assert await rival.process.wait() == 0
        await fleet.journal.until(
            lambda: len(fleet.journal.said("accepted")) + len(fleet.journal.said("refused")) == 100
        )
        (accepted,) = fleet.journal.said("accepted")
        winner = accepted.words[2]
        assert {entry.words[0] for entry in fleet.journal.said("refused")} == {winner}
        await worker(fleet)
        await sys.handle(winner).wait_result()
        assert (await sys.enqueue(tasks.only_one, "tea")).task_id != winner


async def test_each_slot_runs_once_for_any_number_of_schedulers(tmp_path: Path) -> None:
    """40, A25: three schedulers, of which two are killed and replaced: no slot twice, none left out."""
    async with fleet_and_client(tmp_path) as (fleet, _sys):
        await worker(fleet)
        for _ in range(3):
            await fleet.start("scheduler")
        for count in (4, 8):
            await began(fleet, count)
            fleet.living("scheduler")[0].signal(signal.SIGKILL)
            await fleet.start("scheduler")
        await began(fleet, 16)
        await fleet.stop("scheduler")
        await fleet.stop("worker")
        ran = executions(fleet.journal.entries)
        assert {len(runs) for runs in ran.values()} == {1}
        assert not missing_slots(ran)


async def test_a_limit_holds_over_all_workers(tmp_path: Path) -> None:
    """41, A36: three workers never run more than three of it, and a killed one's permits come back."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        handles = await sys.enqueue_many(tasks.limited, [()] * 60)
        first = await worker(fleet)
        await worker(fleet)
        await worker(fleet)
        await began(fleet, 10)
        killed = time.monotonic_ns()
        first.signal(signal.SIGKILL)
        for handle in handles:
            assert not (await handle.wait_result()).is_err
        runs = [run for each in executions(fleet.journal.entries).values() for run in each]
        for run in runs:
            over = [other.ended if other.how else killed for other in runs]
            at_once = sum(
                other.began <= run.began < until for other, until in zip(runs, over, strict=True)
            )
            assert at_once <= tasks.LIMIT


async def test_who_cannot_be_understood_hurts_nobody(tmp_path: Path) -> None:
    """42: what no worker knows waits, what cannot be read is dead, and the rest runs."""
    async with fleet_and_client(tmp_path) as (fleet, sys):

        @actorq.task(name="elsewhere:unknown")
        async def unknown() -> None:
            """Of a program that has no worker yet."""

        await worker(fleet)
        strange = await sys.enqueue(unknown)
        handles = await sys.enqueue_many(tasks.step, [(0.0,)] * 5)
        for handle in handles:
            await handle.result()
        assert (await sys.queue_statistics()).parked == 1
        async with actorq.open_system(fleet.client(), role="worker", tasks=[unknown]):
            with trio.fail_after(10):
                await strange.result()


async def test_a_lost_word_delays_and_nothing_more(tmp_path: Path) -> None:
    """43: the sockets by which processes wake one another are gone; all is found within the re-check."""
    async with fleet_and_client(tmp_path, lease=30) as (fleet, sys):
        await worker(fleet)
        await (await sys.enqueue(tasks.step, 0.0)).result()
        for path in tmp_path.glob("crash.db*"):
            if path.is_dir():
                shutil.rmtree(path)
        for _ in range(3):
            asked = time.monotonic()
            await (await sys.enqueue(tasks.step, 0.0)).result()
            # once until the worker sees the task, once until the client sees its end
            assert time.monotonic() - asked < 2 * 1.0 + 1.0


async def test_two_workers_share_evenly(tmp_path: Path) -> None:
    """A17: of 40 tasks one by one in each of two workers, each runs about half."""
    async with fleet_and_client(tmp_path) as (fleet, sys):
        await worker(fleet, 1)
        await worker(fleet, 1)
        for handle in await sys.enqueue_many(tasks.step, [(0.05,)] * 40):
            await handle.result()
        share = Counter(entry.pid for entry in fleet.journal.said("begin"))
        assert sum(share.values()) == 40
        assert max(share.values()) <= 24


async def test_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """31: eight processes find no file; all of them make it, and work."""
    async with open_fleet(tmp_path, lease=LEASE) as fleet:
        workers = [await fleet.start("worker", 2) for _ in range(8)]
        for member in workers:
            await fleet.up(member)
        async with actorq.open_system(fleet.client(), role="client") as sys:
            handles = await sys.enqueue_many(tasks.step, [(0.01,)] * 40)
            for handle in handles:
                await handle.result()
        assert all(member.lives for member in workers)
        await fleet.stop("worker")
        assert not look_at_the_end(fleet.file, [handle.task_id for handle in handles])
