"""A peer on Redis: saq.  Its worker imports this module for `settings`.

`best`: uvloop; a result is waited for over pub/sub (`refresh`) instead of looking each half second.
Recovery: a heartbeat of 5 s for each job, swept each 5 s, three tries.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import adapters
import durable
from fleet import say, script


saq: Any = importlib.import_module("saq")  # by name: the type checker need not have it


async def noop(_: Any) -> int:
    """Nothing."""
    return 0


async def nap(_: Any, *, number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    await asyncio.sleep(seconds)
    say(log, f"end {number}")


if adapters.setting() == "best":
    adapters.use_uvloop()
settings = {
    "queue": saq.Queue.from_url(adapters.here()),
    "functions": [noop, nap],
    "concurrency": 100,
}
recovery = settings | {"timers": {"sweep": 5}}


#: Seconds after which a result that did not come is not waited for any more.
MISSED = 5.0


class Saq(adapters.OnRedis, adapters.Awaiting):
    """Jobs by name; no call for many."""

    def worker(self, jobs: int = 0) -> Sequence[str]:
        return [script("saq"), "peer_saq.recovery" if jobs else "peer_saq.settings"]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        queue = saq.Queue.from_url(self.url)
        await queue.connect()
        try:
            yield queue
        finally:
            await queue.disconnect()

    async def enqueue(self, client: Any) -> Any:
        return await client.enqueue("noop")

    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        options = {"heartbeat": 5, "retries": 3} if log else {}
        return await client.enqueue(
            "nap", number=number, seconds=seconds, log=log, timeout=60, **options
        )

    async def result(self, client: Any, handle: Any) -> None:
        while self.setting == "best" and not handle.completed:
            # it reads, then subscribes: what ends in between it misses, and waits in vain
            with suppress(asyncio.TimeoutError):
                await handle.refresh(until_complete=1)
        while not handle.completed:  # what `apply` does
            await handle.refresh()
            if not handle.completed:
                await asyncio.sleep(0.5)

    async def round_trip(self, client: Any) -> None:
        if self.setting == "best":
            await self.result(client, await self.enqueue(client))
        else:
            # now and then it misses the end, and waits for ever: that trip took as long as this
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.apply("noop"), MISSED)

    def stored(self) -> int:
        return self.accepted - self.redis.count("ZCARD", "saq:default:incomplete")


if __name__ == "__main__":
    peer = importlib.import_module("peer_saq").Saq
    durable.serve({f"saq_{each}": peer(each) for each in ("default", "best")})
