"""`actorq worker` under load: its processes are killed, it is killed itself, and another one goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import attrs
import pytest

import actorq
from crash.fleet import Fleet, Member, open_fleet
from crash.tables import look_at_the_end
from crash.verdict import Judge


pytestmark = pytest.mark.engine

COMMAND = [
    *(sys.executable, "-m", "actorq", "worker", "crash.tasks:broker"),
    *("--processes", "2", "--concurrency", "5", "--log-level", "ERROR"),
]


@attrs.define
class Killed:
    """A process that somebody else started."""

    killed: int | None
    died: int | None
    stopped: int | None = None


async def test_processes_of_the_command_line_are_killed(tmp_path: Path) -> None:
    """29, 31, 32, 34: two of its workers, then all of it: nothing lost, each repetition explained."""
    async with open_fleet(tmp_path, lease=3) as fleet:
        parent = await fleet.run("command", COMMAND)
        await fleet.start("client", 7, 580, "MIXED", "")
        dead: dict[int, Killed] = {}
        for begun in (60, 150):
            last = await nth_begun(fleet, begun)
            dead[last] = kill(last)
        await nth_begun(fleet, 300)
        children = {entry.pid for entry in fleet.journal.said("begin")} - {*dead}
        parent.signal(signal.SIGKILL)
        dead |= {pid: Killed(time.monotonic_ns(), None) for pid in children}
        await parent.process.wait()
        second = await fleet.run("command", COMMAND)
        await fleet.journal.until(lambda: bool(fleet.journal.said("enqueued")))
        results = await wait_for_all(fleet)
        for each in dead.values():
            each.died = each.died or time.monotonic_ns()
        await stop(second)
        judge = Judge(fleet, results, dead)
        verdict = judge.judge()
        assert not verdict.complaints, verdict.complaints
        assert verdict.again
        assert not look_at_the_end(fleet.file, judge.accepted)


async def nth_begun(fleet: Fleet, count: int) -> int:
    """When so many executions have begun: the process of the last one."""
    await fleet.journal.until(lambda: len(fleet.journal.said("begin")) >= count)
    return fleet.journal.said("begin")[-1].pid


def kill(pid: int) -> Killed:
    """SIGKILL to a process whose parent is another."""
    before = time.monotonic_ns()
    os.kill(pid, signal.SIGKILL)
    return Killed(before, time.monotonic_ns() + 50_000_000)


async def wait_for_all(fleet: Fleet) -> dict[str, actorq.TaskResult[object] | None]:
    """The result of each task that was accepted."""
    async with actorq.open_system(fleet.client(), role="client") as sys_:
        return {
            task_id: await sys_.handle(task_id).wait_result()
            for entry in fleet.journal.said("accepted")
            for task_id in entry.words[2:]
        }


async def stop(member: Member) -> None:
    """SIGTERM, and a good end."""
    member.signal(signal.SIGTERM)
    assert await member.process.wait() == 0
