"""Early acknowledgement: tasks that are over for the queue while their results are still to come.

Kept if results are in the same file, for those who wait in other processes: the result comes from the
session that acknowledged it, or if that ends first, it is `WorkerLost`.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from actorq.engines.sqlite.queue.moment import Moment
from actorq.engines.sqlite.queue.outbox import tell
from actorq.errors import WorkerLost


TABLES: Final[tuple[str, ...]] = (
    """create table actorq_early (
        task_id text primary key,
        session integer not null,
        attempt integer not null,
        alias text,
        message blob not null
    ) without rowid""",
    "create index actorq_early_of_session on actorq_early (session)",
    # the result has come, or never will
    *[
        f"""create trigger actorq_early_{table} after insert on actorq_{table} begin
            delete from actorq_early where task_id = new.task_id;
        end"""
        for table in ("results", "gone")
    ],
)


def note(moment: Moment, session: int, row: int) -> None:
    """A leased task is acknowledged: its result comes from this session, or never."""
    moment.execute(
        "insert or replace into actorq_early (task_id, session, attempt, alias, message) "
        "select task_id, ?, attempt, alias, message from actorq_tasks where id = ?",
        (session, row),
    )


def give_up(moment: Moment, session: int) -> None:
    """The session has ended: what it has not stored by now is lost."""
    query = "delete from actorq_early where session = ? returning task_id, attempt, alias, message"
    for task_id, attempt, alias, message in moment.execute(query, (session,)).fetchall():
        error = WorkerLost(
            f"the worker ended while task {task_id} ran, which had been acknowledged: there is no "
            f"other attempt"
        )
        tell(moment, task_id, attempt, error, alias, message)


def is_ending(connection: sqlite3.Connection, task_id: str) -> bool:
    """Whether a task is over for the queue, and its result on its way."""
    query = (
        "select exists (select 1 from actorq_outbox where task_id = ?) "
        "or exists (select 1 from actorq_early where task_id = ?)"
    )
    (found,) = connection.execute(query, (task_id, task_id)).fetchone()
    return bool(found)
