"""The middleware: hooks on a task's way.  What a user subclasses; the chain actor runs them."""

from __future__ import annotations

from typing import Any

from actorq.message import TaskMessage
from actorq.result import TaskResult


#: Every hook on a task's way, in the order in which a task meets them.
HOOKS = ("pre_send", "post_send", "pre_execute", "on_error", "post_execute", "post_save")


class Middleware:
    """Hooks on a task's way; override those you need, as `async def` or plain `def`.

    `pre_*` hooks run first middleware first, the others last middleware first.  Hooks of different
    tasks may run at the same time when they are async.

    | hook         | runs                              | what it raises                             |
    |--------------|-----------------------------------|--------------------------------------------|
    | pre_send     | before the broker stores the task | reaches the enqueuer; nothing is stored    |
    | post_send    | after the broker accepted it      | is logged                                  |
    | pre_execute  | before each attempt               | fails the attempt                          |
    | on_error     | after an attempt that failed      | is logged                                  |
    | post_execute | after each attempt                | is logged                                  |
    | post_save    | after the result was stored       | is logged                                  |
    """

    async def startup(self) -> None:
        """Begin a life of the chain."""

    async def shutdown(self) -> None:
        """End a life of the chain."""

    def pre_send(self, message: TaskMessage) -> Any:
        """Return the message to send: the same, or a copy such as `message.with_labels(...)`."""
        return message

    def post_send(self, message: TaskMessage) -> Any:
        """The broker has accepted *message*."""

    def pre_execute(self, message: TaskMessage) -> Any:
        """Return the message to execute."""
        return message

    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> Any:
        """An attempt has failed with *error*, the exception itself."""

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> Any:
        """An attempt has ended; its result is not stored yet, and will not be if it is retried."""

    def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> Any:
        """The result has been stored."""


def hooks_of(middlewares: tuple[Middleware, ...]) -> frozenset[str]:
    """The hooks that at least one of *middlewares* implements: the others cost nothing."""
    return frozenset(
        hook
        for hook in HOOKS
        for middleware in middlewares
        if getattr(type(middleware), hook) is not getattr(Middleware, hook)
    )
