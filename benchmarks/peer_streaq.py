"""A peer on Redis: streaq.  Its worker imports this module for `worker`.

`best`: uvloop, no line of log for each task, `enqueue_many`, and a look for the result each
millisecond, as `result()` itself takes 0.1 s to close its subscription.  `trio`: as it comes, on Trio.
Recovery: an idle timeout of 10 s.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import adapters
import durable
from fleet import say, script


T = TypeVar("T")

streaq: Any = importlib.import_module("streaq")  # by name: the type checker need not have it
anyio: Any = importlib.import_module("anyio")


def _worker(url: str, setting: str, **options: Any) -> tuple[Any, Any, Any]:
    """A worker, or what a client uses, and its two tasks."""
    if setting == "trio":
        options["anyio_backend"] = "trio"
    if setting == "best":
        options["anyio_kwargs"] = {"use_uvloop": True}
    made = streaq.Worker(redis_url=url, concurrency=100, **options)
    silent = {"silent": setting == "best"}

    async def noop() -> int:
        return 0

    async def nap(number: int, seconds: float, log: str) -> None:
        say(log, f"begin {number}")
        await anyio.sleep(seconds)
        say(log, f"end {number}")

    return made, made.task(name="noop", **silent)(noop), made.task(name="nap", **silent)(nap)


worker, _, _ = _worker(adapters.here(), adapters.setting())
recovery, _, _ = _worker(adapters.here(), adapters.setting(), idle_timeout=10)


class Streaq(adapters.OnRedis, adapters.Awaiting):
    """A task is enqueued by awaiting it."""

    def worker(self, jobs: int = 0) -> Sequence[str]:
        return [script("streaq"), "run", f"peer_streaq:{'recovery' if jobs else 'worker'}"]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        made, self._noop, self._nap = _worker(self.url, self.setting)
        async with made:
            yield made

    async def enqueue(self, client: Any) -> Any:
        return await self._noop.enqueue()

    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        return await self._nap.enqueue(number, seconds, log)

    async def enqueue_many(self, client: Any, n: int) -> None:
        for begun in range(0, n, 1000):
            await client.enqueue_many([self._noop.enqueue() for _ in range(min(1000, n - begun))])

    async def result(self, client: Any, handle: Any) -> None:
        if self.setting != "best":
            await handle.result(30)
            return
        while await handle.status() != "done":
            await anyio.sleep(0.001)

    def stored(self) -> int:
        return self.redis.count("ZCARD", "streaq:default:index:results")

    async def at_once(self, calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(call)

    def run(self, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self.setting != "trio":
            return super().run(body)
        result: T = importlib.import_module("trio").run(body)
        return result


if __name__ == "__main__":
    peer = importlib.import_module("peer_streaq").Streaq
    durable.serve({f"streaq_{each}": peer(each) for each in ("default", "best", "trio")})
