"""All middlewares that come with actorq, together."""

from __future__ import annotations

import gc
import logging
import threading

import trio
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import actorq
from actorq import InMemoryBroker
from actorq.middlewares import Logging, OpenTelemetry, Prometheus, SimpleRetry, Watchdog


def trio_tasks() -> set[trio.lowlevel.Task]:
    """Every task of this run."""
    found: set[trio.lowlevel.Task] = set()
    root = trio.lowlevel.current_root_task()
    todo = [] if root is None else [root]
    while todo:
        task = todo.pop()
        found.add(task)
        todo.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


async def test_nothing_is_left_when_the_system_has_closed() -> None:
    """A39: no task, no thread, no instrument, no collector."""
    registry = CollectorRegistry()
    broker = InMemoryBroker().with_middlewares(
        Logging(logging.Logger("quiet", logging.CRITICAL)),
        OpenTelemetry(tracer_provider=TracerProvider()),
        Prometheus(registry),
        SimpleRetry(1),
        Watchdog(),
    )

    @broker.task
    async def work(n: int) -> int:
        if n % 3 == 0:
            raise ValueError
        return n

    threads, tasks = set(threading.enumerate()), trio_tasks()
    async with actorq.open_system(broker) as sys:
        for handle in await sys.enqueue_many(work.using(retries=0), [(n,) for n in range(30)]):
            outcome = await handle.wait_result()
            assert outcome.is_err is (outcome.return_value is None)
        # those that Trio keeps of earlier tests may end meanwhile
        assert len(set(threading.enumerate()) - threads) == 1
    assert set(threading.enumerate()) <= threads
    assert trio_tasks() == tasks
    assert registry.get_sample_value("actorq_worker_slots") is None
    assert trio.lowlevel.current_statistics().run_sync_soon_queue_size == 0
    gc.collect()
