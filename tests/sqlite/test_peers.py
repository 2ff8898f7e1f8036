"""Several processes on one file: they wake one another, and notice who has died."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from actorq.engines.sqlite.peers import Peers, has_sockets, ring
from actorq.engines.sqlite.storage import SQLiteStorage, Topic

from .programs import started


pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(not has_sockets(), reason="no Unix sockets here"),
]

TASKS: tuple[Topic, ...] = ("tasks",)
BOTH: tuple[Topic, ...] = ("schedules", "tasks")
RESULTS: tuple[Topic, ...] = ("results",)


class Heard:
    """How often, and a way to wait for the next time."""

    def __init__(self) -> None:
        self.times = 0
        self._next = trio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._next.set()
        self._next = trio.Event()

    async def beyond(self, times: int) -> None:
        while self.times <= times:
            await self._next.wait()


@asynccontextmanager
async def listening(path: Path, recheck: float) -> AsyncIterator[Heard]:
    """Who listens to the tasks of a file that is open."""
    storage, heard = SQLiteStorage(path, recheck=recheck), Heard()
    await storage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, TASKS, heard)
        await trio.testing.wait_all_tasks_blocked()
        yield heard
        nursery.cancel_scope.cancel()
    await storage.close()


async def test_a_commit_wakes_who_listens_to_its_topic(path: Path) -> None:
    """43. In this process and in others; nobody else, and not who did it."""
    ours, theirs = SQLiteStorage(path, recheck=1000), SQLiteStorage(path, recheck=1000)
    await ours.open()
    await theirs.open()
    me = object()
    mine, beside, others, of_results = Heard(), Heard(), Heard(), Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.listen, TASKS, mine, me)
        nursery.start_soon(ours.listen, TASKS, beside)
        nursery.start_soon(theirs.listen, BOTH, others)
        nursery.start_soon(theirs.listen, RESULTS, of_results)
        await trio.testing.wait_all_tasks_blocked()
        assert [each.times for each in (mine, beside, others, of_results)] == [1, 1, 1, 1]
        with trio.fail_after(10):
            for times in range(1, 20):
                before = others.times
                await ours.write(lambda _: ours.touch("tasks", me))
                await others.beyond(before)
                await beside.beyond(times)
        await theirs.write(lambda _: theirs.touch("results"))
        assert mine.times == 1
        assert of_results.times == 2
        nursery.cancel_scope.cancel()
    await theirs.close()
    await ours.close()


async def test_who_commits_by_itself_rings(path: Path) -> None:
    """From any thread: a user's own transaction wakes the workers."""
    async with listening(path, 1000) as heard:
        thread = threading.Thread(target=ring, args=(path, "results", "tasks"))
        thread.start()
        with trio.fail_after(10):
            await heard.beyond(1)
        thread.join()
    ring(path, "tasks")  # nobody is there
    ring(path / "no" / "such" / "folder", "tasks")


async def test_a_lost_word_costs_a_recheck(path: Path) -> None:
    """43. Somebody commits without a word: it is seen all the same."""
    async with listening(path, 0.02) as heard:
        before = heard.times
        other = sqlite3.connect(path)
        other.execute("create table mine (value)")
        other.commit()
        other.close()
        with trio.fail_after(10):
            await heard.beyond(before)


async def test_an_idle_storage_stays_idle(path: Path) -> None:
    """Nothing has changed: nobody is called, however often it looks."""
    async with listening(path, 0.01) as heard:
        await trio.to_thread.run_sync(threading.Event().wait, 0.1)
        assert heard.times == 1


async def test_who_had_it_open_before_the_machine_started_anew_is_forgotten(path: Path) -> None:
    """29. It left no socket by which to find it; what it held is free, known or not."""
    storage = SQLiteStorage(path)
    await storage.open()

    def of_another_boot(connection: sqlite3.Connection) -> None:
        connection.execute(
            "insert into actorq_peers (peer, boot, pid, since) values ('old', 'the last one', 1, 0)"
        )

    await storage.write(of_another_boot)
    assert await storage.dead_peers(["old"]) == {"old"}
    await storage.close()
    await storage.open()
    assert [each.peer for each in (await storage.information()).peers] == [storage.peer]
    assert await storage.dead_peers(["old"]) == {"old"}
    await storage.close()


async def test_a_killed_process_is_known_to_be_dead(path: Path) -> None:
    """29. By the refusal of its socket: nobody has to wait for its lease to run out."""
    storage = SQLiteStorage(path, recheck=0.02)
    await storage.open()
    heard = Heard()
    with ExitStack() as stack:
        one = stack.enter_context(started("stay", path))
        two = stack.enter_context(started("stay", path))
        (_, first), (_, second) = one.line(), two.line()
        asked = (first, second, storage.peer, "who never was")
        assert await storage.dead_peers(asked) == {"who never was"}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.listen, TASKS, heard)
            await trio.testing.wait_all_tasks_blocked()
            await trio.to_thread.run_sync(threading.Event().wait, 0.1)  # the openings were seen
            before = heard.times
            one.kill()
            with trio.fail_after(10):
                await heard.beyond(before)  # that somebody died is news
                while first not in await storage.dead_peers(asked):
                    await heard.beyond(heard.times)
            assert await storage.dead_peers(asked) == {first, "who never was"}
            nursery.cancel_scope.cancel()
        names = os.listdir(f"{path}-peers")
        assert not [name for name in names if name.startswith(first)]
        assert [name for name in names if name.startswith(second)]
    await storage.close()


async def test_who_asks_about_a_killed_process_need_not_wait_for_a_recheck(path: Path) -> None:
    """29. It is tried at its socket."""
    storage = SQLiteStorage(path, recheck=1000)
    await storage.open()
    with started("stay", path) as program:
        (_, peer) = program.line()
        assert await storage.dead_peers([peer]) == set()
        program.kill()
        assert await storage.dead_peers([peer]) == {peer}
    await storage.close()


async def test_who_has_closed_the_file_is_gone(path: Path) -> None:
    """Without a trace."""
    ours, theirs = SQLiteStorage(path), SQLiteStorage(path)
    await ours.open()
    await theirs.open()
    peer = theirs.peer
    assert await ours.dead_peers([peer]) == set()
    await theirs.close()
    assert await ours.dead_peers([peer]) == {peer}
    await theirs.open()
    assert theirs.peer != peer
    await theirs.close()
    await ours.close()
    assert not Path(f"{path}-peers").exists()


async def test_a_folder_that_was_cleaned_makes_nobody_dead(path: Path) -> None:
    """Only a refusal is proof; and the re-check sees what no word tells."""
    ours, theirs = SQLiteStorage(path), SQLiteStorage(path, recheck=0.02)
    await ours.open()
    await theirs.open()
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.listen, TASKS, heard)
        await trio.testing.wait_all_tasks_blocked()
        for name in os.listdir(f"{path}-peers"):
            os.unlink(f"{path}-peers/{name}")
        assert await ours.dead_peers([theirs.peer]) == set()
        before = heard.times
        await ours.write(
            lambda connection: connection.execute("create table mine (value)").rowcount
        )
        with trio.fail_after(10):
            await heard.beyond(before)
        nursery.cancel_scope.cancel()
    await theirs.close()
    await ours.close()


async def test_a_full_queue_of_words_blocks_nobody(path: Path) -> None:
    """A process that does not come to read: a word more would tell it nothing."""
    ours, theirs = SQLiteStorage(path), SQLiteStorage(path)
    await ours.open()
    await theirs.open()
    peers = theirs._peers
    with peers.hearing(TASKS) as heard, trio.fail_after(10):
        for _ in range(1000):
            await ours.write(lambda _: ours.touch("tasks"))
        assert heard is not None
        assert heard.recv(10) == b"!"
    await theirs.close()
    await ours.close()


async def test_who_has_no_file_number_left_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears of the commit at once; but the thread that commits must not die of it."""

    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    ours, theirs = SQLiteStorage(path), SQLiteStorage(path)
    await ours.open()
    await theirs.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.listen, TASKS, lambda: None)
        await trio.testing.wait_all_tasks_blocked()
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", none_left)
            for _ in range(2):
                with trio.fail_after(5):
                    await ours.write(lambda _: ours.touch("tasks"))
        nursery.cancel_scope.cancel()
    await theirs.close()
    await ours.close()


async def test_a_long_path_has_sockets_too(tmp_path: Path) -> None:
    """A socket's address has room for a hundred letters only."""
    deep = tmp_path / ("long" * 30) / ("longer" * 20)
    deep.mkdir(parents=True)
    ours, theirs = (SQLiteStorage(deep / "queue.db", recheck=1000) for _ in range(2))
    await ours.open()
    await theirs.open()
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.listen, TASKS, heard)
        await trio.testing.wait_all_tasks_blocked()
        await ours.write(lambda _: ours.touch("tasks"))
        with trio.fail_after(10):
            await heard.beyond(1)
        assert await ours.dead_peers([theirs.peer]) == set()
        nursery.cancel_scope.cancel()
    await theirs.close()
    await ours.close()


async def test_who_may_use_the_file_may_ring(path: Path) -> None:
    """The folder and the sockets have the file's permissions."""
    path.touch()
    path.chmod(0o660)
    storage = SQLiteStorage(path)
    await storage.open()
    folder = Path(f"{path}-peers")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o770
    assert stat.S_IMODE((folder / f"{storage.peer}.life").stat().st_mode) == 0o660
    await storage.close()


async def test_a_link_and_its_file_are_one(path: Path) -> None:
    """Whoever comes by another name hears the same words."""
    path.touch()
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert Peers(link).folder == Peers(path).folder


async def test_without_sockets_the_recheck_is_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows: ten times as often."""
    monkeypatch.delattr(socket, "AF_UNIX")
    ours, theirs = SQLiteStorage(path), SQLiteStorage(path, recheck=0.2)
    await ours.open()
    await theirs.open()
    heard = Heard()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.listen, TASKS, heard)
        await trio.testing.wait_all_tasks_blocked()
        before = heard.times
        await ours.write(
            lambda connection: connection.execute("create table mine (value)").rowcount
        )
        with trio.fail_after(10):
            await heard.beyond(before)
        nursery.cancel_scope.cancel()
    assert await ours.dead_peers([theirs.peer]) == set()
    await theirs.close()
    await ours.close()


async def test_a_word_comes_within_milliseconds(path: Path) -> None:
    """From commit to the other process: docs/sqlite.md says how many on an idle machine."""
    storage = SQLiteStorage(path)
    await storage.open()
    with started("listen", path) as program:
        while program.line()[0] != "heard":
            pass
        took = []
        for _ in range(50):
            begun = time.monotonic()
            await storage.write(lambda _: storage.touch("tasks"))
            took.append(float(program.line()[1]) - begun)
    await storage.close()
    assert sorted(took)[25] < 0.1, took  # a re-check would take a second
