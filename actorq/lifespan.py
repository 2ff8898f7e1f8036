"""The lifespan: what a broker's owner wants done before a system opens and after it has closed.

Runs round all actors, so that what it opens is there for the first task and still there for the last.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeAlias

import attrs
import trio

from actorq.state import State


log = logging.getLogger("actorq.lifespan")

#: Which half of a system a handler belongs to; one in memory is both.
Role: TypeAlias = Literal["client", "worker"]
#: What a system is there for: to enqueue, to run tasks, to enqueue what schedules say; None: all.
SystemRole: TypeAlias = Literal["client", "worker", "scheduler"]
Handler: TypeAlias = Callable[[State], Any]
Opener: TypeAlias = Callable[[State], AbstractAsyncContextManager[Any]]

#: Seconds that everything together has at the end, as an actor has for its `on_stop`.
CLEANUP = 5.0
_ROLES = ("client", "worker")
BOTH: frozenset[str] = frozenset(_ROLES)


@attrs.define
class Lifespan:
    """What was registered, each with the role that it is for (None: any), in this order."""

    managers: list[tuple[Opener, str | None]] = attrs.field(factory=list)
    startups: list[tuple[Handler, str | None]] = attrs.field(factory=list)
    shutdowns: list[tuple[Handler, str | None]] = attrs.field(factory=list)

    @asynccontextmanager
    async def run(self, state: State, roles: frozenset[str] = BOTH) -> AsyncIterator[None]:
        """Context managers in order, then startup handlers in order; at the end the reverse.

        The end is shielded from cancellation, and has `CLEANUP` seconds.  If something fails on the
        way in, what was entered is left; if that was a startup handler, every shutdown handler is
        called.  What one of them raises gets a note with its name.
        """
        managers, startups, shutdowns = (
            [each for each, role in registered if role is None or role in roles]
            for registered in (self.managers, self.startups, self.shutdowns)
        )
        if not (managers or startups or shutdowns):
            yield
            return
        await trio.lowlevel.checkpoint()  # promise 51: no handler runs in a cancelled scope
        life = _Life(state, managers, startups, shutdowns)
        body: BaseException | None = None
        surfaced: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(life.live, name="actorq:lifespan")
                try:
                    with life.body:
                        await life.started.wait()
                        if life.error is None:
                            yield
                except BaseException as error:
                    body = error
                    raise
                finally:
                    life.stop.set()
        except BaseException as error:  # noqa: BLE001 - raised below, outside of this handler's context
            surfaced = body or error
        if life.error is not None:
            raise life.error from body
        if surfaced is not None:
            raise surfaced

    def add_manager(self, opener: Opener, role: str | None) -> None:
        """Enter what *opener* makes, round everything."""
        _check(opener, role, "with_lifespan")
        if inspect.isasyncgenfunction(opener) or inspect.iscoroutinefunction(opener):
            raise TypeError(
                f"with_lifespan() expects a function that returns an async context manager; "
                f"decorate {_name(opener)} with @contextlib.asynccontextmanager"
            )
        self.managers.append((opener, role))

    def add_startup(self, handler: Handler, role: str | None) -> None:
        """Call *handler* before the first task."""
        _check(handler, role, "on_startup")
        self.startups.append((handler, role))

    def add_shutdown(self, handler: Handler, role: str | None) -> None:
        """Call *handler* after the last task."""
        _check(handler, role, "on_shutdown")
        self.shutdowns.append((handler, role))


@attrs.define
class _Life:
    """One opening, in a task of its own.

    So a cancellation from outside reaches the body at once, and what the lifespan keeps open for
    running tasks, background tasks of its own included, only after they have ended.
    """

    state: State
    managers: list[Opener]
    startups: list[Handler]
    shutdowns: list[Handler]
    body: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    started: trio.Event = attrs.field(factory=trio.Event)
    stop: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None

    async def live(self) -> None:
        """Start, wait for the word, end."""
        try:
            with trio.CancelScope() as scope:
                await self._live(scope)
            if scope.cancelled_caught:
                log.error("what should run at the end took longer than %g s: cut off", CLEANUP)
            elif not self.stop.is_set():
                self.error = RuntimeError("a lifespan ended by itself while the system was open")
        except Exception as error:  # noqa: BLE001 - raised again where the system was opened
            self.error = error
        finally:
            self.body.cancel("actorq: the lifespan has ended")
            self.started.set()

    async def _live(self, scope: trio.CancelScope) -> None:
        async with AsyncExitStack() as stack:
            try:
                for opener in self.managers:
                    await _enter(stack, opener, self.state)
                for handler in self.shutdowns:
                    stack.push_async_callback(_call, handler, self.state, "shutdown")
                for handler in self.startups:
                    await _call(handler, self.state, "startup")
                scope.shield = True
                self.started.set()
                await self.stop.wait()
            finally:
                scope.shield = True
                scope.deadline = trio.current_time() + CLEANUP


async def _enter(stack: AsyncExitStack, opener: Opener, state: State) -> None:
    try:
        await stack.enter_async_context(_manager(opener, state))
    except Exception as error:
        error.add_note(f"actorq: raised by the lifespan {_name(opener)}, on the way in")
        raise


def _manager(opener: Opener, state: State) -> AbstractAsyncContextManager[Any]:
    manager = opener(state)
    if not isinstance(manager, AbstractAsyncContextManager):
        raise TypeError(
            f"with_lifespan() expects a function that returns an async context manager, such as one "
            f"decorated with @contextlib.asynccontextmanager; {_name(opener)} returned {manager!r}"
        )
    return manager


async def _call(handler: Handler, state: State, event: str) -> None:
    try:
        value = handler(state)
        if inspect.isawaitable(value):
            await value
    except Exception as error:
        error.add_note(f"actorq: raised by the {event} handler {_name(handler)}")
        raise


def _check(function: object, role: str | None, where: str) -> None:
    if not callable(function):
        raise TypeError(f"{where}() expects a function of the state; got {function!r}")
    if role is not None and role not in _ROLES:
        raise ValueError(
            f"{where}(role=...) expects 'client', 'worker' or None, which is both; got {role!r}"
        )


def _name(function: object) -> str:
    name = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{getattr(function, '__module__', '?')}:{name}"
