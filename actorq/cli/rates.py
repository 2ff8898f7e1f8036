"""Rates and latencies of a queue, out of the counts that it keeps anyway (pure).

How many tasks end in a second is the difference of a counter.  How long one waits, and how long it is
worked on, follows from that by Little's law, L = λ·W: the mean number that wait (or run) is the rate
times the mean time in which each does.  So nothing is measured for each task, in no process; the price
is that these are means, over a window, and lag when the load changes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import attrs

from actorq.protocol import QueueStatistics


#: Seconds that the means are taken over.
WINDOW: Final = 10.0


class Sample(NamedTuple):
    """The counts at one moment."""

    at: float
    ended: int
    waiting: int
    running: int


class Rates(NamedTuple):
    """Over the window; None where nothing has ended in it, or nothing is known yet."""

    per_second: float | None
    waits: float | None  #: seconds that a task is ready before it is begun
    runs: float | None  #: seconds that it is with its worker; None if fewer ended than run


@attrs.define
class Pulse:
    """The latest samples."""

    samples: deque[Sample] = attrs.field(factory=deque)
    history: deque[float] = attrs.field(factory=lambda: deque(maxlen=60))  #: rates, one each sample

    def note(self, at: float, counts: QueueStatistics) -> Rates:
        """Take a sample; what follows from those in the window."""
        waiting = counts.ready - counts.parked
        sample = Sample(at, counts.done + counts.dead, waiting, counts.leased)
        if self.samples:
            last = self.samples[-1]
            if at <= last.at:
                return self.rates()
            self.history.append(max(0, sample.ended - last.ended) / (at - last.at))
        self.samples.append(sample)
        while len(self.samples) > 2 and self.samples[1].at <= at - WINDOW:
            self.samples.popleft()
        return self.rates()

    def rates(self) -> Rates:
        """Over the samples that are there."""
        if len(self.samples) < 2:
            return Rates(None, None, None)
        first, last = self.samples[0], self.samples[-1]
        seconds = last.at - first.at
        # dead letters may be purged: a counter that falls says nothing
        ended = max(0, last.ended - first.ended)
        if not ended:
            return Rates(0.0, None, None)
        rate, running = ended / seconds, self._mean("running")
        # with fewer ends than that, most of what runs has not been seen to its end: it would be a guess
        runs = running / rate if ended >= running else None
        return Rates(rate, self._mean("waiting") / rate, runs)

    def _mean(self, field: str) -> float:
        """Each sample holds until the next."""
        total = 0.0
        for one, following in zip(self.samples, list(self.samples)[1:], strict=False):
            total += getattr(one, field) * (following.at - one.at)
        return total / (self.samples[-1].at - self.samples[0].at)


def sparkline(values: list[float], width: int) -> str:
    """The latest *width* values as blocks, the highest one full."""
    shown = values[-width:]
    top = max(shown, default=0.0)
    if not top:
        return "▁" * len(shown)
    return "".join(["▁▂▃▄▅▆▇█"[min(7, int(value / top * 7.999))] for value in shown])
