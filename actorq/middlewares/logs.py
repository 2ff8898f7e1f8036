"""Logging with the task's context: which task said this, and one line for each event of a task.

The context costs nothing for each task: it is read when a record is made, from the job that runs
there.  Standard library's `logging`, and structlog if you use that.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from actorq.job import current_slot
from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.result import TaskResult


def task_context() -> dict[str, Any]:
    """The task that runs here: its task_id, task_name, attempt and queue; empty outside of any.

    Inside a task this means: in its function, in what that calls, in its child tasks and its threads.
    """
    slot = current_slot.get()
    job = None if slot is None else slot.job
    if job is None:
        return {}
    message = job.message
    return {
        "task_id": message.task_id,
        "task_name": message.task_name,
        "attempt": job.fence.attempt,
        "queue": message.options.queue,
    }


_OUTSIDE = dict.fromkeys(("task_id", "task_name", "attempt", "queue"))


class TaskContextFilter(logging.Filter):
    """Gives every record `task_id`, `task_name`, `attempt` and `queue`; None outside of tasks.

    Add it to a handler, so that it sees the records of all loggers, and name them in the format:

        handler.addFilter(TaskContextFilter())
        handler.setFormatter(logging.Formatter("%(levelname)s [%(task_name)s] %(message)s"))

    A record that has one of these already (by `extra=`) keeps it.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; nothing is filtered out."""
        said = record.__dict__
        for name, value in (task_context() or _OUTSIDE).items():
            said.setdefault(name, value)
        return True


def add_task_context(
    _logger: Any, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: inside a task, every event gets its id, name, attempt and queue.

    Put it at the beginning of `structlog.configure(processors=[add_task_context, ...])`.
    What the event has itself stays.
    """
    for name, value in task_context().items():
        event_dict.setdefault(name, value)
    return event_dict


class Logging(Middleware):
    """One line for each event of a task, to the logger `actorq.tasks`.

    | event     | level   |
    |-----------|---------|
    | enqueued  | DEBUG   |
    | started   | DEBUG   |
    | succeeded | INFO    |
    | cancelled | INFO    |
    | retried   | WARNING |
    | failed    | ERROR   |

    Each record has `task_id`, `task_name`, `attempt` and `queue` as attributes (`attempt` once there
    is one).  Arguments and results stay out, since logs are read by many, unless *arguments* or
    *results* ask for them; an error's text is in its line.
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        *,
        arguments: bool = False,
        results: bool = False,
    ) -> None:
        self.logger = logger or logging.getLogger("actorq.tasks")
        self.arguments = arguments
        self.results = results

    def _log(
        self, level: int, message: TaskMessage, attempt: int | None, text: str, *values: object
    ) -> None:
        if not self.logger.isEnabledFor(level):
            return
        extra = {
            "task_id": message.task_id,
            "task_name": message.task_name,
            "attempt": attempt,
            "queue": message.options.queue,
        }
        name, task_id = message.task_name, message.task_id
        self.logger.log(level, "%s (%s) " + text, name, task_id, *values, extra=extra)  # noqa: G003

    def _called_with(self, message: TaskMessage) -> str:
        if not self.arguments:
            return ""
        said = [*map(repr, message.args), *(f"{k}={v!r}" for k, v in message.kwargs.items())]
        return f" with ({', '.join(said)})"

    def post_send(self, message: TaskMessage) -> None:
        """Enqueued."""
        self._log(logging.DEBUG, message, None, "enqueued%s", self._called_with(message))

    def pre_execute(self, message: TaskMessage) -> TaskMessage:
        """Started."""
        attempt = task_context().get("attempt")
        self._log(logging.DEBUG, message, attempt, "started%s", self._called_with(message))
        return message

    def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> None:
        """To be tried again."""
        attempt = task_context().get("attempt")
        self._log(logging.WARNING, message, attempt, "failed; again in %.2f s: %r", delay, error)

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        """Failed for good."""
        if not task_context():
            self._log(logging.ERROR, message, None, "ended without a worker: %r", error)
            return
        text = "failed for good after %.3f s, attempt %d: %r"
        attempt = result.attempts
        self._log(logging.ERROR, message, attempt, text, result.execution_time, attempt, error)

    def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """Cancelled, while it ran or while it waited."""
        if not task_context():
            self._log(logging.INFO, message, None, "cancelled while it waited")
            return
        text = "cancelled after %.3f s"
        self._log(logging.INFO, message, result.attempts, text, result.execution_time)

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """Succeeded, unless it did not."""
        if result.is_err:
            return
        returned = f": {result.return_value!r}" if self.results else ""
        text = "succeeded in %.3f s%s"
        self._log(logging.INFO, message, result.attempts, text, result.execution_time, returned)
