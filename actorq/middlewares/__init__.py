"""Middlewares that come with actorq; subclass `actorq.Middleware` for your own.

`Prometheus` and `OpenTelemetry` need their extras, when they are made and not before.
"""

from actorq.middlewares.logs import Logging, TaskContextFilter, add_task_context, task_context
from actorq.middlewares.opentelemetry import OpenTelemetry
from actorq.middlewares.prometheus import Prometheus
from actorq.middlewares.retry import SimpleRetry, SmartRetry
from actorq.middlewares.watchdog import Stall, Watchdog


__all__ = [
    "Logging",
    "OpenTelemetry",
    "Prometheus",
    "SimpleRetry",
    "SmartRetry",
    "Stall",
    "TaskContextFilter",
    "Watchdog",
    "add_task_context",
    "task_context",
]
