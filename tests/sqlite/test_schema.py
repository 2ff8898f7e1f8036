"""The tables: made once, brought up to date once, and never touched by an older program."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from actorq.engines.sqlite import schema
from actorq.engines.sqlite.schema import Migration
from actorq.engines.sqlite.storage import SQLiteStorage
from actorq.errors import EngineUnavailable


pytestmark = pytest.mark.engine


def two() -> Sequence[Migration]:
    """A version 2, which counts how often it is reached."""
    first = (*schema.migrations()[0], "create table made (value)")
    second = (
        "alter table made add column more",
        lambda connection: connection.execute("insert into made values (1, 2)"),
    )
    return (first, second)


def one() -> Sequence[Migration]:
    """What it was before."""
    return two()[:1]


class Older(SQLiteStorage):
    migrations = staticmethod(one)


class Newer(SQLiteStorage):
    migrations = staticmethod(two)


def version_in(path: Path) -> int:
    """As a stranger reads it."""
    connection = sqlite3.connect(path)
    try:
        return schema.version_of(connection)
    finally:
        connection.close()


async def opened(storage: SQLiteStorage) -> None:
    """One short life."""
    await storage.open()
    await storage.close()


async def test_a_file_gets_its_tables_and_keeps_its_user_s(path: Path) -> None:
    """The user's own tables are in the same file, and stay as they are."""
    mine = sqlite3.connect(path)
    mine.execute("create table albums (title)")
    mine.execute("insert into albums values ('Kind of Blue')")
    mine.commit()
    await opened(SQLiteStorage(path))
    assert version_in(path) == len(schema.migrations())
    assert mine.execute("select title from albums").fetchall() == [("Kind of Blue",)]
    tables = {row[0] for row in mine.execute("select name from sqlite_master where type = 'table'")}
    mine.close()
    assert {each for each in tables if not each.startswith("sqlite_")} - {"albums"} == {
        each for each in tables if each.startswith("actorq_")
    }


async def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    """Once, though it is opened again."""
    await opened(Older(path))
    assert version_in(path) == 1
    await opened(Newer(path))
    await opened(Newer(path))
    assert version_in(path) == 2
    rows = sqlite3.connect(path).execute("select * from made").fetchall()
    assert rows == [(1, 2)]


async def test_many_that_open_an_old_file_at_once_migrate_it_once(path: Path) -> None:
    """Each in a thread of its own, with a connection of its own: as processes are."""
    await opened(Older(path))
    storages = [Newer(path) for _ in range(8)]
    async with trio.open_nursery() as nursery:
        for storage in storages:
            nursery.start_soon(opened, storage)
    assert sqlite3.connect(path).execute("select * from made").fetchall() == [(1, 2)]


async def test_a_newer_file_is_refused_with_both_versions_and_left_alone(path: Path) -> None:
    """An older program does not guess what a newer one meant."""
    await opened(Newer(path))
    before = path.read_bytes()
    with pytest.raises(
        EngineUnavailable, match=r"version 2, and actorq \S+ knows them up to version 1"
    ):
        await Older(path).open()
    assert path.read_bytes() == before


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """All of a version or nothing."""
    await opened(Older(path))

    class Torn(SQLiteStorage):
        migrations = staticmethod(lambda: (*two(), ("create table third (value)", "no sql")))

    with pytest.raises((EngineUnavailable, sqlite3.Error)):
        await Torn(path).open()
    connection = sqlite3.connect(path)
    assert schema.version_of(connection) == 1
    assert [row[1] for row in connection.execute("pragma table_info(made)")] == ["value"]
    assert connection.execute("select * from sqlite_master where name = 'third'").fetchall() == []


async def test_an_older_program_that_is_still_open_stops(path: Path) -> None:
    """Two versions of the program at once: the newer one migrates, and the older writes nothing more."""
    older, newer = Older(path), Newer(path)
    await older.open()
    await older.write(lambda connection: connection.execute("insert into made values (1)").rowcount)
    await newer.open()
    for doing in (older.write, older.read):
        with pytest.raises(EngineUnavailable, match=r"version 2, .* up to version 1.*newer actorq"):
            await doing(lambda connection: connection.execute("delete from made").rowcount)
    rows = await newer.read(lambda connection: connection.execute("select * from made").fetchall())
    assert rows == [(1, None), (1, 2)]
    await newer.close()
    await older.close()
