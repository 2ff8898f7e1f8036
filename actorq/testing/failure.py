"""What a failing simulation tells: what happened last, who waited for whom, how to see it again.

A note on the exception, so that Python, pytest and Hypothesis print it of themselves.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from trio._core import _run

from actorq.testing.brief import brief_error
from actorq.testing.trace import SHOW
from actorq.testing.waits import told


if TYPE_CHECKING:
    from actorq.testing.simulation import Simulation

#: How our note begins.
HEAD: Final = "What happened (actorq.testing):"
_WITNESSED: Final = 8  #: the latest errors of which it is known who waited for whom


@attrs.frozen
class _Testimony:
    error: BaseException
    raiser: str
    others: str  #: who waited for whom
    number: int  #: the event that tells of it


class Witness:
    """Notes who waits for whom when an error comes up: once it is out, nobody waits any more."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._seen: list[_Testimony] = []

    def saw(self, error: BaseException) -> None:
        """*error* has ended a task, or the body of a nursery, and is about to cancel others."""
        leaves = [each for each in _leaves(error) if not isinstance(each, trio.Cancelled)]
        if not leaves or any(self._of(leaf) for leaf in leaves):
            return
        raiser = trio.lowlevel.current_task()
        simulation = self._simulation
        name = simulation.recorder.name_of(raiser)
        simulation.recorder.note(f"raises {brief_error(leaves[0])}", name)
        waits = tuple(wait for wait in simulation.waits() if wait.task is not raiser)
        # that a test's runner waits for the test is no news
        is_news = any(not (wait.idle or wait.is_nursery_s) for wait in waits)
        others = told(waits) if is_news else ""
        self._seen.append(_Testimony(leaves[0], name, others, simulation.recorder.trace.total))
        del self._seen[:-_WITNESSED]

    def _of(self, leaf: BaseException) -> _Testimony | None:
        return next((seen for seen in self._seen if seen.error is leaf), None)

    def of(self, error: BaseException) -> _Testimony | None:
        """What was seen when *error*, or what it comes from, came up; None if nothing was."""
        found = (self._of(leaf) for leaf in _leaves(error))
        return next((seen for seen in found if seen is not None), None)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See every error that reaches a nursery."""
        add = _run.Nursery._add_exc

        def on_error(nursery: trio.Nursery, error: BaseException, reason: Any) -> None:
            if not isinstance(error, trio.Cancelled):
                self.saw(error)
            add(nursery, error, reason)

        _run.Nursery._add_exc = on_error  # type: ignore[method-assign,assignment]
        try:
            yield
        finally:
            _run.Nursery._add_exc = add  # type: ignore[method-assign]


def is_failure(error: BaseException) -> bool:
    """Not a Ctrl-C, nor a word between a test and the tool that runs it."""
    kinds = {base.__name__ for base in type(error).__mro__}
    return not (
        isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
        or type(error).__module__.startswith("hypothesis")
        or ("OutcomeException" in kinds and not kinds.isdisjoint({"Skipped", "XFailed", "Exit"}))
    )


def explain(error: BaseException, simulation: Simulation, again: str = "") -> None:
    """Put the note on *error*, if there is anything to tell; one from an earlier run goes."""
    seen = simulation.witness.of(error)
    until = simulation.stuck_at or (None if seen is None else seen.number)
    trace = simulation.recorder.trace
    parts = [trace.latest(SHOW, until=until)] if trace.total else []  # no actor: not a word of them
    if seen is not None and seen.others and not simulation.stuck_at:
        parts.append(f"When {seen.raiser} raised {type(seen.error).__name__}:\n{seen.others}")
    if again:
        parts.append(f"To see it again:\n{textwrap.indent(again, '    ')}")
    notes = getattr(error, "__notes__", [])
    notes[:] = [note for note in notes if not str(note).startswith(HEAD)]
    if parts:
        error.add_note(f"{HEAD}\n" + "\n\n".join(parts))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, and what each was raised from or instead of."""
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, BaseExceptionGroup):
            left += each.exceptions
        else:
            yield each
        left += [other for other in (each.__cause__, each.__context__) if other is not None]
