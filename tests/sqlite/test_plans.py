"""No transition looks at more rows than it is about, whatever SQLite knows of the tables."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

import actorq
from actorq.limits import Pace, Permit
from actorq.protocol import Ending
from actorq.testing.contracts.host import Host, call
from sqlite.test_queue import queue


pytestmark = pytest.mark.engine

#: Tables that may be read from end to end: they have a row for each process, queue, or name.
SMALL = (
    *("actorq_marks", "actorq_meta", "actorq_paused", "actorq_peers"),
    "actorq_sessions",
)
#: A `limit` ends these, or nobody is in a hurry.
LISTED = (
    *("select distinct peer from actorq_outbox", "select peer from actorq_sessions union"),
    "select queue from actorq_counts indexed by actorq_counts_busy",  # those with work to give
    *("select queue, place, n from actorq_counts", "select task_id from actorq_tasks where queue"),
)
#: What stops such a look at the first row, or after some.
ENDS = re.compile(r"\b(limit|exists|min)\b")
#: Indexes that hold only what is looked for.
FIRST = (
    *("actorq_tasks_claimable", "actorq_tasks_leased", "actorq_tasks_scheduled"),
    *("actorq_tasks_expiring", "actorq_paces_alarms", "actorq_steps_broken", "actorq_counts_busy"),
)


async def everything(host: Host) -> None:
    """Each transition at least once."""
    bench = host.first
    now = host.now
    key = actorq.Unique(on_conflict="replace").resolved("k")
    await bench.enqueue(call("a"), call("b"), call("c"), call("retried"), call("parked"))
    await bench.enqueue(
        call("later", eta=now + 5), call("expires", expires_at=now + 1, eta=now + 9)
    )
    await bench.enqueue(call("u1", unique=key), call("u2", unique=key))
    for n in range(3):
        await bench.enqueue(
            call(f"l{n}", permits=(Permit("p", 1),)),
            call(f"r{n}", paces=(Pace("q", 1, 2.0, True),)),
        )
    await bench.enqueue(call("s", chain=(call("s.1"),)), call("z", chain=(call("z.1"),)))
    session = await bench.session()
    jobs = {each.fence.task_id: each for each in await bench.claim(session)}
    await bench.cancel("b")
    await bench.settle(session, Ending.DONE, jobs["a"], jobs["l0"])
    await bench.settle(session, Ending.RETRY, jobs["retried"], delay=3.0)
    await bench.settle(session, Ending.PARK, jobs["parked"])
    await bench.settle(session, Ending.DONE, jobs["s"], then=(call("s.1"),))
    await bench.settle(session, Ending.DEAD, jobs["z"], jobs["c"])
    await bench.notices(session)
    for _ in range(4):
        await host.wait(3.0)
        await bench.extend(session)
        await bench.claim(session)
    await bench.cancel("nobody's")
    await bench.broker.release("add")
    await bench.broker.set_paused("other", paused=True)
    await bench.counts()
    await bench.broker.set_paused("other", paused=False)
    await bench.broker.purge("nobody's", host.now)
    await bench.broker.replay([("c", call("c2"))], host.now)
    await bench.told()
    await bench.session()  # ends the first
    await host.wait(bench.lease)
    await bench.counts()
    await bench.where("a", "s.1", "nobody's")
    await bench.broker.is_ending("a")
    await bench.broker.dead_task("z")


@pytest.fixture(params=["unknown", "few", "many"])
def known(request: pytest.FixtureRequest) -> str:
    """What SQLite has been told of how many rows there are (`analyze`)."""
    name: str = request.param
    return name


async def test_no_transition_scans_a_table_or_sorts(path: Path, known: str) -> None:
    """A million tasks cost each of them what a thousand do."""
    said: set[str] = set()
    async with queue(path) as host:
        bench = host.first
        storage = bench.broker.storage  # type: ignore[attr-defined]
        if known == "many":
            await bench.enqueue(*[call(f"t{n}", queue="other") for n in range(3_000)])
        if known != "unknown":
            await storage.write(lambda connection: connection.execute("analyze"))
        await storage.read(lambda connection: connection.set_trace_callback(said.add))
        await everything(host)
        await storage.read(lambda connection: connection.set_trace_callback(None))
    connection = sqlite3.connect(path)
    try:
        checked = 0
        for statement in {
            re.sub(r"'[^']*'|\b\d+(\.\d+)?\b", "?", each): each for each in said
        }.values():
            if not re.match(r"(select|insert|update|delete|replace)\b", statement, re.IGNORECASE):
                continue
            if statement.startswith(LISTED):
                continue
            checked += 1
            for *_, step in connection.execute(f"explain query plan {statement}"):
                table = re.match(r"SCAN (actorq_\w+)(.*INDEX (\w+))?", step)
                if table and table[1] not in SMALL:
                    # the first of those that an index holds
                    assert table[3] in FIRST, f"{step}: {statement}"
                    assert ENDS.search(statement), f"{step}: {statement}"
                assert "TEMP B-TREE" not in step, f"{step}: {statement}"
        assert checked > 40
    finally:
        connection.close()
