"""The trace: what actors said to one another, and what became of them, as a message-sequence listing.

A value to be looked at; `actorq.testing.recorder` fills it while the program runs.  It keeps the latest
events, and puts them into words only when it is read: until then a message is kept as it is, so one
that is changed after it was sent is shown as it has become.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final, TypeAlias

import attrs

from actorq.actors.broker import _Sweep as Sweep
from actorq.actors.worker_pool import Renew
from actorq.protocol import Allow, Extend, NextNotices, OpenSession, TaskKnown
from actorq.testing.brief import WIDTH, brief, cut


class Kind(Enum):
    """What sort of thing happened."""

    SENT = "sent"  #: source told or asked target
    ANSWERED = "answered"  #: source answered target
    FAILED = "failed"  #: likewise, with an error
    HANDLES = "handles"  #: source begins with a message, or with what its timer has for it
    GAVE_UP = "gave up"  #: source was cancelled, and waits for an answer no longer
    BEGAN = "began"  #: a life of an actor, an attempt of a job
    ENDED = "ended"  #: likewise, in good order
    CRASHED = "crashed"  #: likewise, and not; or a message was lost
    NOTED = "noted"  #: what a test, a fault or a simulated process did


_MARKS: Final = {
    Kind.SENT: "→",
    Kind.ANSWERED: "⇢",
    Kind.FAILED: "⇢",
    Kind.HANDLES: "·",
    Kind.GAVE_UP: "✗",
    Kind.BEGAN: "●",
    Kind.ENDED: "○",
    Kind.CRASHED: "✗",
    Kind.NOTED: "!",
}


#: Where the simulations that begin in this context are recorded; None: each in a trace of its own.
wanted: ContextVar[Trace | None] = ContextVar("actorq_wanted_trace", default=None)


@attrs.frozen
class Event:
    """One line of a trace."""

    number: int  #: from 1
    at: float  #: virtual seconds
    kind: Kind
    source: str  #: an actor, a job (`greet #1`), a process, a task
    target: str  #: the other one; empty if there is none
    text: str  #: what was sent, answered or raised
    #: What was sent, is handled or is answered.
    message: object = attrs.field(eq=False, repr=False, default=None)

    def __str__(self) -> str:
        return _line(self)


#: When, what, who, whom, an opening word, what to put into words after it, and the message.
Raw: TypeAlias = tuple[float, Kind, str, str, str, Any, Any]

#: What the worker pool and the broker say to each other whatever the program does.
ROUTINE: Final = frozenset({Allow, Extend, NextNotices, OpenSession, Renew, Sweep, TaskKnown})

#: Events that a simulation keeps without being told.
KEEP: Final = 1_000
#: Of these, how many it prints when it fails.
SHOW: Final = 40


class Trace:
    """What happened in a simulation, the latest *keep* events of it.  `print(trace)` lists them.

    Without *routine* it leaves out what worker and broker say to each other always: an hour of it
    would push out everything else.
    """

    def __init__(self, keep: int = KEEP, *, routine: bool = True) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep is how many events are kept, 1 or more; got {keep!r}")
        self.routine = routine
        self.left_out = False  #: there was some of that
        self.total = 0  #: events that there were
        self._kept: deque[Raw] = deque(maxlen=keep)

    @property
    def dropped(self) -> int:
        """Events that are not kept any more: older ones."""
        return self.total - len(self._kept)

    @property
    def events(self) -> tuple[Event, ...]:
        """What is kept, oldest first."""
        return tuple(_event(self.dropped + i, each) for i, each in enumerate(self._kept, 1))

    def messages(
        self, kind: type | tuple[type, ...] = object, *, source: str = "", target: str = ""
    ) -> tuple[Any, ...]:
        """The messages that were sent, themselves: those of *kind*, from *source*, to *target*."""
        return tuple(
            event.message
            for event in self.events
            if event.kind is Kind.SENT
            and isinstance(event.message, kind)
            and source in ("", event.source)
            and target in ("", event.target)
        )

    def latest(self, number: int = SHOW, *, until: int | None = None) -> str:
        """The latest *number* lines, up to event *until*, without what workers and broker say always.

        That is how a failing simulation shows it; `print(trace)` shows everything.
        """
        chosen: list[tuple[int, Raw]] = []
        left_out = self.left_out
        for event_number, raw in zip(
            range(self.total, self.dropped, -1), reversed(self._kept), strict=True
        ):
            if until is not None and event_number > until:
                continue
            if type(raw[-1]) in ROUTINE:
                left_out = True
            else:
                chosen.append((event_number, raw))
                if len(chosen) == 2 * number:  # of which some may be no news
                    break
        events = [_event(event_number, raw) for event_number, raw in reversed(chosen)]
        listed = list(_listed(events))
        lines = listed[-number:]
        older = self.dropped if len(listed) == len(lines) else lines[0].number - 1
        return _table(lines, older, left_out=left_out)

    def __str__(self) -> str:
        return _table(list(_listed(self.events)), self.dropped)

    def __len__(self) -> int:
        return len(self._kept)


def _event(number: int, raw: Raw) -> Event:
    at, kind, source, target, word, about, message = raw
    if kind is Kind.ANSWERED:
        text = f"{type(message).__name__} {'ok' if _is_ok(about) else f'= {brief(about)}'}"
    elif about is _NOTHING:
        text = word
    else:
        text = f"{word} {brief(about)}".lstrip()
    return Event(number, at, kind, source, target, cut(text, WIDTH), message)


def _is_ok(answer: object) -> bool:
    return answer is None or (type(answer) is tuple and all(each is None for each in answer))


class _Nothing(Enum):
    NOTHING = 0


#: For an event that its opening word says all of.
_NOTHING: Final = _Nothing.NOTHING
NOTHING: Final[Any] = _NOTHING


def _listed(events: Iterable[Event]) -> Iterator[Event]:
    """Without the `HANDLES` of a message whose sending is the line before: that is no news."""
    before: Event | None = None
    for event in events:
        if event.kind is not Kind.HANDLES or not _follows(event, before):
            yield event
            before = event


def _follows(event: Event, before: Event | None) -> bool:
    return (
        before is not None
        and before.kind is Kind.SENT
        and before.target == event.source
        and before.message is event.message
    )


def _table(events: list[Event], older: int, *, left_out: bool = False) -> str:
    widths = (
        max([len(f"{event.at:.3f}") for event in events], default=1),
        max([len(event.source) for event in events], default=0),
        max([len(event.target) for event in events], default=0),
    )
    lines = [_line(event, *widths) for event in events]
    if older:
        lines.insert(0, f"{'…':>{widths[0]}}  ({older} older events)")
    if left_out:
        why = "(without what worker and broker say always; recorded() has it)"
        lines.append(f"{'':{widths[0]}}  {why}")
    return "\n".join(lines) or "(no actor said anything)"


def _line(event: Event, at: int = 0, source: int = 0, target: int = 0) -> str:
    whom = f" {event.target:<{target}} " if event.target else ""
    mark = _MARKS[event.kind]
    line = f"{event.at:>{at}.3f}  {event.source:<{source}} {mark}{whom} {event.text}"
    return line.rstrip()
