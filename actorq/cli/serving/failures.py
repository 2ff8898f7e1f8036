"""A line for each failure: what a worker process logs of its tasks, unless the broker says more."""

from __future__ import annotations

from typing import Any

from actorq.actors.broker import Broker
from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.middlewares.logs import Logging
from actorq.result import TaskResult


class LogFailures(Middleware):
    """The lines of `Logging` for attempts that failed; the others are too many to be worth it."""

    def __init__(self) -> None:
        self._lines = Logging()

    def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None:
        """To be tried again."""
        self._lines.on_retry(message, error, delay)

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        """Failed for good."""
        self._lines.on_dead(message, result, error)


def log_failures(broker: Broker) -> None:
    """Unless the broker has a `Logging` of its own."""
    if not any(isinstance(each, Logging) for each in broker.middlewares):
        broker.with_middlewares(LogFailures())
