"""The schedule table: which schedule comes next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actorq.message import TaskMessage
from actorq.schedule import every
from actorq.schedule_state import PATIENCE, Rules, Schedule
from actorq.schedule_table import ScheduleTable


def schedule(name: str, period: float) -> Schedule:
    """Activated at the beginning of time."""
    return Schedule.new(name, every(period), TaskMessage("", "tick"), 0.0)


def test_what_is_taken_comes_again_only_when_it_was_put() -> None:
    """Somebody serves it meanwhile."""
    table = ScheduleTable("me")
    table.put(schedule("b", 20))
    table.put(schedule("a", 10))
    assert table.next_look() == 10
    assert table.take_due(9.9) == []
    assert table.take_due(20) == ["a", "b"]
    assert table.take_due(20) == []
    assert table.next_look() is None
    table.put(schedule("a", 10))
    assert table.next_look() == 10
    table.remove("a")
    table.remove("a")
    assert table.next_look() is None
    assert len(table) == 1


def test_a_paused_schedule_is_known_and_not_looked_at() -> None:
    """So it needs no timer; nor does one that another scheduler is busy with, for a while."""
    table = ScheduleTable("me")
    table.put(schedule("a", 10))
    table.put(schedule("a", 10).pausing())
    assert table.next_look() is None
    assert [each.id for each in table] == ["a"]
    table.put(schedule("b", 10).decided("other", 10.0, Rules()))
    assert table.next_look() == 10 + PATIENCE


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(1, 100)), max_size=60))
def test_the_next_look_is_the_earliest(puts: list[tuple[str, int | None]]) -> None:
    """Whatever was put and removed before."""
    table = ScheduleTable("me")
    model: dict[str, int] = {}
    for name, period in puts:
        if period is None:
            table.remove(name)
            model.pop(name, None)
        else:
            table.put(schedule(name, period))
            model[name] = period
        assert table.next_look() == min(model.values(), default=None)
    assert sorted(table.take_due(100.0)) == sorted(model)
