"""The log of the file: kept small, and never emptied while another connection commits."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from actorq.engines.sqlite import checkpoint, connection
from actorq.engines.sqlite.checkpoint import Checkpoints, has_reset_bug
from actorq.engines.sqlite.storage import SQLiteStorage

from .storage_program import row


pytestmark = pytest.mark.engine


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        *(((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False), ((3, 45, 0), True)),
        *(((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False)),
        ((3, 53, 0), False),
    ],
)
def test_which_versions_of_sqlite_have_the_bug(
    version: tuple[int, int, int], *, has_it: bool
) -> None:
    """As sqlite.org/wal.html#walresetbug says."""
    assert has_reset_bug(version) is has_it


@pytest.mark.parametrize("bug", [True, False])
async def test_the_log_stays_small(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, bug: bool
) -> None:
    """However much is written: here with twenty times its size."""
    monkeypatch.setattr(checkpoint, "has_reset_bug", lambda: bug)
    storage = SQLiteStorage(path, synchronous="off")
    await storage.open()
    await storage.write(lambda c: c.execute("create table made (a, b)").rowcount)
    largest = 0
    for number in range(200):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(storage.write, row(number, 50_000))
        await storage.write(lambda c: c.execute("delete from made").rowcount)
        largest = max(largest, Path(f"{path}-wal").stat().st_size)
    assert storage._committer._checkpoints.made > 2
    assert 1 << 20 < largest < 10 << 20, largest
    await storage.close()


def test_nobody_commits_while_a_checkpoint_is_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write lock is held meanwhile, where SQLite has that bug."""
    monkeypatch.setattr(checkpoint, "has_reset_bug", lambda: True)
    writer = connection.connect(path)
    writer.execute("create table made (a, b)")
    writer.execute("insert into made values (1, 1)")
    checkpoints = Checkpoints(path)
    checkpoints.make(writer)
    stranger = sqlite3.connect(path, timeout=0, isolation_level=None)
    seen: list[str] = []

    def meanwhile(statement: str) -> None:
        if "wal_checkpoint" in statement:
            with pytest.raises(sqlite3.OperationalError) as caught:
                stranger.execute("begin immediate")
            seen.append(caught.value.sqlite_errorname)

    assert checkpoints._other is not None
    checkpoints._other.set_trace_callback(meanwhile)
    checkpoints.make(writer)
    assert seen == ["SQLITE_BUSY"]
    stranger.execute("begin immediate")
    stranger.execute("commit")
    assert stranger.execute("pragma wal_checkpoint").fetchone()[0] == 0
    stranger.close()
    checkpoints.close(writer)


def test_no_connection_of_ours_makes_one_in_passing(path: Path) -> None:
    """SQLite's own are switched off."""
    writer = connection.connect(path)
    assert writer.execute("pragma wal_autocheckpoint").fetchone() == (0,)
    Checkpoints(path).close(writer)
