"""The engine's clock: Unix seconds that never jump.

Anchored to the wall clock when a system opens, then moved by Trio's monotonic clock: a leap of the
wall clock neither starts a delayed task early nor takes a lease away.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class EngineClock:
    """Call it for the time."""

    __slots__ = ("_now", "_offset")

    def __init__(self, wall: Callable[[], float]) -> None:
        # the clock's own method: trio.current_time() finds it anew each time, for three times as much
        self._now = trio.lowlevel.current_clock().current_time
        self._offset = wall() - self._now()

    def __call__(self) -> float:
        """Unix seconds."""
        return self._offset + self._now()

    def deadline(self, moment: float) -> float:
        """*moment* on Trio's own clock."""
        return moment - self._offset
