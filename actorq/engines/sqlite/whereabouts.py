"""Whereabouts: who works on what, and on which line, across the processes that share a file.

Who works on what is in the tables of the queue.  Lines are known in the process of the job alone, and
only said when somebody asks: who looks raises a number, every process with jobs hears of it (topic
"looks"), writes down where its jobs sit, and says so (topic "lines").  Nothing is written while nobody
looks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from actorq.engines.sqlite.storage import SQLiteStorage, Topic
from actorq.engines.sqlite.whereabouts_rows import (
    lines,
    raise_number,
    take_down,
    unanswered,
    workers,
    working_peers,
)
from actorq.errors import EngineUnavailable


__all__ = ["answer", "look", "workers"]

#: Seconds that one waits for answers: a worker that blocks its loop has none.
PATIENCE: Final = 0.25
LOOKS: Final[tuple[Topic, ...]] = ("looks",)
LINES: Final[tuple[Topic, ...]] = ("lines",)


async def answer(storage: SQLiteStorage, where: Callable[[], Mapping[str, str]]) -> None:
    """Write down where our jobs sit whenever somebody looks, until cancelled."""
    asked, ask = _once()
    done = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, LOOKS, ask)
        async for _ in asked:
            with suppress(EngineUnavailable):  # the broker's own calls say so
                number = await storage.read(_number)
                if number != done:
                    await storage.write(partial(_answer, storage, number, where()))
                    done = number


async def look(storage: SQLiteStorage) -> Mapping[str, str]:
    """On which line the jobs of other processes sit, by task id: as far as they answer in time."""
    me = storage.peer
    if not await storage.read(partial(working_peers, but=me)):
        return {}
    heard, hear = _once()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage.listen, LINES, hear)
        number = await storage.write(partial(_ask, storage))
        with trio.move_on_after(PATIENCE):
            async for _ in heard:
                if not await storage.read(partial(unanswered, number=number, but=me)):
                    break
        nursery.cancel_scope.cancel("actorq: the answers have come")
    return await storage.read(lines)


def _once() -> tuple[trio.MemoryReceiveChannel[None], Callable[[], None]]:
    """A channel, and what puts something in it; many times before somebody looks are one."""
    send, receive = trio.open_memory_channel[None](1)

    def note() -> None:
        with suppress(trio.WouldBlock):
            send.send_nowait(None)

    return receive, note


def _number(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("select number from actorq_looks").fetchone()
    return int(number)


def _ask(storage: SQLiteStorage, connection: sqlite3.Connection) -> int:
    storage.touch("looks")
    return raise_number(connection)


def _answer(
    storage: SQLiteStorage,
    number: int,
    where: Mapping[str, str],
    connection: sqlite3.Connection,
) -> None:
    take_down(connection, storage.peer, number, where)
    storage.touch("lines")
