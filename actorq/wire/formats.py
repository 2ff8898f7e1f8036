"""Formats: plain data as bytes and back.  JSON, and what a format of your own must do."""

from __future__ import annotations

import json
import math
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Serializer(Protocol):
    """A format: any object with a name and these two methods.

    It is given plain data: dict with str keys, list, str, int, float, bool and None; what it reads is
    checked to be that, so it need not be strict itself.  Whatever it raises is told to who asked.
    Never make one out of `pickle`: reading a pickle runs whatever its writer wants.
    """

    @property
    def name(self) -> str:
        """What the format is called in the header of each message: 1 to 64 ASCII characters."""
        ...

    def dumps(self, plain: Any) -> bytes:
        """The bytes of plain data."""
        ...

    def loads(self, data: bytes) -> Any:
        """The plain data of these bytes."""
        ...


class JSONSerializer:
    """JSON in UTF-8, without spaces: the default.

    Strict both ways: NaN, Infinity and numbers that would become infinite, keys that come twice,
    lone surrogates, a byte order mark and anything after the end are refused.  An int may have up to
    4300 digits, where JavaScript keeps 15.
    """

    name = "json"

    def dumps(self, plain: Any) -> bytes:
        """The bytes of plain data."""
        return _encode(plain).encode()

    def loads(self, data: bytes) -> Any:
        """The plain data of these bytes; `ValueError` if they are no such JSON."""
        return _decode(str(data, "utf-8"))

    def __repr__(self) -> str:
        return "JSONSerializer()"


def unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict of these; two readers might take two different ones of a key that comes twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r:.100} comes twice in one object")
    return made


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:50]} is more than a float can hold")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_decode = json.JSONDecoder(
    object_pairs_hook=unique, parse_float=_finite, parse_constant=_constant
).decode
