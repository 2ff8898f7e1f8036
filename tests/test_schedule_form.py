"""Schedules as plain data: they come back as they were, and what is wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.errors import EnvelopeError, NotSerializable
from actorq.schedule import CatchUp, Overlap, Trigger, at, cron, every
from actorq.schedule_source import call_of
from actorq.schedule_state import Rules, Schedule


NOW = 1_704_067_200.0
zones = st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")])
offsets = st.integers(-86399, 86399).map(lambda s: timezone(timedelta(seconds=s)))
moments = st.datetimes(
    datetime(2023, 1, 1), datetime(2026, 1, 1), timezones=zones | offsets, allow_imaginary=True
)
policies: dict[str, Any] = {
    "name": st.none() | st.text(max_size=5),
    "catch_up": st.none() | st.sampled_from(CatchUp),
    "overlap": st.sampled_from(Overlap),
    "jitter": st.sampled_from([0, 0.25, timedelta(milliseconds=1)]),
}
triggers = st.one_of(
    st.builds(every, st.floats(0.5, 1e7), **policies),
    st.builds(
        cron,
        st.sampled_from(["*/15 * * * *", "30 2 * * *", "@daily", "5 0 0 1 JAN *"]),
        tz=zones | offsets,
        **policies,
    ),
    st.builds(at, moments, **policies),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
Step = Callable[[Schedule], Schedule]


@actorq.task(name="greet", retries=actorq.RetryPolicy.exponential(3), unique=True, expires=60)
async def greet(what: Any, *, times: Any = 1) -> None:
    """Not run here."""


def changes(trigger: Trigger, other: Trigger) -> st.SearchStrategy[Step]:
    """What users and schedulers do with a schedule."""
    later = st.sampled_from([0.0, 7.0, 90_000.0, 4e7]).map(lambda s: NOW + s)
    return st.one_of(
        st.just(Schedule.pausing),
        later.map(lambda now: lambda known: known.resuming(now)),
        later.map(lambda now: lambda known: known.running_now(now, "token")),
        later.map(
            lambda now: lambda known: known.renewed(other, call_of("other", other, now), now)
        ),
        later.map(lambda now: lambda known: known.decided("me", now, Rules(limit=3))),
        st.just(lambda known: known.noted(known.owed[0], fired=True) if known.owed else known),
    )


def carried(schedule: Schedule) -> Schedule:
    """As a store would."""
    return Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))


@given(st.data(), triggers, triggers, plain, plain, st.booleans())
def test_a_schedule_comes_back_as_it_was(
    data: st.DataObject, trigger: Trigger, other: Trigger, what: Any, times: Any, declared: bool
) -> None:
    """In every state; and it goes on as the original would."""
    call = call_of(greet, every(1, args=(what,), kwargs={"times": times}), NOW)
    known = Schedule.new("über/x", trigger, call, NOW, declared=declared)
    for step in data.draw(st.lists(changes(trigger, other), max_size=5)):
        known = step(known)
        back = carried(known)
        assert back.to_dict() == known.to_dict()
        assert back.trigger.ticks_like(known.trigger)
        assert back.trigger.args == known.call.args
        assert [slot.task_id for slot in back.owed] == [slot.task_id for slot in known.owed]
        for now in (NOW + 1e4, NOW + 1e8):
            one, two = known.decided("you", now, Rules()), back.decided("you", now, Rules())
            assert one.to_dict() == two.to_dict()
            messages = [[slot.message(now).to_dict() for slot in each.owed] for each in (one, two)]
            assert messages[0] == messages[1]


def test_the_form_is_this_one() -> None:
    """What is stored today is read by the next version."""
    trigger = cron("30 2 * * *", tz="Europe/Berlin", name="nightly", args=("x",), jitter=5)
    call = call_of("greet", trigger, NOW)
    schedule = Schedule.new("greet/nightly", trigger, call, NOW).running_now(NOW + 1, "t")
    data = schedule.to_dict()
    assert data.pop("call")["labels"] == {"schedule_id": "greet/nightly"}
    assert data == {
        "form": 1,
        "id": "greet/nightly",
        "trigger": {
            "kind": "cron",
            "expression": "30 2 * * *",
            "tz": "Europe/Berlin",
            "name": "nightly",
            "catch_up": None,
            "overlap": "allow",
            "jitter": 5.0,
        },
        "activated": NOW,
        "cursor": NOW,
        "planned": NOW + 5400,
        "due": schedule.due,
        "owed": [{"planned": NOW + 1, "call": None, "manual": "t"}],
        "previous": None,
        "previous_slot": None,
        "paused": False,
        "declared": False,
        "holder": "",
        "held_until": 0.0,
        "version": "",
    }


def test_what_others_do_not_know_is_refused_where_it_is_stored() -> None:
    """A trigger class of one's own, and a zone without a name."""

    class Never(Trigger):
        def next_after(self, moment: float, activated: float) -> None:
            return None

    class Zone(tzinfo):
        def utcoffset(self, _when: datetime | None) -> timedelta:
            return timedelta(hours=1)

        dst = utcoffset

        def tzname(self, _when: datetime | None) -> str:
            return "mine"

    for trigger, said in [
        (Never(), "class .*Never cannot be stored, .* use every"),
        (at(datetime(2024, 1, 1, tzinfo=Zone())), "has no name that others know; use ZoneInfo"),
    ]:
        with pytest.raises(NotSerializable, match=said):
            Schedule.new("s", trigger, call_of("greet", every(1), NOW), NOW).to_dict()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("form", 2, "reads schedules of form 1; got 2"),
        ("id", 7, "a schedule: 'id' must be a text; got 7"),
        ("activated", None, "a schedule: 'activated' must be a number; got None"),
        ("cursor", True, "'cursor' must be a number; got True"),
        ("due", "soon", "'due' must be a number; got 'soon'"),
        ("planned", float("inf"), "'planned' must be a finite number; got inf"),
        ("held_until", 10**400, "'held_until' must be a finite number"),
        ("paused", 0, "'paused' must be true or false; got 0"),
        ("owed", {}, "'owed' must be a list; got {}"),
        ("owed", [1], "a slot that a schedule owes must be an object"),
        ("owed", [{"planned": 1, "call": None}], "a slot that a schedule owes needs 'manual'"),
        ("owed", [{"planned": 1, "call": {}, "manual": ""}], "call of a slot .* needs a task_name"),
        ("call", None, "call must be a task message without a task_id; got None"),
        ("call", {"task_name": ""}, "a schedule's call: a task message needs a task_name"),
        ("call", {"task_name": "x", "wrong": 1}, "a schedule's call: unknown fields .*'wrong'"),
        ("surplus", 1, r"unknown fields in a schedule: \['surplus'\]"),
        ("trigger", None, "trigger needs a 'kind' of .*'at', 'cron', 'every'.*; got None"),
        ("trigger.kind", "never", "needs a 'kind' of"),
        ("trigger.kind", ["every"], "needs a 'kind' of"),
        ("trigger.period", "1", "a schedule's trigger: 'period' must be a number; got '1'"),
        ("trigger.period", -1, "a schedule's trigger: .*needs a finite period > 0"),
        ("trigger.jitter", 100, "jitter must be less than the period"),
        ("trigger.overlap", "never", "overlap must be 'allow', 'skip'"),
        ("trigger.catch_up", 3, "'catch_up' must be a text; got 3"),
        ("trigger.name", 3, "'name' must be a text; got 3"),
        ("trigger.tz", "UTC", r"unknown fields in a schedule's trigger: \['tz'\]"),
        ("trigger", {"kind": "cron", "tz": "UTC"}, "trigger needs 'expression', which is missing"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_field(path: str, value: Any, said: str) -> None:
    """Whoever repairs a store by hand learns where it is wrong."""
    data: Any = Schedule.new("s", every(60), call_of("greet", every(1), NOW), NOW).to_dict()
    *outer, last = path.split(".")
    place = data[outer[0]] if outer else data
    place[last] = value
    with pytest.raises(EnvelopeError, match=said):
        Schedule.from_dict(data)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"when": "soon"}, "'when' must be a date and time such as"),
        ({"when": "2024-01-01T00:00:00"}, "'when' must be a date and time with its offset"),
        ({"tz": "Middle/Earth"}, "tz='Middle/Earth' is no known time zone"),
        ({"tz": 86400}, "'tz' must be the name of a zone, or seconds east of UTC"),
        ({"tz": None}, "'tz' must be a number; got None"),
        ({"kind": "cron"}, "unknown fields in a schedule's trigger"),
    ],
)
def test_a_moment_that_is_none_is_refused(changed: dict[str, Any], said: str) -> None:
    """As the others."""
    trigger = at(datetime(2024, 1, 1, tzinfo=UTC))
    data = Schedule.new("s", trigger, call_of("greet", every(1), NOW), NOW).to_dict()
    data["trigger"].update(changed)
    with pytest.raises(EnvelopeError, match=said):
        Schedule.from_dict(data)


@pytest.mark.parametrize("data", [None, [], {}, {"form": 1}, "x"])
def test_what_is_nothing_like_a_schedule_is_refused(data: Any) -> None:
    """Said with what is missing."""
    with pytest.raises(EnvelopeError, match=r"a schedule (needs|must be)"):
        Schedule.from_dict(data)
