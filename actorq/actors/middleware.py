"""The middleware chain's actor: it starts the middlewares, ends them, and says when they are up.

The hooks themselves run where they are needed (see `actorq.chain`): here, those of tasks that end
without a worker.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import trio

from actorq.actor import Actor
from actorq.chain import Chain
from actorq.middleware import Middleware
from actorq.protocol import EndedUnreported, MiddlewareMessage


if TYPE_CHECKING:
    from actorq.system import System


log = logging.getLogger("actorq.middleware")

#: Seconds that shutdown handlers have together if the start fails, as an actor has for its `on_stop`.
CLEANUP = 5.0


class MiddlewareChain(Actor[MiddlewareMessage]):
    """Keeps the middlewares of *chain* up."""

    def __init__(self, chain: Chain, system: System | None = None) -> None:
        self._chain = chain
        self._system = system
        self._started: list[Middleware] = []

    async def on_start(self) -> None:
        """Start every middleware, the first first; if one fails, stop those before it."""
        try:
            for middleware in self._chain.middlewares:
                # not by assignment: the class may be frozen
                object.__setattr__(middleware, "_system", self._system)
                await _called(middleware.startup())
                self._started.append(middleware)
        except BaseException:
            with trio.move_on_after(CLEANUP, shield=True):
                await self._shut_down()
            raise
        self._chain.life = self

    async def on_stop(self) -> None:
        """Shut every middleware down, the last first."""
        self._chain.life = None
        await self._shut_down()

    async def _shut_down(self) -> None:
        while self._started:
            middleware = self._started.pop()
            try:
                await _called(middleware.shutdown())
            except Exception:
                log.exception("%r failed in shutdown", middleware)
            finally:  # also when time has run out: what the others do before they wait, they do
                await self._shut_down()

    async def receive(self, message: MiddlewareMessage) -> None:
        """Run the hooks of ends that no worker reports.

        `AreUp` only wants an answer: nobody is given one before `on_start` is over.
        """
        if isinstance(message, EndedUnreported):
            # in child tasks: a hook that waits holds up nobody else's
            for outcome in message.outcomes:
                if outcome.message is not None:
                    self.start_soon(
                        self._chain.ended_unreported, outcome.message, outcome.result, name="hooks"
                    )


async def _called(value: Any) -> None:
    if inspect.isawaitable(value):
        await value
