"""One of several: Literal, Enum and Union."""

from __future__ import annotations

import enum
import typing
from collections.abc import Iterable
from typing import Any, NamedTuple

from actorq.serialization.annotations import bare, origin_of, width
from actorq.serialization.hook import Codec, CodecOf, Hook, fits
from actorq.serialization.misfit import Misfit, expected, shown
from actorq.serialization.plain import scalar
from actorq.serialization.scalars import SCALARS, integer, number


def literal(annotation: Any, codec_of: CodecOf) -> Codec:
    """One of the values that the annotation names."""
    values = typing.get_args(annotation)
    return _table(annotation, [(value, codec_of(type(value)).dump(value)) for value in values])


def enumeration(kind: Any) -> Codec:
    """A member, by its value if JSON can carry all of them, else by its name."""
    if issubclass(kind, enum.Flag):  # its combinations are not in the list of members
        return _flags(kind)
    try:
        return _table(kind, [(member, scalar(member.value)) for member in kind])
    except Misfit:  # values such as tuples: then the names tell
        return _table(kind, [(member, member.name) for member in kind])


def _table(annotation: Any, pairs: Iterable[tuple[Any, Any]]) -> Codec:
    """Look a value up among *(value, plain)*; by type too, for `1 == True == 1.0`."""
    dumps = {(type(value), value): plain for value, plain in pairs}
    loads = {(type(plain), plain): key[1] for key, plain in dumps.items()}

    def lookup(table: dict[Any, Any]) -> Hook:
        def hook(value: Any, _: Any = None) -> Any:
            try:
                return table[type(value), value]
            except (KeyError, TypeError):
                raise expected(annotation, value) from None

        return hook

    return Codec(lookup(dumps), lookup(loads))


def _flags(kind: Any) -> Codec:
    def dump(value: Any, _: Any = None) -> int:
        if not isinstance(value, kind):
            raise expected(kind, value)
        return integer(value.value)

    def load(plain: Any, _: Any = None) -> Any:
        try:
            return kind(integer(plain))
        except ValueError:
            raise expected(kind, plain) from None

    return Codec(dump, load)


def union(annotation: Any, codec_of: CodecOf) -> Codec:
    """Take JSON's own types by their type, then the other members in one fixed order.

    `A | B` equals `B | A`, and caches know no more: so the order must not be the written one.
    """
    members = [bare(member) for member in typing.get_args(annotation)]
    exact = {member: SCALARS[member] for member in members if member in SCALARS}
    # Fewest fields first: all are written, and one too many is refused, where a default is not.
    rest = sorted(
        (member for member in members if member not in exact),
        key=lambda member: (member is Any, width(member), repr(member)),
    )
    both = _Union(annotation, exact, [_Member(origin_of(m), *codec_of(m)) for m in rest])
    return Codec(both.dump, both.load)


class _Member(NamedTuple):
    kind: Any
    dump: Hook
    load: Hook


class _Union:
    def __init__(self, annotation: Any, exact: dict[Any, Hook], others: list[_Member]) -> None:
        self.annotation = annotation
        self.exact = exact
        self.others = others
        #: what one member wrote, no other would take
        self.sure = not others or (len(others) == 1 and not exact.keys() - {type(None)})

    def dump(self, value: Any, _: Any = None) -> Any:
        kind = type(value)
        if kind in self.exact:
            return self.exact[kind](value)
        lesson = None
        for member in sorted(self.others, key=lambda member: member.kind is not kind):
            try:
                plain = member.dump(value)
            except Misfit as misfit:
                if member.kind is kind and lesson is None:
                    lesson = misfit
                continue
            if self.sure or self._comes_back(member, plain, value):
                return plain
            raise Misfit(
                f"JSON cannot tell this {kind.__name__} from another member of "
                f"{shown(self.annotation)}; give the classes a Literal field that differs, "
                "or annotate one type",
                carried=False,
            )
        return self._dump_as_scalar(value, lesson)

    def _dump_as_scalar(self, value: Any, lesson: Misfit | None) -> Any:
        for hook in self.exact.values():
            try:
                return hook(value)
            except Misfit as misfit:
                lesson = lesson or (None if misfit.carried else misfit)
        raise lesson or expected(self.annotation, value)

    def _comes_back(self, member: _Member, plain: Any, value: Any) -> bool:
        # All that is asked of the member is to read what it wrote: a class may have no ==.
        if type(plain) not in self.exact:
            for other in self.others:
                if other is member:
                    return True
                if fits(other.load, plain):
                    return False
        return type(plain) is type(value) and bool(plain == value)

    def load(self, plain: Any, _: Any = None) -> Any:
        if type(plain) in self.exact:
            return self.exact[type(plain)](plain)
        lesson = None
        for member in self.others:
            try:
                return member.load(plain)
            except Misfit as misfit:
                lesson = misfit
        if float in self.exact and type(plain) is int:
            return number(plain)
        if lesson is None or not lesson.steps or len(self.others) != 1:
            lesson = expected(self.annotation, plain)
        raise lesson
