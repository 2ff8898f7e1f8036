"""JSON's own scalars: str, int, float, bool and None.

One function serves both directions: a value that is right is returned as it is.
"""

from __future__ import annotations

import math
from typing import Any

from actorq.serialization.hook import Hook
from actorq.serialization.misfit import Misfit, expected, shown_value


HUGE = 10**4300  #: from here on CPython refuses to write an int as text


def none(value: Any, _: Any = None) -> None:
    """Take None."""
    if value is not None:
        raise expected(None, value)


def boolean(value: Any, _: Any = None) -> bool:
    """Take True and False."""
    if value is True or value is False:
        return bool(value)
    raise expected(bool, value)


def integer(value: Any, _: Any = None) -> int:
    """Take an int; of a subclass, its value."""
    if type(value) is int:
        if -HUGE < value < HUGE:
            return value
        raise Misfit("JSON cannot carry an int of more than 4300 digits", carried=False)
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(int.__index__(value))
    raise expected(int, value)


def number(value: Any, _: Any = None) -> float:
    """Take a finite float, or an int that a float can hold exactly."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value if type(value) is float else float.__float__(value)
        raise Misfit(f"JSON cannot carry the float {value!r}; pass None or a str", carried=False)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            if (exact := float(value)) == value:
                return exact
        except OverflowError:
            pass
        raise Misfit("expected float, got an int that no float can hold exactly")
    raise expected(float, value)


def string(value: Any, _: Any = None) -> str:
    """Take a str that UTF-8 can write; of a subclass, its value."""
    if type(value) is str:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            problem = f"JSON cannot carry the lone surrogate in {shown_value(value)}; pass bytes"
            raise Misfit(problem, carried=False) from None
        return value
    if isinstance(value, str):
        return string(str.__str__(value))
    raise expected(str, value)


SCALARS: dict[Any, Hook] = {
    str: string,
    int: integer,
    float: number,
    bool: boolean,
    type(None): none,
}
