"""A peer on Redis: taskiq on streams.  Its worker imports this module for `broker`.

`best`: uvloop, no check of argument types, and a look for the result each millisecond instead of
each 0.2 s.  No call for many.  Recovery: an idle timeout of 10 s instead of 10 minutes.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import adapters
import durable
import own_servers
from fleet import say, script


_taskiq_redis: Any = importlib.import_module("taskiq_redis")  # by name: as in peer_huey


def _connect(url: str, **options: Any) -> Any:
    results = _taskiq_redis.RedisAsyncResultBackend(url)
    broker = _taskiq_redis.RedisStreamBroker(url, **options).with_result_backend(results)
    broker.register_task(_noop, task_name="noop")
    broker.register_task(_nap, task_name="nap")
    return broker


async def _noop() -> None:
    """Nothing."""


async def _nap(number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    await asyncio.sleep(seconds)
    say(log, f"end {number}")


broker: Any = _connect(adapters.here())
recovery: Any = _connect(adapters.here(), idle_timeout=10_000)


class TaskiqRedis(adapters.OnRedis, adapters.Awaiting):
    """Tasks are kicked."""

    def worker(self, jobs: int = 0) -> Sequence[str]:
        name = f"peer_redis:{'recovery' if jobs else 'broker'}"
        best = ["--no-parse", "--log-level", "WARNING"] if self.setting == "best" else []
        flags = ["--workers", "1", "--max-async-tasks", "100"]
        return [script("taskiq"), "worker", name, *flags, *best]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        client = _connect(self.url)
        await client.startup()
        try:
            yield client
        finally:
            await client.shutdown()

    async def enqueue(self, client: Any) -> Any:
        return await client.find_task("noop").kiq()

    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        return await client.find_task("nap").kiq(number, seconds, log)

    async def result(self, client: Any, handle: Any) -> None:
        often = {"check_interval": 0.001} if self.setting == "best" else {}
        await handle.wait_result(timeout=30, **often)

    def stored(self) -> int:
        return self.redis.count("DBSIZE") - self.redis.count("EXISTS", "taskiq")


class InMemory(TaskiqRedis):
    """On a server that keeps nothing on disk: for the rows beside `SQLiteBroker`."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with own_servers.redis(folder, persistent=False) as self.redis:
            self.url, self._pid = self.redis.url, self.redis.pid
            yield {adapters.URL: self.url, adapters.SETTING: self.setting}


if __name__ == "__main__":
    # the module as its workers import it: a task is named after that
    module = importlib.import_module("peer_redis")
    peers = {f"taskiq_{each}": module.TaskiqRedis(each) for each in ("default", "best")}
    durable.serve({"redis": module.InMemory("best"), **peers})
