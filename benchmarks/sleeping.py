"""Row 5: jobs that sleep 10 ms, a hundred at a time, against a hundred plain tasks that do so."""

from __future__ import annotations

from time import perf_counter

import trio

import actorq
from measure import Program, Report, Row, program_main
from throughput import per_second


CONCURRENCY = 100
NAP = 0.01


@actorq.task
async def nap() -> None:
    """Sleep."""
    await trio.sleep(NAP)


async def _jobs(n: int) -> Report:
    results = actorq.InMemoryResultBackend(max_stored_results=-1)
    broker = actorq.InMemoryBroker().with_result_backend(results)
    async with actorq.open_system(broker, concurrency=CONCURRENCY) as sys:
        warm = 2 * CONCURRENCY
        await sys.enqueue_many(nap, [()] * warm)
        await sys.wait_idle()
        began = perf_counter()
        await sys.enqueue_many(nap, [()] * n)
        await sys.wait_idle()
        seconds = perf_counter() - began
    assert len(results.table.results) == n + warm
    return {"seconds": seconds}


async def _plain(n: int) -> Report:
    async def naps(count: int) -> None:
        for _ in range(count):
            await trio.sleep(NAP)

    async def all_naps(each: int) -> float:
        began = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(CONCURRENCY):
                nursery.start_soon(naps, each)
        return perf_counter() - began

    await all_naps(2)
    return {"seconds": await all_naps(n // CONCURRENCY)}


JOBS = Program("sleeping.py", "sleeping_jobs", 20_000, 1_000)
PLAIN = Program("sleeping.py", "sleeping_tasks", 20_000, 1_000)

ROWS = (
    Row(
        "sleeping",
        "jobs of `trio.sleep(0.01)`, concurrency 100, results stored",
        JOBS,
        per_second,
        "sleeps/s",
        "≥ 0.9×",
        "100 plain Trio tasks that sleep as often",
        PLAIN,
        at_least=0.9,
    ),
)


if __name__ == "__main__":
    program_main(
        {
            "sleeping_jobs": lambda n: trio.run(_jobs, n),
            "sleeping_tasks": lambda n: trio.run(_plain, n),
        }
    )
