"""A queue in a file, the program of its workers, and the side that enqueues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

import actorq


#: Where the file is.
QUEUE = "queue.db"

#: What the workers import: it says what it does, a line for each.
PROGRAM = f"""
import actorq, os, time, trio
from pathlib import Path

broker = actorq.SQLiteBroker({QUEUE!r})

@broker.task
async def nap(seconds: float, ctx: actorq.Context = actorq.Depends()) -> int:
    print(f"nap attempt={{ctx.attempt}} pid={{os.getpid()}}")
    try:
        await trio.sleep(seconds)
    except trio.Cancelled:
        print("cut off")
        raise
    return os.getpid()

@broker.task
def thread() -> str:
    print("thread begins")
    while not Path("release").exists():
        time.sleep(0.01)
    return "released"

@broker.task
async def block() -> None:
    print("block begins")
    time.sleep(1000)

hoard = []

@broker.task
async def grow(megabytes: int) -> int:
    hoard.append(b"x" * (megabytes << 20))
    print(f"grow pid={{os.getpid()}}")
    return os.getpid()

@broker.task
async def fail() -> None:
    raise RuntimeError("of no use")

print("imported")
"""


def open_shop(folder: Path) -> None:
    """Write the program into *folder*."""
    (folder / "jobs.py").write_text(PROGRAM)


@attrs.frozen
class Shop:
    """The side that enqueues: its system, and the tasks by their names."""

    system: actorq.System
    nap: actorq.Task[[float], int]
    thread: actorq.Task[[], str]
    block: actorq.Task[[], None]
    grow: actorq.Task[[int], int]
    fail: actorq.Task[[], None]


@asynccontextmanager
async def customer(folder: Path) -> AsyncIterator[Shop]:
    """Enqueue from here."""
    broker = actorq.SQLiteBroker(folder / QUEUE)

    @broker.task(name="jobs:nap")
    async def nap(seconds: float) -> int:
        raise NotImplementedError

    @broker.task(name="jobs:thread")
    def thread() -> str:
        raise NotImplementedError

    @broker.task(name="jobs:block")
    async def block() -> None:
        raise NotImplementedError

    @broker.task(name="jobs:grow")
    async def grow(megabytes: int) -> int:
        raise NotImplementedError

    @broker.task(name="jobs:fail")
    async def fail() -> None:
        raise NotImplementedError

    async with actorq.open_system(broker, role="client") as system:
        yield Shop(system, nap, thread, block, grow, fail)
