"""Crontab expressions: where the clock of a time zone matches one.

cronsim reads them and searches through the days; where clocks change, two rules are kept apart here.
A *time of day* follows Debian's cron, which cronsim imitates.  A *rhythm* follows real time: its
slots are the instants at which the clock, as it is set then, matches.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from actorq.errors import OptionError, UnsupportedOption


if TYPE_CHECKING:
    from cronsim import CronSim

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

#: No zone changes its clock and changes it back within this time, in seconds.
_PROBE = 5 * 86400.0


def zone(tz: str | tzinfo) -> tzinfo:
    """The time zone of this name; `OptionError` if there is none."""
    if isinstance(tz, tzinfo) and not hasattr(tz, "localize"):
        return tz
    if tz == "UTC":  # known without a time zone database, and cronsim's fast path
        return UTC
    try:
        return ZoneInfo(tz)  # type: ignore[arg-type]  # anything else is refused below
    # unknown: KeyError; "../x": ValueError; "Europe": a directory, OSError; a pytz zone: TypeError
    except (KeyError, ValueError, OSError, TypeError, AttributeError):
        raise OptionError(
            f"tz={tz!r} is no known time zone; expected an IANA name such as 'Europe/Berlin' or a "
            f"ZoneInfo (not pytz, wrong until localized); on slim images `pip install tzdata`"
        ) from None


def _cronsim() -> tuple[Callable[[str, datetime], CronSim], type[Exception]]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise UnsupportedOption(
            'cron(...) needs the cronsim package: pip install "actorq[cron]"; '
            "every(...) and at(...) need nothing"
        ) from None
    return CronSim, CronSimError


def fields(expression: str) -> str:
    """An alias as its fields; anything else as it is."""
    return ALIASES.get(expression.strip().lower(), expression)


def check(expression: str) -> None:
    """Raise `OptionError` unless *expression* can be read."""
    simulate, error = _cronsim()
    try:
        simulate(fields(expression), datetime.now(UTC))
    # not all that cronsim trips over is its own error: "* * * * 1-2#3/4" is an AssertionError
    except (error, AssertionError, ValueError, TypeError, AttributeError) as exc:
        why = str(exc) if isinstance(exc, error) else "bad field"
        raise OptionError(
            f"cron({expression!r}) is no cron expression: {why}; expected five fields, "
            f"minute hour day-of-month month day-of-week (if six, seconds come first), "
            f"or one of {' '.join(ALIASES)}"
        ) from None


def explain(expression: str) -> str:
    """In English."""
    simulate, _ = _cronsim()
    return simulate(fields(expression), datetime.now(UTC)).explain()


def next_match(expression: str, tz: tzinfo, moment: float) -> float | None:
    """The first slot strictly after *moment*; None if there is none in the next fifty years."""
    plain = fields(expression)
    # floored: fromtimestamp rounds to microseconds, which could step over a slot
    after = math.floor(moment)
    if tz is not UTC and not _is_time_of_day(plain):
        return _next_of_rhythm(plain, tz, after)
    simulate, _ = _cronsim()
    for slot in simulate(plain, datetime.fromtimestamp(after, tz)):
        # cronsim counts times of day on the bare wall clock: asked during the second pass of a
        # repeated hour, it answers with times of the first
        if slot.timestamp() > moment:
            return slot.timestamp()
    return None


def _is_time_of_day(plain: str) -> bool:
    parts = plain.split()
    return len(parts) == 5 and not parts[0].startswith("*") and not parts[1].startswith("*")


def _next_of_rhythm(plain: str, tz: tzinfo, moment: float) -> float | None:
    # cronsim steps in hours of real time, and so past the beginning of the hour after a change that
    # is no whole hour (Australia/Lord_Howe).  Between two changes the clock is UTC's with an
    # offset; there it is right.
    simulate, _ = _cronsim()
    begins = moment + 1  #: of the stretch that is searched, whose offset holds
    while True:
        offset = _offset(tz, begins)
        clock = datetime.fromtimestamp(begins - 1, UTC) + offset
        match = next(simulate(plain, clock), None)
        if match is None:
            return None
        slot = (match - offset).timestamp()
        change = _first_change(tz, begins, slot)
        if change is None:
            return slot
        begins = change


def _offset(tz: tzinfo, moment: float) -> timedelta:
    return datetime.fromtimestamp(moment, tz).utcoffset() or timedelta()


def _first_change(tz: tzinfo, after: float, upto: float) -> float | None:
    """When the offset changes for the first time in `(after, upto]`, whole seconds; None: never."""
    here = _offset(tz, after)
    while after < upto:
        probe = min(after + _PROBE, upto)
        if _offset(tz, probe) != here:
            while probe - after > 1:
                middle = after + (probe - after) // 2
                if _offset(tz, middle) == here:
                    after = middle
                else:
                    probe = middle
            return probe
        after = probe
    return None
