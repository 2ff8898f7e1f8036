"""A peer on Redis: dramatiq, with its results in Redis too.  Its worker imports this module.

`default`: 100 threads in one process.  `best`: 8 threads.  No call for many.
Recovery: a heartbeat of 5 s, and maintenance at every command instead of at a thousand in a million.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adapters
import durable
from fleet import say, script


RECOVERY = "BENCH_DRAMATIQ_RECOVERY"

dramatiq: Any = importlib.import_module("dramatiq")  # by name: the type checker need not have it
_brokers: Any = importlib.import_module("dramatiq.brokers.redis")
_results: Any = importlib.import_module("dramatiq.results")
_backends: Any = importlib.import_module("dramatiq.results.backends")


def _connect(url: str) -> Any:
    quick = (
        {"heartbeat_timeout": 5000, "maintenance_chance": 1_000_000}
        if RECOVERY in os.environ
        else {}
    )
    broker = _brokers.RedisBroker(url=url, **quick)
    broker.add_middleware(_results.Results(backend=_backends.RedisBackend(url=url)))
    return broker


broker: Any = _connect(adapters.here())
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)  # type: ignore[untyped-decorator]
def noop() -> int:
    """Nothing."""
    return 0


@dramatiq.actor(store_results=True)  # type: ignore[untyped-decorator]
def nap(number: int, seconds: float, log: str) -> int:
    """Sleep."""
    say(log, f"begin {number}")
    time.sleep(seconds)
    say(log, f"end {number}")
    return 0


class Dramatiq(adapters.OnRedis, adapters.Blocking):
    """Actors are sent messages."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with super().opened(folder) as environment:
            own = _connect(self.url)
            for actor in (noop, nap):
                actor.broker = own
                own.declare_actor(actor)
            self._backend = _backends.RedisBackend(url=self.url)
            yield environment

    def worker(self, jobs: int = 0) -> Sequence[str]:
        threads = jobs or (8 if self.setting == "best" else 100)
        quick = ["env", f"{RECOVERY}=1"] if jobs else []
        return [*quick, script("dramatiq"), "peer_dramatiq", "-p", "1", "-t", str(threads)]

    def enqueue(self) -> Any:
        return noop.send()

    def enqueue_nap(self, number: int, seconds: float, log: str) -> Any:
        return nap.send(number, seconds, log)

    def result(self, handle: Any) -> None:
        handle.get_result(backend=self._backend, block=True, timeout=30_000)

    def stored(self) -> int:
        # its messages are deleted when they are acknowledged, which is after the result is stored
        return self.accepted - self.redis.count("HLEN", "dramatiq:default.msgs")


if __name__ == "__main__":
    peer = importlib.import_module("peer_dramatiq").Dramatiq
    durable.serve({f"dramatiq_{each}": peer(each) for each in ("default", "best")})
