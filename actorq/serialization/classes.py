"""Classes with fields, and named aliases: what an annotation may be made of itself with.

Hence they look into themselves at first use, and count how deep a value is nested.
"""

from __future__ import annotations

import functools
import threading
import typing
from typing import Any, NamedTuple

from actorq.serialization.annotations import (
    declared_fields,
    field_hints,
    origin_of,
    substituted,
    type_arguments,
)
from actorq.serialization.hook import Codec, CodecOf, Hook
from actorq.serialization.misfit import MAX_DEPTH, Misfit, expected, shown_value, too_deep


def class_with_fields(annotation: Any, codec_of: CodecOf) -> Codec:
    """A dict of its fields."""
    shape = _Class(annotation, codec_of)
    return Codec(shape.dump, shape.load)


def alias(annotation: Any, codec_of: CodecOf) -> Codec:
    """Python 3.12's `type X = ...`, as what it names."""

    @functools.cache
    def target() -> Codec:
        value = origin_of(annotation).__value__
        return codec_of(substituted(value, type_arguments(annotation)))

    def nested(side: int) -> Hook:
        return lambda value, _=None: _converted([("", "", target()[side], value)])[""]

    return Codec(nested(0), nested(1))


class _Field(NamedTuple):
    name: str
    parameter: str
    required: bool
    dump: Hook
    load: Hook


class _Class:
    """A class with fields, as a dict of them; a field that is not known is refused, not dropped."""

    def __init__(self, annotation: Any, codec_of: CodecOf) -> None:
        self.annotation = annotation
        self.kind = origin_of(annotation)
        self.is_dict = typing.is_typeddict(self.kind)
        self._codec_of = codec_of

    @functools.cached_property
    def fields(self) -> dict[str, _Field]:
        # At first use: a class may be made of itself, or of classes that are defined after it.
        hints, known = field_hints(self.kind), type_arguments(self.annotation)
        fields = {}
        for name, parameter, required, declared in declared_fields(self.kind):
            hint = hints.get(name, declared)
            if (marker := typing.get_origin(hint)) in (typing.Required, typing.NotRequired):
                required = marker is typing.Required  # with postponed annotations the class errs
            if hint is None and name not in hints:
                hint = Any
            both = self._codec_of(substituted(hint, known))
            fields[name] = _Field(name, parameter, required, *both)
        return fields

    def dump(self, value: Any, _: Any = None) -> dict[str, Any]:
        if self.is_dict and isinstance(value, dict):
            self._check_names(value)
            return _converted([(f.name, f.name, f.dump, value[f.name]) for f in self._in(value)])
        if type(value) is not self.kind:  # a subclass would lose its own fields
            raise expected(self.kind, value)
        fields = self.fields.values()
        return _converted([(f.name, f.name, f.dump, getattr(value, f.name)) for f in fields])

    def load(self, plain: Any, _: Any = None) -> Any:
        if not isinstance(plain, dict):
            raise expected(self.kind, plain)
        self._check_names(plain)
        values = _converted([(f.name, f.parameter, f.load, plain[f.name]) for f in self._in(plain)])
        try:
            return self.kind(**values)
        except Exception as error:  # its validators are the user's
            name = self.kind.__name__
            raise Misfit(f"{name} refused it: {type(error).__name__}: {error}") from error

    def _in(self, given: dict[str, Any]) -> list[_Field]:
        return [field for field in self.fields.values() if field.name in given]

    def _check_names(self, given: dict[str, Any]) -> None:
        for name in given:
            if name not in self.fields:
                raise Misfit(f"{self.kind.__name__} has no field {shown_value(name)}")
        for field in self.fields.values():
            if field.required and field.name not in given:
                raise Misfit(f"{self.kind.__name__} needs {field.name!r}, which is missing")


class _Nesting(threading.local):
    depth = 0


_nesting = _Nesting()


def _converted(parts: list[tuple[str, str, Hook, Any]]) -> dict[str, Any]:
    """Of each part: its step in the path, its key, its hook and its value."""
    if _nesting.depth >= MAX_DEPTH:
        raise too_deep()
    out: dict[str, Any] = {}
    step = ""
    _nesting.depth += 1
    try:
        for step, key, convert, value in parts:  # noqa: B007 - named when it fails
            out[key] = convert(value)
    except Misfit as misfit:
        misfit.steps.append(f".{step}")
        raise
    finally:
        _nesting.depth -= 1
    return out
