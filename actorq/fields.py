"""Strict reading: the fields of plain data from elsewhere, each of the type that is expected.

What is wrong is named: the path to the field, what was expected, what came.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from actorq.errors import EnvelopeError


class Fields:
    """The fields of one object.  Raises `EnvelopeError`."""

    __slots__ = ("_data", "what")

    def __init__(
        self, data: object, what: str, names: Collection[str], optional: Collection[str] = ()
    ) -> None:
        self.what = what
        if not isinstance(data, Mapping):
            raise EnvelopeError(f"{what} must be an object with {sorted(names)}; got {data!r}")
        self._data: Mapping[str, Any] = data
        unknown = set(data) - {*names, *optional}
        if unknown:
            raise EnvelopeError(f"unknown fields in {what}: {sorted(map(str, unknown))}")
        missing = [name for name in names if name not in data]
        if missing:
            raise EnvelopeError(f"{what} needs {missing[0]!r}, which is missing")

    def any(self, name: str) -> Any:
        """As it is; None if it is not there."""
        return self._data.get(name)

    def text(self, name: str) -> str:
        """A text."""
        value = self._data.get(name)
        return value if isinstance(value, str) else self.refuse(name, "a text")

    def flag(self, name: str) -> bool:
        """True or False."""
        value = self._data.get(name)
        return value if isinstance(value, bool) else self.refuse(name, "true or false")

    def number(self, name: str) -> float:
        """A finite number, as a float."""
        value = self._data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, "a number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        return number if math.isfinite(number) else self.refuse(name, "a finite number")

    def text_or_none(self, name: str) -> str | None:
        """A text, or null."""
        return None if self._data.get(name) is None else self.text(name)

    def number_or_none(self, name: str) -> float | None:
        """A finite number, or null."""
        return None if self._data.get(name) is None else self.number(name)

    def list(self, name: str) -> list[Any]:
        """A list."""
        value = self._data.get(name)
        return value if isinstance(value, list) else self.refuse(name, "a list")

    def refuse(self, name: str, expected: str) -> NoReturn:
        """Raise the error about one field."""
        raise EnvelopeError(
            f"{self.what}: {name!r} must be {expected}; got {self._data.get(name)!r}"
        )
