"""Triggers: when a schedule's slots are, and what its task is enqueued with.

Values: frozen, without a clock and without progress, so anybody may share them.
A *slot* is one planned instant, in Unix seconds.  Which slots have been fired is the business of
`actorq.schedule_state`, which alone asks a trigger for them.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any, NoReturn

import attrs

from actorq import crontab
from actorq.errors import OptionError


#: Wall clocks are neither finer nor steadier than this, and a schedule is no busy loop.
SHORTEST_PERIOD = 0.001
#: A hundred years: its slots have dates that one can write.
LONGEST_PERIOD = 100 * 365.25 * 86400


class CatchUp(StrEnum):
    """What becomes of slots that went by unseen: the scheduler was down, the clock set forward."""

    SKIP = "skip"  #: none is fired late; "late" is more than the table's grace
    LATEST = "latest"  #: the newest one is fired, the older ones are dropped
    ALL = "all"  #: each is fired, oldest first; beyond the table's limit only the newest

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise OptionError(f"catch_up must be 'skip', 'latest' or 'all', not {value!r}")


class Overlap(StrEnum):
    """What becomes of a slot while the task of the one before it has not ended."""

    ALLOW = "allow"  #: it is fired: two may run at the same time
    SKIP = "skip"  #: it is dropped
    CANCEL_PREVIOUS = "cancel_previous"  #: the earlier task is cancelled; fired when it has ended

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise OptionError(f"overlap must be 'allow', 'skip' or 'cancel_previous', not {value!r}")


def _catch_up(value: CatchUp | str | None) -> CatchUp | None:
    return None if value is None else CatchUp(value)


def _arguments(value: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise OptionError(f"args must be a tuple, not {value!r}; write args=({value!r},)")
    return tuple(value)


def _jitter(value: float | timedelta) -> float:
    jitter = value.total_seconds() if isinstance(value, timedelta) else value
    if (
        isinstance(jitter, bool)
        or not isinstance(jitter, int | float)
        or not 0 <= jitter < math.inf
    ):
        raise OptionError(f"jitter expects seconds >= 0 or a timedelta, not {value!r}")
    return float(jitter)


def _keywords(value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise OptionError(
            f"kwargs must be a dictionary, not {value!r}; write kwargs={{'name': ...}}"
        )
    return dict(value or {})


@attrs.frozen(kw_only=True)
class Trigger:
    """The slots of one schedule; subclass it and answer `next_after` for a rhythm of your own."""

    args: tuple[Any, ...] = attrs.field(default=(), converter=_arguments, hash=False)
    kwargs: dict[str, Any] = attrs.field(default=None, converter=_keywords, hash=False)
    name: str | None = None
    catch_up: CatchUp | None = attrs.field(default=None, converter=_catch_up)  #: None: LATEST
    overlap: Overlap = attrs.field(default=Overlap.ALLOW, converter=Overlap)
    jitter: float = attrs.field(default=0.0, converter=_jitter)  #: seconds

    @abstractmethod
    def next_after(self, moment: float, activated: float) -> float | None:
        """The first slot strictly after *moment*; None when there will never be one.

        Must never decrease while *moment* grows: the search for missed slots leans on it.
        """

    def since(self, activated: float) -> float:
        """The moment after which slots count: the activation, unless past slots count too."""
        return activated

    def describe(self) -> str:
        """The rhythm, for people."""
        return repr(self)

    def fires_at(self, slot: float, schedule_id: str, activated: float) -> float:
        """When a slot is fired: at its time or up to `jitter` seconds later, before the next one.

        The same for everybody who asks: it follows from the schedule's id and the slot.
        """
        if not self.jitter:
            return slot
        digest = hashlib.blake2b(f"{schedule_id}@{slot!r}".encode(), digest_size=6).digest()
        share = int.from_bytes(digest, "big") / 2**48
        following = self.next_after(slot, activated)
        if following is None:
            return slot + share * self.jitter
        # rounding must not reach the next slot: that two are due at once means a pause
        last = math.nextafter(following, -math.inf)
        return min(slot + share * min(self.jitter, following - slot), last)

    def ticks_like(self, other: Trigger) -> bool:
        """Whether both have the same slots, whatever their tasks are enqueued with."""
        bare = [
            attrs.evolve(
                t, args=(), kwargs=None, name=None, catch_up=None, overlap=Overlap.ALLOW, jitter=0
            )
            for t in (self, other)
        ]
        return bool(bare[0] == bare[1])

    def last_slots(
        self, after: float, upto: float, activated: float, limit: int = 1
    ) -> list[float]:
        """The newest *limit* slots in `(after, upto]`, oldest first.

        However many slots lie between, this costs about `2 * log2(gap in seconds)` calls of
        `next_after` for the first slot and a few for each further one.
        """
        slots: list[float] = []
        before, width = math.nextafter(upto, math.inf), 1.0
        while len(slots) < limit:
            slot = self._last_before(before, after, activated, width)
            if slot is None:
                break
            slots.append(slot)
            # most rhythms are regular: the gap just seen, and a bit, finds the next one at once
            before, width = slot, before - slot + 1.0
        return slots[::-1]

    def _last_before(
        self, before: float, after: float, activated: float, width: float
    ) -> float | None:
        def slot_within(start: float) -> float | None:
            slot = self.next_after(start, activated)
            return slot if slot is not None and slot < before else None

        # 1. look back in doubling steps until a slot is in sight
        while (low := slot_within(max(after, before - width))) is None:
            if before - width <= after:
                return None
            width *= 2
        # 2. halve what lies between it and *before*; no slot is in (high, before)
        high = before
        while (following := slot_within(low)) is not None:
            middle = following + (high - following) / 2
            beyond = slot_within(middle)
            low, high = (following, middle) if beyond is None else (beyond, high)
        return low


def _seconds(period: float | timedelta) -> float:
    seconds = period.total_seconds() if isinstance(period, timedelta) else period
    if not isinstance(seconds, int | float):
        raise OptionError(
            f"every() takes seconds or a timedelta, not {period!r}; "
            f"write every(300) or every(timedelta(minutes=5))"
        )
    if not SHORTEST_PERIOD <= seconds < math.inf:
        raise OptionError(
            f"every() needs a finite period > 0, at least {SHORTEST_PERIOD} s, not {period!r}; "
            f"for something that runs all the time write an actor"
        )
    if seconds > LONGEST_PERIOD:
        raise OptionError(f"every() needs a period of at most a hundred years, not {period!r}")
    return float(seconds)


@attrs.frozen
class Every(Trigger):
    """Slots at activation + k * period, k = 1, 2, ...: real seconds, no time zones, no drift."""

    period: float = attrs.field(converter=_seconds)

    def __attrs_post_init__(self) -> None:
        if self.jitter >= self.period:
            raise OptionError(
                f"jitter must be less than the period: got jitter={self.jitter:g} for "
                f"every({self.period:g})"
            )

    def describe(self) -> str:
        """Such as "every 5 minutes"."""
        for seconds, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
            if self.period % seconds == 0:
                count = int(self.period // seconds)
                return f"every {unit}" if count == 1 else f"every {count} {unit}s"
        return "every second" if self.period == 1 else f"every {self.period:g} seconds"

    def next_after(self, moment: float, activated: float) -> float:
        """Computed from the activation each time, so that no error adds up."""
        return activated + self._index(moment, activated) * self.period

    def last_slots(
        self, after: float, upto: float, activated: float, limit: int = 1
    ) -> list[float]:
        """By arithmetic, whatever the length of the pause."""
        stop = self._index(upto, activated)
        start = max(self._index(after, activated), stop - limit)
        return [activated + k * self.period for k in range(start, stop)]

    def _index(self, moment: float, activated: float) -> int:
        # from one below, because the quotient may have been rounded up
        k = max(1, math.floor((moment - activated) / self.period) - 1)
        while activated + k * self.period <= moment:
            k += 1
        return k


@attrs.frozen
class Cron(Trigger):
    """Slots where the clock of a time zone matches an expression, by the rules of Debian's cron.

    Five fields, `minute hour day-of-month month day-of-week`; six, with the seconds first; or an
    alias such as `@daily`.  Where clocks change, times of day (five fields, no `*` at the start of
    minute or hour) run once: at the end of the gap, and in the first pass of a repeated hour.
    Everything else follows real time: `*/30 * * * *` runs every 30 minutes throughout.
    """

    expression: str = attrs.field()
    tz: tzinfo = attrs.field(default=UTC, converter=crontab.zone)

    @expression.validator  # pyright: ignore[reportAttributeAccessIssue]
    def _parses(self, _: object, expression: str) -> None:
        crontab.check(expression)

    def describe(self) -> str:
        """Such as "At 02:30 every day (Europe/Berlin)"."""
        return f"{crontab.explain(self.expression)} ({self.tz})"

    def next_after(self, moment: float, activated: float) -> float | None:  # noqa: ARG002
        """None if the expression matches nothing in the next fifty years."""
        return crontab.next_match(self.expression, self.tz, moment)


def _aware(when: datetime) -> datetime:
    if not isinstance(when, datetime):
        raise OptionError(f"at() takes a datetime with a time zone, not {when!r}")
    if when.utcoffset() is None:
        raise OptionError(
            f"at() got {when!r}, without a time zone: another instant on every machine; "
            f"write at(datetime(..., tzinfo=ZoneInfo('Europe/Berlin'))) or tzinfo=UTC"
        )
    return when


@attrs.frozen
class At(Trigger):
    """One slot.  If it is past when the schedule is activated, it was missed: see `CatchUp`."""

    when: datetime = attrs.field(converter=_aware)

    def describe(self) -> str:
        """Such as "once, at 2024-01-01 08:00:00+00:00"."""
        return f"once, at {self.when.isoformat(sep=' ')}"

    def next_after(self, moment: float, activated: float) -> float | None:  # noqa: ARG002
        """Its instant, until it has passed."""
        instant = self.when.timestamp()
        return instant if instant > moment else None

    def since(self, activated: float) -> float:
        """Just before its instant, if that is past: it counts all the same."""
        return min(activated, math.nextafter(self.when.timestamp(), -math.inf))


# what users write: every(300), cron("30 2 * * *", tz="Europe/Berlin"), at(moment, args=(7,))
every = Every
cron = Cron
at = At
