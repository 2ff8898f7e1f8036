"""Signals to `actorq worker` in every state it may be in: what is done, given back, and said."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actorq.cli import exits
from cli.running import Program, gone, running
from cli.shop import QUEUE, customer, open_shop


pytestmark = pytest.mark.engine

TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL
WORKER = ("worker", "jobs:broker", "--json")
FIRST = pytest.mark.parametrize("first", [TERM, INT])
#: Seconds of `--grace`, for tasks that end within it: no test waits for it.
LONG = ("--grace", "600")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the program of the workers."""
    open_shop(tmp_path)
    return tmp_path


async def end_at_once(program: Program, *numbers: signal.Signals, within: float = 5.0) -> int:
    """Its exit code; the second and the third signal are sent when the one before was heard."""
    began = trio.current_time()
    for heard, number in zip((None, "ending", "hurrying"), numbers, strict=False):
        if heard is not None:
            await program.event(heard)
        program.signal(number)
    code = await program.end()
    assert trio.current_time() - began < within
    return code


@pytest.mark.parametrize("numbers", [(TERM,), (INT,), (TERM, TERM), (INT, TERM)])
async def test_idle(folder: Path, numbers: tuple[signal.Signals, ...]) -> None:
    """A04: it ends at once, and in order."""
    async with running(folder, *WORKER, "--processes", "2", *LONG) as program:
        await program.event("ready")
        assert await end_at_once(program, *numbers) == exits.OK
        assert "killed" not in program.events()


@FIRST
async def test_busy(folder: Path, first: signal.Signals) -> None:
    """A05: what runs may finish within the grace, and its result is stored."""
    async with customer(folder) as shop, running(folder, *WORKER, *LONG) as program:
        handle = await shop.system.enqueue(shop.nap, 1.0)
        await program.says("nap attempt=1")
        assert await end_at_once(program, first) == exits.OK
        assert await handle.result() == (await program.event("started"))["pid"]


@FIRST
async def test_busy_for_longer_than_the_grace(folder: Path, first: signal.Signals) -> None:
    """A05, 53: it is cancelled then and given back, and the attempt does not count."""
    async with customer(folder) as shop:
        await shop.system.enqueue(shop.nap, 1000.0)
        for _ in range(2):
            async with running(folder, *WORKER, "--grace", "0.2") as program:
                await program.says("nap attempt=1")
                assert await end_at_once(program, first) == exits.OK
                assert "cut off" in program.err.seen
        assert (await shop.system.queue_statistics()).ready == 1


@FIRST
async def test_busy_and_hurried(folder: Path, first: signal.Signals) -> None:
    """53: the second signal gives back at once what runs."""
    async with customer(folder) as shop, running(folder, *WORKER, *LONG) as program:
        await shop.system.enqueue(shop.nap, 1000.0)
        await program.says("nap attempt=1")
        assert await end_at_once(program, first, TERM) == exits.OK
        assert "cut off" in program.err.seen
        assert (await shop.system.queue_statistics()).ready == 1


@FIRST
async def test_a_thread_that_ends_in_the_grace(folder: Path, first: signal.Signals) -> None:
    """A05: a plain `def` task is waited for."""
    async with customer(folder) as shop, running(folder, *WORKER, *LONG) as program:
        handle = await shop.system.enqueue(shop.thread)
        await program.says("thread begins")
        program.signal(first)
        await program.event("ending")
        (folder / "release").touch()
        assert await program.end() == exits.OK
        assert await handle.result() == "released"


@pytest.mark.parametrize("name", ["thread", "block"])
async def test_what_does_not_let_itself_be_cancelled_is_killed(folder: Path, name: str) -> None:
    """A05: soon after the grace; it is said, and the task is there for others."""
    async with customer(folder) as shop, running(folder, *WORKER, "--grace", "0") as program:
        await shop.system.enqueue(getattr(shop, name))
        await program.says(f"{name} begins")
        assert await end_at_once(program, TERM, within=8.0) == exits.FAILED
        assert (await program.event("killed"))["processes"] == ["worker-1"]
        if name == "thread":  # who blocks the event loop blocks who would say so
            line = await program.says("does not let itself be cancelled")
            assert "jobs:thread" in line
            assert "jobs.py:" in line
        async with running(folder, *WORKER) as other:
            await other.says(f"{name} begins")
            (folder / "release").touch()


@pytest.mark.parametrize(("last", "code"), [(TERM, exits.TERMINATED), (INT, exits.INTERRUPTED)])
async def test_the_third_signal_kills(folder: Path, last: signal.Signals, code: int) -> None:
    """And the exit code is that of a shell."""
    async with customer(folder) as shop, running(folder, *WORKER, *LONG) as program:
        await shop.system.enqueue(shop.block)
        await program.says("block begins")
        assert await end_at_once(program, TERM, TERM, last, within=4.0) == code
        await program.event("killed")


@pytest.mark.parametrize("numbers", [(TERM,), (INT,), (TERM, TERM)])
async def test_saturated(folder: Path, numbers: tuple[signal.Signals, ...]) -> None:
    """53: what runs may finish; what waits was never taken, or goes back unharmed."""
    async with (
        customer(folder) as shop,
        running(folder, *WORKER, "--concurrency", "2", *LONG) as program,
    ):
        await shop.system.enqueue_many(shop.nap, [(2.0,)] * 6)
        await program.err.until(lambda lines: [line for line in lines if "nap" in line][1:])
        assert await end_at_once(program, *numbers) == exits.OK
        counts = await shop.system.queue_statistics()
        finished = 2 if len(numbers) == 1 else 0
        assert (counts.done, counts.ready, counts.leased) == (finished, 6 - finished, 0)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("numbers", [(TERM,), (INT, TERM)])
async def test_the_file_is_gone(
    folder: Path, numbers: tuple[signal.Signals, ...], busy: bool
) -> None:
    """It ends all the same, soon after the grace."""
    async with running(folder, *WORKER, "--grace", "1") as program:
        async with customer(folder) as shop:
            await program.event("ready")
            if busy:
                await shop.system.enqueue(shop.nap, 1000.0)
                await program.says("nap attempt=1")
        for path in folder.glob(f"{QUEUE}*"):
            if path.is_file():
                path.unlink()
        assert await end_at_once(program, *numbers, within=8.0) in (exits.OK, exits.FAILED)
        if busy:
            assert "cut off" in program.err.seen


@FIRST
async def test_idle_and_the_file_is_locked(folder: Path, first: signal.Signals) -> None:
    """There is nothing to be written that others would miss: it ends."""
    async with customer(folder), running(folder, *WORKER, *LONG) as program:
        await program.event("ready")
        with locked(folder):
            assert await end_at_once(program, first) == exits.OK


@FIRST
async def test_a_file_that_is_locked_from_the_beginning(
    folder: Path, first: signal.Signals
) -> None:
    """A worker that waits for it holds nothing: no grace is needed."""
    async with customer(folder):
        with locked(folder):
            async with running(folder, *WORKER, *LONG) as program:
                await program.says("imported")
                assert await end_at_once(program, first) == exits.OK


@pytest.mark.parametrize("numbers", [(TERM,), (INT, TERM)])
async def test_busy_and_the_file_is_locked(
    folder: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """By somebody who does not let go of it: soon after the grace it ends."""
    async with customer(folder) as shop, running(folder, *WORKER, "--grace", "1") as program:
        await program.event("ready")
        await shop.system.enqueue(shop.nap, 1000.0)
        await program.says("nap attempt=1")
        with locked(folder):
            assert await end_at_once(program, *numbers, within=8.0) in (exits.OK, exits.FAILED)
        async with running(folder, *WORKER) as other:  # given back, or taken from who has ended
            await other.says("nap attempt=")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The file's write lock is somebody's who does nothing with it."""
    connection = sqlite3.connect(folder / QUEUE, isolation_level=None)
    connection.execute("begin immediate")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()


async def test_a_killed_parent_lets_running_tasks_finish(folder: Path) -> None:
    """A32: within the grace; its process ends then."""
    async with customer(folder) as shop, running(folder, *WORKER, *LONG) as program:
        handle = await shop.system.enqueue(shop.nap, 1.0)
        await program.says("nap attempt=1")
        pid = (await program.event("started"))["pid"]
        program.process.kill()
        assert await handle.result() == pid
        await gone(pid)


async def test_the_tasks_of_a_killed_process_run_again_at_once(folder: Path) -> None:
    """29: not when their lease has run out."""
    async with (
        customer(folder) as shop,
        running(folder, *WORKER, "--processes", "2", *LONG) as program,
    ):
        await program.event("ready")
        await shop.system.enqueue(shop.nap, 1000.0)
        line = await program.says("nap attempt=1")
        began = trio.current_time()
        os.kill(int(line.rpartition("=")[2]), KILL)
        await program.says("nap attempt=2")
        assert trio.current_time() - began < 8  # of 30 seconds
        assert await end_at_once(program, TERM, TERM) == exits.OK


async def test_ctrl_c_in_a_terminal(folder: Path) -> None:
    """It reaches the parent alone: the first drains, and only the second hurries."""
    ours, terminal = os.openpty()
    lead = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    prefix = (sys.executable, "-c", lead)
    try:
        async with (
            customer(folder) as shop,
            running(folder, *WORKER, *LONG, prefix=prefix, stdin=terminal) as program,
        ):
            await shop.system.enqueue(shop.nap, 1000.0)
            handle = await shop.system.enqueue(shop.nap, 1.0)
            await program.err.until(lambda lines: [line for line in lines if "nap" in line][1:])
            os.write(ours, b"\x03")
            await program.event("ending")
            assert isinstance(await handle.result(), int)
            assert "cut off" not in program.err.seen
            os.write(ours, b"\x03")
            assert await program.end() == exits.OK
            assert "cut off" in program.err.seen
    finally:
        os.close(ours)
        os.close(terminal)
