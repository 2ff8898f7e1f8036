"""How far ahead a worker fetches: as many jobs as end while the engine answers one call.

Pure: the worker pool keeps one for each of its lives, and tells it the time.  Who fetched no job before
a slot is free would have nothing to run while the next call is on its way; who fetched more than that
would keep from other workers what it cannot begin (hoarding).  Jobs that take long are not worth
anything here: none is fetched ahead.
"""

from __future__ import annotations

from typing import Final

import attrs


#: Seconds in which a job that was fetched ahead has begun, or it goes back to the queue.
PATIENCE: Final = 0.05
#: Calls to the engine whose time is to be filled: the next one may find others before it.
CALLS: Final = 2
#: Seconds that jobs take, at least: no clock is finer.
SHORTEST: Final = 1e-6
#: What the latest measure counts beside all before it.
WEIGHT: Final = 0.3


@attrs.define
class Ahead:
    """What a pool has seen of its jobs and of the engine; times are seconds."""

    limit: int  #: jobs, at most; 0: nothing is fetched ahead
    rate: float = 0.0  #: jobs that end in a second, while there are any
    call: float = 0.0  #: how long the engine takes to settle some
    paced: bool = False  #: jobs have rates: one that went back would have used up a start
    _since: float | None = None  #: since when there are jobs; None: there are none

    def jobs(self) -> int:
        """How many are to be fetched ahead: none, half of the limit or all, for each step is a call."""
        if self.paced:
            return 0
        halves = min(2.0, 2 * CALLS * self.rate * self.call / max(self.limit, 1))
        return self.limit * int(halves) // 2

    def come(self, now: float) -> None:
        """Jobs have come."""
        if self._since is None:
            self._since = now

    def ended(self, count: int, now: float, *, all_have: bool) -> None:
        """So many have ended since the last time; *all_have*: there are no others."""
        if self._since is not None:
            self.rate += WEIGHT * (count / max(now - self._since, SHORTEST) - self.rate)
        self._since = None if all_have else now

    def answered(self, seconds: float) -> None:
        """The engine has taken so long."""
        self.call += WEIGHT * (seconds - self.call)

    def misjudged(self) -> None:
        """What was fetched ahead has not begun in time."""
        self.rate = 0.0
