"""The engine's clock: Unix seconds that never jump.

Anchored to the wall clock when a system opens, then moved by Trio's monotonic clock: a leap of the
wall clock neither starts a delayed task early nor takes a lease away.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio


class EngineClock:
    """Call it for the time."""

    __slots__ = ("_now", "_offset", "steady_offset")

    def __init__(self, wall: Callable[[], float]) -> None:
        # the clock's own method: trio.current_time() finds it anew each time, for three times as much
        self._now = trio.lowlevel.current_clock().current_time
        self._offset = wall() - self._now()
        #: Added to this clock's time, it gives the machine's monotonic one, which all its processes
        #: have in common and no leap of the wall clock moves; 0 where time is not the machine's.
        self.steady_offset = 0.0
        if (
            type(trio.lowlevel.current_clock()).__name__ == "SystemClock"
        ):  # which Trio does not export
            self.steady_offset = time.monotonic() - self()

    def __call__(self) -> float:
        """Unix seconds."""
        return self._offset + self._now()

    def deadline(self, moment: float) -> float:
        """*moment* on Trio's own clock."""
        return moment - self._offset
