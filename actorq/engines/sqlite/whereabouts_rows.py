"""The tables by which processes say where their jobs sit, and what is read out of the queue's for it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from typing import Final

from actorq.protocol import RunningJob, WorkerInfo
from actorq.queue_choice import QueueChoice


TABLES: Final = (
    # raised by each who looks; one row
    "create table actorq_looks (number integer not null)",
    "insert into actorq_looks values (0)",
    # the last number that each process has answered
    "create table actorq_looked (peer text primary key, number integer not null) without rowid",
    "create table actorq_lines (task_id text primary key, peer text not null, line text not null)"
    " without rowid",
)

_WORKING: Final = """select distinct peer from actorq_sessions where peer <> ? and id in
    (select session from actorq_tasks where state = 'leased')"""


def workers(connection: sqlite3.Connection, *, gone: Collection[str]) -> tuple[WorkerInfo, ...]:
    """Every session, the oldest first, with its jobs, the first delivery first; not of peers *gone*."""
    jobs: dict[int, list[RunningJob]] = {}
    held = """select session, task_id, name, queue, attempt, since from actorq_tasks
        where state = 'leased' order by token"""
    for session, *job in connection.execute(held):
        jobs.setdefault(session, []).append(RunningJob(*job))
    query = (
        "select peer, worker, id, pid, host, queues, since, beat from actorq_sessions order by id"
    )
    return tuple(
        [
            WorkerInfo(
                worker,
                session,
                pid,
                host,
                _choice(queues),
                since,
                beat,
                tuple(jobs.get(session, ())),
            )
            for peer, worker, session, pid, host, queues, since, beat in connection.execute(query)
            if peer not in gone
        ]
    )


def _choice(dumped: str | None) -> QueueChoice | None:
    if dumped is None:
        return None
    plain = json.loads(dumped)
    weights = plain["weights"]
    return QueueChoice(tuple(plain["names"]), None if weights is None else tuple(weights))


def working_peers(connection: sqlite3.Connection, *, but: str) -> set[str]:
    """The other processes that have jobs."""
    return {peer for (peer,) in connection.execute(_WORKING, (but,))}


def unanswered(connection: sqlite3.Connection, *, number: int, but: str) -> bool:
    """Whether another process with jobs has not yet answered this number."""
    done = "select peer from actorq_looked where number >= ?"
    query = f"select exists ({_WORKING} and peer not in ({done}))"
    return bool(connection.execute(query, (but, number)).fetchone()[0])


def raise_number(connection: sqlite3.Connection) -> int:
    """Ask: the new number."""
    query = "update actorq_looks set number = number + 1 returning number"
    (number,) = connection.execute(query).fetchone()
    return int(number)


def take_down(
    connection: sqlite3.Connection, peer: str, number: int, where: Mapping[str, str]
) -> None:
    """Answer; what those have left that are gone goes."""
    gone = "peer not in (select peer from actorq_sessions)"
    connection.execute(f"delete from actorq_lines where peer = ? or {gone}", (peer,))
    connection.execute(f"delete from actorq_looked where {gone}")
    connection.executemany(
        "insert or replace into actorq_lines values (?, ?, ?)",
        [(task_id, peer, line) for task_id, line in where.items()],
    )
    connection.execute("insert or replace into actorq_looked values (?, ?)", (peer, number))


def lines(connection: sqlite3.Connection) -> dict[str, str]:
    """What was answered last, of jobs that still run."""
    query = """select task_id, line from actorq_lines
        where task_id in (select task_id from actorq_tasks where state = 'leased')"""
    return dict(connection.execute(query).fetchall())
