"""A planned fault: what every one-liner answers with, so that a test can say whether it came to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from actorq.testing.promises import PROMISES
from actorq.testing.simulation import found_simulation


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


class FaultForbidden(ValueError):
    """A promise of the kernel's or the queue's says that this cannot happen: it would be no fault.

    `promise` is its number.
    """

    def __init__(self, promise: int, why: str) -> None:
        self.promise = promise
        self.why = why
        super().__init__(f"promise {promise} ({PROMISES[promise]}) forbids it: {why}")

    def __reduce__(self) -> tuple[type[FaultForbidden], tuple[int, str]]:
        return type(self), (self.promise, self.why)


def _nothing() -> None:
    pass


@attrs.define(eq=False)
class Planned:
    """A fault that waits for its moment; `struck` when it has come to it."""

    left: int  #: messages or calls until the one that it strikes
    struck: bool = False
    struck_at: float | None = None  #: on Trio's clock
    _off: Callable[[], None] = attrs.field(default=_nothing, repr=False)

    def off(self) -> None:
        """Take it off; nothing happens if it has struck."""
        self._off()

    def is_its_turn(self) -> bool:
        """Count one; whether this is the one."""
        if self.left == 0:
            return False
        self.left -= 1
        return self.left == 0

    def strike(self) -> None:
        """Note that it happens now, and be taken off."""
        self.struck = True
        self.struck_at = trio.current_time()
        if str(self):
            note_fault(str(self))
        self._off()

    def __str__(self) -> str:
        """What it does, for the trace; empty if the trace tells that anyhow."""
        return ""


def note_fault(what: str, who: str = "") -> None:
    """Put it into the trace of the simulation, if this is one."""
    simulation = found_simulation()
    if simulation is not None:
        simulation.recorder.note(f"fault: {what}", who)


def counted(k: int, what: str = "messages") -> int:
    """*k*, if it counts something from now on."""
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k counts {what} from now, 1 is the next; got {k!r}")
    return k


def seconds_of(seconds: float, *, above: float | None = 0.0) -> float:
    """*seconds*, if that is what it is."""
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not math.isfinite(seconds)
    ):
        raise TypeError(f"expected a finite number of seconds, such as 1.5; got {seconds!r}")
    if above is not None and not seconds > above:
        raise ValueError(f"expected seconds > {above:g}; got {seconds!r}")
    return float(seconds)
