"""A peer of the durable rows: taskiq on Redis streams, with the best settings that were found for it.

Run by an interpreter that has taskiq-redis.  Its worker imports this module for `broker`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar, cast

import durable
from fleet import redis, say, script


T = TypeVar("T")

URL = "BENCH_REDIS_URL"

_taskiq_redis: Any = importlib.import_module("taskiq_redis")  # by name: as in peer_huey
_redis: Any = importlib.import_module("redis")


def _broker(url: str) -> Any:
    results = _taskiq_redis.RedisAsyncResultBackend(url)
    return _taskiq_redis.RedisStreamBroker(url).with_result_backend(results)


broker: Any = _broker(os.environ.get(URL, "redis://127.0.0.1:1"))


async def _noop() -> None:
    """Nothing."""


async def _nap(seconds: float, log: str) -> None:
    """Sleep."""
    say(log, "begin")
    await asyncio.sleep(seconds)
    say(log, "end")


noop: Any = broker.register_task(_noop, task_name="noop")
nap: Any = broker.register_task(_nap, task_name="nap")


class TaskiqRedis:
    """The server keeps nothing on disk."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with redis(folder) as self._url:
            self._redis = _redis.Redis.from_url(self._url)
            yield {URL: self._url}
            self._redis.close()

    def worker(self, jobs: int = 0) -> Sequence[str]:
        flags = "--workers 1 --max-async-tasks 100 --no-parse --log-level WARNING"
        return [script("taskiq"), "worker", "peer_redis:broker", *flags.split()]

    def single(self, n: int) -> float:
        return self._timed(lambda task: self._enqueue(task, n))

    def callers(self, n: int) -> float:
        return self._timed(lambda task: _at_once(50, lambda: self._enqueue(task, n // 50)))

    def batch(self, n: int) -> float:
        # there is no call for many
        return self._timed(lambda task: _at_once(100, lambda: self._enqueue(task, n // 100)))

    def stored(self) -> int:
        return int(self._redis.dbsize()) - int(self._redis.exists("taskiq"))

    def round_trips(self, n: int) -> list[float]:
        async def trips(_: Any, noop: Any) -> list[float]:
            trips = []
            for _ in range(n):
                began = perf_counter()
                await (await noop.kiq()).wait_result(check_interval=0.001)
                trips.append(perf_counter() - began)
            return trips

        return self._run(trips)

    def waits(self, seconds: float) -> float:
        async def wait(nap: Any, _: Any) -> float:
            handle = await nap.kiq(seconds, "")
            used = process_time()
            await handle.wait_result(check_interval=0.001)
            return process_time() - used

        return self._run(wait)

    def naps(self, n: int, seconds: float, log: Path) -> None:
        async def enqueue(nap: Any, _: Any) -> None:
            for _ in range(n):
                await nap.kiq(seconds, str(log))

        self._run(enqueue)

    def _run(self, body: Callable[[Any, Any], Awaitable[T]]) -> T:
        async def run() -> T:
            client = _broker(self._url)
            nap = client.register_task(_nap, task_name="nap")
            noop = client.register_task(_noop, task_name="noop")
            await client.startup()
            try:
                return await body(nap, noop)
            finally:
                await client.shutdown()

        return cast(T, _loop(run()))

    def _timed(self, body: Callable[[Any], Awaitable[None]]) -> float:
        async def timed(_: Any, noop: Any) -> float:
            began = perf_counter()
            await body(noop)
            return perf_counter() - began

        return self._run(timed)

    async def _enqueue(self, noop: Any, n: int) -> None:
        for _ in range(n):
            await noop.kiq()


async def _at_once(count: int, call: Callable[[], Awaitable[None]]) -> None:
    await asyncio.gather(*(call() for _ in range(count)))


def _loop(coroutine: Any) -> Any:
    """On uvloop, as its workers do."""
    return importlib.import_module("uvloop").run(coroutine)


if __name__ == "__main__":
    durable.serve({"redis": TaskiqRedis()})
