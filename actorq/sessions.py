"""Sessions: which workers hold a lease, and until when (pure).

For engines whose storage one process has to itself: there the sessions need not be stored, as they
cannot outlive the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import attrs


@attrs.define
class Session:
    """One worker's standing."""

    worker: str
    until: float  #: on the engine's clock


@attrs.define
class Sessions:
    """Those that are good."""

    good: dict[int, Session] = attrs.field(factory=dict)
    ended: int = 0  #: in all
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def open(self, worker: str, until: float) -> int:
        """A new one; those that *worker* had end."""
        for number in [number for number, old in self.good.items() if old.worker == worker]:
            self._end(number)
        number = next(self._numbers)
        self.good[number] = Session(worker, until)
        return number

    def extend(self, number: int, until: float) -> float | None:
        """*until*, or None if it has ended."""
        session = self.good.get(number)
        if session is None:
            return None
        session.until = until
        return until

    def lapse(self, now: float, late: float) -> list[int]:
        """End those whose time is over, each made longer by *late* first; their numbers."""
        for session in self.good.values():
            session.until += late
        over = [number for number, session in self.good.items() if session.until <= now]
        for number in over:
            self._end(number)
        return over

    def _end(self, number: int) -> None:
        del self.good[number]
        self.ended += 1
