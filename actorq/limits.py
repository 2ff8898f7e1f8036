"""Limits: how many calls may run at a time, and how many may start in a time.

Values.  What a task's options say (`Concurrency`, `Rate`), and what comes of it for one call (`Permit`,
`Pace`): the key that its arguments give is known when it is enqueued, and travels with the message, so
that an engine compares keys and reads no arguments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import attrs

from actorq.errors import OptionError


#: How a key is made of a call's arguments: `"{account}"`, or a function of the same arguments.
Key: TypeAlias = str | Callable[..., Any] | None


class Per(StrEnum):
    """What shares a limit."""

    TASK = "task"  #: the calls of one task
    QUEUE = "queue"  #: everything in one queue
    SYSTEM = "system"  #: everything

    @classmethod
    def _missing_(cls, value: object) -> Per:
        raise OptionError(f"per must be 'task', 'queue' or 'system'; got {value!r}")


def check_key(value: Key) -> Key:
    """*value* if a key can be made with it; else `OptionError`."""
    if value is None or (isinstance(value, str) and value) or callable(value):
        return value
    raise OptionError(
        f"key expects a format string over the arguments, such as '{{account}}', or a function of "
        f"them; got {value!r}"
    )


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"a limit is a whole number >= 1; got {value!r}")
    if value >= 1 << 63:  # what a database's integer holds
        raise OptionError(f"a limit is a whole number of at most 64 bits; got {value!r}")
    return value


def _period(value: object) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise OptionError(
            f"a rate's period expects seconds > 0 (a number or a timedelta); got {value!r}"
        )
    return float(value)


@attrs.frozen
class Concurrency:
    """At most *limit* at a time, over all workers, counted by live leases (promise 41).

    `Concurrency(5)`: of this task.  `Concurrency(1, key="{account}")`: of this task for each account.
    `per="queue"` or `per="system"`: shared with the other tasks there.  What may not run yet waits in
    the queue and holds up nothing else.
    """

    limit: int = attrs.field(converter=_limit)
    per: Per = attrs.field(default=Per.TASK, converter=Per)
    key: Key = attrs.field(default=None, converter=check_key)


_UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_RATE = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|sec|m|min|h|d)?\s*")


@attrs.frozen
class Rate:
    """At most *count* starts in *period* seconds, over all workers.

    *smooth* (the default): starts are at least `period / count` apart.  Otherwise: bursts are allowed,
    but never more than *count* in any stretch of *period* seconds.  A retry is a start as well.
    """

    count: int = attrs.field(converter=_limit)
    period: float = attrs.field(default=1.0, converter=_period)
    per: Per = attrs.field(default=Per.TASK, converter=Per)
    key: Key = attrs.field(default=None, converter=check_key)
    smooth: bool = True

    @classmethod
    def read(cls, text: str) -> Rate:
        """`"10/s"`, `"100/min"`, `"5/10s"`: a count and a period."""
        found = _RATE.fullmatch(text)
        if found is None or (found[2] is None and found[3] is None):
            raise OptionError(
                f"rate expects a count and a period, such as '10/s', '100/min' or '5/10s'; "
                f"got {text!r}"
            )
        return cls(int(found[1]), float(found[2] or 1) * _UNITS[found[3] or ""])


class Permit(NamedTuple):
    """What a call needs to run: one of *limit* permits of *key*."""

    key: str
    limit: int


class Pace(NamedTuple):
    """What a call needs to start: its turn in *key*'s rate."""

    key: str
    starts: int
    period: float
    smooth: bool
