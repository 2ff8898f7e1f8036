"""Uniqueness: of the calls with one key, one is in the queue (promise 39).

Values, like `limits`: what a task's options say, and what comes of it for one call.
"""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

import attrs

from actorq.errors import OptionError
from actorq.limits import Key, check_key


class OnConflict(StrEnum):
    """What becomes of a call whose key is taken."""

    REJECT = "reject"  #: `DuplicateTask` is raised; nothing is stored
    RETURN = "return"  #: the enqueuer gets the handle of the call that has the key
    REPLACE = "replace"  #: the earlier call is cancelled, running or not, and this one stored
    DEBOUNCE = "debounce"  #: the waiting call takes this one's arguments, and its delay begins anew

    @classmethod
    def _missing_(cls, value: object) -> OnConflict:
        raise OptionError(
            f"on_conflict must be 'reject', 'return', 'replace' or 'debounce'; got {value!r}"
        )


class Until(StrEnum):
    """What gives a key free."""

    START = "start"  #: a worker has taken the call
    FINISH = "finish"  #: the call has ended, retries included
    TIME = "time"  #: a time after it was enqueued


def _until(value: object) -> str | float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    if value in ("start", "finish"):
        return str(value)
    raise OptionError(
        f"until expects 'start', 'finish', or seconds > 0 (a number or a timedelta); got {value!r}"
    )


@attrs.frozen
class Unique:
    """One call with one key at a time.

    *key*: a format string over the arguments or a function of them; unless told, all arguments.  Keys
    of different tasks are different.  *until*: `"start"`, `"finish"` (the default) or seconds after
    enqueueing.  With `on_conflict="debounce"` the key is free from the start on.
    """

    key: Key = attrs.field(default=None, converter=check_key)
    on_conflict: OnConflict = attrs.field(default=OnConflict.REJECT, converter=OnConflict)
    until: str | float = attrs.field(default="finish", converter=_until)

    def resolved(self, key: str) -> UniqueKey:
        """For one call."""
        if self.on_conflict is OnConflict.DEBOUNCE:
            return UniqueKey(key, self.on_conflict, Until.START, None)
        if isinstance(self.until, float):
            return UniqueKey(key, self.on_conflict, Until.TIME, self.until)
        return UniqueKey(key, self.on_conflict, Until(self.until), None)


class UniqueKey(NamedTuple):
    """A call's key, and what it means."""

    key: str
    on_conflict: OnConflict
    until: Until
    seconds: float | None  #: for `Until.TIME`
