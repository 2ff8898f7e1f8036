"""Spans from the enqueuer to the task."""

import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import actorq
from actorq.middlewares import OpenTelemetry


exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("shop")

broker = actorq.InMemoryBroker().with_middlewares(
    OpenTelemetry(tracer_provider=provider, parent=True)
)


@broker.task(name="charge")
async def charge(cents: int) -> None:
    trace.get_current_span().set_attribute("shop.cents", cents)
    with tracer.start_as_current_span("ask the bank"):
        await trio.sleep(0.2)


async def main() -> None:
    async with actorq.open_system(broker):
        with tracer.start_as_current_span("POST /orders"):
            handle = await charge.kiq(1200)
        await handle.result()
    spans = {span.context.span_id: span for span in exporter.get_finished_spans() if span.context}
    for span in spans.values():
        under = spans[span.parent.span_id].name if span.parent else "nothing"
        print(f"{span.name:15} under {under}")


if __name__ == "__main__":
    trio.run(main)
