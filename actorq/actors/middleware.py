"""The middleware chain: the actor that runs the hooks, one ask a stage, none where there is no hook.

Async hooks run in child tasks, so that a slow one holds up its own task and no other.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from actorq.actor import Actor
from actorq.errors import MiddlewareError
from actorq.message import TaskMessage
from actorq.middleware import HOOKS, Middleware
from actorq.protocol import (
    AfterExecute,
    AfterSave,
    AfterSend,
    BeforeExecute,
    BeforeSend,
    MiddlewareMessage,
)
from actorq.reply import Reply


log = logging.getLogger("actorq.middleware")


class MiddlewareChain(Actor[MiddlewareMessage]):
    """Runs the hooks of the middlewares, in order."""

    def __init__(self, middlewares: tuple[Middleware, ...]) -> None:
        self._middlewares = middlewares
        self._started: list[Middleware] = []
        self._hooks: dict[str, list[Callable[..., Any]]] = {}
        for hook in HOOKS:
            ordered = middlewares if hook.startswith("pre_") else tuple(reversed(middlewares))
            self._hooks[hook] = [
                getattr(middleware, hook)
                for middleware in ordered
                if getattr(type(middleware), hook) is not getattr(Middleware, hook)
            ]

    async def on_start(self) -> None:
        """Start every middleware, the first first; if one fails, stop those before it."""
        try:
            for middleware in self._middlewares:
                await middleware.startup()
                self._started.append(middleware)
        except BaseException:
            await self._shut_down()
            raise

    async def on_stop(self) -> None:
        """Shut every middleware down, the last first."""
        await self._shut_down()

    async def _shut_down(self) -> None:
        while self._started:
            middleware = self._started.pop()
            try:
                await middleware.shutdown()
            except Exception:
                log.exception("%r failed in shutdown", middleware)

    async def receive(self, message: MiddlewareMessage) -> Any:
        """Run one stage; see `actorq.protocol`."""
        reply = self.defer()
        self.start_soon(self._stage, message, reply)

    async def _stage(self, stage: MiddlewareMessage, reply: Reply[Any]) -> None:
        try:
            reply.send(await self._run(stage))
        except Exception as error:  # noqa: BLE001 - whatever a hook raises is for who asked
            reply.fail(error)

    async def _run(self, stage: MiddlewareMessage) -> Any:
        match stage:
            case BeforeSend(messages):
                return tuple([await self._transform("pre_send", each) for each in messages])
            case BeforeExecute(message):
                return await self._transform("pre_execute", message)
            case AfterSend(messages):
                for each in messages:
                    await self._report("post_send", each)
            case AfterExecute(message, result, error):
                if error is not None:
                    await self._report("on_error", message, result, error)
                await self._report("post_execute", message, result)
            case AfterSave(message, result):
                await self._report("post_save", message, result)
        return None

    async def _transform(self, hook: str, message: TaskMessage) -> TaskMessage:
        for call in self._hooks[hook]:
            changed = await _called(call(message))
            if not isinstance(changed, TaskMessage):
                raise MiddlewareError(
                    f"{_name(call)} must return the TaskMessage to go on with; it returned "
                    f"{changed!r}"
                )
            if changed.task_id != message.task_id:
                raise MiddlewareError(f"{_name(call)} must not change the task_id")
            message = changed
        return message

    async def _report(self, hook: str, *args: Any) -> None:
        for call in self._hooks[hook]:
            try:
                await _called(call(*args))
            except Exception:
                # promise 44: the result is stored all the same
                log.exception("%s raised; the task goes on", _name(call))


def _name(call: Callable[..., Any]) -> str:
    return f"{type(getattr(call, '__self__', None)).__name__}.{getattr(call, '__name__', call)}"


async def _called(value: Any) -> Any:
    if inspect.isawaitable(value):
        awaitable: Awaitable[Any] = value
        return await awaitable
    return value
