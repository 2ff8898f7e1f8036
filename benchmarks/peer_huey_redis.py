"""A peer on Redis: huey.  Its consumer imports this module for `huey`.

`default`: 100 threads, and a client that looks each 50 ms.  `best`: 8 threads, and a client that is
told (`notify_result`).  A task is gone from the server when it begins: a crash loses it.
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


_huey: Any = importlib.import_module("huey")  # by name: the type checker need not have it


def _connect(url: str, setting: str) -> Any:
    told = {"notify_result": True} if setting == "best" else {}
    # redis-py 8 stops at a hundred connections, and each thread has its own
    return _huey.RedisHuey("bench", url=f"{url}?max_connections=1000", **told)


huey: Any = _connect(adapters.here(), adapters.setting())


@huey.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> int:
    """Nothing; but a result, or huey would store none."""
    return 0


@huey.task(name="nap")  # type: ignore[untyped-decorator]
def nap(number: int, seconds: float, log: str) -> int:
    """Sleep."""
    say(log, f"begin {number}")
    time.sleep(seconds)
    say(log, f"end {number}")
    return 0


class HueyRedis(adapters.OnRedis, adapters.Blocking):
    """Calls of its functions are tasks."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with super().opened(folder) as environment:
            huey.storage = _connect(self.url, self.setting).storage
            yield environment

    def worker(self, jobs: int = 0) -> Sequence[str]:
        threads = str(jobs or (8 if self.setting == "best" else 100))
        command = [script("huey_consumer"), "peer_huey_redis.huey", "-k", "thread", "-w", threads]
        return [script("python"), *command, "-q"]

    def enqueue(self) -> Any:
        return noop()

    def enqueue_nap(self, number: int, seconds: float, log: str) -> Any:
        return nap(number, seconds, log)

    def result(self, handle: Any) -> None:
        handle.get(blocking=True, timeout=30)

    def stored(self) -> int:
        return self.redis.count("HLEN", "huey.results.bench")


if __name__ == "__main__":
    peer = importlib.import_module("peer_huey_redis").HueyRedis
    durable.serve({f"huey_redis_{each}": peer(each) for each in ("default", "best")})
