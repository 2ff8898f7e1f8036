"""Another process on the file: what it is to do stands in its arguments, what it did in its lines."""

from __future__ import annotations

import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

import trio

from actorq.engines.sqlite.storage import SQLiteStorage, Topic


TASKS: tuple[Topic, ...] = ("tasks",)


def say(*words: object) -> None:
    """One line, at once."""
    print(  # noqa: T201
        *words, flush=True
    )


async def listen(storage: SQLiteStorage) -> None:
    """Say when tasks were touched, by the machine's steady clock."""
    await storage.listen(TASKS, lambda: say("heard", time.monotonic()))


async def stay(storage: SQLiteStorage) -> None:
    """Until killed."""
    say("open", storage.peer)
    await trio.sleep_forever()


async def hold(storage: SQLiteStorage) -> None:
    """Keep the write lock, in the middle of a transaction."""

    def forever(connection: sqlite3.Connection) -> None:
        connection.execute("insert into made values (-1, -1)")
        say("holds")
        sys.stdin.read()

    await storage.write(forever)


def row(number: int, size: int) -> Callable[[sqlite3.Connection], object]:
    """A step that writes one."""

    def step(connection: sqlite3.Connection) -> None:
        connection.execute("insert into made values (?, zeroblob(?))", (number, size))

    return step


async def write(storage: SQLiteStorage) -> None:
    """Rows of its own, one transaction after the other, each said when it is committed."""
    for number in range(100_000):
        await storage.write(row(number, 10))
        say("wrote", number)


async def fill(storage: SQLiteStorage) -> None:
    """The same, large ones, until it fails; then one more, to see whether it goes on."""
    try:
        for number in range(10_000):
            await storage.write(row(number, 100_000))
            say("wrote", number)
    except Exception as why:
        say("failed", type(why).__name__, why)
    say("kept", await storage.read(lambda c: c.execute("select count(*) from made").fetchone()[0]))
    await storage.write(lambda connection: connection.execute("delete from made").rowcount)
    say("goes on")


async def torn(storage: SQLiteStorage) -> None:
    """Write three rows at a time, until the system kills us amid a write: the file may be no larger."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    def three(number: int) -> Callable[[sqlite3.Connection], object]:
        def step(connection: sqlite3.Connection) -> None:
            for _ in range(3):
                connection.execute("insert into made values (?, zeroblob(3000))", (number,))

        return step

    for number in range(1000):
        await storage.write(three(number))
        say("wrote", number)


async def main(what: str, path: Path) -> None:
    """Do it on an open file."""
    storage = SQLiteStorage(path)
    try:
        await storage.open()
        await globals()[what](storage)
    except OSError as why:
        say("failed", type(why).__name__, why)
    finally:
        await storage.close()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Path(sys.argv[2]))
