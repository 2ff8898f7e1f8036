"""The Prometheus middleware: what it counts, and what a scrape sees."""

from __future__ import annotations

import sys as python
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry, generate_latest

import actorq
import actorq.testing
from actorq import Context, InMemoryBroker
from actorq.middlewares import Prometheus
from actorq.testing import simulate
from queue_strategies import INJECTED


def made() -> tuple[Prometheus, CollectorRegistry, InMemoryBroker]:
    """One with a registry of its own."""
    registry = CollectorRegistry()
    metrics = Prometheus(registry)
    return metrics, registry, InMemoryBroker().with_middlewares(metrics)


def test_every_end_is_counted_once() -> None:
    """By task and queue: enqueued = succeeded + dead + expired + cancelled when all is over."""
    _, registry, broker = made()

    @broker.task(name="flaky", retries=2)
    async def flaky(succeeds_at: int, ctx: Context = INJECTED) -> None:
        await trio.sleep(3)
        if ctx.attempt < succeeds_at:
            raise ValueError

    @broker.task(name="hang")
    async def hang() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with actorq.open_system(broker) as sys:
            for succeeds_at in (1, 3, 9):
                await (await flaky.kiq(succeeds_at)).wait_result()
            handle = await hang.using(delay=7).kiq()
            await trio.sleep(8)
            assert await handle.cancel()
            waits = await hang.using(delay=100).kiq()
            assert await waits.cancel()
            await sys.pause("default")
            await hang.using(expires=50).kiq()
            await trio.sleep(60)
            await sys.wait_idle()

    simulate(main)

    def value(name: str, task: str = "flaky", **labels: str) -> float | None:
        return registry.get_sample_value(
            f"actorq_{name}", {"task": task, "queue": "default", **labels}
        )

    counted = {
        name: (value(f"tasks_{name}_total"), value(f"tasks_{name}_total", "hang"))
        for name in (
            "enqueued",
            "started",
            "succeeded",
            "failed",
            "retried",
            "dead",
            "expired",
            "cancelled",
        )
    }
    assert counted == {
        "enqueued": (3, 3),
        "started": (7, 1),
        "succeeded": (2, 0),
        "failed": (5, 0),
        "retried": (4, 0),
        "dead": (1, 0),
        "expired": (0, 1),
        "cancelled": (0, 2),
    }
    assert value("task_run_seconds_count") == 7
    assert value("task_run_seconds_sum") == pytest.approx(7 * 3)
    assert value("task_run_seconds_bucket", le="1.0") == 0
    assert value("task_run_seconds_bucket", le="5.0") == 7
    # retries do not count as waiting, and neither does a delay that was asked for
    assert value("task_wait_seconds_count") == 3
    assert value("task_wait_seconds_sum", "hang") == pytest.approx(0, abs=1e-6)


def test_waiting_is_measured_from_when_it_could_start() -> None:
    """Two slots, three tasks of ten seconds: the third waits that long."""
    _, registry, broker = made()

    @broker.task(name="work")
    async def work() -> None:
        await trio.sleep(10)

    async def main() -> None:
        async with actorq.open_system(broker, concurrency=2) as sys:
            await sys.enqueue_many(work, [()] * 3)
            await sys.wait_idle()

    simulate(main)
    labels = {"task": "work", "queue": "default"}
    assert registry.get_sample_value("actorq_task_wait_seconds_sum", labels) == pytest.approx(10)


def test_the_queue_s_depth_is_asked_for_when_it_is_scraped() -> None:
    """In the loop by `exposition`; nothing is kept up to date in between."""
    metrics, registry, broker = made()

    @broker.task(name="work")
    async def work() -> None:
        await trio.sleep(10)

    async def main() -> None:
        async with actorq.open_system(broker, concurrency=2) as sys:
            await sys.enqueue_many(work, [()] * 5)
            await sys.enqueue(work.using(delay=100))
            await trio.testing.wait_all_tasks_blocked()
            text = (await metrics.exposition()).decode()
            for line in (
                'actorq_queue_tasks{state="ready"} 3.0',
                'actorq_queue_ready_tasks{queue="default"} 3.0',
                'actorq_queue_tasks{state="leased"} 2.0',
                'actorq_queue_tasks{state="scheduled"} 1.0',
                "actorq_worker_slots 2.0",
                "actorq_worker_jobs 2.0",
                'actorq_tasks_enqueued_total{queue="default",task="work"} 6.0',
            ):
                assert line in text.splitlines()
            await sys.wait_idle()
            stale = registry.get_sample_value("actorq_queue_tasks", {"state": "ready"})
            assert stale == 3
            await metrics.refresh()
            assert registry.get_sample_value("actorq_queue_tasks", {"state": "ready"}) == 0

    simulate(main)
    assert "actorq_queue_tasks" not in generate_latest(registry).decode()  # A39
    assert "actorq_tasks_started_total" in generate_latest(registry).decode()


async def test_a_thread_that_scrapes_gets_the_depth_as_it_is() -> None:
    """As `prometheus_client.start_http_server` does."""
    _, registry, broker = made()

    @broker.task(name="work")
    async def work() -> None: ...

    async with actorq.open_system(broker) as sys:
        await sys.enqueue_many(work.using(delay=1000), [()] * 4)
        text = await trio.to_thread.run_sync(generate_latest, registry)
        assert b'actorq_queue_tasks{state="scheduled"} 4.0' in text


async def test_the_asgi_app_answers() -> None:
    """With the headers that Prometheus wants; and it lives and ends as servers tell it."""
    metrics, _, broker = made()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(events)

    async with actorq.open_system(broker):
        await metrics.asgi_app({"type": "http"}, receive, send)
        await metrics.asgi_app({"type": "lifespan"}, receive, send)
    start, body, *lifespan = sent
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"].startswith(b"text/plain")
    assert int(headers[b"content-length"]) == len(body["body"])
    assert b"actorq_worker_slots 100.0" in body["body"]
    assert [each["type"] for each in lifespan] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_two_on_one_registry_are_refused() -> None:
    """With what to do."""
    registry = CollectorRegistry()
    Prometheus(registry)
    with pytest.raises(ValueError, match=r"give each one its own `registry=CollectorRegistry\(\)`"):
        Prometheus(registry)
    Prometheus(registry, prefix="other")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, not when it is imported."""
    monkeypatch.setitem(python.modules, "prometheus_client", None)
    with pytest.raises(ImportError, match=r'pip install "actorq\[prometheus\]"'):
        Prometheus()


def test_restarts_of_the_chain_register_once() -> None:
    """28: each life registers its gauges, and takes them out."""
    metrics, _, broker = made()

    async def main() -> None:
        async with actorq.open_system(broker, backoff=actorq.Backoff(base=0.1)) as sys:
            actorq.testing.crash(sys.actor("middleware"))
            await trio.sleep(5)
            assert b"actorq_worker_slots 100.0" in await metrics.exposition()

    simulate(main)
