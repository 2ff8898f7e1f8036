"""The tally: how much was tried, for the report.

Counted by the tools of this kit as they run, read by the pytest plugin after each test; one for a
process.
"""

from __future__ import annotations

import attrs


@attrs.define
class Tally:
    """What was tried since the last `take`."""

    simulations: int = 0  #: programs run in virtual time
    virtual_seconds: float = 0.0  #: that went by in them
    crash_points: int = 0  #: moments at which a process was killed
    mutants: dict[str, int] = attrs.field(factory=dict)  #: killed, and the promise that killed each

    def take(self) -> Tally:
        """What was counted, and begin again."""
        taken = attrs.evolve(self, mutants=dict(self.mutants))
        self.simulations = self.crash_points = 0
        self.virtual_seconds = 0.0
        self.mutants.clear()
        return taken


TALLY = Tally()
