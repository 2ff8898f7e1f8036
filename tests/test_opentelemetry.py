"""The OpenTelemetry middleware, with the SDK's in-memory exporter."""

from __future__ import annotations

import sys as python
from typing import Any

import pytest
import trio
from hypothesis import given
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import actorq
from actorq import InMemoryBroker, Middleware, TaskMessage
from actorq.middlewares import OpenTelemetry
from actorq.testing import Tape, simulate
from queue_strategies import tapes


class Traced:
    """A broker whose spans are kept."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")
        self.middleware = OpenTelemetry(tracer_provider=self.provider, **options)
        self.broker = InMemoryBroker().with_middlewares(self.middleware)

    def spans(self, beginning: str) -> list[ReadableSpan]:
        finished = self.exporter.get_finished_spans()
        return [each for each in finished if each.name.startswith(beginning)]


def ids_of(span: ReadableSpan | trace.Link) -> tuple[int, int]:
    """Of which trace, and which span."""
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """As a dictionary."""
    return dict(span.attributes or {})


@given(tapes)
def test_the_run_is_linked_to_the_sending(tape: Tape) -> None:
    """A trace of its own for each attempt, with the conventions' attributes."""
    traced = Traced()

    @traced.broker.task(name="resize", retries=1)
    async def resize(n: int) -> None:
        with traced.tracer.start_as_current_span(f"inside {n}"):
            await trio.sleep(1)
        raise ValueError("no")

    async def main() -> list[str]:
        async with actorq.open_system(traced.broker):
            with traced.tracer.start_as_current_span("request"):
                handles = [await resize.kiq(n) for n in range(3)]
            for handle in handles:
                await handle.wait_result()
        return [handle.task_id for handle in handles]

    ids = simulate(main, tape=tape)
    (request,) = traced.spans("request")
    sends = traced.spans("send resize")
    assert [attributes(each)["messaging.message.id"] for each in sends] == ids
    for n, (task_id, send) in enumerate(zip(ids, sends, strict=True)):
        assert send.kind is trace.SpanKind.PRODUCER
        assert send.parent == request.context
        assert attributes(send) == {
            "messaging.system": "actorq",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": "default",
            "messaging.message.id": task_id,
            "actorq.task.name": "resize",
        }
        runs = [
            each
            for each in traced.spans("process resize")
            if attributes(each)["messaging.message.id"] == task_id
        ]
        assert [attributes(each)["actorq.task.attempt"] for each in runs] == [1, 2]
        inside = traced.spans(f"inside {n}")
        for run, child in zip(runs, inside, strict=True):
            assert run.kind is trace.SpanKind.CONSUMER
            assert run.parent is None
            assert [ids_of(link) for link in run.links] == [ids_of(send)]
            assert child.parent == run.context
            assert run.status.status_code is trace.StatusCode.ERROR
            assert attributes(run)["error.type"] == "ValueError"
            (event,) = run.events
            assert (event.attributes or {})["exception.message"] == "no"


def test_the_run_may_be_a_child_of_the_sending() -> None:
    """`parent=True`: one trace; and baggage arrives."""
    traced = Traced(parent=True)
    seen: list[object] = []

    @traced.broker.task(name="work")
    async def work() -> None:
        seen.append(baggage.get_baggage("tenant"))

    async def main() -> None:
        async with actorq.open_system(traced.broker):
            token = context.attach(baggage.set_baggage("tenant", "acme"))
            handle = await work.kiq()
            context.detach(token)
            await handle.result()

    simulate(main)
    (send,) = traced.spans("send")
    (run,) = traced.spans("process")
    assert run.parent is not None
    assert (run.parent.trace_id, run.parent.span_id) == ids_of(send)
    assert run.status.is_unset
    assert seen == ["acme"]


def test_a_batch_is_one_sending() -> None:
    """`enqueue_many`: with its count; each run is linked to it."""
    traced = Traced()

    @traced.broker.task(name="work")
    async def work(n: int) -> None: ...

    async def main() -> None:
        async with actorq.open_system(traced.broker) as sys:
            await sys.enqueue_many(work, [(n,) for n in range(4)])
            await sys.wait_idle()

    simulate(main)
    (send,) = traced.spans("send")
    assert attributes(send)["messaging.batch.message_count"] == 4
    runs = traced.spans("process")
    assert len(runs) == 4
    assert {ids_of(run.links[0]) for run in runs} == {ids_of(send)}


def test_timeouts_and_cancellations_are_seen() -> None:
    """By the span of the attempt that they end."""
    traced = Traced()

    @traced.broker.task(name="slow", timeout=1)
    async def slow() -> None:
        await trio.sleep_forever()

    @traced.broker.task(name="hang")
    async def hang() -> None:
        await trio.sleep_forever()

    async def main() -> None:
        async with actorq.open_system(traced.broker):
            await (await slow.kiq()).wait_result()
            handle = await hang.kiq()
            await trio.sleep(1)
            assert await handle.cancel()

    simulate(main)
    (late,) = traced.spans("process slow")
    assert attributes(late)["error.type"] == "TaskTimeout"
    (cancelled,) = traced.spans("process hang")
    assert attributes(cancelled)["error.type"] == "cancelled"
    assert cancelled.status.description == "cancelled"


def test_a_refused_sending_is_an_error() -> None:
    """And its span has ended."""

    class Refuses(Middleware):
        def pre_send(self, message: TaskMessage) -> TaskMessage:
            raise actorq.Reject("at night")

    traced = Traced()
    traced.broker.with_middlewares(Refuses())

    @traced.broker.task(name="work")
    async def work() -> None: ...

    async def main() -> None:
        async with actorq.open_system(traced.broker):
            with pytest.raises(actorq.Reject):
                await work.kiq()
            assert not trace.get_current_span().get_span_context().is_valid

    simulate(main)
    (send,) = traced.spans("send")
    assert attributes(send)["error.type"] == "Reject"
    assert send.status.status_code is trace.StatusCode.ERROR


def test_labels_that_are_no_context_hurt_nobody() -> None:
    """They are the caller's, and may be anything."""
    traced = Traced()

    @traced.broker.task(name="work", labels={"traceparent": 17, "baggage": ["x"]})
    async def work() -> int:
        return 1

    async def main() -> None:
        async with actorq.open_system(traced.broker) as sys:
            assert await (await work.kiq()).result() == 1
            odd = TaskMessage("id", "work").with_labels(tracestate=5, traceparent="junk")
            assert await (await sys.send(odd)).result() == 1

    simulate(main)


async def test_threads_are_inside_the_span() -> None:
    """A plain `def` task sees its span as the current one."""
    traced = Traced()

    @traced.broker.task(name="plain")
    def plain() -> int:
        return trace.get_current_span().get_span_context().span_id

    async with actorq.open_system(traced.broker):
        span_id = await (await plain.kiq()).result()
    (run,) = traced.spans("process")
    assert ids_of(run)[1] == span_id


def test_metrics_by_the_conventions() -> None:
    """Only with a meter provider."""
    reader = InMemoryMetricReader()
    traced = Traced(meter_provider=MeterProvider([reader]))

    @traced.broker.task(name="work")
    async def work(fails: bool) -> None:
        if fails:
            raise ValueError

    async def main() -> None:
        async with actorq.open_system(traced.broker) as sys:
            for fails in (True, False):
                await work.kiq(fails)
            await sys.wait_idle()

    simulate(main)
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    points: dict[str, list[Any]] = {each.name: [*each.data.data_points] for each in scope.metrics}
    assert set(points) == {
        "messaging.client.operation.duration",
        "messaging.process.duration",
        "messaging.client.sent.messages",
    }
    (sent,) = points["messaging.client.sent.messages"]
    assert sent.value == 2
    kinds = [each.attributes.get("error.type") for each in points["messaging.process.duration"]]
    assert sorted(kinds, key=str) == [None, "ValueError"]


def test_without_an_sdk_nothing_is_added() -> None:
    """No span, no labels; the task runs."""
    broker = InMemoryBroker().with_middlewares(OpenTelemetry())

    @broker.task(name="work")
    async def work(ctx: actorq.Context = actorq.Depends()) -> int:
        return len(ctx.labels)

    async def main() -> int:
        async with actorq.open_system(broker):
            return await (await work.kiq()).result()

    assert simulate(main) == 0


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is made, not when it is imported."""
    monkeypatch.setitem(python.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r'pip install "actorq\[opentelemetry\]"'):
        OpenTelemetry()
