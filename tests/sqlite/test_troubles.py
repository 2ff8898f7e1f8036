"""What goes wrong with files: said in our words, with what to do, and nothing is done by halves."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

import actorq
from actorq.actors import scheduler
from actorq.engines.sqlite import connection as connections
from actorq.engines.sqlite import troubles
from actorq.engines.sqlite.committer import Committer
from actorq.engines.sqlite.storage import SQLiteStorage
from actorq.errors import EngineUnavailable

from .programs import started
from .storage_program import TASKS, row


pytestmark = pytest.mark.engine

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


MADE = "create table made (a, b)"


@pytest.fixture
def made(path: Path) -> SQLiteStorage:
    """With a table of the test's own, and closed again."""
    return with_table(path)


def with_table(path: Path) -> SQLiteStorage:
    """Not inside of Trio."""
    storage = SQLiteStorage(path)

    async def main() -> None:
        await storage.open()
        await storage.write(lambda connection: connection.execute(MADE).rowcount)
        await storage.close()

    trio.run(main)
    return storage


def count_in(path: Path) -> int:
    """Of the rows, as a stranger sees them."""
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("select count(*) from made").fetchone()[0])
    finally:
        connection.close()


async def refused(storage: SQLiteStorage) -> str:
    """What opening it says."""
    with pytest.raises(EngineUnavailable) as caught:
        await storage.open()
    text = str(caught.value)
    assert text.startswith(str(storage.path))
    return text


# --- opening ---


async def test_a_missing_folder(tmp_path: Path) -> None:
    """It is not made: a mistyped path would make a queue that nobody serves."""
    assert "create it first" in await refused(SQLiteStorage(tmp_path / "none" / "queue.db"))


async def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    """With what to write instead."""
    assert "such as 'queue.db'" in await refused(SQLiteStorage(tmp_path))


async def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    """One too many in the path."""
    (tmp_path / "file").write_text("")
    assert "expected a file in a folder" in await refused(
        SQLiteStorage(tmp_path / "file" / "queue.db")
    )


async def test_a_file_that_is_no_database(path: Path) -> None:
    """It is left as it was."""
    path.write_bytes(b"Dear diary, " * 1000)
    assert "no SQLite database" in await refused(SQLiteStorage(path))
    assert path.read_bytes() == b"Dear diary, " * 1000


async def test_a_damaged_file(path: Path, made: SQLiteStorage) -> None:
    """What it says, and that a backup is the way out."""
    whole = bytearray(path.read_bytes())
    whole[4096 : len(whole)] = os.urandom(len(whole) - 4096)
    path.write_bytes(whole)
    text = await refused(made)
    assert "damaged" in text
    assert "backup" in text


@pytest.mark.skipif(IS_ROOT, reason="root may write everything")
async def test_a_file_without_permission(path: Path, made: SQLiteStorage) -> None:
    """For others than root."""
    path.chmod(0o444)
    assert "permission" in await refused(made)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if not IS_ROOT or mount is None:
        pytest.skip("only root can mount a small disk")
    if subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "none", place], check=False
    ).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def remount(place: Path, how: str) -> None:
    """Read-only, and back."""
    subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)


async def test_a_read_only_file_system(small_disk: Path) -> None:
    """Mounted read-only: the text says what is needed; and when it can be written again it is."""
    storage = SQLiteStorage(small_disk / "queue.db")
    await storage.open()
    await storage.write(lambda connection: connection.execute(MADE).rowcount)
    await storage.close()
    remount(small_disk, "ro")
    text = await refused(storage)
    assert "write" in text
    remount(small_disk, "rw")
    await storage.open()
    await storage.write(row(1, 1))
    await storage.close()


# --- a full disk ---


async def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    """31. Who was answered finds it; who was refused finds nothing; then there is room."""
    path = small_disk / "queue.db"
    storage = SQLiteStorage(path)
    await storage.open()
    await storage.write(lambda connection: connection.execute(MADE).rowcount)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    kept = 0

    async def fill() -> None:
        nonlocal kept
        for number in range(1000):
            await storage.write(row(number, 20_000))
            kept += 1

    with pytest.raises(EngineUnavailable, match=r"disk is full.*MiB are free.*nothing was done"):
        await fill()
    assert kept > 0
    assert await storage.read(_count) == kept
    ballast.unlink()
    await storage.write(row(-1, 10_000))
    assert await storage.read(_count) == kept + 1
    await storage.close()
    assert count_in(path) == kept + 1


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("select count(*) from made").fetchone()[0])


async def test_one_that_fills_the_disk_leaves_the_others_alone(
    path: Path, made: SQLiteStorage
) -> None:
    """31. A step too large for what is left fails; what came with it is done, or told so."""
    await made.open()
    pages = await made.read(
        lambda connection: connection.execute("pragma page_count").fetchone()[0]
    )
    await made.write(
        lambda connection: connection.execute(f"pragma max_page_count = {pages + 20}").fetchall()
    )
    answered, failed = [], []

    async def call(number: int, size: int) -> None:
        try:
            await made.write(row(number, size))
            answered.append(number)
        except EngineUnavailable as why:
            failed.append((number, "full" in str(why)))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(call, number, 1_000_000 if number == 10 else 10)
    assert (10, True) in failed
    numbers = await made.read(
        lambda connection: [row[0] for row in connection.execute("select a from made")]
    )
    assert sorted(numbers) == sorted(answered)
    await made.write(row(100, 10))
    await made.close()


def test_a_limit_of_the_file_s_size(path: Path, made: SQLiteStorage) -> None:
    """What the system refuses otherwise than for want of room."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("prlimit is not there")
    with started("fill", path, prlimit, "--fsize=2000000") as program:
        lines = program.rest()
    wrote = sum(line[0] == "wrote" for line in lines)
    assert wrote > 0
    (kept,) = [int(line[1]) for line in lines if line[0] == "kept"]
    (error,) = [line[1] for line in lines if line[0] == "failed"]
    assert error == "Uncertain"  # it came from within a commit
    assert kept in (wrote, wrote + 1)
    assert lines[-1] == ["goes", "on"]


# --- locks ---


async def test_a_lock_that_lasts_names_its_holder(
    path: Path, made: SQLiteStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who it is and since when; the word of SQLite never comes; when it is released all goes on."""
    monkeypatch.setattr(connections, "PATIENCE", 0.1)
    await made.open()
    with started("hold", path) as program:
        assert program.line() == ["holds"]
        with pytest.raises(EngineUnavailable) as caught:
            await made.write(row(1, 1))
        text = str(caught.value)
        assert "locked" not in text
        assert "since " in text
        if Path("/proc/locks").exists():
            assert f"process {program.process.pid}: " in text
            assert "storage_program.py hold" in text
        assert await made.read(_count) == 0  # who reads is not held up
        program.kill()
    await made.write(row(1, 1))
    assert await made.read(_count) == 1
    await made.close()


async def test_a_short_lock_is_waited_for(path: Path, made: SQLiteStorage) -> None:
    """Nobody hears of it."""
    await made.open()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.write, row(1, 1))
        await trio.testing.wait_all_tasks_blocked(0.05)
        begun = time.monotonic()
        other.execute("commit")
    assert time.monotonic() - begun < 5
    other.close()
    assert await made.read(_count) == 1
    await made.close()


# --- a file that goes away ---


@pytest.mark.parametrize("how", ["deleted", "replaced", "emptied", "robbed"])
async def test_a_file_that_goes_away_is_noticed(
    path: Path, made: SQLiteStorage, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """31. Nothing is written into a file that nobody will ever open again, and the log is not filled."""
    caplog.set_level("INFO", logger="actorq")
    await made.open()
    await made.write(row(1, 1))
    if how in ("emptied", "robbed"):
        made._committer._looked = 0.0  # it does not look closely again within 0.2 s
    if how == "deleted":
        path.unlink()
    elif how == "replaced":
        other = path.with_name("other.db")
        sqlite3.connect(other).execute("create table made (a, b)").close()
        os.replace(other, path)
    elif how == "emptied":
        os.truncate(path, 0)
    else:
        Path(f"{path}-wal").unlink()
    for _ in range(2):
        with pytest.raises(EngineUnavailable, match=rf"{how}.*backup"):
            await made.write(row(2, 1))
    made._committer._looked = 0.0
    with pytest.raises(EngineUnavailable, match=rf"{how}.*backup"):
        await made.read(_count)
    await made.close()
    assert caplog.text.count("no checkpoint") <= 1
    if how == "deleted":
        assert not path.exists()


async def test_a_file_that_goes_away_is_told_to_who_listens(
    path: Path, made: SQLiteStorage
) -> None:
    """Nobody writes, nobody commits: the look each `recheck` seconds finds it missing."""
    storage = SQLiteStorage(path, recheck=0.02)
    await storage.open()
    told = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, TASKS, lambda: told.set())
        await trio.testing.wait_all_tasks_blocked()
        told = trio.Event()
        path.unlink()
        with trio.fail_after(10):
            await told.wait()
        nursery.cancel_scope.cancel()
    await storage.close()


async def test_a_scheduler_whose_file_went_away_says_so_in_a_line(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each time that it tries again: what is wrong, and no stack to hide it."""
    caplog.set_level("INFO", logger="actorq")
    left = [EngineUnavailable("queue.db: the file was deleted"), RuntimeError("a mistake")]

    async def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    assert await scheduler._until_done(work, "it announces nothing") == "done"
    line, with_stack = caplog.records
    assert line.getMessage().endswith("tried again in 1 s: queue.db: the file was deleted")
    assert not line.exc_info
    assert with_stack.exc_info


async def test_a_file_that_was_moved_away_and_back_is_the_same(
    path: Path, made: SQLiteStorage
) -> None:
    """It is refused only as long as it is not there."""
    await made.open()
    path.rename(path.with_name("away.db"))
    with pytest.raises(EngineUnavailable, match="deleted or moved away"):
        await made.write(row(1, 1))
    path.with_name("away.db").rename(path)
    await made.write(row(1, 1))
    await made.close()


# --- a process that dies ---


def test_what_a_killed_process_was_told_is_there(path: Path, made: SQLiteStorage) -> None:
    """31. SIGKILL amid its commits: what it heard of is in the file, in order, and that is sound."""
    for _ in range(5):
        with started("write", path) as program:
            for _ in range(20):
                said = program.line()
            program.kill()
            said = ([said, *program.rest()])[-1]
        connection = sqlite3.connect(path)
        numbers = [each for (each,) in connection.execute("select a from made order by rowid")]
        assert int(said[1]) + 1 <= len(numbers)
        assert numbers == list(range(len(numbers)))
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        connection.execute("delete from made")
        connection.commit()
        connection.close()


@pytest.mark.parametrize("size", range(60_000, 77_000, 2411))
def test_who_is_killed_in_the_middle_of_a_commit_leaves_all_or_nothing(
    path: Path, made: SQLiteStorage, size: int
) -> None:
    """31. At each of these bytes of the log: the system kills who writes beyond it."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        pytest.skip("prlimit is not there")
    with started("torn", path, prlimit, f"--fsize={size}") as program:
        said = [int(number) for _, number in program.rest()]
        assert program.process.wait() == -signal.SIGXFSZ
    assert Path(f"{path}-wal").stat().st_size == size
    assert said == list(range(len(said)))
    with closing(sqlite3.connect(path)) as connection:
        rows = [number for (number,) in connection.execute("select a from made order by rowid")]
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    assert rows == [number for number in said for _ in range(3)]


def test_who_is_killed_with_the_lock_leaves_nothing(path: Path, made: SQLiteStorage) -> None:
    """31. In the middle of a transaction: neither the lock nor half of its work."""
    with started("hold", path) as program:
        assert program.line() == ["holds"]
        program.kill()
    assert count_in(path) == 0

    async def main() -> None:
        storage = SQLiteStorage(path)
        await storage.open()
        await storage.write(row(1, 1))
        await storage.close()

    trio.run(main)
    assert count_in(path) == 1


@pytest.mark.parametrize("written", [True, False])
async def test_a_commit_that_is_not_certain_is_said_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, written: bool
) -> None:
    """31. The enqueuer learns that it may be there, and sending it again is harmless."""
    broker = actorq.SQLiteBroker(path)
    ran = []

    @broker.task
    async def note(n: int) -> int:
        ran.append(n)
        return n

    commit = Committer._commit
    fails = False

    def uncertain(committer: Committer, connection: sqlite3.Connection) -> None:
        nonlocal fails
        if not fails:
            commit(committer, connection)
            return
        fails = False
        if written:
            commit(committer, connection)
        raise troubles.Uncertain("the system failed to write")

    monkeypatch.setattr(Committer, "_commit", uncertain)
    async with actorq.open_system(broker) as sys:
        assert await (await sys.enqueue(note, 1)).result() == 1
        fails = True
        with pytest.raises(actorq.EnqueueUncertain):
            await sys.enqueue(note.using(task_id="twice"), 2)
        handle = await sys.enqueue(note.using(task_id="twice"), 2)
        assert await handle.result() == 2
    assert ran == [1, 2]


# --- texts ---


@pytest.mark.parametrize(
    "code",
    [
        *(
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
        ),
        *(
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_PROTOCOL,
        ),
        *(sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM),
    ],
)
def test_every_trouble_has_a_text_of_its_own(path: Path, code: int) -> None:
    """With the path; and never SQLite's word for a lock."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code | 0x100
    told = troubles.explained(error, path)
    assert isinstance(told, EngineUnavailable)
    assert str(path) in str(told)
    assert told.__cause__ is error


def test_what_is_no_trouble_of_the_file_stays_as_it_is(path: Path) -> None:
    """A mistake in a statement is not a full disk."""
    mistake = sqlite3.OperationalError("near 'selct': syntax error")
    assert troubles.explained(mistake, path) is mistake
    refusal = ValueError("no")
    assert troubles.explained(refusal, path) is refusal


def test_a_network_file_system_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where WAL does not work, the text says why."""
    monkeypatch.setattr(troubles, "file_system", lambda _: "nfs4")
    text = str(troubles.without_wal(path, "delete"))
    assert "nfs4" in text
    assert "local disk" in text
