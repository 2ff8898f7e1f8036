"""The chain: the hooks of all middlewares, bound and in order, and how each is run.

Made once for a system.  Hooks run in the task of who needs them (the enqueuer's, the worker's slot):
a message to an actor and back, for each of five stages, would cost a no-op task four fifths of its
speed, and a hook would not see the context of its caller.  The actor `actorq.actors.middleware` starts
the middlewares and ends them; a hook that runs while they are down is not run, or its failure is the
chain's and not the task's.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import trio

from actorq.context import Context
from actorq.errors import MiddlewareError, TaskCancelled
from actorq.message import TaskMessage, check_fields
from actorq.middleware import Middleware, hooks_of, implements
from actorq.result import TaskResult


log = logging.getLogger("actorq.middleware")

Call = Callable[..., Any]


_DOWN = "the middlewares went down before the task could run"


class ChainDown(Exception):
    """The middlewares are not up: nothing that follows is the task's fault."""


class Chain:
    """The hooks of *middlewares*."""

    def __init__(self, middlewares: tuple[Middleware, ...]) -> None:
        self.middlewares = middlewares
        self.hooks = hooks_of(middlewares)
        self.life: object | None = None  #: set while the middlewares are up, another for each life

        def bound(hook: str) -> tuple[Call, ...]:
            inwards = hook.startswith(("pre_", "around_"))
            ordered = middlewares if inwards else tuple(reversed(middlewares))
            return tuple([getattr(each, hook) for each in ordered if implements(each, hook)])

        self._around_send = bound("around_send")
        self._pre_send = bound("pre_send")
        self._post_send = bound("post_send")
        self._pre_execute = bound("pre_execute")
        self._around_execute = bound("around_execute")
        self._on_error = bound("on_error")
        self._on_retry = bound("on_retry")
        self._on_dead = bound("on_dead")
        self._on_cancelled = bound("on_cancelled")
        self._post_execute = bound("post_execute")
        self._post_save = bound("post_save")

    # --- at the client ---

    def around_send(self, messages: Sequence[TaskMessage]) -> AbstractContextManager[None]:
        """Every `around_send`, one in another."""
        return Around(self._around_send, messages)

    async def pre_send(self, messages: tuple[TaskMessage, ...]) -> tuple[TaskMessage, ...]:
        """What is to be sent.  A checkpoint only if a hook is.

        Raises what a hook raises.
        """
        sent = []
        for message in messages:
            for call in self._pre_send:
                changed = call(message)
                if changed is not message:
                    message = await _checked(call, changed, message)
            sent.append(message)
        return tuple(sent)

    async def post_send(self, messages: tuple[TaskMessage, ...]) -> None:
        """They were accepted.  A checkpoint only if a hook is."""
        for message in messages:
            rest = _tell(self._post_send, message)
            if rest is not None:
                await rest

    # --- at the worker ---

    async def pre_execute(self, message: TaskMessage) -> TaskMessage:
        """What is to be executed.  A checkpoint only if a hook is.

        Raises what a hook raises, and `ChainDown`.
        """
        life = self.life
        if life is None:
            raise ChainDown(_DOWN)
        try:
            for call in self._pre_execute:
                changed = call(message)
                if changed is not message:
                    message = await _checked(call, changed, message)
        except Exception as error:
            if self.life is not life:
                raise ChainDown(_DOWN) from error
            raise
        return message

    def around_execute(self, context: Context) -> AbstractContextManager[None]:
        """Every `around_execute`, one in another."""
        return Around(self._around_execute, context)

    async def after_execute(
        self,
        message: TaskMessage,
        result: TaskResult[Any],
        error: Exception | None,
        delay: float | None,
        *,
        cancelled: bool,
    ) -> None:
        """An attempt has ended: with *error* or not, to be tried again after *delay* or not.

        A checkpoint only if a hook is.
        """
        if self.life is None:
            log.warning("the middlewares are down; no hook hears how %s ended", message.task_id)
            return
        rest = None
        if error is not None:
            rest = _tell(self._on_error, message, result, error)
            if rest is not None:
                await rest
            if delay is not None:
                rest = _tell(self._on_retry, message, error, delay)
            else:
                rest = _tell(self._on_dead, message, result, error)
        elif cancelled:
            rest = _tell(self._on_cancelled, message, result)
        if rest is not None:
            await rest
        rest = _tell(self._post_execute, message, result)
        if rest is not None:
            await rest

    async def ended_unreported(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """The task has ended without a worker.  A checkpoint only if a hook is."""
        error = result.error
        if isinstance(error, TaskCancelled):
            rest = _tell(self._on_cancelled, message, result)
        elif isinstance(error, Exception):
            rest = _tell(self._on_dead, message, result, error)
        else:
            return
        if rest is not None:
            await rest

    async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        """Its result was stored.  A checkpoint only if a hook is."""
        if self.life is None:
            log.warning("the middlewares are down; post_save of %s is not run", message.task_id)
            return
        rest = _tell(self._post_save, message, result)
        if rest is not None:
            await rest


async def _checked(call: Call, changed: Any, message: TaskMessage) -> TaskMessage:
    """What a hook has made of *message*."""
    if inspect.isawaitable(changed):
        awaited: object = await changed
        if awaited is message:
            return message
        changed = awaited
    if not isinstance(changed, TaskMessage):
        raise MiddlewareError(
            f"{_name(call)} must return the TaskMessage to go on with; it returned {changed!r}"
        )
    if changed.task_id != message.task_id:
        raise MiddlewareError(f"{_name(call)} must not change the task_id")
    check_fields(changed)
    return changed


def _tell(calls: tuple[Call, ...], *args: Any) -> Coroutine[Any, Any, None] | None:
    """Call them in order; from the first on that is to be awaited, the rest is returned for that.

    Plain functions, the most, need no coroutine of ours.
    """
    for place, call in enumerate(calls):
        try:
            returned = call(*args)
            if returned is not None and inspect.isawaitable(returned):
                return _tell_the_rest(call, returned, calls[place + 1 :], args)
        except BaseException as raised:
            if is_signal(raised):
                raise
            _log(call, raised)
    return None


async def _tell_the_rest(
    call: Call, returned: Awaitable[Any], others: tuple[Call, ...], args: tuple[Any, ...]
) -> None:
    try:
        await returned
    except BaseException as raised:
        if is_signal(raised):
            raise
        _log(call, raised)
    if others:
        rest = _tell(others, *args)
        if rest is not None:
            await rest


def _log(call: Call, raised: BaseException) -> None:
    """Promise 44: what it raised is reported, and the task goes on."""
    log.error("%s raised; the task goes on", _name(call), exc_info=raised)


class Around:
    """Context managers that *calls* return, one in another; none can swallow an error."""

    __slots__ = ("_argument", "_calls", "_entered")

    def __init__(self, calls: tuple[Call, ...], argument: object) -> None:
        self._calls = calls
        self._argument = argument
        self._entered: list[tuple[Call, Any]] = []

    def __enter__(self) -> None:
        try:
            for call in self._calls:
                manager = call(self._argument)
                try:
                    manager.__enter__()
                except (AttributeError, TypeError) as error:
                    if hasattr(type(manager), "__enter__"):
                        raise
                    if inspect.iscoroutine(manager):
                        manager.close()  # or Python warns that it was never awaited
                    raise MiddlewareError(
                        f"{_name(call)} must be a plain `def` that returns a context manager; it "
                        f"returned {manager!r}"
                    ) from error
                self._entered.append((call, manager))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal: BaseException | None = None
        while self._entered:
            call, manager = self._entered.pop()
            try:
                manager.__exit__(kind, error, traceback)
            except BaseException as raised:  # noqa: BLE001 - logged, or raised below
                if raised is error or raised is signal:
                    continue  # as `@contextmanager` has it when it does not handle what came
                if not is_signal(raised):
                    _log(call, raised)
                    continue
                # it goes up when those further out have been left, too: they see it on its way
                signal = raised
                kind, error, traceback = type(raised), raised, raised.__traceback__
        if signal is not None:
            raise signal


def is_signal(error: BaseException) -> bool:
    """Whether it is, or has in it, what must never be taken for a failure."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_signal(each) for each in error.exceptions)
    return isinstance(error, trio.Cancelled | KeyboardInterrupt | SystemExit | GeneratorExit)


def _name(call: Call) -> str:
    return f"{type(getattr(call, '__self__', None)).__name__}.{getattr(call, '__name__', call)}"
