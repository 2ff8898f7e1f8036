"""A peer on Redis: rq, whose worker runs one job at a time.  Its workers import this module.

`default`: a process for each job.  `best`: `SimpleWorker`, which runs jobs in its own process.
Recovery: the worker is thought dead after 10 s, and jobs are retried; looked for every 10 s.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adapters
import durable
from fleet import say, script


rq: Any = importlib.import_module("rq")  # by name: the type checker need not have it
_redis: Any = importlib.import_module("redis")


def noop() -> int:
    """Nothing."""
    return 0


def nap(number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    time.sleep(seconds)
    say(log, f"end {number}")


class Rq(adapters.OnRedis, adapters.Blocking):
    """Functions by reference."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with super().opened(folder) as environment:
            self._queue = rq.Queue(connection=_redis.Redis.from_url(self.url))
            yield environment

    def worker(self, jobs: int = 0) -> Sequence[str]:
        command = [script("rq"), "worker", "--url", self.url, "-q"]
        if jobs:
            command += ["--worker-ttl", "10", "--maintenance-interval", "10"]
            command += ["--job-monitoring-interval", "5"]
        elif self.setting == "best":
            command += ["-w", "rq.worker.SimpleWorker"]
        return command

    def enqueue(self) -> Any:
        return self._queue.enqueue(noop)

    def enqueue_nap(self, number: int, seconds: float, log: str) -> Any:
        return self._queue.enqueue(nap, number, seconds, log, retry=rq.Retry(max=3))

    def enqueue_many(self, n: int) -> None:
        for begun in range(0, n, 1000):
            some = min(1000, n - begun)
            self._queue.enqueue_many([rq.Queue.prepare_data(noop) for _ in range(some)])

    def result(self, handle: Any) -> None:
        assert handle.latest_result(timeout=30) is not None

    def stored(self) -> int:
        return self.redis.count("ZCARD", "rq:finished:default")


if __name__ == "__main__":
    peer = importlib.import_module("peer_rq").Rq
    durable.serve({f"rq_{each}": peer(each) for each in ("default", "best")})
