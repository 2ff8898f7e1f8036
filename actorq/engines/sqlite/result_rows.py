"""The tables of results and progress in a SQLite file, and the steps on them.

Functions of a connection: the result backend does them in steps of its own, and who settles a task in
this file stores its result in the same step (`store_row`).  Rows are numbered upwards (`seq`), so
that a process finds what is new since it last looked, at a cost of what is new or of who waits,
whichever is less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

from actorq.engines.stored_result import GONE_KEPT, Keeping, Row
from actorq.errors import StaleResult


TABLES: Final = (
    """create table actorq_results (
        seq integer primary key autoincrement,
        task_id text not null unique,
        attempt integer not null,
        expires real,
        data blob not null
    )""",
    "create index actorq_results_expires on actorq_results (expires) where expires is not null",
    """create table actorq_progress (
        seq integer primary key autoincrement,
        task_id text not null unique,
        attempt integer not null,
        expires real,
        data blob not null
    )""",
    "create index actorq_progress_expires on actorq_progress (expires) where expires is not null",
    # whose result cannot be had any more, or never will be
    """create table actorq_gone (
        seq integer primary key autoincrement,
        task_id text not null unique,
        why text not null
    )""",
)

#: Expired rows that one step takes out, at most: no step takes long.
SWEPT: Final = 64
#: Parameters of one statement.
CHUNK: Final = 500


# --- steps: in the storage's thread ---


def store_row(connection: sqlite3.Connection, row: Row, now: float, keeping: Keeping) -> None:
    """Store one result; raises `StaleResult` if a later attempt's is there (34).

    What is stored after a worker's death does not replace what that worker had stored.
    """
    task_id, attempt, ttl, data, lost = row
    ttl = keeping.ttl if ttl is None else ttl
    values = (task_id, attempt, None if ttl is None else now + ttl, data)
    if connection.execute(_INSERT, values).rowcount:
        return
    (stored, expires) = connection.execute(
        "select attempt, expires from actorq_results where task_id = ?", (task_id,)
    ).fetchone()
    if expires is None or expires > now:
        if attempt < stored:
            raise StaleResult(f"attempt {attempt} of {task_id!r} is stale: {stored}'s is stored")
        if attempt == stored and lost:
            return
    else:
        bury(connection, [task_id], "expired")  # with its progress
    connection.execute(_REPLACE, values)


_INSERT = "insert or ignore into actorq_results (task_id, attempt, expires, data) values (?,?,?,?)"
_REPLACE = "replace into actorq_results (task_id, attempt, expires, data) values (?,?,?,?)"


def sweep(connection: sqlite3.Connection, now: float, limit: int | None = None) -> None:
    """Take out some of what has expired, and with *limit* what is more than that."""
    expired = [
        task_id
        for (task_id,) in connection.execute(
            "select task_id from actorq_results where expires <= ? order by expires limit ?",
            (now, SWEPT),
        )
    ]
    if expired:
        bury(connection, expired, "expired")
    connection.execute(
        "delete from actorq_progress where seq in "
        "(select seq from actorq_progress where expires <= ? order by expires limit ?)",
        (now, SWEPT),
    )
    if limit is not None:
        (count,) = connection.execute("select count(*) from actorq_results").fetchone()
        if count > limit:
            oldest = connection.execute(
                "select task_id from actorq_results order by seq limit ?", (count - limit,)
            )
            bury(connection, [task_id for (task_id,) in oldest], f"evicted {limit}")


def bury(connection: sqlite3.Connection, task_ids: Iterable[str], why: str) -> None:
    """These results go, with their progress; it is remembered that they were there."""
    for task_id in task_ids:
        connection.execute("delete from actorq_progress where task_id = ?", (task_id,))
        gone = connection.execute("delete from actorq_results where task_id = ?", (task_id,))
        if gone.rowcount:
            note_gone(connection, task_id, why)


def note_gone(connection: sqlite3.Connection, task_id: str, why: str) -> None:
    """Remember it, and forget the oldest."""
    cursor = connection.execute(
        "replace into actorq_gone (task_id, why) values (?,?)", (task_id, why)
    )
    connection.execute(
        "delete from actorq_gone where seq <= ?", ((cursor.lastrowid or 0) - GONE_KEPT,)
    )


class Position(NamedTuple):
    """How far somebody has looked: the newest number of each table."""

    results: int
    progress: int
    gone: int


def position(connection: sqlite3.Connection) -> Position:
    """The newest numbers."""
    return Position(*connection.execute(_POSITION).fetchone())


_POSITION = (
    "select (select coalesce(max(seq), 0) from actorq_results), "
    "(select coalesce(max(seq), 0) from actorq_progress), "
    "(select coalesce(max(seq), 0) from actorq_gone)"
)


class Found(NamedTuple):
    """What a look has found, as it is stored."""

    position: Position
    results: list[tuple[str, bytes]]
    gone: list[tuple[str, str]]


def look_up(connection: sqlite3.Connection, task_ids: Collection[str], now: float) -> Found:
    """Results of these tasks, and which of them are gone."""
    results: list[tuple[str, bytes]] = []
    gone: list[tuple[str, str]] = []
    missing = set(task_ids)
    for task_id, expires, data in _of(connection, "task_id, expires, data", "results", task_ids):
        missing.discard(task_id)
        if expires is not None and expires <= now:
            gone.append((task_id, "expired"))
        else:
            results.append((task_id, data))
    gone += _of(connection, "task_id, why", "gone", missing)
    return Found(position(connection), results, gone)


def _of(
    connection: sqlite3.Connection, columns: str, table: str, task_ids: Collection[str]
) -> Iterator[tuple[Any, ...]]:
    ids = list(task_ids)
    for begin in range(0, len(ids), CHUNK):
        chunk = ids[begin : begin + CHUNK]
        marks = ",".join("?" * len(chunk))
        yield from connection.execute(
            f"select {columns} from actorq_{table} where task_id in ({marks})", chunk
        ).fetchall()


def look_after(
    connection: sqlite3.Connection, seen: Position, awaited: Collection[str], now: float
) -> Found:
    """As `look_up`, of what is new since *seen*: by the new rows or by who waits, the fewer."""
    newest = position(connection)
    new = newest.results - seen.results + newest.gone - seen.gone
    if new > len(awaited):
        return look_up(connection, awaited, now)
    ids = [
        task_id
        for table, after in (("results", seen.results), ("gone", seen.gone))
        for (task_id,) in connection.execute(
            f"select task_id from actorq_{table} where seq > ?", (after,)
        )
        if task_id in awaited
    ]
    return look_up(connection, ids, now)


def store_progress(
    connection: sqlite3.Connection,
    task_id: str,
    attempt: int,
    data: bytes,
    now: float,
    keeping: Keeping,
) -> int:
    """Store the latest progress: its number.  Raises `StaleResult` for an attempt that is over."""
    ended = connection.execute(
        "select attempt, expires from actorq_results where task_id = ?", (task_id,)
    ).fetchone()
    if ended is not None and ended[1] is not None and ended[1] <= now:
        bury(connection, [task_id], "expired")
        ended = None
    reported = connection.execute(
        "select attempt from actorq_progress where task_id = ?", (task_id,)
    ).fetchone()
    if (ended is not None and attempt <= ended[0]) or (
        reported is not None and attempt < reported[0]
    ):
        raise StaleResult(f"progress of attempt {attempt} of {task_id!r} is stale")
    expires = None if keeping.ttl is None else now + keeping.ttl
    cursor = connection.execute(
        "replace into actorq_progress (task_id, attempt, expires, data) values (?,?,?,?)",
        (task_id, attempt, expires, data),
    )
    return cursor.lastrowid or 0


def latest_progress(connection: sqlite3.Connection, task_id: str, now: float) -> bytes | None:
    """What was reported last, unless its time is over."""
    found = connection.execute(
        "select data from actorq_progress where task_id = ?1 and (expires is null or expires > ?2) "
        "and not exists (select 1 from actorq_results where task_id = ?1 and expires <= ?2)",
        (task_id, now),
    ).fetchone()
    return None if found is None else found[0]


def progress_after(
    connection: sqlite3.Connection,
    after: int,
    fresh: Collection[str],
    known: Collection[str],
    now: float,
) -> list[tuple[int, str, bytes]]:
    """The latest progress of the *fresh* ones, and of the *known* ones what is newer than *after*."""
    found = list(_of(connection, "seq, task_id, data", "progress", fresh))
    over = {
        task_id
        for task_id, expires in _of(
            connection, "task_id, expires", "results", [row[1] for row in found]
        )
        if expires is not None and expires <= now
    }
    found = [row for row in found if row[1] not in over]
    if known:
        new = connection.execute(
            "select seq, task_id, data from actorq_progress where seq > ?", (after,)
        )
        found += [row for row in new if row[1] in known]
    return sorted(found)


def refuse_if_overtaken(connection: sqlite3.Connection, task_id: str, attempt: int) -> None:
    """Raise `StaleResult` if the queue in this file has given the task to a later attempt (34)."""
    (later,) = connection.execute(
        "select exists (select 1 from actorq_tasks where task_id = ? and state = 'leased' "
        "and attempt > ?)",
        (task_id, attempt),
    ).fetchone()
    if later:
        raise StaleResult(f"attempt {attempt} of {task_id!r} is stale: a later one runs")
