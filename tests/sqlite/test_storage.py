"""The storage: steps that are all or nothing, however many share a transaction."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.sqlite.committer import Committer
from actorq.engines.sqlite.storage import SQLiteStorage, Topic


pytestmark = pytest.mark.engine

TASKS: tuple[Topic, ...] = ("tasks",)
RESULTS: tuple[Topic, ...] = ("results",)
MADE = "create table made (step integer, part integer)"


class Refused(Exception):
    pass


@attrs.frozen
class Drawn:
    """A step that writes some rows, and may raise after any of them; or one that reads."""

    number: int
    rows: int
    raises_at: int | None
    reads: bool

    def __call__(self, connection: sqlite3.Connection) -> int:
        if self.reads:
            first = connection.execute("select count(*) from made").fetchone()
            assert connection.execute("select count(*) from made").fetchone() == first
            return int(first[0])
        for part in range(self.rows + 1):
            if part == self.raises_at:
                raise Refused(self.number)
            if part < self.rows:
                connection.execute("insert into made values (?, ?)", (self.number, part))
        return self.rows


@st.composite
def steps(draw: st.DrawFn) -> list[Drawn]:
    """Of several callers, some of which fail."""
    shapes = draw(
        st.lists(
            st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3), st.booleans()),
            min_size=1,
            max_size=30,
        )
    )
    return [Drawn(i, rows, raises, reads) for i, (rows, raises, reads) in enumerate(shapes)]


async def open_with_table(path: Path) -> SQLiteStorage:
    """Fast: no machine is killed here."""
    storage = SQLiteStorage(path, synchronous="off")
    await storage.open()
    await storage.write(lambda connection: connection.execute(MADE).rowcount)
    return storage


def rows_in(path: Path) -> list[tuple[int, int]]:
    """In the order in which they were written, as a stranger reads them."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute("select step, part from made order by rowid").fetchall()
    finally:
        connection.close()


@given(drawn=steps(), held=st.booleans())
def test_each_step_is_all_or_nothing_and_in_order(drawn: list[Drawn], *, held: bool) -> None:
    """31. Whatever the others of its transaction do; who is answered finds it committed."""

    async def main() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "queue.db"
            storage = await open_with_table(path)
            before = storage.commits
            got: dict[int, int | Refused] = {}
            busy, go = threading.Event(), threading.Event()

            def hold(_: sqlite3.Connection) -> None:
                busy.set()
                go.wait(10)

            async def call(step: Drawn) -> None:
                try:
                    got[step.number] = await (storage.read if step.reads else storage.write)(step)
                except Refused as refused:
                    got[step.number] = refused

            async with trio.open_nursery() as nursery:
                if held:  # the thread is busy while they come: one transaction for them all
                    nursery.start_soon(storage.read, hold)
                    await trio.testing.wait_all_tasks_blocked()
                    assert busy.wait(10)
                for step in drawn:
                    nursery.start_soon(call, step)
                    await trio.testing.wait_all_tasks_blocked()
                go.set()
            expected: list[tuple[int, int]] = []
            for step in drawn:
                if step.reads:
                    assert got[step.number] == len(expected)
                elif step.raises_at is not None and step.raises_at <= step.rows:
                    assert repr(got[step.number]) == repr(Refused(step.number))
                else:
                    expected += [(step.number, part) for part in range(step.rows)]
            assert rows_in(path) == expected
            writes = sum(not step.reads for step in drawn)
            assert storage.commits - before <= (1 if held else writes)
            await storage.close()
            assert rows_in(path) == expected

    trio.run(main)


async def test_a_transaction_serves_all_that_have_come(path: Path) -> None:
    """One commit for five hundred callers, when they come together."""
    storage = await open_with_table(path)
    before = storage.commits
    async with trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(storage.write, Drawn(number, 1, None, reads=False))
    assert len(rows_in(path)) == 500
    assert storage.commits - before < 50
    await storage.close()


async def test_reading_takes_no_write_lock(path: Path) -> None:
    """While another process writes, who reads goes on with what was committed last."""
    storage = await open_with_table(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    other.execute("insert into made values (1, 1)")
    assert await storage.read(Drawn(0, 0, None, reads=True)) == 0
    other.execute("commit")
    assert await storage.read(Drawn(0, 0, None, reads=True)) == 1
    other.close()
    await storage.close()


async def test_what_a_failing_step_touched_is_not_told(path: Path) -> None:
    """Nothing of it happened."""
    storage = await open_with_table(path)
    heard = trio.Event()
    heard_of_nothing = 0

    def note() -> None:
        nonlocal heard_of_nothing
        heard_of_nothing += 1

    def failing(_: sqlite3.Connection) -> None:
        storage.touch("tasks")
        raise Refused

    def touching(_: sqlite3.Connection) -> None:
        storage.touch("results")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, TASKS, note)
        nursery.start_soon(storage.listen, RESULTS, heard.set)
        await trio.testing.wait_all_tasks_blocked()
        heard_of_nothing = 0
        heard = trio.Event()

        async def refused() -> None:
            with pytest.raises(Refused):
                await storage.write(failing)

        await refused()
        async with trio.open_nursery() as together:
            together.start_soon(refused)
            together.start_soon(storage.write, touching)
        nursery.cancel_scope.cancel()
    assert heard_of_nothing == 0
    await storage.close()


async def test_who_waits_for_the_file_can_be_cancelled_until_it_begins(path: Path) -> None:
    """48. Another process has the write lock: nobody is held up by that for longer than they want."""
    storage = await open_with_table(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    with trio.move_on_after(0.05) as scope:
        await storage.write(Drawn(1, 1, None, reads=False))
    assert scope.cancelled_caught
    other.execute("commit")
    await storage.write(Drawn(2, 1, None, reads=False))
    assert rows_in(path) == [(2, 0)]
    other.close()
    await storage.close()


async def test_who_is_cancelled_when_it_has_begun_learns_how_it_ended(path: Path) -> None:
    """48. A step that is given up on its way would be half known."""
    storage = await open_with_table(path)
    busy, go = threading.Event(), threading.Event()
    got = None

    def step(connection: sqlite3.Connection) -> str:
        busy.set()
        go.wait(10)
        connection.execute("insert into made values (1, 0)")
        return "done"

    async def write() -> None:
        nonlocal got
        got = await storage.write(step)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        assert busy.wait(10)
        nursery.cancel_scope.cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()
        go.set()
    assert got == "done"
    assert rows_in(path) == [(1, 0)]
    await storage.close()


async def test_a_storage_that_is_not_open_says_so(path: Path) -> None:
    """Nobody would ever answer."""
    storage = SQLiteStorage(path)
    with pytest.raises(RuntimeError, match="is not open"):
        await storage.read(lambda _: None)


async def test_parts_share_it_and_the_last_closes_it(path: Path) -> None:
    """Broker, result backend and schedule source each open and close."""
    storage = SQLiteStorage(path)
    await storage.open()
    await storage.open()
    await storage.close()
    assert await storage.read(lambda connection: connection.total_changes) >= 0
    await storage.close()
    assert not path.with_name("queue.db-wal").exists()
    assert not path.with_name("queue.db-peers").exists()
    await storage.open()  # and again
    await storage.close()


async def test_it_is_opened_while_it_closes(path: Path) -> None:
    """Without an open system each call of a schedule source opens and closes it: some at once."""
    storage = SQLiteStorage(path, synchronous="off")

    async def use() -> None:
        for _ in range(20):
            await storage.open()
            try:
                assert await storage.read(lambda _: "done") == "done"
            finally:
                await storage.close()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(use)


async def test_who_asks_while_it_closes_is_told(path: Path) -> None:
    """Nobody would ever answer."""
    storage = SQLiteStorage(path, synchronous="off")
    await storage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.close)
        while storage._users:
            await trio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="is not open"):
            await storage.read(lambda _: None)


async def test_two_that_open_it_at_once_both_learn_why_it_cannot(tmp_path: Path) -> None:
    """The second is not told that it is open while the first still tries."""
    storage = SQLiteStorage(tmp_path / "missing" / "queue.db")
    failures = []

    async def opened() -> None:
        try:
            await storage.open()
        except OSError as why:
            failures.append(why)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opened)
        nursery.start_soon(opened)
    assert len(failures) == 2
    assert "create it first" in str(failures[0])


def test_a_storage_serves_one_run_after_another(path: Path) -> None:
    """But not two at once."""
    storage = SQLiteStorage(path)

    async def life() -> None:
        await storage.open()
        with pytest.raises(RuntimeError, match=r"another trio\.run"):
            await trio.to_thread.run_sync(trio.run, storage.open)
        await storage.close()

    trio.run(life)
    trio.run(life)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"path": ":memory:"}, "InMemoryBroker"),
        ({"path": "queue.db", "synchronous": "extra"}, "'full', 'normal' or 'off'"),
        ({"path": "queue.db", "recheck": 0}, "more than 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], why: str) -> None:
    """At once, with what was expected."""
    made: Callable[..., SQLiteStorage] = SQLiteStorage
    with pytest.raises(ValueError, match=why):
        made(**arguments)


async def test_a_step_is_repeated_while_the_event_loop_is_stuck(path: Path) -> None:
    """35. A lease is renewed by the thread; but not without end."""
    storage = await open_with_table(path)
    done = threading.Event()
    times = 0

    def step(connection: sqlite3.Connection) -> None:
        nonlocal times
        times += 1
        connection.execute("insert into made values (0, 0)")
        if times == 6:  # five are committed
            done.set()

    with storage.keeping(step, every=0.01, bound=10):
        assert done.wait(10)  # the loop stands still here
    assert len(rows_in(path)) >= 5
    with storage.keeping(step, every=0.01, bound=0.05):
        before = times
        threading.Event().wait(0.3)
        assert times - before <= 6  # then it was given up for lost
    after = times
    await storage.write(Drawn(1, 1, None, reads=False))
    threading.Event().wait(0.05)
    assert times <= after + 1
    await storage.close()


async def test_a_repeated_step_that_fails_is_tried_again(path: Path) -> None:
    """It says so in the log; the others go on."""
    storage = await open_with_table(path)
    done = threading.Event()
    times = 0

    def step(connection: sqlite3.Connection) -> None:
        nonlocal times
        times += 1
        connection.execute("insert into made values (0, 0)")
        if times == 1:
            raise Refused
        done.set()

    with storage.keeping(step, every=0.01, bound=10):
        with trio.fail_after(10):
            await trio.to_thread.run_sync(done.wait)
    await storage.close()
    assert len(rows_in(path)) == times - 1


async def test_who_changes_the_folder_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may do so, for all of its process."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    storage = SQLiteStorage("queue.db", synchronous="off")
    await storage.open()
    monkeypatch.chdir("elsewhere")
    await storage.write(lambda connection: connection.execute(MADE).rowcount)
    await storage.close()
    await storage.open()
    assert (
        await storage.read(lambda connection: connection.execute("select * from made")) is not None
    )
    await storage.close()
    assert not list(Path.cwd().iterdir())


async def test_the_thread_outlives_what_nobody_expected(
    storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """31: without it, whoever asks next would wait for ever."""

    def breaks(_: Committer) -> None:
        raise ZeroDivisionError("in the thread")

    caplog.set_level("ERROR", "actorq.sqlite")
    monkeypatch.setattr(Committer, "_tidy", breaks)
    await storage.write(lambda connection: connection.execute("create table t (n integer)"))
    with trio.fail_after(5):
        await storage.write(lambda connection: connection.execute("insert into t values (1)"))
        count = await storage.read(lambda c: c.execute("select count(*) from t").fetchone()[0])
    assert count == 1
    assert "in the thread" in caplog.text
