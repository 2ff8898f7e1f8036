"""Faults of servers, a round or two of each; `make fault-rounds` plays as many as one likes."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
import trio

import actorq
from crash import tasks
from crash.faults import FAULTS, LEASE, RECHECK, TIMEOUT, play
from crash.fleet import Fleet, open_fleet
from crash.verdict import executions
from servers.fixtures import running
from servers.postgres import PostgresServer
from servers.process import Server
from servers.redis import RedisServer


pytestmark = pytest.mark.engine

ROUNDS = int(os.environ.get("ACTORQ_FAULT_ROUNDS", "2" if os.environ.get("CI") else "1"))
#: The first seed; the same in CI, another one at the desk.
SEED = int(
    os.environ.get("ACTORQ_FAULT_SEED", 1 if os.environ.get("CI") else random.randrange(10**6))
)
ALL = [
    (engine, fault) for fault in FAULTS.values() for engine in fault.engines if engine != "sqlite"
]


@pytest.mark.parametrize(("engine", "name"), [(engine, fault.name) for engine, fault in ALL])
async def test_whatever_befalls_the_server_nothing_is_lost(
    engine: str, name: str, tmp_path: Path
) -> None:
    """28, 29, 31, 32, 33, 34, 35, 38, 40, 43: and who was cut off goes on when it is over."""
    report = await play(engine, FAULTS[name], SEED, ROUNDS, tmp_path, tasks_of_a_round=150)
    complaints = report.verdict.complaints
    assert not complaints, f"{complaints}\nwith ACTORQ_FAULT_SEED={SEED} of {engine} {name}"
    assert report.faults == ROUNDS


@pytest.mark.parametrize("kind", [RedisServer, PostgresServer])
async def test_an_empty_server_in_its_place_is_noticed(
    kind: type[RedisServer | PostgresServer], tmp_path: Path
) -> None:
    """28, 31: what was there is gone, and everybody says so; what comes after it is done."""
    with running(kind()) as server:
        url = f"{server.url}?recheck={RECHECK}&timeout={TIMEOUT}"
        async with open_fleet(tmp_path, lease=LEASE, url=url) as fleet:
            workers = [await fleet.start("worker", 5) for _ in range(2)]
            for each in workers:
                await fleet.up(each)
            async with actorq.open_system(fleet.client(), role="client") as sys:
                handles = await sys.enqueue_many(tasks.step, [(0.01,)] * 20)
                held = await sys.enqueue_many(tasks.hold, [(1,)] * 5)
                for handle in handles:
                    await handle.wait_result()
                await fleet.journal.until(lambda: len(fleet.journal.said("begin")) >= 25)
                for number in range(2):
                    await trio.to_thread.run_sync(replace, server)
                    await insist_on_twenty(fleet, sys)
                    said = fleet.log.read_text().count("lost all its data")
                    assert said == 2 * (number + 1)
                assert all(each.lives for each in workers)
                assert {held_one.task_id for held_one in held} & {
                    *executions(fleet.journal.entries)
                }
            for each in workers:
                each.signal(signal.SIGKILL)


def replace(server: Server) -> None:
    """By an empty one."""
    server.kill()
    server.forget()
    server.start()


async def insist_on_twenty(fleet: Fleet, sys: actorq.System) -> None:
    """Twenty tasks, which all end, and of which each worker does some."""
    before = len(fleet.journal.entries)
    while True:
        try:
            handles = await sys.enqueue_many(tasks.step, [(4 * RECHECK,)] * 20)
            break
        except (actorq.EngineUnavailable, actorq.EnqueueUncertain):
            await trio.sleep(0.05)
    for handle in handles:
        while True:
            try:
                assert not (await handle.wait_result()).is_err
                break
            except (actorq.EngineUnavailable, actorq.ResultGetError):
                await trio.sleep(0.05)
    began = {each.pid for each in fleet.journal.entries[before:] if each.what == "begin"}
    assert began == {each.pid for each in fleet.living("worker")}
