"""Faults: make an actor crash at a chosen moment."""

from __future__ import annotations

from typing import Any

from actorq.ref import ActorRef
from actorq.signals import InjectedCrash


def crash(ref: ActorRef[Any], error: Exception | None = None) -> None:
    """Crash the actor before its next message, as if a handler had raised *error*.

    Not in the middle of a message, and nothing if the actor has ended.
    """
    ref._cell.mailbox.push_signal(InjectedCrash(error or _injected(ref)))


def crash_at(ref: ActorRef[Any], k: int, error: Exception | None = None) -> None:
    """Crash the actor on the *k*-th message from now (1 is the next), before its handler begins.

    That message counts as crashed: its asker gets `ActorFailed`.  One at a time for each actor: a
    second call replaces the first.
    """
    if k < 1:
        raise ValueError(f"k counts messages from now, 1 is the next; got {k!r}")
    cell = ref._cell
    left = k

    def fault(_message: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            cell.fault = None
            raise error or _injected(ref)

    cell.fault = fault


def _injected(ref: ActorRef[Any]) -> Exception:
    return RuntimeError(f"a crash of {ref.name!r} injected by actorq.testing")
