"""Row 6: a million queued tasks against a thousand: cost per enqueue and fetch, bytes per task.

Twice: on the core of the in-memory engine alone, and through the whole system with its slots held.
"""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path
from time import perf_counter, time

import trio

import actorq
from actorq.engines.memory.queue import Queue
from actorq.ids import uuid7
from actorq.message import TaskMessage
from actorq.protocol import Ending, Settlement
from measure import Program, Report, Row, program_main
from throughput import noop


DEPTHS = {"deep": 1_000_000, "shallow": 1_000}
CHUNK = 1_000
BATCH = 100
CONCURRENCY = 100


def _messages(n: int) -> list[TaskMessage]:
    now = time()
    return [noop.message((), {}, task_id=uuid7(), now=now) for _ in range(n)]


def _fill(queue: Queue, depth: int) -> None:
    for _ in range(0, depth, CHUNK):
        queue.enqueue(_messages(CHUNK), time())


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096.0


def _core(n: int, depth: int) -> Report:
    """Enqueue and fetch *n* tasks, batch after batch, on top of *depth* that are queued."""
    queue = Queue()
    _fill(queue, CHUNK)
    before = _resident()
    _fill(queue, depth - CHUNK)
    resident = _resident() - before
    session = queue.open_session("benchmark", time()).id
    enqueue = claim = settle = 0.0
    for turn in range(-n // BATCH // 10, n // BATCH):
        messages = _messages(BATCH)
        began = perf_counter()
        queue.enqueue(messages, time())
        enqueued = perf_counter()
        deliveries = queue.claim(session, BATCH, time())
        claimed = perf_counter()
        settlements = [Settlement(each.fence, Ending.DONE) for each in deliveries]
        settling = perf_counter()
        queue.settle(session, settlements, time())
        settled = perf_counter()
        if turn >= 0:
            enqueue += enqueued - began
            claim += claimed - enqueued
            settle += settled - settling
    assert len(queue.live) == depth
    return {
        "depth": depth,
        "enqueue": enqueue / n,
        "fetch": claim / n,
        "settle": settle / n,
        "resident_bytes": resident / max(1, depth - CHUNK),
    }


class Gate:
    """Holds every slot until it is opened; then counts the tasks that run."""

    def __init__(self) -> None:
        self.opened = trio.Event()
        self.full = trio.Event()
        self.holding = 0
        self.reached = trio.Event()
        self.left = 0

    def close(self) -> None:
        self.opened = trio.Event()
        self.full = trio.Event()
        self.holding = 0

    async def hold(self) -> None:
        self.holding += 1
        if self.holding == CONCURRENCY:
            self.full.set()
        await self.opened.wait()

    def open(self, expected: int) -> None:
        self.left = expected
        self.reached = trio.Event()
        self.opened.set()

    async def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.reached.set()


async def _system(n: int, depth: int) -> Report:
    """The same through all five actors: enqueue while every slot is held, then let them run."""
    gate = Gate()

    @actorq.task(priority=1)
    async def hold() -> None:
        await gate.hold()

    @actorq.task
    async def count() -> None:
        await gate.count()

    enqueue = fetch = 0.0
    turns = n // CHUNK
    async with actorq.open_system(concurrency=CONCURRENCY, grace=0) as sys:
        for turn in range(-1, turns):  # the first to warm up
            gate.close()
            await sys.enqueue_many(hold, [()] * CONCURRENCY)
            await gate.full.wait()
            while (await sys.queue_statistics()).ready < depth - CHUNK:
                await sys.enqueue_many(count, [()] * CHUNK)
            began = perf_counter()
            for _ in range(CHUNK):
                await sys.enqueue(count)
            enqueued = perf_counter()
            gate.open(CHUNK)
            await gate.reached.wait()
            fetched = perf_counter()
            if turn >= 0:
                enqueue += enqueued - began
                fetch += fetched - enqueued
    return {"depth": depth, "enqueue": enqueue / n, "fetch": fetch / n}


def _run(n: int, depth: int) -> Report:
    return trio.run(_system, n, depth)


def _bytes(n: int) -> Report:
    """What a queued task without arguments takes, with its message, id and places."""
    queue = Queue()
    _fill(queue, CHUNK)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    _fill(queue, n)
    after, _ = tracemalloc.get_traced_memory()
    return {"bytes": (after - before) / n}


DEEP = Program("scale.py", "core_deep", 50_000, 500)
SHALLOW = Program("scale.py", "core_shallow", 50_000, 500)
SYSTEM_DEEP = Program("scale.py", "system_deep", 10_000, 1_000)
SYSTEM_SHALLOW = Program("scale.py", "system_shallow", 10_000, 1_000)
BYTES = Program("scale.py", "queued_bytes", 200_000, 10_000)


def _row(name: str, work: str, deep: Program, shallow: Program, what: str) -> Row:
    return Row(
        name,
        f"{work}; 1,000,000 queued",
        deep,
        lambda report: report[what] * 1e6,
        "µs",
        "≤ 1.5×",
        "1,000 queued",
        shallow,
        at_most=1.5,
    )


CORE_ROWS = (
    _row("depth-enqueue", "enqueue a task, the queue's core alone", DEEP, SHALLOW, "enqueue"),
    _row("depth-fetch", "fetch a task, the queue's core alone", DEEP, SHALLOW, "fetch"),
    Row(
        "depth-bytes",
        "a queued task without arguments: message, id, places in the queue",
        BYTES,
        lambda report: report["bytes"],
        "bytes",
        "≤ 600 bytes",
        at_most=600,
    ),
    Row(
        "depth-resident",
        "the same, by the growth of the process over 1,000,000",
        DEEP,
        lambda report: report["resident_bytes"],
        "bytes",
        "–",
    ),
)
SYSTEM_ROWS = (
    _row("system-enqueue", "`await sys.enqueue`", SYSTEM_DEEP, SYSTEM_SHALLOW, "enqueue"),
    _row("system-fetch", "fetch, run, store a result", SYSTEM_DEEP, SYSTEM_SHALLOW, "fetch"),
)


if __name__ == "__main__":
    program_main(
        {
            **{f"core_{name}": partial(_core, depth=depth) for name, depth in DEPTHS.items()},
            **{f"system_{name}": partial(_run, depth=depth) for name, depth in DEPTHS.items()},
            "queued_bytes": _bytes,
        }
    )
