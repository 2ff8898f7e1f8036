"""What an annotation says: its origin, the fields of its class, what its variables stand for.

Only reads; which hooks an annotation gets is decided elsewhere.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import attrs

from actorq.errors import TaskDefinitionError


_LISTS = (collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
#: origin: what is accepted, what is made
COLLECTIONS: dict[Any, tuple[Any, Any]] = {
    list: (list, list),
    **dict.fromkeys(_LISTS, ((list, tuple), list)),
    collections.abc.Iterable: ((list, tuple), list),
    set: (set, set),
    frozenset: (frozenset, frozenset),
    collections.abc.MutableSet: (set, set),
    collections.abc.Set: ((set, frozenset), frozenset),
    collections.deque: (collections.deque, collections.deque),
}
#: origin: what is made; what is accepted is a dict, or a read-only view of one
MAPPINGS: dict[Any, Any] = {
    **dict.fromkeys(_DICTS, dict),
    collections.OrderedDict: collections.OrderedDict,
    collections.Counter: collections.Counter,  #: of ints, whatever counted
}

_WRAPPERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired)


def origin_of(annotation: Any) -> Any:
    """`list` of `list[int]`, and of `list`."""
    return typing.get_origin(annotation) or annotation


def bare(annotation: Any) -> Any:
    """Without what tells a type checker or a reader more than it tells JSON."""
    if annotation is None:
        return type(None)
    if annotation is object or annotation in (typing.Final, typing.ClassVar):
        return Any
    if typing.get_origin(annotation) is typing.Annotated:
        return bare(annotation.__origin__)
    if typing.get_origin(annotation) in _WRAPPERS:
        return bare(typing.get_args(annotation)[0])
    return annotation


def is_model(kind: Any) -> bool:
    """Whether the class is one of pydantic's: it brings its own reader."""
    return isinstance(kind, type) and hasattr(kind, "__pydantic_validator__")


# --- the fields of a class ---


def has_fields(kind: Any) -> bool:
    """Whether values of this class are dicts of their fields."""
    return isinstance(kind, type) and (
        attrs.has(kind)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def declared_fields(kind: Any) -> Iterator[tuple[str, str, bool, Any]]:
    """Name, parameter, whether it is required, and the type if the class knows it.

    A field that the constructor does not take is left out: it is derived from the others.
    """
    if attrs.has(kind):
        for a in attrs.fields(kind):
            if a.init:
                yield a.name, a.alias or a.name, a.default is attrs.NOTHING, a.type
    elif dataclasses.is_dataclass(kind):
        for f in dataclasses.fields(kind):
            if f.init:
                no_default = f.default is f.default_factory is dataclasses.MISSING
                yield f.name, f.name, no_default, f.type
    elif typing.is_typeddict(kind):
        for name, hint in kind.__annotations__.items():
            yield name, name, name in kind.__required_keys__, hint
    else:
        for name in kind._fields:
            yield name, name, name not in kind._field_defaults, Any


def width(annotation: Any) -> int:
    """How many fields its class has; 0 if it is none of that kind."""
    kind = origin_of(annotation)
    return sum(1 for _ in declared_fields(kind)) if has_fields(kind) else 0


def field_hints(kind: Any) -> dict[str, Any]:
    """The resolved annotations of a class, its bases' among them."""
    try:
        return typing.get_type_hints(kind, localns={kind.__name__: kind}, include_extras=True)
    except NameError as error:
        raise TaskDefinitionError(
            f"a field of {kind.__qualname__} is annotated with a name that its module does not "
            f"define: {error}; import or define it at the top of {kind.__module__}"
        ) from None


# --- type variables ---


def type_arguments(annotation: Any) -> dict[Any, Any]:
    """What each type variable stands for, in the class and in its bases."""
    kind = origin_of(annotation)
    known = dict(
        zip(getattr(kind, "__parameters__", ()), typing.get_args(annotation), strict=False)
    )
    for base in getattr(kind, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic):
            known = type_arguments(substituted(base, known)) | known
    return known


def substituted(annotation: Any, known: dict[Any, Any]) -> Any:
    """The annotation with what is known of its type variables in their place."""
    if isinstance(annotation, typing.TypeVar):
        return known.get(annotation, annotation)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    generic: Any = annotation
    parameters = getattr(generic, "__parameters__", ())
    return generic[tuple(known.get(p, p) for p in parameters)] if parameters else generic


def stands_for(variable: typing.TypeVar) -> Any:
    """What a variable means that nobody has given a value."""
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007 - of a tuple
    return Any if variable.__bound__ is None else variable.__bound__
