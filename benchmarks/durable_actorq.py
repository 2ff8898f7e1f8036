"""Ours of the durable rows: `SQLiteBroker`, and what it shares with ours on servers.

Its worker imports this module for `broker`.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar, cast

import trio

import actorq
import durable
from fleet import say


T = TypeVar("T")

FILE = "BENCH_ACTORQ_FILE"
SYNCHRONOUS = "BENCH_ACTORQ_SYNCHRONOUS"


@actorq.task
async def noop() -> None:
    """Nothing."""


@actorq.task
async def nap(number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    await trio.sleep(seconds)
    say(log, f"end {number}")


def make(path: str, synchronous: str) -> actorq.SQLiteBroker:
    """A broker with these tasks."""
    broker = actorq.SQLiteBroker(path, synchronous=cast(Any, synchronous))
    return broker.register(noop, nap)


if FILE in os.environ:
    broker = make(os.environ[FILE], os.environ[SYNCHRONOUS])


class Actorq(ABC):
    """A client of any engine."""

    #: Where the workers find their broker.
    broker: str

    @abstractmethod
    def make(self) -> actorq.Broker:
        """A broker for a client, with its tasks."""

    def server_cpu(self) -> float:
        return 0.0  # there is none

    def worker(self, jobs: int = 0) -> Sequence[str]:
        flags = "--processes 1 --concurrency 100 --log-level WARNING"
        return [sys.executable, "-m", "actorq", "worker", self.broker, *flags.split()]

    def single(self, n: int) -> float:
        return self._timed(lambda sys: self._enqueue(sys, n))

    def callers(self, n: int) -> float:
        async def fifty(sys: actorq.System) -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(self._enqueue, sys, n // 50)

        return self._timed(fifty)

    def batch(self, n: int) -> float:
        async def batches(sys: actorq.System) -> None:
            for _ in range(n // 1000):
                await sys.enqueue_many(noop, [()] * 1000)
            await sys.enqueue_many(noop, [()] * (n % 1000))

        return self._timed(batches)

    def round_trips(self, n: int) -> list[float]:
        async def trips(sys: actorq.System) -> list[float]:
            trips: list[float] = []
            while len(trips) < n and sum(trips) < durable.TRIPS:
                began = perf_counter()
                await (await sys.enqueue(noop)).result()
                trips.append(perf_counter() - began)
            return trips

        return self._run(trips)

    def waits(self, seconds: float) -> float:
        async def wait(sys: actorq.System) -> float:
            handle = await sys.enqueue(nap, 0, seconds, "")
            used = process_time()
            await handle.result()
            return process_time() - used

        return self._run(wait)

    def naps(self, n: int, seconds: float, log: Path) -> None:
        async def enqueue(sys: actorq.System) -> None:
            await sys.enqueue_many(nap, [(number, seconds, str(log)) for number in range(n)])

        self._run(enqueue)

    def _run(self, body: Callable[[actorq.System], Awaitable[T]]) -> T:
        async def run() -> T:
            async with actorq.open_system(self.make(), role="client") as sys:
                return await body(sys)

        return trio.run(run)

    def _timed(self, body: Callable[[actorq.System], Awaitable[None]]) -> float:
        async def timed(sys: actorq.System) -> float:
            began = perf_counter()
            await body(sys)
            return perf_counter() - began

        return self._run(timed)

    async def _enqueue(self, sys: actorq.System, n: int) -> None:
        for _ in range(n):
            await sys.enqueue(noop)


class ActorqSQLite(Actorq):
    """`full` waits for the disk at each commit; `normal` survives the process, not a power cut."""

    broker = "durable_actorq:broker"

    def __init__(self, synchronous: str) -> None:
        self.synchronous = synchronous

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        self._file = str(folder / "actorq.db")
        yield {FILE: self._file, SYNCHRONOUS: self.synchronous}

    def make(self) -> actorq.Broker:
        return make(self._file, self.synchronous)

    def stored(self) -> int:
        connection = sqlite3.connect(self._file)
        try:
            return int(connection.execute("select count(*) from actorq_results").fetchone()[0])
        finally:
            connection.close()


if __name__ == "__main__":
    # the module as its workers import it: a task is named after that
    queue = importlib.import_module("durable_actorq").ActorqSQLite
    durable.serve({"actorq": queue("full"), "actorq_normal": queue("normal")})
