"""The tables of schedules in a SQLite file, and the steps on them.

A change that somebody has made is announced by a row in a short log, which each listener reads from
where it was; a scheduler's own progress is written without one.
"""

from __future__ import annotations

import sqlite3
from typing import Final


TABLES: Final = (
    """create table actorq_schedules (
        id text primary key,
        version text not null,
        state text not null
    )""",
    """create table actorq_schedule_changes (
        seq integer primary key autoincrement,
        id text not null
    )""",
)

#: Announcements that are kept: who has missed more loads all.
CHANGES_KEPT: Final = 1000


def swap(
    connection: sqlite3.Connection,
    schedule_id: str,
    version: str | None,
    new: tuple[str, str] | None,
    *,
    announce: bool,
) -> bool:
    """Put *new*, a version and a state, in place of that *version*; False if it is not there."""
    if new is None and version is None:
        done = fetch(connection, schedule_id) is None
    elif new is None:
        done = (
            connection.execute(
                "delete from actorq_schedules where id = ? and version = ?", (schedule_id, version)
            ).rowcount
            == 1
        )
    elif version is None:
        done = (
            connection.execute(
                "insert or ignore into actorq_schedules (id, version, state) values (?,?,?)",
                (schedule_id, *new),
            ).rowcount
            == 1
        )
    else:
        done = (
            connection.execute(
                "update actorq_schedules set version = ?, state = ? where id = ? and version = ?",
                (*new, schedule_id, version),
            ).rowcount
            == 1
        )
    if done and announce:
        cursor = connection.execute(
            "insert into actorq_schedule_changes (id) values (?)", (schedule_id,)
        )
        connection.execute(
            "delete from actorq_schedule_changes where seq <= ?",
            ((cursor.lastrowid or 0) - CHANGES_KEPT,),
        )
    return done


def fetch(connection: sqlite3.Connection, schedule_id: str) -> str | None:
    """The state of one."""
    found = connection.execute(
        "select state from actorq_schedules where id = ?", (schedule_id,)
    ).fetchone()
    return None if found is None else found[0]


def newest_change(connection: sqlite3.Connection) -> int:
    """The number of the last announcement."""
    found: int = connection.execute(
        "select coalesce(max(seq), 0) from actorq_schedule_changes"
    ).fetchone()[0]
    return found


def changes_after(connection: sqlite3.Connection, seen: int) -> tuple[int, list[str] | None]:
    """The newest number, and the ids announced after *seen*; None: some were dropped meanwhile."""
    newest = newest_change(connection)
    if newest - seen > CHANGES_KEPT:
        return newest, None
    found = connection.execute(
        "select distinct id from actorq_schedule_changes where seq > ?", (seen,)
    )
    return newest, [schedule_id for (schedule_id,) in found]
