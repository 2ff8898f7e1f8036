"""The schema: the tables of the file, and how those of an older version become these.

Each part of the engine declares its own tables; here they become version 1.  The version is a row of
`actorq_meta`, not the file's `user_version`: the file may be the user's, with tables of their own.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Final, TypeAlias

from actorq._version import __version__
from actorq.errors import EngineUnavailable


#: What one version adds to the one before: statements, or functions where data must be moved.
Migration: TypeAlias = Sequence[str | Callable[[sqlite3.Connection], object]]

META: Final = "create table if not exists actorq_meta (key text primary key, value) without rowid"
#: Who declares `TABLES`.
PARTS: Final = (
    "peers",
    "queue.tables",
    "keys",
    "gates",
    "result_rows",
    "queue.early",
    "schedule_rows",
    "whereabouts_rows",
)


@cache
def migrations() -> tuple[Migration, ...]:
    """What brings the file from each version to the next, the first from nothing."""
    parts = [import_module(f"{__package__}.{part}") for part in PARTS]
    return (tuple(table for part in parts for table in part.TABLES),)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the tables in the file; 0: there are none."""
    try:
        row = connection.execute("select value from actorq_meta where key = 'schema'").fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return 0
    return 0 if row is None else int(row[0])


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Bring the tables up to date, in the transaction that is open; all of it or nothing.

    Raises `EngineUnavailable` if they are of a newer program.
    """
    version = version_of(connection)
    if version > len(steps):
        raise newer(version, len(steps))
    if version == len(steps):
        return
    connection.execute(META)
    for step in (each for migration in steps[version:] for each in migration):
        if isinstance(step, str):
            connection.execute(step)
        else:
            step(connection)
    noted = {"schema": len(steps), "program": __version__, "migrated": time.time()}
    connection.executemany("insert or replace into actorq_meta values (?, ?)", noted.items())


def newer(version: int, known: int) -> EngineUnavailable:
    """Why a file is not touched: a newer program has changed its tables."""
    return EngineUnavailable(
        f"its tables are of version {version}, and actorq {__version__} knows them up to version "
        f"{known}: a newer actorq uses this file; nothing was changed. Install that version here "
        f"too, or give this program a file of its own"
    )
