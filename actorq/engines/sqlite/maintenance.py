"""Maintenance: backups, checks and vacuum of a file in use, and what there is to know of it.

Each has a connection of its own, in a thread of its own, so that tasks go on meanwhile; what is
cancelled stops there, and leaves nothing behind.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import attrs
import trio

from actorq.engines.sqlite.checkpoint import has_reset_bug
from actorq.engines.sqlite.connection import Synchronous, connect, patiently
from actorq.engines.sqlite.schema import META, Migration, migrate, version_of
from actorq.engines.sqlite.troubles import explained, file_system
from actorq.errors import EngineUnavailable


T = TypeVar("T")

#: Pages of a backup that are copied in one go, between two looks whether to stop.
COPIED: Final = 1_000
#: Pages that are given back in one transaction, some milliseconds.
SLICE: Final = 1_000
#: SQLite's number for a file whose free pages can be given back in slices.
INCREMENTAL: Final = 2
#: Steps of SQLite's machine between two looks whether to stop.
LOOKS: Final = 100_000

#: What must hold between rows: how to count those for which it does not, and what is said of them.
SANE: Final[Sequence[tuple[str, str]]] = (
    (
        "select count(*) from actorq_tasks where state = 'leased'"
        " and coalesce(session, 0) not in (select id from actorq_sessions)",
        "tasks are leased to a session that there is not",
    ),
    (
        "select count(*) from actorq_tasks where state not in ('scheduled', 'ready', 'leased')",
        "tasks are in a state that there is not",
    ),
    (
        "select count(*) from (select queue, coalesce(held, state) as place, count(*) as n"
        " from actorq_tasks group by 1, 2) as t left join actorq_counts as c"
        " on c.queue = t.queue and c.place = t.place where coalesce(c.n, 0) <> t.n",
        "counts of tasks are wrong",
    ),
)


@attrs.frozen
class Peer:
    """A process that has the file open."""

    peer: str
    pid: int
    since: datetime


@attrs.frozen
class FileInformation:
    """What there is to know of a file, at one moment."""

    path: Path
    size: int  #: bytes, without the log
    wal_size: int  #: bytes of the log (-wal)
    page_size: int
    page_count: int
    free_pages: int  #: of these; given back little by little when they are many
    journal_mode: str
    synchronous: Synchronous
    gives_pages_back: bool  #: whether free pages can be given back without a full vacuum
    schema_version: int
    sqlite_version: str
    has_wal_reset_bug: bool  #: whether this SQLite has it; our own connections avoid it
    file_system: str | None  #: its kind, where the system tells
    pushes: bool  #: whether other processes wake this one; else it looks
    recheck: float  #: seconds between two looks
    peers: tuple[Peer, ...]


def information_of(
    connection: sqlite3.Connection,
    path: Path,
    synchronous: Synchronous,
    recheck: float,
    *,
    push: bool,
) -> FileInformation:
    """A step."""

    def pragma(name: str) -> int:
        return int(connection.execute(f"pragma {name}").fetchone()[0])

    peers = connection.execute(
        "select peer, pid, since from actorq_peers where died is null order by since"
    ).fetchall()
    return FileInformation(
        path=path,
        size=path.stat().st_size,
        wal_size=Path(f"{path}-wal").stat().st_size,
        page_size=pragma("page_size"),
        page_count=pragma("page_count"),
        free_pages=pragma("freelist_count"),
        journal_mode=str(connection.execute("pragma journal_mode").fetchone()[0]),
        synchronous=synchronous,
        gives_pages_back=pragma("auto_vacuum") == INCREMENTAL,
        schema_version=version_of(connection),
        sqlite_version=sqlite3.sqlite_version,
        has_wal_reset_bug=has_reset_bug(),
        file_system=file_system(path),
        pushes=push,
        recheck=recheck,
        peers=tuple(
            Peer(peer, pid, datetime.fromtimestamp(since, UTC)) for peer, pid, since in peers
        ),
    )


def _is_unwanted() -> bool:
    """In the thread: whether who waits for it was cancelled."""
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:
        return True
    return False


async def _apart(path: Path, call: Callable[[sqlite3.Connection], T]) -> T:
    """Do it with a connection of its own, in a thread; whoever cancels it waits until it has stopped."""

    def in_thread() -> T:
        if not path.exists():
            raise EngineUnavailable(f"{path}: the file was deleted or moved away")
        try:
            with closing(connect(path)) as connection:
                connection.set_progress_handler(_is_unwanted, LOOKS)
                return call(connection)
        except sqlite3.Error as error:
            trio.from_thread.check_cancelled()  # it was stopped: that is no failure
            if (told := explained(error, path)) is error:
                raise
            raise told from error

    return await trio.to_thread.run_sync(in_thread)


# --- backup ---


async def back_up(path: Path, target: Path) -> None:
    """See `SQLiteStorage.backup`."""
    _check_target(path, target)
    part = target.with_name(f"{target.name}.part")

    def copy(source: sqlite3.Connection) -> None:
        with suppress(FileNotFoundError):
            part.unlink()
        with closing(sqlite3.connect(part, isolation_level=None)) as copied:
            copied.execute("pragma synchronous = off")  # all of it is written out at the end
            # one moment of the file, however long it takes: else each commit would begin it anew
            source.execute("begin")
            source.execute("select count(*) from sqlite_master").fetchone()

            def look(*_: object) -> None:
                if _is_unwanted():
                    raise sqlite3.OperationalError("it was cancelled")

            source.backup(copied, pages=COPIED, progress=look, sleep=0)
            source.execute("rollback")
            copied.execute("pragma journal_mode = delete")  # one file, with nothing beside it
            # nobody has the copy open: what they were at is free at once
            copied.execute("update actorq_peers set died = ? where died is null", (time.time(),))
        _write_out(part)
        os.replace(part, target)
        _write_out(target.parent)

    try:
        await _apart(path, copy)
    finally:
        for left in (part, Path(f"{part}-journal")):
            with suppress(OSError):
                left.unlink()


def _check_target(path: Path, target: Path) -> None:
    if target.is_dir():
        raise ValueError(f"backup() expects the path of a file to be made; {target} is a folder")
    if not target.parent.is_dir():
        raise ValueError(f"backup() expects a folder that exists; create {target.parent} first")
    if target.exists() and (target.samefile(path) or Path(f"{target}-wal").exists()):
        raise ValueError(
            f"backup() expects a path of its own; {target} is a database in use: give it another name"
        )


def _write_out(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# --- check ---


async def problems_of(path: Path, migrations: Sequence[Migration], *, thorough: bool) -> list[str]:
    """See `SQLiteStorage.check`."""

    def look(connection: sqlite3.Connection) -> list[str]:
        how = "integrity_check" if thorough else "quick_check"
        found = [str(row[0]) for row in connection.execute(f"pragma {how}(20)")]
        problems = [f"the file is damaged: {each}" for each in found if each != "ok"]
        problems += _missing(connection, migrations)
        if not problems:
            problems += [f"{count} {what}" for count, what in _insane(connection) if count]
        return problems

    return await _apart(path, look)


def _missing(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[str]:
    """How its tables differ from those that are made in a new file."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.execute(META)
        migrate(made, migrations)
        expected = _parts(made)
    there = _parts(connection)
    problems = [
        f"the {kind} {name} is missing"
        if (kind, name) not in there
        else f"the {kind} {name} is another"
        for (kind, name), sql in expected.items()
        if there.get((kind, name)) != sql
    ]
    if ("table", "sqlite_stat1") in there and connection.execute(
        "select 1 from sqlite_stat1 where tbl like 'actorq\\_%' escape '\\' limit 1"
    ).fetchone():
        problems.append(
            "ANALYZE was run, and tells SQLite how long the queues were then: `delete from sqlite_stat1 "
            "where tbl like 'actorq_%'`, or it may choose slow ways when they are of another length"
        )
    return problems


def _parts(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    rows = connection.execute(
        "select type, name, sql from sqlite_master where name like 'actorq\\_%' escape '\\'"
        " or name = 'sqlite_stat1'"
    )
    return {(kind, name): " ".join((sql or "").split()) for kind, name, sql in rows}


def _insane(connection: sqlite3.Connection) -> list[tuple[int, str]]:
    connection.execute("begin")  # of one moment
    found = [(int(connection.execute(query).fetchone()[0]), what) for query, what in SANE]
    connection.execute("rollback")
    return found


# --- vacuum ---


def give_back(connection: sqlite3.Connection, pages: int = SLICE) -> int:
    """A step: give back at most so many free pages; how many are left."""
    left = int(connection.execute("pragma freelist_count").fetchone()[0])
    if connection.execute("pragma auto_vacuum").fetchone()[0] != INCREMENTAL:
        return left
    for _ in range(min(pages, left)):  # with a larger number, Python stops after the first page
        connection.execute("pragma incremental_vacuum(1)")
    return max(0, left - pages)


def has_many_free(connection: sqlite3.Connection) -> bool:
    """Whether it is worth while: a quarter of the file, and more than a queue's coming and going."""
    (free,) = connection.execute("pragma freelist_count").fetchone()
    if free <= SLICE:
        return False
    (pages,) = connection.execute("pragma page_count").fetchone()
    (mode,) = connection.execute("pragma auto_vacuum").fetchone()
    return bool(free * 4 > pages and mode == INCREMENTAL)


async def make_anew(path: Path) -> None:
    """All of the file, written anew without holes; nobody else writes meanwhile."""

    def vacuum(connection: sqlite3.Connection) -> None:
        connection.execute("pragma auto_vacuum = incremental")
        patiently(path, lambda: connection.execute("vacuum"))

    await _apart(path, vacuum)
