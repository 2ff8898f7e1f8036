"""`faults()`: a Hypothesis strategy for plans of faults.

Shrinks towards fewer faults, simpler kinds, earlier moments, the first message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from actorq import protocol as p
from actorq.testing.faults.allowed import TWICE
from actorq.testing.faults.injection import ACTORS
from actorq.testing.faults.values import (
    Crash,
    CrashAt,
    Delay,
    Drop,
    Duplicate,
    FailCall,
    Fault,
    HangCall,
    Leap,
    LoseAnswer,
    Reorder,
    Stall,
    StallLoop,
)


if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

#: Every kind that is drawn unless told, the simplest first.
KINDS: tuple[type[Fault], ...] = (
    *(Crash, CrashAt, Drop, FailCall, LoseAnswer, HangCall),
    *(Delay, Reorder, Duplicate, Stall, StallLoop, Leap),
)

#: Engine calls that are struck unless told.
CALLS: dict[str, tuple[str, ...]] = {
    "broker": ("store", "claim", "settle", "open_session", "extend", "revoke", "promote", "lapse"),
    "results": ("set_result", "get_result", "is_result_ready"),
    "schedules": ("load", "fetch", "swap"),
}

#: Whose engine each is.
_OWNERS = {"broker": "broker", "results": "results", "schedules": "scheduler"}

#: What a message fault is about; an actor of one's own: any message.
MESSAGES: dict[str, tuple[type[Any], ...]] = {
    "broker": (
        *(p.Enqueue, p.Settle, p.Extend, p.Allow, p.OpenSession, p.NextNotices, p.Cancel),
        *(p.Locate, p.TaskKnown),
    ),
    "results": (p.SetResults, p.WaitResult),
    # these are sent next to nothing: a fault that never strikes is a wasted example
    "middleware": (),
    "pool": (),
    "scheduler": (),
}

_STEP = 0.25  #: seconds between the moments that are drawn


def faults(
    *kinds: type[Fault],
    actors: Sequence[str] = ACTORS,
    horizon: float = 10.0,
    max_size: int = 4,
    max_crashes: int = 3,
) -> SearchStrategy[list[Fault]]:
    """A Hypothesis strategy for plans, to be carried out by `inject`.

    *kinds*: `Crash`, `Delay`, ...; all unless told, but `Kill`, which needs a process.  *actors*: those
    that may be struck.  *horizon*: seconds until the last moment, and the longest delay, hang or stall.
    *max_size*: faults in a plan.  *max_crashes*: of these, such as may crash an actor; the fourth within
    30 seconds ends a system, as in real life.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("faults() needs Hypothesis: pip install 'actorq[testing]'") from error
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Fault)) or kind not in KINDS:
            raise TypeError(
                f"faults() expects kinds of faults, such as faults(Crash, Delay); got {kind!r}; known "
                f"are {', '.join(each.__name__ for each in KINDS)}"
            )
    if not horizon >= _STEP:
        raise ValueError(f"horizon expects at least {_STEP} seconds; got {horizon!r}")
    if isinstance(actors, str) or not actors:
        raise TypeError(f"actors expects names in a list, such as ['broker']; got {actors!r}")
    made = _Kinds(tuple(actors), horizon)
    chosen = [each for kind in kinds or KINDS for each in made.of(kind)]
    if not chosen:
        raise ValueError(f"none of these kinds can strike any of {list(actors)}")

    def bearable(plan: list[Fault]) -> list[Fault]:
        left = max_crashes
        kept = []
        for fault in plan:
            left -= fault.crashes
            if not fault.crashes or left >= 0:
                kept.append(fault)
        return kept

    return st.lists(st.one_of(chosen), max_size=max_size).map(bearable)


class _Kinds:
    """How each kind is drawn."""

    def __init__(self, actors: tuple[str, ...], horizon: float) -> None:
        from hypothesis import strategies as st

        steps = int(horizon / _STEP)
        self._st = st
        self._actors = actors
        self._actor = st.sampled_from(actors)
        self._at = st.integers(0, steps).map(lambda n: n * _STEP)
        self._seconds = st.integers(1, steps).map(lambda n: n * _STEP)
        self._k = st.integers(1, 4)

    def of(self, kind: type[Fault]) -> list[SearchStrategy[Fault]]:
        """Its strategy; none if it can strike none of the actors."""
        st = self._st
        simple: dict[type[Fault], Callable[[], SearchStrategy[Fault]]] = {
            Crash: lambda: st.builds(Crash, self._actor, self._at),
            CrashAt: lambda: st.builds(CrashAt, self._actor, self._k),
            Stall: lambda: st.builds(Stall, self._actor, self._seconds, self._at),
            StallLoop: lambda: st.builds(StallLoop, self._seconds, self._at),
            Leap: lambda: st.builds(
                Leap, st.sampled_from([60.0, -60.0, 3600.0, -3600.0]), self._at
            ),
        }
        if kind in simple:
            return [simple[kind]()]
        if kind in (Drop, Delay, Reorder, Duplicate):
            busy = [each for each in self._actors if MESSAGES.get(each) != ()]
            found = [self._message(kind, actor) for actor in busy or self._actors]
            return [each for each in found if each is not None]
        return [self._call(kind, part) for part in CALLS if _OWNERS[part] in self._actors]

    def _message(self, kind: type[Any], actor: str) -> Any:
        st = self._st
        kinds = MESSAGES.get(actor, ())
        if kind is Duplicate:
            kinds = tuple([each for each in kinds if TWICE[each].harmless])
            if not kinds:
                return None
        of = st.sampled_from([None, *kinds])
        if kind is Drop:
            return st.builds(Drop, st.just(actor), of, self._k, st.booleans())
        if kind is Delay:
            return st.builds(Delay, st.just(actor), self._seconds, of, self._k)
        return st.builds(kind, st.just(actor), of, self._k)

    def _call(self, kind: type[Any], part: str) -> Any:
        st = self._st
        method = st.sampled_from(CALLS[part])
        if kind is HangCall:
            return st.builds(HangCall, st.just(part), method, self._seconds, self._k)
        return st.builds(kind, st.just(part), method, self._k)
