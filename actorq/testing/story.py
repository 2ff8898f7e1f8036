"""The story of a run with crashes: where they struck, what happened before and after, what was wrong.

For people: what they wrote themselves comes first, and it fits on a screen.
"""

from __future__ import annotations

import textwrap
from typing import Any, Final

from actorq.testing.exploration import Run
from actorq.testing.source_lines import lines_of_error
from actorq.testing.trace import ROUTINE, Event, Kind


#: Events that are shown before a crash, and after it.
BEFORE: Final = 6
AFTER: Final = 8


def strikes_told(run: Run[Any], points: int) -> list[str]:
    """Where each process was struck; the first has so many *points*."""
    lines = []
    for life, point in enumerate(run.points.struck, 1):
        of = f" of {points}" if life == 1 else ""
        where = f"at crash point {point.number}{of}:"
        lines.append(f"process {life} {point.strike.value} after {point.time:g} s, {where}")
        lines += [f"    {line}" for line in str(point).splitlines()]
    if run.stalls and len(run.strikes) == 1:
        lines.append("process 2 was started on the same world, and ended; then process 1 went on.")
    elif not run.stalls:
        lines.append(f"process {run.starts} was started on the same world.")
    return lines


def error_told(run: Run[Any]) -> list[str]:
    """What was wrong, with the lines of the reader's code that said so."""
    error = run.error
    if run.where:
        return ["it waits here:", *[f"    {line}" for line in run.where]]
    if error is None:
        return []
    where = [f"    {line}" for line in lines_of_error(error)[-3:]]
    told = f"{type(error).__name__}: {error}" if str(error) else repr(error)
    return [*where, *textwrap.indent(told, "    ").splitlines()]


def events_told(run: Run[Any]) -> list[str]:
    """The trace round each strike."""
    events = [event for event in run.trace.events if _tells(event)]
    lines: list[str] = []
    shown = -1
    for point in run.points.struck:
        at = next((i for i, each in enumerate(events) if each.number >= point.event), len(events))
        for i in range(max(shown + 1, at - BEFORE), min(len(events), at + AFTER + 1)):
            if i > shown + 1:
                lines.append(f"{'...':>9}")
            time, _, rest = str(events[i]).partition("  ")
            lines.append(f"{time.strip():>9}  {rest.strip()}")
            shown = i
    if shown + 1 < len(events):
        lines.append(f"{'...':>9}")
    return lines


def _tells(event: Event) -> bool:
    """Without what is the same in every run: routine, and the start of each actor."""
    starts = event.kind is Kind.BEGAN and event.text == "starts"
    return type(event.message) not in ROUTINE and event.kind is not Kind.HANDLES and not starts
