"""Signals: what the kernel itself tells an actor, ahead of its messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs


if TYPE_CHECKING:
    from actorq.ref import ActorRef


class Signal:
    """Something that the kernel tells an actor; never refused by a full mailbox."""

    __slots__ = ()


@attrs.frozen
class Terminated(Signal):
    """A watched actor has ended for good: exactly once for each, never for a restart."""

    ref: ActorRef[Any]
    reason: str


@attrs.frozen
class TimerFired(Signal):
    """A timer is due; handled only if it is still the timer of its key (promise 25)."""

    key: object
    generation: int


@attrs.frozen
class Halt(Signal):
    """End this incarnation after the message in progress; the queue stays."""


@attrs.frozen(eq=False)
class InjectedCrash(Signal):
    """A test's order to crash as if a handler had raised *error*."""

    error: Exception
