"""The peer of row 1: taskiq's in-memory broker on asyncio.

Run by an interpreter that has taskiq, and need not have anything else.
"""

from __future__ import annotations

import asyncio
import importlib
from time import perf_counter

from measure import Report, program_main


async def _taskiq(n: int) -> Report:
    # by name: the type checker's environment need not have taskiq
    taskiq = importlib.import_module("taskiq")
    broker = taskiq.InMemoryBroker(max_async_tasks=100, max_stored_results=-1)

    async def noop() -> None:
        """Nothing."""

    task = broker.task(noop)
    await broker.startup()
    for _ in range(n // 10):
        await task.kiq()
    await broker.wait_all()
    began = perf_counter()
    for _ in range(n):
        await task.kiq()
    enqueued = perf_counter()
    await broker.wait_all()
    ended = perf_counter()
    assert len(broker.result_backend.results) == n + n // 10
    await broker.shutdown()
    return {"seconds": ended - began, "enqueue_seconds": enqueued - began}


if __name__ == "__main__":
    program_main({"taskiq": lambda n: asyncio.run(_taskiq(n))})
