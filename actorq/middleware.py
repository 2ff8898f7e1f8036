"""The middleware: hooks on a task's way.  What a user subclasses; `actorq.chain` runs them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from actorq.message import TaskMessage
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.context import Context
    from actorq.system import System


#: Every hook on a task's way, in the order in which a task meets them.
HOOKS = (
    "around_send",
    "pre_send",
    "post_send",
    "pre_execute",
    "around_execute",
    "on_error",
    "on_retry",
    "on_dead",
    "on_cancelled",
    "post_execute",
    "post_save",
)
#: Those between the end of an attempt and the storing of its result.
AFTER_EXECUTE = frozenset({"on_error", "on_retry", "on_dead", "on_cancelled", "post_execute"})


class Middleware:
    """Hooks on a task's way; override those you need, as `async def` or plain `def`.

    `pre_*` and `around_*` hooks run first middleware first, the others last middleware first.  Hooks
    of different tasks may run at the same time when they are async.

    | hook           | runs                                   | what it raises                          |
    |----------------|----------------------------------------|-----------------------------------------|
    | around_send    | round pre_send, the broker, post_send  | reaches the enqueuer; nothing is stored |
    | pre_send       | before the broker stores the task      | reaches the enqueuer; nothing is stored |
    | post_send      | after the broker accepted it           | is logged                               |
    | pre_execute    | before each attempt                    | fails the attempt                       |
    | around_execute | round the function of each attempt     | fails the attempt                       |
    | on_error       | after an attempt that failed           | is logged                               |
    | on_retry       | then, if there will be another attempt | is logged                               |
    | on_dead        | then, if that was the last one [1]     | is logged                               |
    | on_cancelled   | after an attempt was cancelled [1]     | is logged                               |
    | post_execute   | after each attempt, the last of these  | is logged                               |
    | post_save      | after the result was stored            | is logged                               |

    [1] Also for a task that ends without a worker: cancelled or expired while it waited, or lost by its
    workers.

    The two `around_*` hooks are plain `def` and return a context manager; what that raises when it is
    left is logged, and it cannot swallow an error.
    """

    _system: System | None = None

    @property
    def system(self) -> System:
        """The system in which this middleware lives, from before `startup` on.

        Raises `RuntimeError` before that.
        """
        if self._system is None:
            raise RuntimeError(
                f"{type(self).__name__}.system is there from its startup() on: open a system "
                f"with `broker.with_middlewares(...)` and `async with actorq.open_system(broker)`"
            )
        return self._system

    def startup(self) -> Any:
        """Begin a life of the chain."""

    def shutdown(self) -> Any:
        """End a life of the chain."""

    def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[object]:
        """A context manager round the sending of *messages*, in the task that sends them.

        For what must be seen in the context of the caller, such as a current span.
        """
        return nullcontext()

    def pre_send(self, message: TaskMessage) -> Any:
        """Return the message to send: the same, or a copy such as `message.with_labels(...)`."""
        return message

    def post_send(self, message: TaskMessage) -> Any:
        """The broker has accepted *message*."""

    def pre_execute(self, message: TaskMessage) -> Any:
        """Return the message to execute."""
        return message

    def around_execute(self, context: Context) -> AbstractContextManager[object]:
        """A context manager round the function of one attempt, in the task that runs it.

        Context variables that it sets are seen by the function, in a thread too.  Its `__exit__` gets
        what the function raised: a timeout or a cancellation as well.
        """
        return nullcontext()

    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> Any:
        """An attempt has failed with *error*, the exception itself."""

    def on_retry(self, message: TaskMessage, error: Exception, delay: float) -> Any:
        """It will be tried again, *delay* seconds from now at the earliest."""

    def on_dead(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> Any:
        """It failed for good: there is no further attempt.

        *error* is a `TaskExpired` if its time to start went by, a `WorkerLost` if its workers died.
        """

    def on_cancelled(self, message: TaskMessage, result: TaskResult[Any]) -> Any:
        """The task was cancelled, while it ran or while it waited."""

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> Any:
        """An attempt has ended; its result is not stored yet, and will not be if it is retried."""

    def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> Any:
        """The result has been stored."""


def implements(middleware: Middleware, hook: str) -> bool:
    """Whether its class overrides *hook*: the others cost nothing."""
    return getattr(type(middleware), hook) is not getattr(Middleware, hook)


def hooks_of(middlewares: tuple[Middleware, ...]) -> frozenset[str]:
    """The hooks that at least one of *middlewares* implements."""
    return frozenset(
        hook for hook in HOOKS for middleware in middlewares if implements(middleware, hook)
    )


def misspelt_hooks(middleware: Middleware) -> list[tuple[str, str]]:
    """Methods that look as if they were meant to be hooks, each with the hook that it resembles."""
    found = []
    for name in vars(type(middleware)):
        if not name.startswith("_") and not hasattr(Middleware, name):
            close = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.85)
            if close:
                found.append((name, close[0]))
    return found
