"""The retry decision: whether a failed attempt is tried again, and how soon.

Pure but for the log of a predicate that fails.  Used by the worker, which knows the exception; kept
in the task's options.  The numbers travel with a message; the filters are code, and stay with the task.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

import attrs

from actorq.errors import OptionError


log = logging.getLogger("actorq.worker")

Growth: TypeAlias = Literal["constant", "linear", "exponential"]
Jitter: TypeAlias = float | Literal["full", "none"]
#: May a task that failed with this error, for this number of times, be tried again?  Or: after how long?
Predicate: TypeAlias = Callable[[Exception, int], bool | float | timedelta]
ErrorTypes: TypeAlias = type[Exception] | tuple[type[Exception], ...]

#: More than this no one waits for; and a time so far away is still a number.
FOREVER = 1e12


def _jitter(said: Jitter) -> float:
    if said == "full":
        return 1.0
    if said == "none":
        return 0.0
    if not _is_number(said) or not 0 <= said <= 1:
        raise OptionError(
            f"jitter expects 'full', 'none', or the share of the back-off (0 to 1) that chance may "
            f"take away; got {said!r}"
        )
    return float(said)


def _types(name: str, said: ErrorTypes) -> tuple[type[Exception], ...]:
    kinds = tuple(said) if isinstance(said, tuple | list) else (said,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise OptionError(
                f"{name} expects exception classes, such as {name}=(ConnectionError,); got {kind!r}"
            )
    return kinds


def _retry_on(said: ErrorTypes | None) -> tuple[type[Exception], ...] | None:
    return None if said is None else _types("retry_on", said)


def _give_up_on(said: ErrorTypes) -> tuple[type[Exception], ...]:
    return _types("give_up_on", said)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@attrs.frozen
class RetryPolicy:
    """How often, how soon, and after which errors a task is tried again.

    `RetryPolicy.exponential(5, base=2)`, `.linear(...)` and `.constant(...)` read best.  After failure
    n (from 1) the back-off is `base`, `n * base` or `base * factor ** (n - 1)` seconds, never more
    than `cap`; jitter then takes away up to its share.  The default is exponential with full jitter,
    which spreads a crowd of failures best ("Exponential Backoff And Jitter", AWS Architecture Blog,
    2015).  `retries` counts the attempts after the first: 3 retries are up to 4 runs.

    Raises `OptionError` for values that cannot be meant.
    """

    retries: int = 0
    base: float = 1.0  #: seconds
    cap: float = 300.0  #: seconds
    growth: Growth = "exponential"
    factor: float = 2.0  #: of exponential growth
    jitter: float = attrs.field(default=1.0, converter=_jitter)
    #: only these errors are tried again; None: any
    retry_on: tuple[type[Exception], ...] | None = attrs.field(default=None, converter=_retry_on)
    #: these are not, even if they are among those
    give_up_on: tuple[type[Exception], ...] = attrs.field(default=(), converter=_give_up_on)
    #: asked last, with the error and the number of failures: False gives up, a number is the pause
    when: Predicate | None = None

    def __attrs_post_init__(self) -> None:
        _check(self)

    @classmethod
    def constant(
        cls,
        retries: int,
        *,
        base: float = 1.0,
        jitter: Jitter = "none",
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes = (),
        when: Predicate | None = None,
    ) -> RetryPolicy:
        """*base* seconds between attempts, exactly unless there is jitter."""
        cap = base if _is_number(base) else 0.0
        return cls(retries, base, cap, "constant", 2.0, jitter, retry_on, give_up_on, when)

    @classmethod
    def linear(
        cls,
        retries: int,
        *,
        base: float = 1.0,
        cap: float = 300.0,
        jitter: Jitter = "none",
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes = (),
        when: Predicate | None = None,
    ) -> RetryPolicy:
        """*base*, 2 *base*, 3 *base*, ... seconds up to *cap*, exactly unless there is jitter."""
        return cls(retries, base, cap, "linear", 2.0, jitter, retry_on, give_up_on, when)

    @classmethod
    def exponential(
        cls,
        retries: int,
        *,
        base: float = 1.0,
        factor: float = 2.0,
        cap: float = 300.0,
        jitter: Jitter = "none",
        retry_on: ErrorTypes | None = None,
        give_up_on: ErrorTypes = (),
        when: Predicate | None = None,
    ) -> RetryPolicy:
        """*base*, 2 *base*, 4 *base*, ... seconds up to *cap*, exactly unless there is jitter."""
        return cls(retries, base, cap, "exponential", factor, jitter, retry_on, give_up_on, when)

    # --- deciding ---

    def delay(self, failures: int, u: float) -> float | None:
        """Seconds to wait after failure number *failures*; None if there is no further attempt.

        *u* is drawn from [0, 1).  The filters are not asked.
        """
        return self.pause(failures, u) if failures <= self.retries else None

    def pause(self, failures: int, u: float) -> float:
        """The back-off after failure number *failures*, however many are allowed."""
        return (1.0 - self.jitter + self.jitter * u) * min(self.cap, self._grown(failures))

    def _grown(self, failures: int) -> float:
        if self.growth == "constant" or not self.base:
            return self.base
        if self.growth == "linear":
            return self.base * failures
        try:
            if self.factor == 2.0:
                return math.ldexp(self.base, failures - 1)
            return self.base * self.factor ** (failures - 1)
        except OverflowError:
            return math.inf

    def decide(
        self, error: Exception, failures: int, u: float, filters: RetryPolicy | None = None
    ) -> float | None:
        """Seconds to wait after *error*; None if there is no further attempt.

        The filters are *filters*' where this policy has none.  They are the user's code: one that
        fails is logged, and means no.
        """
        delay = self.delay(failures, u)
        asked = self if self.has_filters or filters is None else filters
        if delay is None or not asked.has_filters:
            return delay
        try:
            return asked._filtered(error, failures, delay)
        except Exception:
            log.exception("a retry policy failed to decide; the task is not tried again")
            return None

    @property
    def has_filters(self) -> bool:
        """Whether it is more than numbers."""
        return self.retry_on is not None or bool(self.give_up_on) or self.when is not None

    def _filtered(self, error: Exception, failures: int, delay: float) -> float | None:
        if isinstance(error, self.give_up_on):
            return None
        if self.retry_on is not None and not isinstance(error, self.retry_on):
            return None
        if self.when is None:
            return delay
        answer = self.when(error, failures)
        if isinstance(answer, bool):
            return delay if answer else None
        if isinstance(answer, timedelta):
            answer = answer.total_seconds()
        if not _is_number(answer) or not 0 <= answer < math.inf:
            raise TypeError(
                f"when= must return True, False or the seconds to wait; {self.when!r} returned "
                f"{answer!r}"
            )
        return min(float(answer), FOREVER)

    # --- on its way ---

    def to_plain(self) -> int | dict[str, Any]:
        """The numbers, as they travel: what `retries=` takes; a plain number where that says it all."""
        if self._numbers() == RetryPolicy(self.retries)._numbers():
            return self.retries
        return self._numbers()

    def _numbers(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _NUMBERS}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> RetryPolicy:
        """The inverse of `to_plain`; raises `OptionError`."""
        unknown = sorted(map(str, set(data) - set(_NUMBERS)))
        if unknown or "retries" not in data:
            raise OptionError(
                f"a retry policy is {', '.join(_NUMBERS)}, of which retries is needed; got {data!r}"
            )
        return cls(**data)


_NUMBERS = ("retries", "base", "cap", "growth", "factor", "jitter")


def _check(policy: RetryPolicy) -> None:
    retries, factor, when = policy.retries, policy.factor, policy.when
    if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
        raise OptionError(
            f"retries expects the number of attempts after the first (0, 1, 2, ...); got {retries!r}"
        )
    for name in ("base", "cap"):
        value = getattr(policy, name)
        if not _is_number(value) or not 0 <= value <= FOREVER:
            raise OptionError(
                f"{name} expects a finite number of seconds >= 0, such as {name}=2; got {value!r}"
            )
    if policy.growth not in get_args(Growth):
        raise OptionError(
            f"growth expects 'constant', 'linear' or 'exponential'; got {policy.growth!r}"
        )
    if not _is_number(factor) or not 1 <= factor <= FOREVER:
        raise OptionError(
            f"factor expects a number >= 1, by which each back-off exceeds the one before; "
            f"got {factor!r}"
        )
    if when is not None and not callable(when):
        raise OptionError(
            f"when expects a function of the error and the number of failures, such as "
            f"`lambda error, failures: error.status == 503`; got {when!r}"
        )
