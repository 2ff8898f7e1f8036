"""Faults: make an actor crash at a chosen moment."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from actorq.ref import ActorRef
from actorq.signals import InjectedCrash


def crash(ref: ActorRef[Any], error: Exception | None = None) -> None:
    """Crash the actor before its next message, as if a handler had raised *error*.

    Not in the middle of a message, and nothing if the actor has ended.
    """
    ref._cell.mailbox.push_signal(InjectedCrash(error or _injected(ref)))


@attrs.define
class PlannedCrash:
    """What `crash_at` answers: whether it has come to it."""

    left: int  #: messages until the one that crashes

    @property
    def struck(self) -> bool:
        """The actor has crashed on that message."""
        return self.left == 0


def crash_at(ref: ActorRef[Any], k: int, error: Exception | None = None) -> PlannedCrash:
    """Crash the actor on the *k*-th message from now (1 is the next), before its handler begins.

    That message counts as crashed: its asker gets `ActorFailed`.  One at a time for each actor: a
    second call replaces the first.
    """
    if k < 1:
        raise ValueError(f"k counts messages from now, 1 is the next; got {k!r}")
    cell = ref._cell
    plan = PlannedCrash(k)
    listening = None if cell.tap is None else partial(cell.tap.handling, cell)

    def before(message: Any) -> None:
        if listening is not None:
            listening(message)
        plan.left -= 1
        if plan.struck:
            cell.before = listening
            raise error or _injected(ref)

    cell.before = before
    return plan


def _injected(ref: ActorRef[Any]) -> Exception:
    return RuntimeError(f"a crash of {ref.name!r} injected by actorq.testing")
