"""Rows 1 and 2: no-op tasks through all five actors, and the raw channel that is their floor."""

from __future__ import annotations

from time import perf_counter

import trio

import actorq
from measure import Program, Report, Row, program_main


@actorq.task
async def noop() -> None:
    """Nothing."""


def _broker() -> tuple[actorq.InMemoryBroker, actorq.InMemoryResultBackend]:
    results = actorq.InMemoryResultBackend(max_stored_results=-1)
    return actorq.InMemoryBroker().with_result_backend(results), results


async def _bulk(n: int) -> Report:
    broker, results = _broker()
    async with actorq.open_system(broker) as sys:
        await sys.enqueue_many(noop, [()] * (n // 10))
        await sys.wait_idle()
        began = perf_counter()
        await sys.enqueue_many(noop, [()] * n)
        enqueued = perf_counter()
        await sys.wait_idle()
        ended = perf_counter()
    assert len(results.table.results) == n + n // 10
    return {"seconds": ended - began, "enqueue_seconds": enqueued - began}


async def _single(n: int) -> Report:
    broker, results = _broker()
    async with actorq.open_system(broker) as sys:
        for _ in range(n // 10):
            await sys.enqueue(noop)
        await sys.wait_idle()
        began = perf_counter()
        for _ in range(n):
            await sys.enqueue(noop)
        enqueued = perf_counter()
        await sys.wait_idle()
        ended = perf_counter()
    assert len(results.table.results) == n + n // 10
    return {"seconds": ended - began, "enqueue_seconds": enqueued - began}


async def _channel(n: int) -> Report:
    """Awaited send and awaited receive, one item after the other, between two tasks."""
    send, receive = trio.open_memory_channel[int](100)

    async def pump(count: int) -> None:
        for item in range(count):
            await send.send(item)

    async def transfer(count: int) -> float:
        async with trio.open_nursery() as nursery:
            began = perf_counter()
            nursery.start_soon(pump, count)
            for _ in range(count):
                await receive.receive()
            return perf_counter() - began

    await transfer(n // 10)
    return {"seconds": await transfer(n)}


BULK = Program("throughput.py", "actorq_bulk", 30_000, 1_000)
SINGLE = Program("throughput.py", "actorq_single", 30_000, 1_000)
CHANNEL = Program("throughput.py", "trio_channel", 100_000, 5_000)
TASKIQ = Program("peer_taskiq.py", "taskiq", 30_000, 1_000, peer="taskiq")


def per_second(report: Report) -> float:
    return report["amount"] / report["seconds"]


def microseconds(report: Report) -> float:
    return report["seconds"] / report["amount"] * 1e6


TASKIQ_DOES = "taskiq `InMemoryBroker(max_async_tasks=100)`: `kiq()` each, `wait_all()`"
ROWS = (
    Row(
        "bulk",
        "no-op task: enqueued, run, result stored; `enqueue_many`, all five actors",
        BULK,
        per_second,
        "tasks/s",
        "≥ 1.5×",
        TASKIQ_DOES,
        TASKIQ,
        at_least=1.5,
    ),
    Row(
        "single",
        "the same, each task by an awaited `enqueue` of its own",
        SINGLE,
        per_second,
        "tasks/s",
        "≥ 1×",
        TASKIQ_DOES,
        TASKIQ,
        at_least=1.0,
    ),
    Row(
        "channel",
        "the bulk run, cost of a task",
        BULK,
        microseconds,
        "µs",
        "≤ 3×",
        "Trio memory channel: awaited send and receive of each item, two tasks",
        CHANNEL,
        at_most=3.0,
    ),
)


if __name__ == "__main__":
    program_main(
        {
            "actorq_bulk": lambda n: trio.run(_bulk, n),
            "actorq_single": lambda n: trio.run(_single, n),
            "trio_channel": lambda n: trio.run(_channel, n),
        }
    )
