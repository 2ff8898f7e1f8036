"""Spans and metrics for OpenTelemetry: one span for the sending of a task, one for each attempt.

The context travels in the message's labels, as W3C Trace Context has it (`traceparent`, `tracestate`)
and Baggage (`baggage`).  Needs the API only; without an SDK nothing is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio

from actorq._version import __version__
from actorq.context import Context
from actorq.message import TaskMessage
from actorq.middleware import Middleware


if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import TracerProvider


class OpenTelemetry(Middleware):
    """Traces tasks from where they are enqueued to where they run.

    Needs the extra `actorq[opentelemetry]`.

    * Sending: a `PRODUCER` span `send <task>`, a child of what is current where the task is enqueued.
    * Running: a `CONSUMER` span `process <task>` for each attempt, current inside the function (and in
      its threads).  It begins a trace of its own that is linked to the sending; with *parent* it is a
      child of the sending instead, in the same trace.

    *tracer_provider*, *propagator*: the global ones unless told.  *meter_provider*: if given, the
    histograms `messaging.client.operation.duration` and `messaging.process.duration` and the counter
    `messaging.client.sent.messages` are kept as well.

    Arguments and results are not recorded; an exception is.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
        parent: bool = False,
    ) -> None:
        try:
            from opentelemetry import baggage, context, metrics, propagate, trace
        except ImportError as error:
            raise ImportError(
                "OpenTelemetry() needs opentelemetry-api; install it with: "
                'pip install "actorq[opentelemetry]"'
            ) from error
        self._trace, self._context, self._baggage = trace, context, baggage
        self._tracer = trace.get_tracer("actorq", __version__, tracer_provider)
        self._propagator: Any = propagator or propagate.get_global_textmap()
        self.parent = parent
        self._sending = self._processing = self._sent = None
        if meter_provider is not None:
            meter = metrics.get_meter("actorq", __version__, meter_provider)
            self._sending = meter.create_histogram(
                "messaging.client.operation.duration", "s", "Duration of the sending of tasks."
            )
            self._processing = meter.create_histogram(
                "messaging.process.duration", "s", "Duration of attempts."
            )
            self._sent = meter.create_counter(
                "messaging.client.sent.messages", "{message}", "Tasks that were sent."
            )

    # --- sending ---

    def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
        """The span of the sending."""
        return self._send_span(messages)

    @contextmanager
    def _send_span(self, messages: Sequence[TaskMessage]) -> Iterator[None]:
        first = messages[0]
        common = _attributes("send", first)
        attributes: dict[str, Any] = {**common, "actorq.task.name": first.task_name}
        if len(messages) == 1:
            attributes["messaging.message.id"] = first.task_id
        else:
            attributes["messaging.batch.message_count"] = len(messages)
        began = perf_counter()
        with (
            self._tracer.start_as_current_span(
                f"send {first.task_name}",
                kind=self._trace.SpanKind.PRODUCER,
                attributes=attributes,
            ) as span,
            self._ended(span, common, began, self._sending),
        ):
            yield
        if self._sent is not None:
            self._sent.add(len(messages), common)

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        """Give the message the context of the span."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return message.with_labels(**carrier) if carrier else message

    # --- running ---

    def around_execute(self, context: Context) -> AbstractContextManager[None]:
        """The span of one attempt."""
        return self._process_span(context)

    @contextmanager
    def _process_span(self, context: Context) -> Iterator[None]:
        message, trace = context.message, self._trace
        common = _attributes("process", message)
        labels = message.labels
        carrier = {
            name: labels[name]
            for name in self._propagator.fields
            if isinstance(labels.get(name), str)
        }
        # not under what is current here: a worker serves whoever enqueued
        sent = self._propagator.extract(carrier, self._context.Context())
        links = []
        if not self.parent:
            origin = trace.get_current_span(sent).get_span_context()
            if origin.is_valid:
                links.append(trace.Link(origin))
            sent = trace.set_span_in_context(trace.INVALID_SPAN, sent)
        token = self._context.attach(sent)
        try:
            began = perf_counter()
            with (
                self._tracer.start_as_current_span(
                    f"process {message.task_name}",
                    kind=trace.SpanKind.CONSUMER,
                    links=links,
                    attributes={
                        **common,
                        "messaging.message.id": message.task_id,
                        "actorq.task.name": message.task_name,
                        "actorq.task.attempt": context.attempt,
                    },
                ) as span,
                self._ended(span, common, began, self._processing),
            ):
                yield
        finally:
            self._context.detach(token)

    @contextmanager
    def _ended(
        self, span: Any, common: dict[str, Any], began: float, histogram: Any
    ) -> Iterator[None]:
        """Say how it ended, what `start_as_current_span` does not say."""
        kind: str | None = None
        try:
            yield
        except trio.Cancelled:
            kind = "cancelled"
            span.set_status(self._trace.StatusCode.ERROR, "cancelled")
            raise
        except BaseException as error:
            kind = type(error).__qualname__
            raise
        finally:
            if kind is not None:
                span.set_attribute("error.type", kind)
                common = {**common, "error.type": kind}
            if histogram is not None:
                histogram.record(perf_counter() - began, common)


def _attributes(operation: str, message: TaskMessage) -> dict[str, Any]:
    """What the conventions for messaging want on spans and on metrics."""
    return {
        "messaging.system": "actorq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": message.options.queue,
    }
