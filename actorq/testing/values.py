"""Values by annotation: a Hypothesis strategy of what JSON carries to a task and back.

Follows the codecs (`actorq.serialization`): what they refuse is not drawn.  A class that somebody has
registered with Hypothesis, or that we know nothing of, is left to Hypothesis.
"""

from __future__ import annotations

import collections
import enum
import pathlib
import types
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, ResolutionFailed

from actorq.errors import TaskDefinitionError
from actorq.serialization import Misfit, carries, codec
from actorq.serialization.annotations import (
    COLLECTIONS,
    MAPPINGS,
    bare,
    declared_fields,
    field_hints,
    has_fields,
    is_model,
    origin_of,
    stands_for,
    substituted,
    type_arguments,
)


Strategy: TypeAlias = "st.SearchStrategy[Any]"

_PARTS = st.text("abcxyz019 ._-", min_size=1, max_size=8).filter(lambda part: part.strip(". "))
_ALIAS = getattr(typing, "TypeAliasType", ())


class Unbuildable(TypeError):
    """There is no strategy for an annotation; the message names it."""


def values(annotation: Any) -> Strategy:
    """A strategy of values of *annotation*; raises `Unbuildable`."""
    hooks = codec(annotation)

    def survives(value: Any) -> bool:
        try:
            hooks.load(hooks.dump(value))
        except (Misfit, TaskDefinitionError):
            return False
        return True

    return _Values().of(annotation).filter(survives)


class _Values:
    """Of one annotation; remembers classes, which may be made of themselves."""

    def __init__(self) -> None:
        self._classes: dict[Any, Strategy] = {}

    def of(self, annotation: Any) -> Strategy:
        """A strategy of values of *annotation*, most of which JSON can carry."""
        if typing.get_origin(annotation) is typing.Annotated and _has_constraints(annotation):
            return _by_hypothesis(annotation)
        annotation = bare(annotation)
        origin, arguments = origin_of(annotation), typing.get_args(annotation)
        if annotation is Any:
            return JSON
        if origin is Literal:
            return st.sampled_from(arguments)
        if origin in (typing.Union, types.UnionType):
            return st.one_of([self.of(each) for each in sorted(arguments, key=_none_first)])
        if isinstance(annotation, typing.NewType):
            return self.of(annotation.__supertype__)
        if isinstance(annotation, typing.TypeVar):
            return self.of(stands_for(annotation))
        if isinstance(origin, _ALIAS):
            return st.deferred(lambda: self._target(annotation))
        if annotation in SCALARS:
            return SCALARS[annotation]
        if isinstance(origin, type) and _is_registered(origin):
            return _by_hypothesis(annotation)
        return self._class(annotation, origin, arguments)

    def _target(self, annotation: Any) -> Strategy:
        value = origin_of(annotation).__value__
        return self.of(substituted(value, type_arguments(annotation)))

    def _class(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Strategy:
        if is_model(origin) or has_fields(origin):
            return self._with_fields(annotation, origin)
        if isinstance(origin, type) and issubclass(origin, pathlib.PurePath):
            return st.lists(_PARTS, min_size=1, max_size=4).map(lambda parts: origin(*parts))
        if isinstance(origin, type) and issubclass(origin, enum.Enum) and origin:
            return _by_hypothesis(annotation)
        if origin is tuple:
            return self._tuple(arguments)
        if origin is collections.Counter:
            counts = st.dictionaries(self.of(_first(arguments)), st.integers(), max_size=5)
            return counts.map(collections.Counter)
        if origin in MAPPINGS:
            key, value = arguments or (str, Any)
            made = st.dictionaries(self.of(key), self.of(value), max_size=5)
            return made.map(MAPPINGS[origin])
        if origin in COLLECTIONS:
            _, kind = COLLECTIONS[origin]
            hashed = kind in (set, frozenset)
            element = arguments[0] if arguments else str if hashed else Any
            # sets that are too small are no harm, elements without a hash are
            drawn = st.lists(self.of(element), max_size=5)
            return drawn.filter(_can_be_hashed).map(kind) if hashed else drawn.map(kind)
        return _by_hypothesis(annotation)

    def _tuple(self, arguments: tuple[Any, ...]) -> Strategy:
        if not arguments:
            return st.lists(JSON, max_size=5).map(tuple)
        if arguments[-1] is Ellipsis:
            return st.lists(self.of(arguments[0]), max_size=5).map(tuple)
        return st.tuples(*[self.of(each) for each in arguments if each != ()])

    def _with_fields(self, annotation: Any, origin: Any) -> Strategy:
        known = self._classes.get(annotation)
        if known is not None:
            return known
        built: list[Strategy] = []
        self._classes[annotation] = st.deferred(lambda: built[0])
        if is_model(origin) and hasattr(origin, "model_fields"):
            required, optional = self._of_model(origin)
        else:
            required, optional = self._of_fields(annotation, origin)
        fields = st.fixed_dictionaries(required, optional=optional)
        built.append(fields.map(_maker(origin)).filter(lambda made: made is not _REFUSED))
        built[0].validate()  # what cannot be built is found out here
        return built[0]

    def _of_fields(
        self, annotation: Any, origin: Any
    ) -> tuple[dict[str, Strategy], dict[str, Strategy]]:
        hints, variables = field_hints(origin), type_arguments(annotation)
        required: dict[str, Strategy] = {}
        optional: dict[str, Strategy] = {}
        for name, parameter, is_required, written in declared_fields(origin):
            hint = substituted(hints.get(name, written or Any), variables)
            with _named(f"{origin.__name__}.{name}"):
                (required if is_required else optional)[parameter] = self.of(hint)
        return required, optional

    def _of_model(self, model: Any) -> tuple[dict[str, Strategy], dict[str, Strategy]]:
        required: dict[str, Strategy] = {}
        optional: dict[str, Strategy] = {}
        for name, field in model.model_fields.items():
            hint = field.annotation
            for each in field.metadata:
                hint = typing.Annotated[hint, each]
            alias = field.validation_alias or field.alias
            key = alias if isinstance(alias, str) else name
            with _named(f"{model.__name__}.{name}"):
                (required if field.is_required() else optional)[key] = self.of(hint)
        return required, optional


class _named:  # noqa: N801 - used like a function
    """Says in which field it was."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: object, _traceback: object) -> None:
        if isinstance(error, Unbuildable):
            raise Unbuildable(f"{self._place}: {error}") from None


_REFUSED: Any = object()


def _maker(kind: Any) -> Callable[[dict[str, Any]], Any]:
    """Make one, unless its own validators refuse it."""

    def make(fields: dict[str, Any]) -> Any:
        try:
            return kind(**fields)
        except (ValueError, TypeError, ArithmeticError):
            return _REFUSED

    return make


def _by_hypothesis(annotation: Any) -> Strategy:
    if not carries(annotation):
        raise Unbuildable(f"JSON cannot carry {annotation!r}")
    try:
        found: Strategy = st.from_type(annotation)
        found.validate()
    except (ResolutionFailed, InvalidArgument) as error:
        raise Unbuildable(f"Hypothesis cannot build {annotation!r} ({error})") from None
    return found


def _is_registered(kind: type) -> bool:
    """Whether somebody has told Hypothesis how to build it; such a class is not ours to build."""
    try:
        from hypothesis.strategies._internal.types import _global_type_lookup as known
    except ImportError:  # it may be called otherwise one day; then fields it is
        return False
    return kind in known and (is_model(kind) or has_fields(kind))


def _has_constraints(annotation: Any) -> bool:
    """Whether Hypothesis can do more with it than with the bare type."""
    inner = bare(annotation)
    return inner in SCALARS and any(
        isinstance(each, st.SearchStrategy) or type(each).__module__.startswith("annotated_types")
        for each in annotation.__metadata__
    )


def _can_be_hashed(items: list[Any]) -> bool:
    try:
        return len({*items}) >= 0
    except TypeError:
        return False


def _first(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else str


def _none_first(member: Any) -> bool:
    return member is not type(None)  # what failing examples shrink to


_FLOATS = st.floats(allow_nan=False, allow_infinity=False)

#: What a parameter without an annotation may be.
JSON: Strategy = st.recursive(
    st.none() | st.booleans() | st.integers() | _FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)

SCALARS: dict[Any, Strategy] = {
    str: st.text(),
    int: st.integers(),
    float: _FLOATS,
    bool: st.booleans(),
    type(None): st.none(),
    typing.LiteralString: st.text(),
    bytes: st.binary(),
    bytearray: st.binary().map(bytearray),
    datetime: st.datetimes(timezones=st.none() | st.just(UTC)),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    timedelta: st.timedeltas(),
    ZoneInfo: st.timezones(),
}
