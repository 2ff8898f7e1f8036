"""A peer on Redis: arq.  Its worker imports this module for `settings`.

`best`: uvloop, worker and client look each 10 ms instead of each half second, results not logged.
Recovery: a timeout of 5 s for each job, to which arq adds 10 s.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import adapters
import durable
from fleet import say, script


# by name: the type checker need not have it
_connections: Any = importlib.import_module("arq.connections")


async def noop(_: Any) -> int:
    """Nothing."""
    return 0


async def nap(_: Any, number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    await asyncio.sleep(seconds)
    say(log, f"end {number}")


BEST = adapters.setting() == "best"
if BEST:
    adapters.use_uvloop()

#: For `--custom-log-dict`.
QUIET = {"version": 1, "disable_existing_loggers": False}


settings = {
    "functions": [noop, nap],
    "redis_settings": _connections.RedisSettings.from_dsn(adapters.here()),
    "max_jobs": 100,
    "poll_delay": 0.01 if BEST else 0.5,
    "log_results": not BEST,
}
recovery = settings | {"job_timeout": 5}


class Arq(adapters.OnRedis, adapters.Awaiting):
    """Jobs by name; no call for many."""

    def worker(self, jobs: int = 0) -> Sequence[str]:
        quiet = ["--custom-log-dict", "peer_arq.QUIET"] if self.setting == "best" else []
        return [script("arq"), f"peer_arq.{'recovery' if jobs else 'settings'}", *quiet]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        pool = await _connections.create_pool(_connections.RedisSettings.from_dsn(self.url))
        try:
            yield pool
        finally:
            await pool.aclose()

    async def enqueue(self, client: Any) -> Any:
        return await client.enqueue_job("noop")

    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        return await client.enqueue_job("nap", number, seconds, log)

    async def result(self, client: Any, handle: Any) -> None:
        await handle.result(timeout=30, poll_delay=0.01 if self.setting == "best" else 0.5)

    def stored(self) -> int:
        # a job leaves the set in the step that stores its result
        return self.accepted - self.redis.count("ZCARD", "arq:queue")


if __name__ == "__main__":
    peer = importlib.import_module("peer_arq").Arq
    durable.serve({f"arq_{each}": peer(each) for each in ("default", "best")})
