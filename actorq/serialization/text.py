"""What JSON writes as text: dates and times, UUIDs, Decimals, bytes, paths, addresses, zones.

The readers are stricter than the classes' own: what would mean something else is refused.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from actorq.serialization.hook import Codec
from actorq.serialization.misfit import Misfit, expected
from actorq.serialization.scalars import string


#: Subclasses that are written in another way.
_NOT_ONE: dict[Any, Any] = {
    date: datetime,
    IPv4Address: IPv4Interface,
    IPv6Address: IPv6Interface,
}


def text(kind: Any, write: Callable[[Any], str], read: Callable[[str], Any]) -> Codec:
    """The codec of a class whose values are written as text."""
    other = _NOT_ONE.get(kind, ())

    def dump(value: Any, _: Any = None) -> str:
        if not isinstance(value, kind) or isinstance(value, other):
            raise expected(kind, value)
        return string(write(value))

    def load(plain: Any, _: Any = None) -> Any:
        if type(plain) is str:
            try:
                return read(plain)
            except (ValueError, ArithmeticError):
                pass
        raise expected(kind, plain)

    return Codec(dump, load)


def _read_datetime(text: str) -> datetime:
    if len(text) <= 10:  # a date alone: fromisoformat would add midnight
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _write_time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Misfit("a time in a named zone has no offset to write; pass a datetime")
    return value.isoformat()


def _write_timedelta(value: timedelta) -> str:
    # Integers, as a timedelta keeps them: seconds in a float are wrong after 285 years.
    return f"P{value.days}DT{value.seconds}.{value.microseconds:06}S"


def _read_timedelta(text: str) -> timedelta:
    match = re.fullmatch(r"P(-?\d{1,9})DT(\d{1,5})\.(\d{6})S", text, re.ASCII)
    if match is None:
        raise ValueError(text)
    return timedelta(int(match[1]), int(match[2]), int(match[3]))


def _read_uuid(text: str) -> UUID:
    value = UUID(text)
    if str(value) != text.lower():  # it also takes braces, and hyphens anywhere
        raise ValueError(text)
    return value


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise Misfit(f"JSON cannot carry the Decimal {value}; pass None or a str", carried=False)
    return str(value)


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or "_" in text or text.strip() != text:
        raise ValueError(text)
    return value


def _read_fraction(text: str) -> Fraction:
    if re.fullmatch(r"-?\d+(/\d+)?", text, re.ASCII) is None:  # it also takes "1e9999999"
        raise ValueError(text)
    return Fraction(text)


def _write_zone(value: ZoneInfo) -> str:
    if value.key is None:
        raise Misfit("a time zone that was read from a file has no name to write")
    return value.key


def _read_zone(text: str) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (KeyError, OSError):  # unknown here, or the name of a folder
        raise ValueError(text) from None


def _write_bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _read_bytes(text: str) -> bytes:
    value = base64.b64decode(text, validate=True)
    if _write_bytes(value) != text:  # bits after the end
        raise ValueError(text)
    return value


TEXTS: dict[Any, Codec] = {
    datetime: text(datetime, datetime.isoformat, _read_datetime),
    date: text(date, date.isoformat, date.fromisoformat),
    time: text(time, _write_time, time.fromisoformat),
    timedelta: text(timedelta, _write_timedelta, _read_timedelta),
    UUID: text(UUID, str, _read_uuid),
    Decimal: text(Decimal, _write_decimal, _read_decimal),
    Fraction: text(Fraction, str, _read_fraction),
    ZoneInfo: text(ZoneInfo, _write_zone, _read_zone),
    **{
        kind: text(kind, str, kind)
        for kind in (
            *(IPv4Address, IPv4Interface, IPv4Network),
            *(IPv6Address, IPv6Interface, IPv6Network),
        )
    },
    bytes: text(bytes, _write_bytes, _read_bytes),
    bytearray: text(bytearray, _write_bytes, lambda text: bytearray(_read_bytes(text))),
}
