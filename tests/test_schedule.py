"""Triggers: which slots they have, what they refuse, and what they do where clocks change."""

from __future__ import annotations

import math
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from actorq.crontab import ALIASES
from actorq.errors import OptionError, UnsupportedOption
from actorq.schedule import At, CatchUp, Cron, Every, Trigger, at, cron, every


BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
#: zone, the day its clock goes forward, the day it goes back, the hour that is missing or repeated
CHANGES = [
    pytest.param(BERLIN, date(2026, 3, 29), date(2026, 10, 25), 2, id="Berlin"),
    pytest.param(NEW_YORK, date(2026, 3, 8), date(2026, 11, 1), 1, id="New York"),
]
EXPRESSIONS = [
    "*/30 * * * *",
    "30 2 * * *",
    "30 1 * * *",
    "0,30 0-3 * * *",
    "15 */2 * * *",
    "0 0 * * *",
    "0 20,40 2 * * *",
]
#: the three nights around each change
moments = st.builds(
    lambda night, offset: night.timestamp() + offset,
    st.sampled_from(
        [
            datetime(2026, month, day, tzinfo=UTC)
            for month, day in [(3, 28), (10, 24), (3, 7), (11, 1)]
        ]
    ),
    st.floats(0, 3 * 86400) | st.integers(0, 3 * 86400),
)
crons = st.builds(Cron, st.sampled_from(EXPRESSIONS), st.sampled_from(["UTC", BERLIN, NEW_YORK]))
periods = st.floats(0.001, 1e7) | st.integers(1, 100_000)
activations = st.floats(0, 4e9)


def slots_between(trigger: Trigger, after: float, upto: float, activated: float) -> list[float]:
    """Found by walking from one to the next."""
    slots: list[float] = []
    slot = trigger.next_after(after, activated)
    while slot is not None and slot <= upto:
        slots.append(slot)
        slot = trigger.next_after(slot, activated)
    return slots


def wall_times(trigger: Cron, day: date) -> list[str]:
    """The slots of one local day, as the wall clock shows them, with the offset from UTC."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=trigger.tz).timestamp()
    following = day + timedelta(days=1)
    end = datetime(following.year, following.month, following.day, tzinfo=trigger.tz).timestamp()
    slots = slots_between(trigger, midnight - 1, end - 1, midnight)
    return [f"{datetime.fromtimestamp(slot, trigger.tz):%H:%M%z}" for slot in slots]


# --- every --------------------------------------------------------------------------------------


def test_every_fires_first_one_period_after_activation() -> None:
    """T43: not at once: a restart loop would otherwise be a firing loop."""
    trigger = every(timedelta(minutes=5))
    assert trigger.next_after(1000.0, 1000.0) == 1300.0
    assert trigger.next_after(1300.0, 1000.0) == 1600.0


@given(periods, activations, st.integers(0, 10**6))
def test_every_never_drifts(period: float, activated: float, k: int) -> None:
    """T44: after the k-th slot comes the k+1-th, as computed from the activation."""
    assume(period >= 1 or k < 10**4)
    trigger = every(period)
    after = activated + k * period
    slot = activated + (k + 1) * period
    assert trigger.next_after(after, activated) == slot
    assert trigger.next_after(math.nextafter(slot, -math.inf), activated) == slot


@given(periods, activations, st.floats(-1e9, 1e9))
def test_every_answers_the_first_slot_after_the_moment(
    period: float, activated: float, ahead: float
) -> None:
    """Strictly after, and none in between is left out."""
    moment = activated + ahead
    slot = every(period).next_after(moment, activated)
    assert slot > moment
    k = round((slot - activated) / period)
    assert k >= 1
    assert k == 1 or activated + (k - 1) * period <= moment


@pytest.mark.parametrize("period", [0, -1, 1e-9, float("nan"), float("inf"), timedelta(0)])
def test_every_needs_a_period_above_zero(period: Any) -> None:
    """The error shows the value and says what was expected."""
    with pytest.raises(OptionError, match=r"finite period > 0.*not "):
        every(period)


@pytest.mark.parametrize("period", ["5m", None, (5,)])
def test_every_needs_seconds_or_a_timedelta(period: Any) -> None:
    """The error shows both ways of writing it."""
    with pytest.raises(OptionError, match=r"write every\(300\) or every\(timedelta"):
        every(period)


# --- cron ---------------------------------------------------------------------------------------


def test_cron_fires_by_the_clock_of_its_zone() -> None:
    """Half past two in Berlin is another instant in summer than in winter."""
    trigger = cron("30 2 * * *", tz=BERLIN)
    winter, summer = datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 7, 10, tzinfo=UTC)
    assert trigger.next_after(winter.timestamp(), 0) == winter.timestamp() + 1.5 * 3600
    assert trigger.next_after(summer.timestamp(), 0) == summer.timestamp() + 0.5 * 3600


@pytest.mark.parametrize("alias", [*ALIASES, "@Daily", " @hourly "])
def test_an_alias_is_its_expression(alias: str) -> None:
    """cronsim itself knows none of them."""
    plain = cron(ALIASES[alias.strip().lower()], tz=NEW_YORK)
    assert cron(alias, tz=NEW_YORK).next_after(1.8e9, 0) == plain.next_after(1.8e9, 0)


def test_six_fields_begin_with_the_seconds() -> None:
    """As in cronsim; croniter has them last."""
    assert wall_times(cron("*/20 30 2 * * *"), date(2026, 1, 1)) == ["02:30+0000"] * 3
    assert slots_between(cron("*/20 * * * * *"), 0, 60, 0) == [20, 40, 60]
    # a moment within a microsecond of a slot is not yet past it
    assert cron("* * * * * *").next_after(19.99999999, 0) == 20


@pytest.mark.parametrize(("tz", "forward", "back", "hour"), CHANGES)
def test_a_time_of_day_in_the_gap_runs_once_at_its_end(
    tz: str, forward: date, back: date, hour: int
) -> None:
    """Daily 02:30 on the night without an hour from two to three runs at 03:00."""
    (run,) = wall_times(cron("30 2 * * *", tz=tz), forward)
    assert run.startswith("03:00")
    # several in the gap are one run
    assert len(wall_times(cron("10,20,40 2 * * *", tz=tz), forward)) == 1
    # and the days before and after are as ever
    for day in (forward - timedelta(days=1), forward + timedelta(days=1)):
        (run,) = wall_times(cron("30 2 * * *", tz=tz), day)
        assert run.startswith("02:30")


@pytest.mark.parametrize(("tz", "forward", "back", "hour"), CHANGES)
def test_a_time_of_day_in_the_fold_runs_once_the_first_time(
    tz: str, forward: date, back: date, hour: int
) -> None:
    """The hour that comes twice runs its jobs in summer time only."""
    summer = f"{datetime(2026, 7, 1, tzinfo=ZoneInfo(tz)):%z}"
    assert wall_times(cron(f"30 {hour} * * *", tz=tz), back) == [f"{hour:02}:30{summer}"]


@pytest.mark.parametrize(("tz", "forward", "back", "hour"), CHANGES)
def test_a_rhythm_with_a_star_follows_real_time_over_both_changes(
    tz: str, forward: date, back: date, hour: int
) -> None:
    """Every thirty minutes is 46 runs on the short day, 50 on the long one, never an hour apart."""
    trigger = cron("*/30 * * * *", tz=tz)
    assert len(wall_times(trigger, forward)) == 46
    assert len(wall_times(trigger, back)) == 50
    for day in (forward, back):
        start = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        slots = slots_between(trigger, start, start + 86400, 0)
        assert {later - earlier for earlier, later in pairwise(slots)} == {1800.0}


def test_a_moment_in_the_second_pass_has_no_slot_in_the_first() -> None:
    """cronsim, asked at 02:10 winter time, answers 02:30 summer time, forty minutes ago."""
    moment = datetime(2026, 10, 25, 1, 10, tzinfo=UTC).timestamp()
    slot = cron("30 2 * * *", tz=BERLIN).next_after(moment, 0)
    assert slot == datetime(2026, 10, 26, 1, 30, tzinfo=UTC).timestamp()


@given(crons, moments, st.floats(0, 7200))
def test_cron_slots_lie_ahead_and_never_decrease(
    trigger: Cron, moment: float, ahead: float
) -> None:
    """What the search for missed slots leans on, around the changes of the clock too."""
    slot, later = trigger.next_after(moment, 0), trigger.next_after(moment + ahead, 0)
    assert slot is not None
    assert later is not None
    assert moment < slot <= later
    assert later > moment + ahead
    if slot > moment + ahead:
        assert slot == later


@given(crons | st.builds(Every, st.integers(300, 90_000)), moments, st.integers(0, 3 * 86400))
@example(cron("@yearly"), 1.8e9, 20 * 366 * 86400)
def test_last_slots_are_the_tail_of_all_slots(
    trigger: Trigger, activated: float, pause: int
) -> None:
    """The quick search finds what walking through the pause finds."""
    upto = activated + pause
    walked = slots_between(trigger, activated, upto, activated)
    for limit in (1, 2, 100):
        assert trigger.last_slots(activated, upto, activated, limit) == walked[-limit:]


def test_a_date_that_never_comes_ends_the_schedule() -> None:
    """The first of a month cannot be its second Monday; leap days do come."""
    assert cron("0 0 */31 * MON#2").next_after(1.8e9, 0) is None
    assert cron("0 0 */31 * MON#2").last_slots(0, 1.8e9, 0) == []
    leap_day = datetime(2028, 2, 29, tzinfo=UTC).timestamp()
    assert cron("0 0 29 2 *").next_after(1.8e9, 0) == leap_day


@pytest.mark.parametrize(
    "expression",
    ["", "* * *", "61 * * * *", "@reboot", "0 0 30 2 *", "* * * * 1-2#3/4", "a b c d e", 5, None],
)
def test_a_bad_expression_is_quoted_with_what_was_expected(expression: Any) -> None:
    """T42: whatever cronsim trips over."""
    with pytest.raises(OptionError, match="five fields, minute hour") as caught:
        cron(expression)
    assert repr(expression) in str(caught.value)
    assert "@daily" in str(caught.value)


@given(
    st.lists(st.text(alphabet="0123456789*/-,#LWSUNMON", min_size=1), min_size=5, max_size=6)
    | st.text()
)
@settings(deadline=None)  # fifty years of days are searched for a match
@example(["*", "*", "*", "*", "1#2/3"])
def test_any_text_is_an_expression_or_an_option_error(fields: list[str] | str) -> None:
    """No third thing comes out of the parser, and what it accepts has slots or ends."""
    try:
        trigger = cron(fields if isinstance(fields, str) else " ".join(fields))
    except OptionError:
        return
    slot = trigger.next_after(1.8e9, 0)
    assert slot is None or slot > 1.8e9


@pytest.mark.parametrize("tz", ["Mars/Olympus", "../etc/passwd", "Europe", "", "a\0b", 5, None])
def test_an_unknown_time_zone_is_refused(tz: Any) -> None:
    """The error quotes it and shows a good one."""
    with pytest.raises(
        OptionError, match="expected an IANA name such as 'Europe/Berlin'"
    ) as caught:
        cron("@daily", tz=tz)
    assert repr(tz) in str(caught.value)


def test_a_pytz_zone_is_refused() -> None:
    """Used like a zoneinfo zone, it is off by the minutes of local mean time, silently."""

    class Zone(ZoneInfo):
        def localize(self, when: datetime) -> datetime:
            return when

    with pytest.raises(OptionError, match="not pytz"):
        cron("@daily", tz=Zone(BERLIN))


def test_without_cronsim_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """`every` and `at` go on without it."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(UnsupportedOption, match=r'pip install "actorq\[cron\]"'):
        cron("@daily")
    every(5)
    at(datetime(2026, 1, 1, tzinfo=UTC))


# --- at -----------------------------------------------------------------------------------------


@given(moments, moments)
def test_at_has_one_slot_whenever_it_is_activated(instant: float, activated: float) -> None:
    """A past one counts too: it is a missed slot."""
    trigger = at(datetime.fromtimestamp(instant, ZoneInfo(BERLIN)))
    planned = trigger.when.timestamp()
    assert trigger.since(activated) <= activated
    assert slots_between(trigger, trigger.since(activated), 1e11, activated) == [planned]
    assert trigger.next_after(planned, activated) is None


def test_at_refuses_a_naive_datetime() -> None:
    """It would be another instant on every machine."""
    with pytest.raises(OptionError, match=r"without a time zone.*tzinfo=ZoneInfo"):
        at(datetime(2026, 1, 1))
    with pytest.raises(OptionError, match=r"datetime with a time zone, not datetime.date"):
        at(date(2026, 1, 1))  # type: ignore[arg-type]


# --- what the task is enqueued with -------------------------------------------------------------


def test_a_trigger_owns_its_arguments() -> None:
    """Changing the dictionary afterwards changes nothing, and a trigger can be a key."""
    kwargs = {"deep": 1}
    trigger = every(5, args=[1, 2], kwargs=kwargs, name="five", catch_up="all")
    kwargs["deep"] = 2
    assert (trigger.args, trigger.kwargs, trigger.name) == ((1, 2), {"deep": 1}, "five")
    assert trigger.catch_up is CatchUp.ALL
    assert {trigger: 1}[trigger] == 1


def test_args_must_be_a_sequence_of_arguments() -> None:
    """A string is one argument, not many."""
    with pytest.raises(OptionError, match=r"write args=\('abc',\)"):
        every(5, args="abc")
    with pytest.raises(OptionError, match="'skip', 'latest' or 'all'"):
        every(5, catch_up="some")


def test_triggers_tick_alike_whatever_they_carry() -> None:
    """How the table knows that a schedule added again is the same one."""
    assert every(5, args=(1,), catch_up="skip").ticks_like(every(5.0, name="x"))
    assert cron("@daily").ticks_like(cron("@daily", kwargs={"a": 1}))
    assert at(datetime(2026, 1, 1, tzinfo=UTC)).ticks_like(
        At(datetime(2026, 1, 1, 1, tzinfo=ZoneInfo(BERLIN)))
    )
    assert not every(5).ticks_like(every(6))
    assert not every(5).ticks_like(cron("@daily"))
    assert not cron("@daily").ticks_like(cron("@daily", tz=BERLIN))
