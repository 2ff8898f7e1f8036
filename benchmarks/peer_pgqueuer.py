"""A peer on PostgreSQL: pgqueuer on asyncpg.  Its worker is this module: `pgq run` 1.6.0 dies at start.

It stores no results: what is waited for is that a job's end stands in its log.
`default`: batches of 10, ends looked at after 50 ms.  `best`: batches of 50, lists, after 1 ms, uvloop.
Recovery: a heartbeat of 5 s, and a look for tasks each 5 s.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import adapters
import durable
from fleet import say, script


pgqueuer: Any = importlib.import_module("pgqueuer")  # by name, as in peer_saq
asyncpg: Any = importlib.import_module("asyncpg")
_completion: Any = importlib.import_module("pgqueuer.core.completion")


@dataclass
class Client:
    """What a client needs: the driver of one connection, and who is told of ends."""

    queries: Any
    watcher: Any


class PgQueuer(adapters.OnPostgres, adapters.Awaiting):
    """Entry points by name, arguments are bytes."""

    def prepare(self) -> None:
        async def install() -> None:
            connection = await asyncpg.connect(self.url)
            await pgqueuer.Queries.from_asyncpg_connection(connection).install()
            await connection.close()

        asyncio.run(install())

    def worker(self, jobs: int = 0) -> Sequence[str]:
        return [script("python"), "peer_pgqueuer.py", "worker", "recovery" if jobs else ""]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        connection = await asyncpg.connect(self.url)
        driver = pgqueuer.AsyncpgDriver(connection)
        queries = pgqueuer.Queries(driver)
        pause = {"debounce": timedelta(milliseconds=1)} if self.setting == "best" else {}
        async with _completion.CompletionWatcher(driver, queries=queries, **pause) as watcher:
            yield Client(queries, watcher)
        await connection.close()

    async def enqueue(self, client: Client) -> Any:
        (job,) = await client.queries.enqueue("noop", None)
        return job

    async def enqueue_nap(self, client: Client, number: int, seconds: float, log: str) -> Any:
        arguments = json.dumps([number, seconds, log]).encode()
        (job,) = await client.queries.enqueue("nap", arguments)
        return job

    async def enqueue_many(self, client: Client, n: int) -> None:
        for begun in range(0, n, 1000):
            some = min(1000, n - begun)
            await client.queries.enqueue(["noop"] * some, [None] * some, [0] * some)

    async def result(self, client: Client, handle: Any) -> None:
        await client.watcher.wait_for(handle)

    def stored(self) -> int:
        # a job's row goes when its end is written to the log
        return self.accepted - self.count("select count(*) from pgqueuer")


async def work(recovery: bool) -> None:
    """Be a worker."""
    manager = pgqueuer.PgQueuer.from_asyncpg_connection(await asyncpg.connect(adapters.here()))

    async def noop(_: Any) -> None:
        """Nothing."""

    async def nap(job: Any) -> None:
        number, seconds, log = json.loads(job.payload)
        say(log, f"begin {number}")
        await asyncio.sleep(seconds)
        say(log, f"end {number}")

    manager.entrypoint("noop")(noop)
    manager.entrypoint("nap")(nap)
    await manager.run(
        max_concurrent_tasks=100,
        batch_size=50 if adapters.setting() == "best" else 10,
        heartbeat_timeout=timedelta(seconds=5 if recovery else 30),
        dequeue_timeout=timedelta(seconds=5 if recovery else 30),
    )


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        if adapters.setting() == "best":
            adapters.use_uvloop()
        asyncio.run(work(sys.argv[2] == "recovery"))
    else:
        settings = ("default", "best")
        durable.serve({f"pgqueuer_{each}": PgQueuer(each) for each in settings})
