"""Values as plain JSON data and back: one strict cattrs converter, and what may not pass it.

Owns what a task's arguments, results and progress may be.  A hook refuses what would lose meaning
(`3.7` for an int, a datetime where no annotation would bring it back) and names the path.
What is dumped shares no container with its source, and neither does what is loaded.

To teach it a class of your own, register a structure and an unstructure hook on `converter` before
the class is used first: compiled annotations are kept.
"""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import enum
import functools
import json
import math
import pathlib
import re
import reprlib
import threading
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import attrs
import cattrs

from actorq.errors import ActorqError, EnvelopeError, NotSerializable, TaskDefinitionError


__all__ = ["Misfit", "codec", "converter", "dump", "dumper", "load", "loader"]

MAX_DEPTH = 100  #: of nested containers or classes; json itself gives up between 300 and 1000
_HUGE = 10**4300  #: from here on CPython refuses to write an int as text
_NoneType = type(None)


# --- what went wrong, and where -------------------------------------------------------------------


class Misfit(ActorqError, ValueError):
    """A value does not fit: raised by a hook, it gathers its path on the way up.

    `carried` is False if no annotation would help: JSON has no place for such a value.
    """

    def __init__(self, problem: str, *, carried: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.carried = carried
        self.steps: list[str] = []  #: innermost first

    def at(self, root: str) -> str:
        """The problem with its path, which begins at *root*."""
        steps = self.steps[::-1]
        if len(steps) > 16:  # a circle: the first steps name it, the others repeat them
            steps = [*steps[:8], "...", *steps[-2:]]
        return f"{root}{''.join(steps)}: {self.problem}"

    def __str__(self) -> str:
        return self.at("$")


def _crashed(error: Exception) -> Misfit:
    return Misfit(f"{type(error).__name__}: {error}")


def _too_deep() -> Misfit:
    return Misfit(f"nested deeper than {MAX_DEPTH} levels, or it contains itself", carried=False)


def _repr(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - __repr__ is the user's, and a huge int has none
        return "<no repr>"


def _told(error: Exception) -> str:
    # A caller near the interpreter's limit runs into that before it meets ours.
    return str(error if isinstance(error, Misfit) else _too_deep())


def _shown(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _expected(annotation: Any, value: Any) -> Misfit:
    got = "None" if value is None else f"{type(value).__name__} {_repr(value)}"
    return Misfit(f"expected {_shown(annotation)}, got {got}")


def _uncarried(value: Any) -> Misfit:
    name = type(value).__name__
    if _compile(type(value)) is not None:
        remedy = f"annotate it as {name}, so that it is converted, or convert it yourself"
    else:
        remedy = (
            "pass plain data (dict, list, str, int, float, bool, None) or an attrs class, "
            f"or register hooks for {name} on actorq.serialization.converter"
        )
    return Misfit(f"JSON cannot carry {name} {_repr(value)}; {remedy}", carried=False)


# --- JSON's own types -----------------------------------------------------------------------------
# One function serves both directions: a value that is right is returned as it is.
# The second parameter is the type that cattrs passes to a structure hook.


def _none(value: Any, _: Any = None) -> None:
    if value is not None:
        raise _expected(None, value)


def _bool(value: Any, _: Any = None) -> bool:
    if value is True or value is False:
        return bool(value)
    raise _expected(bool, value)


def _int(value: Any, _: Any = None) -> int:
    if type(value) is int:
        if -_HUGE < value < _HUGE:
            return value
        raise Misfit("JSON cannot carry an int of more than 4300 digits", carried=False)
    if isinstance(value, int) and not isinstance(value, bool):
        return _int(int.__index__(value))
    raise _expected(int, value)


def _float(value: Any, _: Any = None) -> float:
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
    raise _expected(float, value)


def _str(value: Any, _: Any = None) -> str:
    if type(value) is str:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            problem = f"JSON cannot carry the lone surrogate in {_repr(value)}; pass bytes"
            raise Misfit(problem, carried=False) from None
        return value
    if isinstance(value, str):
        return _str(str.__str__(value))
    raise _expected(str, value)


_NATIVE: dict[Any, Callable[..., Any]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _bool,
    _NoneType: _none,
}


def _plain(value: Any, _: Any = None) -> Any:
    """The value as it is, in fresh containers: what `Any` means in both directions."""
    return _copied(value, 0)


def _scalar(value: Any, _: Any = None) -> Any:
    """What `Any` means in a set: a list would come back where a tuple went in."""
    native = _NATIVE.get(type(value))
    if native is None:
        raise _uncarried(value)
    return native(value)


def _copied(value: Any, depth: int) -> Any:
    kind = type(value)
    # The common ones first, without a call: a small dict takes a microsecond.
    if kind is str:
        return value if value.isascii() else _str(value)
    if kind is int:
        return value if -_HUGE < value < _HUGE else _int(value)
    if kind is bool or value is None:
        return value
    if kind is float:
        return _float(value)
    if depth >= MAX_DEPTH:
        raise _too_deep()
    if kind is dict or isinstance(value, dict):
        return _copied_dict(value, depth + 1)
    if kind is list or (isinstance(value, (list, tuple)) and not hasattr(value, "_fields")):
        return _copied_list(value, depth + 1)
    for base in (str, int, float):
        # An Enum member would come back as its value.
        if isinstance(value, base) and not isinstance(value, enum.Enum):
            return _NATIVE[base](value)
    raise _uncarried(value)


def _copied_list(value: Iterable[Any], depth: int) -> list[Any]:
    out: list[Any] = []
    try:
        for item in value:
            out.append(_copied(item, depth))  # noqa: PERF401 - its length is the step
    except Misfit as misfit:
        misfit.steps.append(f"[{len(out)}]")
        raise
    return out


def _copied_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    key: Any = None
    try:
        for key, item in value.items():
            name = key if type(key) is str and key.isascii() else _str_key(key)
            out[name] = _copied(item, depth)
    except Misfit as misfit:
        misfit.steps.append(_step(key))
        raise
    return out


def _str_key(key: Any) -> str:
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return _str(key)
    name = type(key).__name__
    raise Misfit(
        f"a key is {name} {_repr(key)}, and JSON's keys are str; convert it, "
        f"or annotate the dict: dict[{name}, ...]",
        carried=False,
    )


def _step(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{_repr(key)}]"


# --- what JSON writes as text ---------------------------------------------------------------------


class Codec(NamedTuple):
    """The two directions of one annotation; both raise `Misfit`."""

    dump: Callable[..., Any]
    load: Callable[..., Any]


def _text(kind: Any, write: Callable[[Any], str], read: Callable[[str], Any]) -> Codec:
    def dump(value: Any, _: Any = None) -> str:
        if not isinstance(value, kind) or (kind is date and isinstance(value, datetime)):
            raise _expected(kind, value)
        return _str(write(value))

    def load(plain: Any, _: Any = None) -> Any:
        if type(plain) is str:
            try:
                return read(plain)
            except (ValueError, ArithmeticError):
                pass
        raise _expected(kind, plain)

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


def _write_bytes(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _read_bytes(text: str) -> bytes:
    value = base64.b64decode(text, validate=True)
    if _write_bytes(value) != text:  # bits after the end
        raise ValueError(text)
    return value


_TEXT: dict[Any, Codec] = {
    datetime: _text(datetime, datetime.isoformat, _read_datetime),
    date: _text(date, date.isoformat, date.fromisoformat),
    time: _text(time, _write_time, time.fromisoformat),
    timedelta: _text(timedelta, _write_timedelta, _read_timedelta),
    UUID: _text(UUID, str, _read_uuid),
    Decimal: _text(Decimal, _write_decimal, _read_decimal),
    bytes: _text(bytes, _write_bytes, _read_bytes),
    bytearray: _text(bytearray, _write_bytes, lambda text: bytearray(_read_bytes(text))),
}


# --- choices: Literal, Enum, Union ----------------------------------------------------------------


def _table(annotation: Any, pairs: Iterable[tuple[Any, Any]]) -> Codec:
    """Look a value up among *(value, plain)*; by type too, for `1 == True == 1.0`."""
    dumps = {(type(value), value): plain for value, plain in pairs}
    loads = {(type(plain), plain): key[1] for key, plain in dumps.items()}

    def lookup(table: dict[Any, Any]) -> Callable[..., Any]:
        def hook(value: Any, _: Any = None) -> Any:
            try:
                return table[type(value), value]
            except (KeyError, TypeError):
                raise _expected(annotation, value) from None

        return hook

    return Codec(lookup(dumps), lookup(loads))


def _literal(annotation: Any) -> Codec:
    values = typing.get_args(annotation)
    return _table(annotation, [(value, codec(type(value)).dump(value)) for value in values])


def _enum(kind: Any) -> Codec:
    if issubclass(kind, enum.Flag):  # its combinations are not in the list of members

        def load_flag(plain: Any, _: Any = None) -> Any:
            try:
                return kind(_int(plain))
            except ValueError:
                raise _expected(kind, plain) from None

        return Codec(lambda value, _=None: _int(_instance(kind, value).value), load_flag)
    try:
        return _table(kind, [(member, _scalar(member.value)) for member in kind])
    except Misfit:  # values such as tuples: then the names tell
        return _table(kind, [(member, member.name) for member in kind])


def _instance(kind: Any, value: Any) -> Any:
    if not isinstance(value, kind):
        raise _expected(kind, value)
    return value


class _Member(NamedTuple):
    kind: Any
    dump: Callable[..., Any]
    load: Callable[..., Any]


def _union(annotation: Any) -> Codec:
    """Take JSON's own types by their type, then the other members in one fixed order.

    `A | B` equals `B | A`, and caches know no more: so the order must not be the written one.
    """
    members = [_bare(member) for member in typing.get_args(annotation)]
    exact = {member: _NATIVE[member] for member in members if member in _NATIVE}
    # Fewest fields first: all are written, and one too many is refused, where a default is not.
    rest = sorted(
        (member for member in members if member not in exact),
        key=lambda member: (member is Any, _width(member), repr(member)),
    )
    others = [_Member(typing.get_origin(m) or m, *codec(m)) for m in rest]
    sure = not others or (len(others) == 1 and not exact.keys() - {_NoneType})

    def dump(value: Any, _: Any = None) -> Any:
        kind = type(value)
        if kind in exact:
            return exact[kind](value)
        lesson = None
        for member in sorted(others, key=lambda member: member.kind is not kind):
            try:
                plain = member.dump(value)
            except Misfit as misfit:
                if member.kind is kind and lesson is None:
                    lesson = misfit
                continue
            if sure or comes_back(member, plain, value):
                return plain
            raise Misfit(
                f"JSON cannot tell this {kind.__name__} from another member of "
                f"{_shown(annotation)}; give the classes a Literal field that differs, "
                "or annotate one type",
                carried=False,
            )
        return dump_as_native(value, lesson)

    def dump_as_native(value: Any, lesson: Misfit | None) -> Any:
        for native in exact.values():
            try:
                return native(value)
            except Misfit as misfit:
                lesson = lesson or (None if misfit.carried else misfit)
        raise lesson or _expected(annotation, value)

    def comes_back(member: _Member, plain: Any, value: Any) -> bool:
        # All that is asked of the member is to read what it wrote: a class may have no ==.
        if type(plain) not in exact:
            for other in others:
                if other is member:
                    return True
                if _fits(other.load, plain):
                    return False
        return type(plain) is type(value) and bool(plain == value)

    def load(plain: Any, _: Any = None) -> Any:
        if type(plain) in exact:
            return exact[type(plain)](plain)
        lesson = None
        for member in others:
            try:
                return member.load(plain)
            except Misfit as misfit:
                lesson = misfit
        if float in exact and type(plain) is int:
            return _float(plain)
        raise (
            lesson if lesson and lesson.steps and len(others) == 1 else _expected(annotation, plain)
        )

    return Codec(dump, load)


def _fits(hook: Callable[..., Any], value: Any) -> bool:
    try:
        hook(value)
    except Misfit:
        return False
    return True


# --- containers -----------------------------------------------------------------------------------


def _each(annotation: Any, accepts: Any, item: Any, make: Any) -> Callable[..., Any]:
    def hook(value: Any, _: Any = None) -> Any:
        if not isinstance(value, accepts):
            raise _expected(annotation, value)
        out: list[Any] = []
        try:
            for one in value:
                out.append(item(one))  # noqa: PERF401 - its length is the step
        except Misfit as misfit:
            misfit.steps.append(f"[{len(out)}]")
            raise
        if make is list:
            return out
        try:
            made = make(out)
        except TypeError as error:
            raise _crashed(error) from None
        if len(made) != len(out):
            raise Misfit(f"expected {_shown(annotation)}, got a list in which an item comes twice")
        return made

    return hook


def _many(annotation: Any, item: Any, accepts: Any, make: Any) -> Codec:
    both = codec(item)
    if make in (set, frozenset) and both.dump is _plain:
        both = Codec(_scalar, _scalar)
    return Codec(
        _each(annotation, accepts, both.dump, list), _each(annotation, list, both.load, make)
    )


def _fixed_tuple(annotation: Any, items: tuple[Any, ...]) -> Codec:
    codecs = [codec(item) for item in items]

    def hook(accepts: Any, hooks: list[Any], make: Any) -> Callable[..., Any]:
        def convert(value: Any, _: Any = None) -> Any:
            if not isinstance(value, accepts) or len(value) != len(hooks):
                raise _expected(annotation, value)
            out: list[Any] = []
            try:
                for one, item in zip(value, hooks, strict=True):
                    out.append(item(one))
            except Misfit as misfit:
                misfit.steps.append(f"[{len(out)}]")
                raise
            return make(out)

        return convert

    return Codec(
        hook(tuple, [both.dump for both in codecs], list),
        hook(list, [both.load for both in codecs], tuple),
    )


def _key(annotation: Any) -> Codec:
    """A key is text in JSON: a str as it is, another scalar as JSON writes it."""
    both = codec(annotation)
    if both.dump is _str or both.dump is _plain:
        return Codec(*[_str if both.dump is _str else _str_key] * 2)

    def dump(key: Any) -> str:
        plain = both.dump(key)
        text = plain if isinstance(plain, str) else json.dumps(_scalar(plain))
        if both.dump is _int:
            return text
        back = load(text)
        if back != key or type(back) is not type(key):
            raise Misfit(f"as a key, JSON cannot tell {_repr(key)} from {back!r}")
        return text

    def load(text: str) -> Any:
        if both.dump is not _int and _fits(both.load, text):
            return both.load(text)
        try:
            plain = json.loads(text)
            canonical = json.dumps(plain) == text
        except (ValueError, RecursionError):
            canonical = False
        if not canonical:  # "01" and " 1" would be the key "1" once more
            raise _expected(annotation, text)
        return both.load(plain)

    return Codec(dump, load)


def _mapping(annotation: Any, key: Any, value: Any, make: Any) -> Codec:
    keys, values = _key(key), codec(value)

    def hook(side: int, make: Any) -> Callable[..., Any]:
        convert_key, convert = keys[side], values[side]

        def convert_dict(value: Any, _: Any = None) -> Any:
            if not isinstance(value, dict):
                raise _expected(annotation, value)
            out = make()
            name: Any = None
            try:
                for name, item in value.items():
                    out[convert_key(name)] = convert(item)
            except Misfit as misfit:
                misfit.steps.append(_step(name))
                raise
            return out

        return convert_dict

    return Codec(hook(0, dict), hook(1, make))


_LISTS = (collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Collection)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
#: origin: what is accepted, what is made
_COLLECTIONS: dict[Any, tuple[Any, Any]] = {
    list: (list, list),
    **dict.fromkeys(_LISTS, ((list, tuple), list)),
    collections.abc.Iterable: ((list, tuple), list),
    set: (set, set),
    frozenset: (frozenset, frozenset),
    collections.abc.MutableSet: (set, set),
    collections.abc.Set: ((set, frozenset), frozenset),
    collections.deque: (collections.deque, collections.deque),
}


def _container(annotation: Any, origin: Any, args: tuple[Any, ...]) -> Codec | None:
    if origin is tuple:
        if args and args[-1] is not Ellipsis:
            return _fixed_tuple(annotation, args)
        if annotation == tuple[()]:
            return _fixed_tuple(annotation, ())
        return _many(annotation, args[0] if args else Any, tuple, tuple)
    if origin in _COLLECTIONS:
        return _many(annotation, args[0] if args else Any, *_COLLECTIONS[origin])
    if origin in _DICTS or origin is collections.OrderedDict:
        made = collections.OrderedDict if origin is collections.OrderedDict else dict
        key, value = args or (Any, Any)
        return _mapping(annotation, key, value, made)
    return None


# --- classes with fields --------------------------------------------------------------------------


class _Field(NamedTuple):
    name: str
    parameter: str
    required: bool
    dump: Callable[..., Any]
    load: Callable[..., Any]


class _Nesting(threading.local):
    depth = 0


_nesting = _Nesting()  # a class may contain itself: nothing else in an annotation can


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (
        attrs.has(kind)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or (issubclass(kind, tuple) and hasattr(kind, "_fields"))
    )


def _declared(kind: Any) -> Iterator[tuple[str, str, bool, Any]]:
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


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, localns={kind.__name__: kind}, include_extras=True)
    except NameError as error:
        raise TaskDefinitionError(
            f"a field of {kind.__qualname__} is annotated with a name that its module does not "
            f"define: {error}; import or define it at the top of {kind.__module__}"
        ) from None


def _type_arguments(annotation: Any) -> dict[Any, Any]:
    """What each type variable stands for, in the class and in its bases."""
    kind = typing.get_origin(annotation) or annotation
    known = dict(
        zip(getattr(kind, "__parameters__", ()), typing.get_args(annotation), strict=False)
    )
    for base in getattr(kind, "__orig_bases__", ()):
        if typing.get_origin(base) not in (None, typing.Generic):
            known = _type_arguments(_substituted(base, known)) | known
    return known


def _substituted(annotation: Any, known: dict[Any, Any]) -> Any:
    if isinstance(annotation, typing.TypeVar):
        return known.get(annotation, annotation)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation
    parameters = getattr(annotation, "__parameters__", ())
    return annotation[tuple(known.get(p, p) for p in parameters)] if parameters else annotation


def _width(annotation: Any) -> int:
    kind = typing.get_origin(annotation) or annotation
    return sum(1 for _ in _declared(kind)) if _has_fields(kind) else 0


def _fields(annotation: Any) -> dict[str, _Field]:
    kind = typing.get_origin(annotation) or annotation
    hints, known = _hints(kind), _type_arguments(annotation)
    fields = {}
    for name, parameter, required, declared in _declared(kind):
        hint = hints.get(name, declared)
        if (marker := typing.get_origin(hint)) in (typing.Required, typing.NotRequired):
            required = marker is typing.Required  # with postponed annotations the class errs
        both = codec(_substituted(Any if hint is None and name not in hints else hint, known))
        fields[name] = _Field(name, parameter, required, *both)
    return fields


class _Class:
    """A class with fields, as a dict of them; a field that is not known is refused, not dropped."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.kind = typing.get_origin(annotation) or annotation
        self.is_dict = typing.is_typeddict(self.kind)

    @functools.cached_property
    def fields(self) -> dict[str, _Field]:
        # At first use: a class may be made of itself, or of classes that are defined after it.
        return _fields(self.annotation)

    def dump(self, value: Any, _: Any = None) -> dict[str, Any]:
        if self.is_dict and isinstance(value, dict):
            self._check_names(value)
            return _converted([(f.name, f.name, f.dump, value[f.name]) for f in self._in(value)])
        if type(value) is not self.kind:  # a subclass would lose its own fields
            raise _expected(self.kind, value)
        fields = self.fields.values()
        return _converted([(f.name, f.name, f.dump, getattr(value, f.name)) for f in fields])

    def load(self, plain: Any, _: Any = None) -> Any:
        if not isinstance(plain, dict):
            raise _expected(self.kind, plain)
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
                raise Misfit(f"{self.kind.__name__} has no field {_repr(name)}")
        for field in self.fields.values():
            if field.required and field.name not in given:
                raise Misfit(f"{self.kind.__name__} needs {field.name!r}, which is missing")


def _converted(parts: list[tuple[str, str, Callable[..., Any], Any]]) -> dict[str, Any]:
    """Of each part: its step in the path, its key, its hook and its value."""
    if _nesting.depth >= MAX_DEPTH:
        raise _too_deep()
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


# --- from an annotation to its codec --------------------------------------------------------------

_ALIAS = getattr(typing, "TypeAliasType", ())  # Python 3.12's `type X = ...`
_WRAPPERS = (typing.Final, typing.ClassVar, typing.Required, typing.NotRequired)


def _bare(annotation: Any) -> Any:
    """Without what tells a type checker or a reader more than it tells JSON."""
    if annotation is None:
        return _NoneType
    if annotation is object or annotation in (typing.Final, typing.ClassVar):
        return Any
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(annotation.__origin__)
    if typing.get_origin(annotation) in _WRAPPERS:
        return _bare(typing.get_args(annotation)[0])
    return annotation


def _compile(annotation: Any) -> Codec | None:
    """The strict codec of this annotation, or None if it is not one of ours."""
    origin, args = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if annotation is Any:
        return Codec(_plain, _plain)
    if origin is Literal:
        return _literal(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(annotation)
    if isinstance(annotation, typing.NewType):
        return codec(annotation.__supertype__)
    if isinstance(annotation, typing.TypeVar):
        return codec(_stands_for(annotation))
    if isinstance(origin, _ALIAS):
        return _alias(annotation, origin)
    if annotation in _NATIVE:
        return Codec(_NATIVE[annotation], _NATIVE[annotation])
    return _TEXT.get(annotation) or _compile_class(annotation, origin, args)


def _compile_class(annotation: Any, origin: Any, args: tuple[Any, ...]) -> Codec | None:
    if _has_fields(origin):
        shape = _Class(annotation)
        return Codec(shape.dump, shape.load)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum(annotation)
    if isinstance(annotation, type) and issubclass(annotation, pathlib.PurePath):
        return _text(annotation, str, annotation)
    return _container(annotation, origin, args)


def _stands_for(variable: typing.TypeVar) -> Any:
    if variable.__constraints__:
        return typing.Union[variable.__constraints__]  # noqa: UP007 - of a tuple
    return Any if variable.__bound__ is None else variable.__bound__


def _alias(annotation: Any, alias: Any) -> Codec:
    # At first use, and counted as a level: an alias may be made of itself.
    @functools.cache
    def target() -> Codec:
        return codec(_substituted(alias.__value__, _type_arguments(annotation)))

    def nested(side: int) -> Callable[..., Any]:
        return lambda value, _=None: _converted([("", "", target()[side], value)])[""]

    return Codec(nested(0), nested(1))


def _foreign(annotation: Any) -> Codec:
    """For a class that nobody has taught us."""

    def dump(value: Any, _: Any = None) -> Any:
        if not isinstance(annotation, type):
            problem = f"JSON cannot carry values of {_shown(annotation)}; annotate it as plain data"
            raise Misfit(problem, carried=False)
        raise _uncarried(value) if isinstance(value, annotation) else _expected(annotation, value)

    def load(plain: Any, _: Any = None) -> Any:
        raise _expected(annotation, plain)

    return Codec(dump, load)


def _strict(annotation: Any) -> Codec:
    return _compile(_bare(annotation)) or _foreign(annotation)


converter = cattrs.Converter(detailed_validation=False, forbid_extra_keys=True)


def _bridge_dump(value: Any) -> Any:
    return codec(type(value)).dump(value)


def _bridge_load(plain: Any, annotation: Any) -> Any:
    return codec(annotation).load(plain)


# cattrs asks its table of classes before any factory: an Enum of str is a str there.
for _class in (str, int, float, bytes, pathlib.Path):
    converter.register_unstructure_hook(_class, _bridge_dump)
    converter.register_structure_hook(_class, _bridge_load)
converter.register_unstructure_hook_factory(lambda _: True, lambda kind: _ours(_strict(kind).dump))
converter.register_structure_hook_factory(lambda _: True, lambda kind: _ours(_strict(kind).load))

_OURS: set[Any] = {_bridge_dump, _bridge_load}


def _ours(hook: Callable[..., Any]) -> Callable[..., Any]:
    _OURS.add(hook)
    return hook


_codecs: dict[Any, Codec] = {}


def codec(annotation: Any) -> Codec:
    """The two hooks for values of this annotation: what `dump` and `load` are made of."""
    try:
        known = _codecs.get(annotation)
    except TypeError:  # unhashable: Annotated[int, []]
        return _strict(annotation)
    if known is None:
        known = _codecs[annotation] = _with_registered(annotation, _strict(annotation))
    return known


def _with_registered(annotation: Any, strict: Codec) -> Codec:
    """Hooks that somebody has registered on the converter win; what they write is verified."""
    unstructure = converter.get_unstructure_hook(annotation)
    structure = converter.get_structure_hook(annotation)
    dump, load = strict
    if unstructure not in _OURS:
        dump = _guarded(lambda value: _plain(unstructure(value)))
    if structure not in _OURS:
        load = _guarded(lambda plain: structure(plain, annotation))
    return Codec(dump, load)


def _guarded(hook: Callable[[Any], Any]) -> Callable[..., Any]:
    def guarded(value: Any, _: Any = None) -> Any:
        try:
            return hook(value)
        except ActorqError:
            raise
        except Exception as error:
            raise _crashed(error) from error

    return guarded


# --- the four functions ---------------------------------------------------------------------------


def dump(value: Any, annotation: Any = Any) -> Any:
    """Plain JSON data in containers of its own, or `NotSerializable` with the path."""
    try:
        return codec(annotation).dump(value)
    except (Misfit, RecursionError) as error:
        raise NotSerializable(_told(error)) from error.__cause__


def load(plain: Any, annotation: Any = Any) -> Any:
    """The value that `dump` was given, or `EnvelopeError` with the path."""
    try:
        return codec(annotation).load(plain)
    except (Misfit, RecursionError) as error:
        raise EnvelopeError(_told(error)) from error.__cause__


def dumper(annotation: Any) -> Callable[[Any], Any]:
    """`dump` for one annotation, which is looked up once."""
    hook = codec(annotation).dump

    def dump_it(value: Any) -> Any:
        try:
            return hook(value)
        except (Misfit, RecursionError) as error:
            raise NotSerializable(_told(error)) from error.__cause__

    return dump_it


def loader(annotation: Any) -> Callable[[Any], Any]:
    """`load` for one annotation, which is looked up once."""
    hook = codec(annotation).load

    def load_it(plain: Any) -> Any:
        try:
            return hook(plain)
        except (Misfit, RecursionError) as error:
            raise EnvelopeError(_told(error)) from error.__cause__

    return load_it
