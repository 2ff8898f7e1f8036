"""Metrics for Prometheus: what happened to tasks, how long they waited and ran, how full the queue is.

Counters and histograms are kept by hooks, each label set looked up once.  The queue is asked when it is
scraped: nothing is kept up to date in between, so an idle system stays idle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from actorq.actors.worker_pool import PoolStatistics
from actorq.errors import ActorqError, TaskExpired
from actorq.job import current_slot
from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.protocol import QueueStatistics
from actorq.result import TaskResult


if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.registry import CollectorRegistry

#: Seconds: from what a busy loop adds to what a nightly job takes.
WAIT_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 7200)
RUN_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1800, 7200)
#: Seconds that a scrape waits for the queue's answer; then it shows the last one.
PATIENCE = 1.0

_LABELS = ("task", "queue")
_COUNTED: Final = {
    "enqueued": "Tasks that the broker accepted.",
    "started": "Attempts that began.",
    "succeeded": "Attempts that succeeded.",
    "failed": "Attempts that failed.",
    "retried": "Failed attempts that will be followed by another.",
    "dead": "Tasks that failed for good.",
    "expired": "Tasks whose time to start went by.",
    "cancelled": "Tasks that were cancelled.",
}


@attrs.frozen
class _Children:
    """What one task on one queue is counted in."""

    enqueued: Counter
    started: Counter
    succeeded: Counter
    failed: Counter
    retried: Counter
    dead: Counter
    expired: Counter
    cancelled: Counter
    wait: Histogram
    run: Histogram


class Prometheus(Middleware):
    """Counts tasks for Prometheus.  Needs the extra `actorq[prometheus]`.

    *registry*: where the metrics are registered (prometheus_client's own unless told).  *prefix*: what
    their names begin with.  *wait_buckets*, *run_buckets*: seconds.

    Serve them with `prometheus_client.start_http_server(...)`, in a thread of its own; or in your
    application with `asgi_app`, or `await exposition()` under your own web framework.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        prefix: str = "actorq",
        wait_buckets: Sequence[float] = WAIT_BUCKETS,
        run_buckets: Sequence[float] = RUN_BUCKETS,
    ) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise ImportError(
                'Prometheus() needs prometheus-client; install it with: pip install "actorq[prometheus]"'
            ) from error
        self._client = prometheus_client
        self.registry = registry = registry or prometheus_client.REGISTRY
        self.prefix = prefix
        try:
            self._counters = {
                name: prometheus_client.Counter(
                    f"{prefix}_tasks_{name}", text, _LABELS, registry=registry
                )
                for name, text in _COUNTED.items()
            }
            self._wait = prometheus_client.Histogram(
                f"{prefix}_task_wait_seconds",
                "From when a task could start to the start of its first attempt.",
                _LABELS,
                registry=registry,
                buckets=wait_buckets,
            )
            self._run = prometheus_client.Histogram(
                f"{prefix}_task_run_seconds",
                "How long an attempt ran, however it ended.",
                _LABELS,
                registry=registry,
                buckets=run_buckets,
            )
        except ValueError as error:
            raise ValueError(
                f"{error}; if another Prometheus() uses this registry, give each one its own "
                f"`registry=CollectorRegistry()` or its own `prefix=`"
            ) from error
        self._children: dict[tuple[str, str], _Children] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._queue: QueueStatistics | None = None  #: as it was when it was last asked
        self._pool: PoolStatistics | None = None

    # --- the hooks ---

    def startup(self) -> None:
        """Be asked for gauges."""
        self._token = trio.lowlevel.current_trio_token()
        self.registry.register(self)

    def shutdown(self) -> None:
        """Be asked no more; what was counted stays."""
        self.registry.unregister(self)
        self._token = None

    def _of(self, message: TaskMessage) -> _Children:
        key = (message.task_name, message.options.queue)
        children = self._children.get(key)
        if children is None:
            counters = {name: counter.labels(*key) for name, counter in self._counters.items()}
            children = self._children[key] = _Children(
                **counters, wait=self._wait.labels(*key), run=self._run.labels(*key)
            )
        return children

    def post_send(self, message: TaskMessage) -> None:
        """Enqueued."""
        self._of(message).enqueued.inc()

    def pre_execute(self, message: TaskMessage) -> TaskMessage:
        """Started."""
        children = self._of(message)
        children.started.inc()
        slot = current_slot.get()
        job = None if slot is None else slot.job
        if job is not None and job.fence.attempt == 1:
            since = max(message.enqueued_at, message.eta or 0.0)
            children.wait.observe(max(0.0, job.began - since))
        return message

    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        """Failed, this time."""
        self._of(message).failed.inc()

    def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None:
        """There will be another attempt."""
        self._of(message).retried.inc()

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        """That was the last one; or there was none, and will be none."""
        children = self._of(message)
        (children.expired if isinstance(error, TaskExpired) else children.dead).inc()

    def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """Cancelled, whether it ran or waited."""
        self._of(message).cancelled.inc()

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """However it ended."""
        children = self._of(message)
        if not result.is_err:
            children.succeeded.inc()
        children.run.observe(result.execution_time)

    # --- being scraped ---

    async def refresh(self) -> None:
        """Ask the queue and the pool how full they are.  Always a checkpoint."""
        self._queue = await self.system.queue_statistics()
        self._pool = await self.system.pool_statistics()

    async def _refresh_soon(self) -> None:
        with trio.move_on_after(PATIENCE):
            await self.refresh()

    async def exposition(self) -> bytes:
        """All metrics of the registry in Prometheus' text format, the gauges as of now.

        Always a checkpoint.  Call it in the system's own event loop.
        """
        await self._refresh_soon()
        return self._client.generate_latest(self.registry)

    async def asgi_app(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """An ASGI application that answers with `exposition()`: mount it at `/metrics`."""
        if scope["type"] == "lifespan":
            for _ in range(2):
                event = await receive()
                await send({"type": f"{event['type']}.complete"})
            return
        body = await self.exposition()
        kind = self._client.CONTENT_TYPE_LATEST.encode()
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """What `collect` gives, without values: for prometheus_client."""
        return self._gauges(None, None)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges: asked for now if a thread scrapes, else as of the last `refresh()`."""
        token = self._token
        if token is not None and not trio.lowlevel.in_trio_run():
            # if it is closing, what was seen last is all there is
            with suppress(trio.RunFinishedError, trio.Cancelled, RuntimeError, ActorqError):
                trio.from_thread.run(self._refresh_soon, trio_token=token)
        return self._gauges(self._queue, self._pool)

    def _gauges(
        self, queue: QueueStatistics | None, pool: PoolStatistics | None
    ) -> list[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        tasks = GaugeMetricFamily(
            f"{self.prefix}_queue_tasks", "Tasks in the queue, by state.", labels=["state"]
        )
        ready = GaugeMetricFamily(
            f"{self.prefix}_queue_ready_tasks", "Tasks that wait for a worker.", labels=["queue"]
        )
        slots = GaugeMetricFamily(f"{self.prefix}_worker_slots", "Tasks that may run at a time.")
        jobs = GaugeMetricFamily(f"{self.prefix}_worker_jobs", "Tasks that the worker holds.")
        if queue is not None:
            for state in ("scheduled", "ready", "parked", "limited", "leased", "dead"):
                tasks.add_metric([state], getattr(queue, state))
            for name, count in queue.queues.items():
                ready.add_metric([name], count)
        if pool is not None:
            slots.add_metric([], pool.concurrency)
            jobs.add_metric([], pool.held)
        return [tasks, ready, slots, jobs]
