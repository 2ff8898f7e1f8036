"""The retry decision: whether a failed attempt is tried again, and how soon.

Pure.  Used by the worker, which knows the exception; kept in the task's options.
"""

from __future__ import annotations

import math

import attrs


@attrs.frozen
class RetryPolicy:
    """Exponential back-off with full jitter.

    After failure n (from 1) the wait is uniform in [0, min(cap, base * 2**(n-1))] seconds: full
    jitter spreads a crowd of failures best ("Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015).  `retries` counts the attempts after the first: 3 retries are up to 4 runs.
    """

    retries: int = 0
    base: float = 1.0  #: seconds
    cap: float = 300.0  #: seconds

    def delay(self, failures: int, u: float) -> float | None:
        """Seconds to wait after failure number *failures*; None if there is no further attempt.

        *u* is drawn from [0, 1).
        """
        if failures > self.retries:
            return None
        try:
            return u * min(self.cap, math.ldexp(self.base, failures - 1))
        except OverflowError:
            return u * self.cap
