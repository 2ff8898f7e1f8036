"""Backups, checks and vacuum of a file in use."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
import trio

import actorq
from actorq.engines.sqlite import maintenance, rounds
from actorq.engines.sqlite.storage import SQLiteStorage
from actorq.errors import EngineUnavailable

from .storage_program import TASKS, row


pytestmark = pytest.mark.engine


async def fill(storage: SQLiteStorage, rows: int = 200) -> None:
    """With rows of some pages each."""
    await storage.write(lambda c: c.execute("create table made (a, b)").rowcount)
    async with trio.open_nursery() as nursery:
        for number in range(rows):
            nursery.start_soon(storage.write, row(number, 20_000))


def numbers_in(path: Path) -> list[int]:
    """As a stranger reads them."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        return [each for (each,) in connection.execute("select a from made order by a")]


_is_unwanted = maintenance._is_unwanted


def waits_to_be_stopped() -> bool:
    """Holds the work up when it looks whether to stop, until it is to."""
    late = time.monotonic() + 10
    while not _is_unwanted() and time.monotonic() < late:
        time.sleep(0.001)
    return _is_unwanted()


# --- backup ---


async def test_a_backup_is_one_moment_of_a_file_in_use(storage: SQLiteStorage, path: Path) -> None:
    """While somebody writes without end: it is whole, in one file, and nobody waits for it."""
    await fill(storage)
    target = path.with_name("backup.db")
    done = trio.Event()
    written = 0

    async def write() -> None:
        nonlocal written
        while not done.is_set():
            await storage.write(row(1000 + written, 10))
            written += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await storage.backup(target)
        done.set()
    kept = numbers_in(target)
    late = [each for each in kept if each >= 1000]
    assert kept == [*range(200), *late]
    assert late == list(range(1000, 1000 + len(late)))
    assert written > len(late)
    assert sorted(os.listdir(path.parent)) == sorted(
        ["backup.db", *(each for each in os.listdir(path.parent) if each.startswith("queue.db"))]
    )


async def test_a_backup_can_be_put_in_the_file_s_place(storage: SQLiteStorage, path: Path) -> None:
    """Nobody has it open: whoever was at work when it was made is known to be gone."""
    await fill(storage, 3)
    await storage.backup(path.with_name("backup.db"))
    restored = SQLiteStorage(path.with_name("backup.db"))
    await restored.open()
    assert await restored.dead_peers([storage.peer]) == {storage.peer}
    assert await restored.check() == []
    await restored.close()


async def test_a_backup_replaces_an_older_one(storage: SQLiteStorage, path: Path) -> None:
    """Each night under the same name."""
    await fill(storage, 3)
    target = path.with_name("backup.db")
    await storage.backup(target)
    await storage.write(row(3, 1))
    await storage.backup(str(target))
    assert numbers_in(target) == [0, 1, 2, 3]


async def test_a_backup_never_overwrites_what_is_in_use(storage: SQLiteStorage, path: Path) -> None:
    """This file, another that is open, a folder."""
    other = SQLiteStorage(path.with_name("other.db"))
    await other.open()
    for target in (path, other.path, path.parent, path.parent / "missing" / "backup.db"):
        with pytest.raises(ValueError, match=r"backup\(\) expects"):
            await storage.backup(target)
    await other.close()


async def test_a_backup_that_is_cancelled_leaves_nothing(
    storage: SQLiteStorage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48. It stops between two pieces, and says `Cancelled`, nothing else."""
    await fill(storage, 50)
    monkeypatch.setattr(maintenance, "COPIED", 1)
    monkeypatch.setattr(maintenance, "_is_unwanted", waits_to_be_stopped)
    target = path.with_name("backup.db")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.backup, target)
            while not target.with_name("backup.db.part").exists():
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert not [each for each in os.listdir(path.parent) if each.startswith("backup")]


# --- check ---


async def test_a_sound_file_has_no_problems(path: Path) -> None:
    """With tasks in it, and results."""
    broker = actorq.SQLiteBroker(path)

    @broker.task
    async def double(n: int) -> int:
        return n * 2

    async with actorq.open_system(broker) as sys:
        handles = [await sys.enqueue(double, n) for n in range(5)]
        assert [await handle.result() for handle in handles] == [0, 2, 4, 6, 8]
        await sys.enqueue(double.using(delay=1000), 1)
        storage = SQLiteStorage(path)
        await storage.open()
        assert await storage.check() == []
        assert await storage.check(thorough=True) == []
        await storage.close()


async def test_what_is_wrong_with_a_file_is_said(storage: SQLiteStorage) -> None:
    """Its tables, its rows, and what slows it down."""
    lose = "drop index actorq_tasks_leased"
    await storage.write(lambda c: c.execute(lose).rowcount)
    assert await storage.check() == ["the index actorq_tasks_leased is missing"]
    await storage.write(lambda c: c.execute("analyze").rowcount)
    await storage.write(lambda c: c.execute("insert into actorq_meta values ('more', 1)").rowcount)
    assert len(await storage.check()) == 2


async def test_rows_that_contradict_each_other_are_counted(storage: SQLiteStorage) -> None:
    """A task that is leased to nobody, in a file whose structure is sound."""
    await storage.write(
        lambda c: (
            c.execute(
                "insert into actorq_tasks"
                " (task_id, name, queue, priority, state, number, deliveries, message)"
                " values ('a', 'a', 'q', 0, 'leased', 1, 1, x'00')"
            ).rowcount
        )
    )
    assert await storage.check() == ["1 tasks are leased to a session that there is not"]


async def test_a_damaged_file_is_found_out(path: Path) -> None:
    """What nobody has read yet."""
    storage = SQLiteStorage(path)
    await storage.open()
    await fill(storage)
    await storage.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 40 * 4096)
        file.write(os.urandom(20 * 4096))
    await storage.open()
    problems = await storage.check()
    assert problems
    assert all("damaged" in each for each in problems)
    await storage.close()


async def test_a_check_that_is_cancelled_stops(
    storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48. In the middle of a statement."""
    monkeypatch.setattr(maintenance, "LOOKS", 100)
    monkeypatch.setattr(maintenance, "_is_unwanted", waits_to_be_stopped)
    await fill(storage)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.check)
            await trio.testing.wait_all_tasks_blocked(0.01)
            scope.cancel()
    assert scope.cancelled_caught


# --- vacuum ---


async def test_free_pages_are_given_back_when_asked(storage: SQLiteStorage) -> None:
    """In slices, between which others write."""
    await fill(storage)
    await storage.vacuum()  # what is in the log is in the file now
    large = (await storage.information()).size
    await storage.write(lambda c: c.execute("delete from made").rowcount)
    assert await storage.vacuum() > 3_000_000
    information = await storage.information()
    assert information.free_pages == 0
    assert information.size < large - 3_000_000


async def test_many_free_pages_are_given_back_unasked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it looks round, a slice."""
    monkeypatch.setattr(maintenance, "SLICE", 100)
    monkeypatch.setattr(
        rounds, "give_back", lambda connection: maintenance.give_back(connection, 100)
    )
    storage = SQLiteStorage(path, recheck=0.01)
    await storage.open()
    await fill(storage)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, TASKS, lambda: None)
        before = await storage.information()
        assert before.free_pages < 100
        await storage.write(lambda c: c.execute("delete from made").rowcount)
        with trio.fail_after(10):
            while (await storage.information()).free_pages > 100:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert (await storage.information()).page_count < before.page_count / 2
    await storage.close()


async def test_a_file_that_was_there_before_is_made_anew_in_full(path: Path) -> None:
    """Its pages cannot be given back in slices, until then."""
    with closing(sqlite3.connect(path)) as mine:
        mine.execute("create table mine (value)")
        mine.commit()
    storage = SQLiteStorage(path)
    await storage.open()
    await fill(storage)
    assert not (await storage.information()).gives_pages_back
    await storage.write(lambda c: c.execute("delete from made").rowcount)
    assert await storage.vacuum() <= 0 or (await storage.information()).free_pages > 0
    await storage.vacuum(full=True)
    information = await storage.information()
    assert information.gives_pages_back
    assert information.free_pages == 0
    assert await storage.check() == []
    await storage.close()


async def test_information_says_what_there_is(storage: SQLiteStorage, path: Path) -> None:
    """What `actorq doctor` looks at."""
    information = await storage.information()
    assert information.path == path
    assert information.journal_mode == "wal"
    assert information.synchronous == "full"
    assert information.gives_pages_back
    assert information.schema_version == 1
    assert information.sqlite_version == sqlite3.sqlite_version
    (peer,) = information.peers
    assert (peer.peer, peer.pid) == (storage.peer, os.getpid())


async def test_a_deleted_file_is_not_made_anew_by_looking_at_it(
    storage: SQLiteStorage, path: Path
) -> None:
    """An empty backup of it would be worse than none."""
    path.unlink()
    with pytest.raises(EngineUnavailable, match="deleted"):
        await storage.backup(path.with_name("backup.db"))
    with pytest.raises(EngineUnavailable, match="deleted"):
        await storage.check()
    assert not path.exists()
