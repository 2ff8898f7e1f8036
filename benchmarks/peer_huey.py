"""A peer of the durable rows: huey on SQLite, with the best settings that were found for it.

Run by an interpreter that has huey.  Its consumer imports this module for `huey`.
"""

from __future__ import annotations

import importlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import durable
from fleet import say, script


FILE = "BENCH_HUEY_FILE"
FSYNC = "BENCH_HUEY_FSYNC"

_huey: Any = importlib.import_module("huey")  # by name: the type checker need not have it
huey: Any = _huey.SqliteHuey(filename=os.environ.get(FILE, ":memory:"), fsync=FSYNC in os.environ)


@huey.task()  # type: ignore[untyped-decorator]
def noop() -> int:
    """Nothing; but a result, or huey would store none."""
    return 0


@huey.task()  # type: ignore[untyped-decorator]
def nap(number: int, seconds: float, log: str) -> int:
    """Sleep."""
    say(log, f"begin {number}")
    time.sleep(seconds)
    say(log, f"end {number}")
    return 0


class Huey:
    """By default its SQLite storage does not wait for the disk: a power cut loses tasks."""

    def __init__(self, *, fsync: bool) -> None:
        self.fsync = fsync

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        self._file = str(folder / "huey.db")
        huey.storage_kwargs |= {"filename": self._file, "fsync": self.fsync}
        huey.storage = huey.create_storage()
        yield {FILE: self._file} | ({FSYNC: "1"} if self.fsync else {})
        huey.storage.close()

    def worker(self, jobs: int = 0) -> Sequence[str]:
        flags = f"-w {jobs or 8} -k thread -d 0.005 -m 0.01 -q"
        return [script("python"), script("huey_consumer"), "peer_huey.huey", *flags.split()]

    def single(self, n: int) -> float:
        began = perf_counter()
        for _ in range(n):
            noop()
        return perf_counter() - began

    def callers(self, n: int) -> float:
        threads = [threading.Thread(target=self.single, args=(n // 50,)) for _ in range(50)]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return perf_counter() - began

    def batch(self, n: int) -> float:
        return self.single(n)  # there is no call for many

    def server_cpu(self) -> float:
        return 0.0  # there is none

    def stored(self) -> int:
        connection = sqlite3.connect(self._file)
        try:
            return int(connection.execute("select count(*) from kv").fetchone()[0])
        finally:
            connection.close()

    def round_trips(self, n: int) -> list[float]:
        trips = []
        for _ in range(n):
            began = perf_counter()
            # it looks again and again; so often is its best
            noop().get(blocking=True, max_delay=0.001, preserve=True)
            trips.append(perf_counter() - began)
        return trips

    def waits(self, seconds: float) -> float:
        result = nap(0, seconds, "")
        used = process_time()
        result.get(blocking=True, max_delay=0.001)
        return process_time() - used

    def naps(self, n: int, seconds: float, log: Path) -> None:
        for number in range(n):
            nap(number, seconds, str(log))


if __name__ == "__main__":
    # the module as its workers import it: a task is named after that
    queue = importlib.import_module("peer_huey").Huey
    durable.serve({"huey": queue(fsync=False), "huey_fsync": queue(fsync=True)})
