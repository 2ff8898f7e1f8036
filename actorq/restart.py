"""The restart decision: who restarts, who goes down with whom, how soon, and when to give up.

Pure: no Trio, no clock of its own.  Used by the supervisor only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

import attrs


class Restart(Enum):
    """When an actor that has ended lives again.

    | policy    | after a crash | after a normal end | as collateral of a group restart |
    |-----------|---------------|--------------------|----------------------------------|
    | PERMANENT | restarted     | restarted          | restarted                        |
    | TRANSIENT | restarted     | ends               | restarted                        |
    | TEMPORARY | ends          | ends               | ends                             |
    """

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"

    def applies(self, *, crashed: bool) -> bool:
        """Whether an actor of this policy is restarted after it ended by itself."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and crashed)


class Strategy(Enum):
    """Which siblings are restarted with a child that crashed."""

    ONE_FOR_ONE = "one_for_one"  #: none
    ONE_FOR_ALL = "one_for_all"  #: all
    REST_FOR_ONE = "rest_for_one"  #: those that started after it


T = TypeVar("T")


def affected(strategy: Strategy, children: Sequence[T], index: int) -> list[T]:
    """The children that a restart of *children[index]* touches, in start order (promise 21)."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return [children[index]]
        case Strategy.ONE_FOR_ALL:
            return list(children)
        case Strategy.REST_FOR_ONE:
            return list(children[index:])


@attrs.frozen
class Backoff:
    """The wait before restart n (from 0): `min(max, base * 2**n) * (1 + jitter * u)`, u in [0, 1).

    n returns to 0 once a life has lasted `stable_after` seconds.
    """

    base: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))  #: seconds
    max: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))  #: seconds
    jitter: float = attrs.field(default=0.2, validator=attrs.validators.ge(0))
    stable_after: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))  #: seconds

    def delay(self, n: int, u: float) -> float:
        """Seconds to wait."""
        # 2.0**1024 overflows; by then max has long decided
        return min(self.max, self.base * 2.0 ** min(n, 1000)) * (1 + self.jitter * u)


@attrs.define
class Incidents:
    """A supervisor's memory of its incidents: more than `intensity` inside `period` is too many.

    An incident exactly `period` ago still counts, as in Erlang.  A group restart is one incident.
    """

    intensity: int
    period: float  #: seconds
    total: int = 0
    _recent: deque[float] = attrs.field(factory=deque)

    def record(self, now: float) -> bool:
        """Note an incident; True if that is too many."""
        self.total += 1
        self._recent.append(now)
        return self.recent(now) > self.intensity

    def forget(self) -> None:
        """Begin a new life with a clean record."""
        self._recent.clear()

    def recent(self, now: float) -> int:
        """Incidents that count now."""
        while self._recent and self._recent[0] < now - self.period:
            self._recent.popleft()
        return len(self._recent)
