"""Cron against a model that looks at every minute: fifty years, clocks that change in all ways."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from actorq.schedule import Trigger, cron


#: By an hour in March and October; at other dates; by half an hour; for Ramadan; half an hour off.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "America/St_Johns",
    "UTC",
    "Africa/Cairo",  # at midnight: days without a midnight, days with two
]
YEARS = range(2000, 2050)
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@frozen
class Fields:
    """An expression that the model need not read: it knows what is in it."""

    minutes: tuple[int, ...] | None  #: None: all
    hours: tuple[int, ...] | None
    days: tuple[int, ...] | None = None
    months: tuple[int, ...] | None = None
    weekdays: tuple[int, ...] | None = None  #: 0 is Sunday

    def __str__(self) -> str:
        def listed(values: tuple[int, ...] | None, names: list[str] | None = None) -> str:
            if values is None:
                return "*"
            return ",".join(names[value] if names else str(value) for value in values)

        months = None if self.months is None else tuple(month - 1 for month in self.months)
        return (
            f"{listed(self.minutes)} {listed(self.hours)} {listed(self.days)} "
            f"{listed(months, MONTHS)} {listed(self.weekdays, WEEKDAYS)}"
        )

    @property
    def follows_real_time(self) -> bool:
        """A star in minute or hour; else it is a time of day."""
        return self.minutes is None or self.hours is None

    def has_day(self, day: date) -> bool:
        """With both a day and a weekday given, one of them is enough."""
        if self.months is not None and day.month not in self.months:
            return False
        weekday = (day.weekday() + 1) % 7
        if self.days is not None and self.weekdays is not None:
            return day.day in self.days or weekday in self.weekdays
        return (self.days is None or day.day in self.days) and (
            self.weekdays is None or weekday in self.weekdays
        )


def model(fields: Fields, tz: ZoneInfo, after: int, upto: int) -> list[int]:
    """The slots in `(after, upto]`, by looking at all there is."""
    minutes = range(60) if fields.minutes is None else fields.minutes
    hours = range(24) if fields.hours is None else fields.hours
    if fields.follows_real_time:
        shown = (
            (t, datetime.fromtimestamp(t, tz)) for t in range(after - after % 60 + 60, upto + 1, 60)
        )
        return [
            t
            for t, clock in shown
            if clock.minute in minutes and clock.hour in hours and fields.has_day(clock.date())
        ]
    found = set()
    for day in days_between(after, upto):
        for hour in hours if fields.has_day(day) else ():
            for minute in minutes:
                clock = datetime(day.year, day.month, day.day, hour, minute)
                while not is_shown(clock, tz):  # left out: at the end of the gap
                    clock += timedelta(minutes=1)
                found.add(int(clock.replace(tzinfo=tz, fold=0).timestamp()))  # twice: the first
    return sorted(t for t in found if after < t <= upto)


def days_between(after: int, upto: int) -> Iterator[date]:
    """All that have a part in between, and a day more at either end."""
    day = datetime.fromtimestamp(after, UTC).date() - timedelta(days=1)
    while datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() <= upto + 86400:
        yield day
        day += timedelta(days=1)


def is_shown(clock: datetime, tz: ZoneInfo) -> bool:
    """Whether a clock in this zone ever shows it."""
    there = clock.replace(tzinfo=tz)
    return there.astimezone(UTC).astimezone(tz).replace(tzinfo=None) == clock


def slots(trigger: Trigger, after: int, upto: int) -> list[float]:
    """By walking from one to the next."""
    found: list[float] = []
    slot = trigger.next_after(after, 0)
    while slot is not None and slot <= upto:
        found.append(slot)
        slot = trigger.next_after(slot, 0)
    return found


@cache
def changes(zone: str) -> list[int]:
    """When its clock changes, in fifty years."""
    tz = ZoneInfo(zone)
    found = []
    here = datetime(YEARS.start, 1, 1, tzinfo=UTC)
    while here.year < YEARS.stop:
        following = here + timedelta(days=1)
        if following.astimezone(tz).utcoffset() != here.astimezone(tz).utcoffset():
            before = here
            while following - before > timedelta(minutes=1):
                middle = before + (following - before) / 2
                middle -= timedelta(seconds=middle.second, microseconds=middle.microsecond)
                if middle.astimezone(tz).utcoffset() == before.astimezone(tz).utcoffset():
                    before = middle
                else:
                    following = middle
            found.append(int(following.timestamp()))
        here += timedelta(days=1)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "fields",
    [
        Fields((0, 30), None),
        Fields(None, (3,)),
        Fields((30,), (2,)),
        Fields((5, 15, 45), (0, 1, 2, 23)),
    ],
    ids=str,
)
def test_over_every_change_of_fifty_years(zone: str, fields: Fields) -> None:
    """T42: a few hours before and after each of them, on every kind of clock."""
    tz, trigger = ZoneInfo(zone), cron(str(fields), tz=zone)
    for change in changes(zone)[:: 1 if fields.hours else 4]:
        after, upto = change - 7000, change + 9000
        assert slots(trigger, after, upto) == model(fields, tz, after, upto), (
            datetime.fromtimestamp(change, tz).isoformat()
        )


def several(first: int, last: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Some values of a field."""
    values = st.lists(st.integers(first, last), min_size=1, max_size=4, unique=True)
    return values.map(sorted).map(tuple)


all_fields = st.builds(
    Fields,
    st.none() | several(0, 59),
    st.none() | several(0, 23) | several(0, 3),
    st.none() | several(1, 28),
    st.none() | several(1, 12),
    st.none() | several(0, 6),
)


@given(all_fields, st.sampled_from(ZONES), st.data())
def test_any_expression_on_any_day(fields: Fields, zone: str, data: st.DataObject) -> None:
    """T42: in a drawn night of the fifty years; every other one is a night of a change."""
    day = st.datetimes(datetime(YEARS.start, 1, 1), datetime(YEARS.stop, 1, 1))
    nights = day.map(lambda drawn: int(drawn.replace(tzinfo=UTC).timestamp()))
    if changes(zone):
        nights |= st.sampled_from(changes(zone))
    after = data.draw(nights) - data.draw(st.integers(0, 10_000))
    upto = after + data.draw(st.integers(0, 15_000))
    trigger = cron(str(fields), tz=zone)
    assert slots(trigger, after, upto) == model(fields, ZoneInfo(zone), after, upto)


def test_an_hour_is_not_passed_over_where_the_clock_moves_by_half_an_hour() -> None:
    """At 2:00 it becomes 2:30, or 1:30: counting in hours from there, one never sees a 3:00."""
    trigger = cron("0 */3 * * *", tz="Australia/Lord_Howe")
    for day in (date(2026, 4, 5), date(2026, 10, 4)):
        midnight = datetime(day.year, day.month, day.day, tzinfo=trigger.tz)
        after = int(midnight.timestamp()) - 1
        clocks = [
            datetime.fromtimestamp(t, trigger.tz).hour for t in slots(trigger, after, after + 86400)
        ]
        assert clocks[:8] == [0, 3, 6, 9, 12, 15, 18, 21]
