"""Crashes of an actor: at a moment, on a message, or after it and before its answer is out.

The first two work anywhere; what takes an answer needs a simulation.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import Any

import attrs

from actorq.cell import Cell
from actorq.ref import ActorRef
from actorq.signals import InjectedCrash
from actorq.testing.faults.kinds import Kinds, kinds_of
from actorq.testing.faults.planned import Planned, counted


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


def crash(ref: ActorRef[Any], error: Exception | None = None) -> None:
    """Crash the actor before its next message, as if a handler had raised *error*.

    Not in the middle of a message, and nothing if the actor has ended.
    """
    cell_of(ref).mailbox.push_signal(InjectedCrash(error or injected(ref.name)))


@attrs.define(eq=False)
class PlannedCrash(Planned):
    """What `crash_at` answers: whether it has come to it."""


def crash_at(
    ref: ActorRef[Any], k: int, error: Exception | None = None, *, of: Kinds | None = None
) -> PlannedCrash:
    """Crash the actor on the *k*-th message from now (1 is the next), before its handler begins.

    *of*: count messages of this class only (or of these).  That message counts as crashed: its asker
    gets `ActorFailed`.
    """
    plan = PlannedCrash(counted(k))
    kinds = kinds_of(of)
    ambush = _ambush(cell_of(ref))

    def before(message: Any) -> None:
        if kinds is None or isinstance(message, kinds):
            if not plan.is_its_turn():
                return
            plan.strike()
            raise error or injected(ref.name)

    plan._off = partial(ambush.discard, before)
    ambush.add(before)
    return plan


class _Ambush:
    """What waits for an actor's messages; hangs on its cell while it is not empty."""

    def __init__(self, cell: Cell) -> None:
        self._cell = weakref.ref(cell)
        self._listening = cell.before
        self._waiting: list[Any] = []

    def add(self, before: Any) -> None:
        cell = self._cell()
        if cell is not None:
            if not self._waiting:
                self._listening = cell.before
                cell.before = self._before
            self._waiting.append(before)

    def discard(self, before: Any) -> None:
        cell = self._cell()
        if before in self._waiting:
            self._waiting.remove(before)
            if not self._waiting and cell is not None:
                cell.before = self._listening

    def _before(self, message: Any) -> None:
        if self._listening is not None:
            self._listening(message)
        failure: Exception | None = None
        for each in tuple(self._waiting):  # all of them count it; one crash is enough
            try:
                each(message)
            except Exception as error:  # noqa: BLE001 - it is what was ordered
                failure = failure or error
        if failure is not None:
            raise failure


_ambushes: weakref.WeakKeyDictionary[Cell, _Ambush] = weakref.WeakKeyDictionary()


def _ambush(cell: Cell) -> _Ambush:
    found = _ambushes.get(cell)
    if found is None:
        found = _ambushes[cell] = _Ambush(cell)
    return found


def cell_of(ref: ActorRef[Any]) -> Cell:
    """The cell behind *ref*."""
    if not isinstance(ref, ActorRef):
        raise TypeError(
            f"expected the ref of an actor, such as sys.actor('broker') or what sys.spawn() returned; "
            f"got {ref!r}"
        )
    return ref._cell


def injected(name: str) -> Exception:
    """What an injected crash raises unless told."""
    return RuntimeError(f"a crash of {name!r} injected by actorq.testing")
