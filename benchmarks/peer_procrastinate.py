"""A peer on PostgreSQL: procrastinate.  Its worker imports this module for `app`.

It stores no results: a job that is done is a row that says so, and a client looks for it.
`default`: one by one, a look each 50 ms.  `best`: `batch_defer_async`, a look each 5 ms.
Recovery: a task of its own each 5 s, as its documentation advises; heartbeats each 2 s.
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


procrastinate: Any = importlib.import_module("procrastinate")  # by name, as in peer_saq


def _connect(url: str) -> Any:
    return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url))


app: Any = _connect(adapters.here())


@app.task(name="noop")  # type: ignore[untyped-decorator]
async def noop() -> None:
    """Nothing."""


@app.task(name="nap")  # type: ignore[untyped-decorator]
async def nap(number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    await asyncio.sleep(seconds)
    say(log, f"end {number}")


@app.periodic(cron="* * * * * */5")  # type: ignore[untyped-decorator]
@app.task(name="stalled", queueing_lock="stalled", pass_context=True)  # type: ignore[untyped-decorator]
async def stalled(context: Any, timestamp: int) -> None:
    """Jobs of workers that are silent."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=6):
        await manager.retry_job(job)


class Procrastinate(adapters.OnPostgres, adapters.Awaiting):
    """Tasks are deferred."""

    def prepare(self) -> None:
        with _connect(self.url).open() as opened:
            opened.schema_manager.apply_schema()

    def worker(self, jobs: int = 0) -> Sequence[str]:
        return [script("python"), "peer_procrastinate.py", "worker", "recovery" if jobs else ""]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        with app.replace_connector(procrastinate.PsycopgConnector(conninfo=self.url)) as client:
            async with client.open_async():
                yield client

    async def enqueue(self, client: Any) -> Any:
        return await client.tasks["noop"].defer_async()

    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        return await client.tasks["nap"].defer_async(number=number, seconds=seconds, log=log)

    async def enqueue_many(self, client: Any, n: int) -> None:
        for begun in range(0, n, 1000):
            some = min(1000, n - begun)
            await client.tasks["noop"].batch_defer_async(*[{} for _ in range(some)])

    async def result(self, client: Any, handle: Any) -> None:
        while (await client.job_manager.get_job_status_async(handle)).value != "succeeded":  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0.005 if self.setting == "best" else 0.05)

    def stored(self) -> int:
        return self.accepted - self.count(
            "select count(*) from procrastinate_jobs"
            " where status in ('todo', 'doing') and task_name = 'noop'"
        )


def _work(recovery: bool) -> None:
    if recovery:
        options = {"update_heartbeat_interval": 2, "stalled_worker_timeout": 6}
    else:
        options = {}
        app.periodic_registry.periodic_tasks.clear()

    async def run() -> None:
        async with app.open_async():
            await app.run_worker_async(concurrency=100, **options)

    asyncio.run(run())


if __name__ == "__main__":
    import sys

    if sys.argv[1] == "worker":
        importlib.import_module("peer_procrastinate")._work(sys.argv[2] == "recovery")
    else:
        peer = importlib.import_module("peer_procrastinate").Procrastinate
        durable.serve({f"procrastinate_{each}": peer(each) for each in ("default", "best")})
