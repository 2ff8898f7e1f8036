"""The retry decision."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from fractions import Fraction
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.errors import OptionError
from actorq.message import TaskMessage
from actorq.options import TaskOptions
from actorq.retry import RetryPolicy


@given(
    retries=st.integers(0, 5000),
    failures=st.integers(1, 5000),
    u=st.floats(0, 1, exclude_max=True),
    base=st.floats(0, 100),
    cap=st.floats(0, 1000),
)
def test_the_wait_is_drawn_below_a_bound_that_doubles_up_to_the_cap(
    retries: int, failures: int, u: float, base: float, cap: float
) -> None:
    """33, A20: b, 2b, 4b, ... with a cap; n retries and no more, however many there were."""
    delay = RetryPolicy(retries, base, cap).delay(failures, u)
    if failures > retries:
        assert delay is None
    else:
        bound = min(Fraction(cap), Fraction(base) * 2 ** (failures - 1))
        assert delay == u * float(bound)


def test_the_default_is_one_run() -> None:
    """T33: retries are asked for."""
    assert RetryPolicy().delay(1, 0.5) is None
    assert [RetryPolicy(3).delay(n, 0.5) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, None]


NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "retries": st.integers(0, 100),
    "base": st.floats(0, 1e6),
    "cap": st.floats(0, 1e6),
    "growth": st.sampled_from(["constant", "linear", "exponential"]),
    "factor": st.floats(1, 100),
    "jitter": st.floats(0, 1) | st.sampled_from(["full", "none"]),
}
policies: st.SearchStrategy[RetryPolicy] = st.fixed_dictionaries({}, optional=NUMBERS).map(
    lambda said: RetryPolicy(**said)
)


def waits(policy: RetryPolicy, n: int, u: float = 0.5) -> list[float | None]:
    """After each of *n* failures."""
    return [policy.delay(failures, u) for failures in range(1, n + 1)]


def test_without_jitter_the_back_off_is_exact() -> None:
    """A20: exponential base b gives b, 2b, 4b, ... with a cap; constant and linear likewise."""
    assert waits(RetryPolicy.exponential(5, base=2, cap=20), 6) == [2, 4, 8, 16, 20, None]
    assert waits(RetryPolicy.exponential(3, base=1, factor=3), 4) == [1, 3, 9, None]
    assert waits(RetryPolicy.linear(4, base=10, cap=25), 5) == [10, 20, 25, 25, None]
    assert waits(RetryPolicy.constant(2, base=500), 3) == [500, 500, None]
    assert waits(RetryPolicy.exponential(1, factor=1.5), 1) == [1.0]


@given(policies, st.integers(1, 5000), st.floats(0, 1, exclude_max=True))
def test_jitter_takes_away_no_more_than_its_share(
    policy: RetryPolicy, failures: int, u: float
) -> None:
    """And the wait is never above the cap, after however many failures."""
    whole = attrs.evolve(policy, jitter="none").pause(failures, u)
    wait = policy.pause(failures, u)
    assert 0 <= whole <= policy.cap
    assert whole * (1 - policy.jitter) * (1 - 1e-9) <= wait <= whole * (1 + 1e-9)


@given(policies)
def test_the_numbers_survive_the_journey(policy: RetryPolicy) -> None:
    """A plain number where that says it all."""
    plain = json.loads(json.dumps(policy.to_plain(), allow_nan=False))
    options = TaskOptions().updated({"retries": plain}, where="test")
    assert options.retry == policy
    assert isinstance(plain, int) == (policy == RetryPolicy(policy.retries))
    message = TaskMessage("1", "t", options=options)
    assert TaskMessage.from_dict(json.loads(json.dumps(message.to_dict()))).options == options


def test_filters_choose_by_the_type_of_the_error() -> None:
    """T34: listed types are tried again, others are not; what is given up on is not, though listed."""
    policy = RetryPolicy.constant(3, base=7, retry_on=OSError, give_up_on=(FileNotFoundError,))
    assert policy.decide(OSError(), 1, 0.5) == 7
    assert policy.decide(TimeoutError(), 1, 0.5) == 7
    assert policy.decide(FileNotFoundError(), 1, 0.5) is None
    assert policy.decide(ValueError(), 1, 0.5) is None
    assert policy.decide(OSError(), 4, 0.5) is None


@pytest.mark.parametrize(
    ("answer", "wait"),
    [(True, 7), (False, None), (0, 0), (2.5, 2.5), (timedelta(minutes=1), 60), (1e300, 1e12)],
)
def test_a_predicate_says_whether_and_when(answer: bool | float | timedelta, wait: float) -> None:
    """And nothing beyond the last attempt."""
    seen = []

    def when(error: Exception, failures: int) -> bool | float | timedelta:
        seen.append((str(error), failures))
        return answer

    policy = RetryPolicy.constant(2, base=7, when=when)
    assert policy.decide(OSError("x"), 2, 0.5) == wait
    assert policy.decide(OSError("x"), 3, 0.5) is None
    assert seen == [("x", 2)]


@pytest.mark.parametrize("answer", [None, "5", -1, math.nan, math.inf, ZeroDivisionError()])
def test_a_predicate_that_fails_means_no(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with what was expected."""

    def when(_error: Exception, _failures: int) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    caplog.set_level("ERROR", logger="actorq")
    assert RetryPolicy(9, when=when).decide(OSError(), 1, 0.5) is None
    assert "not tried again" in caplog.text


def test_filters_are_the_task_s_where_the_message_has_numbers_alone() -> None:
    """They are code, and did not travel."""
    filters = RetryPolicy(1, retry_on=OSError)
    assert RetryPolicy.constant(5, base=2).decide(OSError(), 3, 0.5, filters) == 2
    assert RetryPolicy.constant(5, base=2).decide(ValueError(), 3, 0.5, filters) is None
    assert RetryPolicy.constant(5, base=2).decide(ValueError(), 3, 0.5, None) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"retries": 1.5}, "retries expects the number of attempts after the first.*got 1.5"),
        ({"retries": -1}, "got -1"),
        ({"base": math.nan}, "base expects a finite number of seconds"),
        ({"base": "2"}, "base expects.*such as base=2; got '2'"),
        ({"cap": math.inf}, "cap expects a finite"),
        ({"growth": "quadratic"}, "'constant', 'linear' or 'exponential'; got 'quadratic'"),
        ({"factor": 0.5}, "factor expects a number >= 1"),
        ({"jitter": "half"}, "jitter expects 'full', 'none', or the share"),
        ({"jitter": 2}, "jitter expects"),
        ({"retry_on": OSError()}, "retry_on expects exception classes"),
        ({"give_up_on": (OSError, KeyboardInterrupt)}, "give_up_on expects exception classes"),
        ({"when": 5}, "when expects a function of the error"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], why: str) -> None:
    """With what was expected."""
    with pytest.raises(OptionError, match=why):
        RetryPolicy(**{"retries": 3, **said})


def test_a_policy_from_elsewhere_is_checked() -> None:
    """Unknown numbers are refused, and so is one without the count."""
    for data in ({"retries": 3, "retry_on": "OSError"}, {"base": 2}):
        with pytest.raises(OptionError, match="a retry policy is retries, base, cap"):
            RetryPolicy.from_plain(data)


def test_a_call_cannot_have_filters_of_its_own() -> None:
    """They would be lost on the way to another process; the task's own hold."""

    @actorq.task(retries=RetryPolicy(3, retry_on=OSError))
    async def fetch() -> None:
        """Nothing."""

    with pytest.raises(OptionError, match="say them in the decorator"):
        fetch.using(retries=RetryPolicy(5, give_up_on=ValueError))
    assert fetch.using(retries=5).options.retry_policy.retries == 5
    assert fetch.using(timeout=5).options.retry is fetch.options.retry
