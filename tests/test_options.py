"""Options: what overrides what, and what stays as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.errors import OptionError
from actorq.options import AckMode, TaskOptions


drawn_options = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.floats(0.1, 100) | st.none() | st.timedeltas(timedelta(0, 1)),
        "retries": st.integers(0, 20),
        "priority": st.integers(-9, 9),
        "ack": st.sampled_from(["when_executed", "when_saved", AckMode.WHEN_SAVED]),
        "labels": st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=2),
        "raises": st.sampled_from([(), (ValueError,), (KeyError, OSError)]),
    },
)


@given(drawn_options, drawn_options)
def test_later_options_override_and_the_earlier_stay_as_they_were(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    """T02, A18: for that call only; labels are merged."""
    declared = TaskOptions().updated(first, where="@task")
    before = repr(declared)
    called = declared.updated(second, where="using()")
    assert repr(declared) == before
    both = TaskOptions().updated({**first, **second}, where="both")
    labels = {**first.get("labels", {}), **second.get("labels", {})}
    assert called.labels == labels
    for name in ("timeout", "retry", "priority", "ack", "raises"):
        assert getattr(called, name) == getattr(both, name)


@given(st.permutations(["delay", "eta"]))
def test_the_last_word_on_the_start_counts(order: list[str]) -> None:
    """`delay` given after `eta` replaces it, and the other way round."""
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    values: dict[str, Any] = {"delay": 5, "eta": moment}
    options = TaskOptions()
    for name in order:
        options = options.updated({name: values[name]}, where="test")
    assert (options.delay, options.eta) == (
        (5.0, None) if order[-1] == "delay" else (None, moment.timestamp())
    )


def test_durations_may_be_timedeltas() -> None:
    """Seconds in the end."""
    options = TaskOptions().updated(
        {"timeout": timedelta(minutes=1), "delay": timedelta(seconds=0.5)}, where="test"
    )
    assert (options.timeout, options.delay) == (60.0, 0.5)
    assert TaskOptions().updated({"eta": None, "delay": None}, where="test") == TaskOptions()


def test_the_default_is_the_safe_one() -> None:
    """32: at least once, unless told otherwise."""
    assert TaskOptions().ack is AckMode.WHEN_SAVED


def test_using_is_a_copy_that_remembers_its_options() -> None:
    """T02: chains add up."""

    @actorq.task(timeout=5, labels={"a": 1})
    async def work() -> None: ...

    one = work.using(priority=3, labels={"b": 2})
    two = one.using(retries=1)
    assert (work.options.priority, dict(work.options.labels)) == (0, {"a": 1})
    assert (two.options.timeout, two.options.priority, two.options.retry_policy.retries) == (
        5,
        3,
        1,
    )
    assert dict(two.options.labels) == {"a": 1, "b": 2}
    assert two.name == work.name
    assert two.function is work.function


def test_at_most_once_and_retries_contradict_each_other_in_whichever_order() -> None:
    """The decorator's and the call's options count together."""
    once = TaskOptions().updated({"ack": "when_received"}, where="@task")
    with pytest.raises(OptionError, match="cannot be retried"):
        once.updated({"retries": 1}, where="using()")
    again = TaskOptions().updated({"retries": 1}, where="@task")
    with pytest.raises(OptionError, match="cannot be retried"):
        again.updated({"ack": "when_received"}, where="using()")
    assert once.updated({"retries": 0}, where="using()").ack is AckMode.WHEN_RECEIVED
