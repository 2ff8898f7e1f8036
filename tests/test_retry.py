"""The retry decision."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

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
