"""Enqueueing in a transaction of the user's own: what it is on every engine.

All is plain synchronous code, for any thread, with or without an open system.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final, TypeVar, cast

from actorq.call import Call, Enqueueable, Step
from actorq.call_message import message_of
from actorq.chain import Chain
from actorq.configuration import Configuration
from actorq.environment import current_environment
from actorq.errors import ArgumentsError, MiddlewareError
from actorq.message import TaskId, TaskMessage
from actorq.middleware import implements


T = TypeVar("T")

#: Hooks of middlewares that have to do with sending.
SENDING: Final = frozenset({"around_send", "pre_send", "post_send"})


class Enqueuing:
    """What a broker has for transactions, whatever its engine."""

    @contextmanager
    def _sending(
        self, work: object, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Iterator[tuple[TaskMessage, float]]:
        """The message of a call and the time, while middlewares' `around_send` is round it."""
        call = _call(work, args, kwargs)
        broker = cast("Configuration", self)
        environment = current_environment()
        now = environment.wall()
        new_id: Callable[[], str] = broker.id_generator or environment.new_id
        chain = self._chain()
        messages: tuple[TaskMessage, ...] = (message_of(call, new_id(), now),)
        with chain.around_send(messages) if "around_send" in chain.hooks else nullcontext():
            if "pre_send" in chain.hooks:
                messages = at_once(chain.pre_send(messages), "pre_send")
            yield messages[0], now

    def _chain(self) -> Chain:
        """The middlewares of the open system; without one, those that need not be started."""
        broker = cast("Configuration", self)
        if broker._system is not None and broker._system.wiring.chain.life is not None:
            return broker._system.wiring.chain
        chain = Chain(broker.middlewares)
        if chain.hooks & SENDING:
            for middleware in broker.middlewares:
                if implements(middleware, "startup"):
                    raise MiddlewareError(
                        f"{type(middleware).__name__} has a startup(), which runs when the broker's "
                        f"system is opened, and none is open here: enqueue where one is, or leave that "
                        f"middleware out of this process"
                    )
        return chain

    def _tell_sent(self, messages: tuple[TaskMessage, ...]) -> None:
        chain = self._chain()
        if messages and "post_send" in chain.hooks:
            at_once(chain.post_send(messages), "post_send")


def id_for(message: TaskMessage) -> TaskId:
    """By which who enqueued it knows it: of a chain, the last step's."""
    steps = () if message.terms is None else message.terms.chain
    return steps[-1].task_id if steps else message.task_id


def at_once(hooks: Coroutine[Any, Any, T], name: str) -> T:
    """What these hooks return; `MiddlewareError` if one of them has to wait for something."""
    try:
        hooks.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    hooks.close()
    raise MiddlewareError(
        f"a middleware's {name}() waits for something, which cannot be done in a transaction: it is "
        f"plain synchronous code. Enqueue with `await system.enqueue(...)`, or let {name}() not wait"
    )


def _call(work: object, args: Sequence[Any], kwargs: dict[str, Any]) -> Call[Any]:
    if not isinstance(work, Enqueueable):
        raise TypeError(
            f"enqueue_in() expects a task made with @actorq.task, a call or a chain; got {work!r}"
        )
    if isinstance(work, Call) and (args or kwargs):
        raise ArgumentsError(f"{work!r} has all its arguments; it takes no more of them")
    if isinstance(work, Step) and (len(args) != 1 or kwargs):
        raise ArgumentsError(f"{work!r} lacks one argument, its first")
    return work.call(*args, **kwargs)
