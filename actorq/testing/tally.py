"""The tally: how much was tried, for the report.

Counted by the tools of this kit as they run, read by the pytest plugin after each test; one for a
process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs


@attrs.frozen
class Trial:
    """A mutant that was put before the tests that are meant to notice it."""

    mutant: str
    promise: int  #: that it breaks
    breaks: str  #: what it does wrong
    caught_by: str | None  #: the test that noticed; None: it survived


@attrs.define
class Tally:
    """What was tried since the last `take`."""

    examples: int = 0  #: that Hypothesis ran
    simulations: int = 0  #: programs run in virtual time
    virtual_seconds: float = 0.0  #: that went by in them
    crash_points: int = 0  #: moments at which a process was killed
    mutants: list[Trial] = attrs.field(factory=list)

    def take(self) -> Tally:
        """What was counted, and begin again."""
        taken = attrs.evolve(self, mutants=list(self.mutants))
        self._set(Tally())
        return taken

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Count nothing of what is tried here: on a mutant, it speaks for nobody."""
        before = attrs.evolve(self, mutants=list(self.mutants))
        try:
            yield
        finally:
            self._set(before)

    def _set(self, other: Tally) -> None:
        self.examples = other.examples
        self.simulations = other.simulations
        self.virtual_seconds = other.virtual_seconds
        self.crash_points = other.crash_points
        self.mutants[:] = other.mutants


TALLY = Tally()
