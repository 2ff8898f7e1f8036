"""Values without an annotation: plain data, copied; anything else is refused with a remedy."""

from __future__ import annotations

import enum
import pathlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from actorq.serialization.annotations import COLLECTIONS, MAPPINGS, has_fields, is_model
from actorq.serialization.misfit import MAX_DEPTH, Misfit, shown_value, step, too_deep
from actorq.serialization.scalars import HUGE, SCALARS, integer, number, string
from actorq.serialization.text import TEXTS


def plain(value: Any, _: Any = None, *, spare: int = 0) -> Any:
    """The value as it is, in fresh containers: what `Any` means in both directions."""
    return _copied(value, -spare)


def scalar(value: Any, _: Any = None) -> Any:
    """What `Any` means in a set: a list would come back where a tuple went in."""
    native = SCALARS.get(type(value))
    if native is None:
        raise uncarried(value)
    return native(value)


def string_key(key: Any) -> str:
    """A key of a dict whose keys have no annotation."""
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return string(key)
    name = type(key).__name__
    raise Misfit(
        f"a key is {name} {shown_value(key)}, and JSON's keys are str; convert it, "
        f"or annotate the dict: dict[{name}, ...]",
        carried=False,
    )


def uncarried(value: Any) -> Misfit:
    """JSON has no place for this; an annotation may help."""
    name = type(value).__name__
    if _can_be_annotated(type(value)):
        remedy = f"annotate it as {name}, so that it is converted, or convert it yourself"
    else:
        remedy = (
            "pass plain data (dict, list, str, int, float, bool, None) or an attrs class, "
            f"or register hooks for {name} on actorq.serialization.converter"
        )
    return Misfit(f"JSON cannot carry {name} {shown_value(value)}; {remedy}", carried=False)


def _can_be_annotated(kind: type) -> bool:
    return (
        kind in SCALARS
        or kind in TEXTS
        or kind in COLLECTIONS
        or kind in MAPPINGS
        or kind is tuple
        or issubclass(kind, enum.Enum | pathlib.PurePath)
        or has_fields(kind)
        or is_model(kind)
    )


def _copied(value: Any, depth: int) -> Any:
    kind = type(value)
    # The common ones first, without a call: a small dict takes a microsecond.
    if kind is str:
        return value if value.isascii() else string(value)
    if kind is int:
        return value if -HUGE < value < HUGE else integer(value)
    if kind is bool or value is None:
        return value
    if kind is float:
        return number(value)
    if depth >= MAX_DEPTH:
        raise too_deep()
    if kind is dict or isinstance(value, (dict, MappingProxyType)):
        return _copied_dict(value, depth + 1)
    if kind is list or (isinstance(value, (list, tuple)) and not hasattr(value, "_fields")):
        return _copied_list(value, depth + 1)
    for base in (str, int, float):
        # An Enum member would come back as its value.
        if isinstance(value, base) and not isinstance(value, enum.Enum):
            return SCALARS[base](value)
    raise uncarried(value)


def _copied_list(value: Iterable[Any], depth: int) -> list[Any]:
    out: list[Any] = []
    try:
        for item in value:
            out.append(_copied(item, depth))  # noqa: PERF401 - its length is the step
    except Misfit as misfit:
        misfit.steps.append(f"[{len(out)}]")
        raise
    return out


def _copied_dict(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else string_key(key)
            out[name] = _copied(item, depth)
    except Misfit as misfit:
        misfit.steps.append(step(key))
        raise
    return out
