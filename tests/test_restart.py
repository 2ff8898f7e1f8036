"""The restart decision: pure, so tested without Trio."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.restart import Backoff, Incidents, Restart, Strategy, affected


@pytest.mark.parametrize(
    ("restart", "after_crash", "after_normal_end"),
    [
        (Restart.PERMANENT, True, True),
        (Restart.TRANSIENT, True, False),
        (Restart.TEMPORARY, False, False),
    ],
)
def test_the_table_of_policies(restart: Restart, after_crash: bool, after_normal_end: bool) -> None:
    """As the docstring of `Restart` says."""
    assert restart.applies(crashed=True) == after_crash
    assert restart.applies(crashed=False) == after_normal_end


@given(count=st.integers(1, 9), data=st.data())
def test_each_strategy_touches_its_set(count: int, data: st.DataObject) -> None:
    """In start order, always with the one that crashed."""
    children = list(range(count))
    index = data.draw(st.sampled_from(children))
    assert affected(Strategy.ONE_FOR_ONE, children, index) == [index]
    assert affected(Strategy.ONE_FOR_ALL, children, index) == children
    assert affected(Strategy.REST_FOR_ONE, children, index) == children[index:]


def test_the_delay_doubles_up_to_its_maximum() -> None:
    """`min(max, base * 2**n)`, without jitter."""
    backoff = Backoff(base=1, max=5, jitter=0)
    assert [backoff.delay(n, 0.5) for n in range(5)] == [1, 2, 4, 5, 5]


@given(n=st.integers(0, 100_000), u=st.floats(0, 1, exclude_max=True))
def test_the_delay_never_overflows(n: int, u: float) -> None:
    """An actor that crashes for days still has a delay."""
    delay = Backoff(base=0.1, max=10, jitter=0.2).delay(n, u)
    assert 0.1 <= delay <= 12
    assert Backoff(base=1e300, max=math.inf).delay(n, u) > 0


@pytest.mark.parametrize("name", ["base", "max", "jitter", "stable_after"])
def test_a_backoff_refuses_negative_numbers(name: str) -> None:
    """At once, not at the first crash."""
    with pytest.raises(ValueError, match=name):
        Backoff(**{name: -1})


@given(
    intensity=st.integers(0, 5),
    period=st.floats(0.1, 10),
    times=st.lists(st.floats(0, 50), max_size=20).map(sorted),
)
def test_incidents_count_those_inside_the_period(
    intensity: int, period: float, times: list[float]
) -> None:
    """The one exactly `period` ago counts; the total forgets nothing."""
    incidents = Incidents(intensity, period)
    for n, now in enumerate(times):
        recent = sum(1 for then in times[: n + 1] if then >= now - period)
        assert incidents.record(now) == (recent > intensity)
        assert incidents.recent(now) == recent
    assert incidents.total == len(times)
    incidents.forget()
    assert incidents.recent(50) == 0
    assert incidents.total == len(times)
