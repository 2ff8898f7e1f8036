"""Faults of messages between actors, as one-liners: late, overtaken, twice, or lost with the actor.

In a simulation only.  Which is allowed for which message says `actorq.testing.faults.allowed`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from actorq.ref import ActorRef
from actorq.testing.faults.allowed import check_twice, may_come_twice
from actorq.testing.faults.courier import Rule, courier_for
from actorq.testing.faults.crashes import cell_of, crash_at, injected
from actorq.testing.faults.kinds import Kinds, kinds_of
from actorq.testing.faults.planned import Planned, counted, seconds_of


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


#: Seconds that a message waits to be overtaken.
PATIENCE = 1.0


def delay(ref: ActorRef[Any], seconds: float, *, of: Kinds | None = None, k: int = 1) -> Planned:
    """Let the *k*-th message to the actor from now (of class *of*) arrive *seconds* later.

    It counts as accepted at once.  What the same sender sends to the same actor waits behind it, as
    promise 2 says; what others send does not.
    """
    seconds = seconds_of(seconds)
    return _obey(ref, "delay", Rule(counted(k), matches=_matcher(of), seconds=seconds))


def reorder(
    ref: ActorRef[Any], *, of: Kinds | None = None, k: int = 1, within: float = PATIENCE
) -> Planned:
    """Let the next message of another sender overtake the *k*-th one from now (of class *of*).

    If none comes *within* so many seconds, it arrives then.
    """
    rule = Rule(counted(k), matches=_matcher(of), seconds=seconds_of(within), overtaken=True)
    return _obey(ref, "reorder", rule)


def duplicate(
    ref: ActorRef[Any], *, of: Kinds | None = None, k: int = 1, harmless: bool = False
) -> Planned:
    """Let the *k*-th message from now (of class *of*) arrive twice, one right after the other.

    The second counts as a message of its own, for whose answer nobody waits.  Without *of*: the k-th
    of those that may come twice.  *harmless*: say so of messages of your own; raises `FaultForbidden`,
    which names the promise, for others of which nothing is known or which must not come twice.
    """
    kinds = kinds_of(of)
    if kinds is not None and not harmless:
        check_twice(kinds)

    def matches(message: Any, _is_ask: bool) -> bool:
        if kinds is not None:
            return isinstance(message, kinds)
        return harmless or may_come_twice(type(message))

    return _obey(ref, "duplicate", Rule(counted(k), matches=matches, copies=1))


def drop(
    ref: ActorRef[Any],
    *,
    of: Kinds | None = None,
    k: int = 1,
    answer: bool = False,
    error: Exception | None = None,
) -> Planned:
    """Lose the *k*-th message from now (of class *of*), with the actor: it crashes on it.

    A live actor loses nothing that it accepted (promise 6).  *answer*: count asks only; the actor does
    what it is asked, and crashes when it is about to answer, so that the answer is lost.  Whoever asked
    gets `ActorFailed` both times and cannot tell them apart.
    """
    if not answer:
        return crash_at(ref, k, error, of=of)
    error = error or injected(cell_of(ref).name)
    rule = Rule(counted(k, "asks"), matches=_matcher(of, asks=True), lose_answer=error)
    return _obey(ref, "drop", rule)


def _matcher(of: Kinds | None, *, asks: bool = False) -> Any:
    return partial(_matches, kinds_of(of), asks)


def _matches(kinds: tuple[type[Any], ...] | None, asks: bool, message: Any, is_ask: bool) -> bool:
    return (is_ask or not asks) and (kinds is None or isinstance(message, kinds))


def _obey(ref: ActorRef[Any], what: str, rule: Rule) -> Planned:
    cell = cell_of(ref)
    courier_for(cell, what).obey(cell, rule)
    return rule
