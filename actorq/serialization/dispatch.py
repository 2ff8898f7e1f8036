"""From an annotation to its codec: which of the makers is for it."""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from typing import Any, Literal

from actorq.serialization.annotations import bare, has_fields, is_model, origin_of, stands_for
from actorq.serialization.choices import enumeration, literal, union
from actorq.serialization.classes import alias, class_with_fields
from actorq.serialization.containers import container
from actorq.serialization.hook import Codec, CodecOf
from actorq.serialization.misfit import Misfit, expected, shown
from actorq.serialization.models import model
from actorq.serialization.plain import plain, uncarried
from actorq.serialization.scalars import SCALARS
from actorq.serialization.text import TEXTS, text


_LITERAL_STRING: Any = typing.LiteralString
_ALIAS = getattr(typing, "TypeAliasType", ())  # Python 3.12's `type X = ...`


def strict(annotation: Any, codec_of: CodecOf) -> Codec:
    """The strict codec of this annotation; *codec_of* finds those of the annotations inside it."""
    annotation = bare(annotation)
    return _ours(annotation, codec_of) or _foreign(annotation)


def is_known(annotation: Any, codec_of: CodecOf) -> bool:
    """Whether values of this annotation have a codec of ours."""
    return _ours(bare(annotation), codec_of) is not None


def _ours(annotation: Any, codec_of: CodecOf) -> Codec | None:
    origin = origin_of(annotation)
    if annotation is Any:
        return Codec(plain, plain)
    if origin is Literal:
        return literal(annotation, codec_of)
    if origin in (typing.Union, types.UnionType):
        return union(annotation, codec_of)
    if isinstance(annotation, typing.NewType):
        return codec_of(annotation.__supertype__)
    if isinstance(annotation, typing.TypeVar):
        return codec_of(stands_for(annotation))
    if isinstance(origin, _ALIAS):
        return alias(annotation, codec_of)
    if annotation in SCALARS:
        return Codec(SCALARS[annotation], SCALARS[annotation])
    if annotation is _LITERAL_STRING:
        return Codec(SCALARS[str], SCALARS[str])
    return TEXTS.get(annotation) or _class(annotation, origin, codec_of)


def _class(annotation: Any, origin: Any, codec_of: CodecOf) -> Codec | None:
    if is_model(annotation):
        return model(annotation)
    if has_fields(origin):
        return class_with_fields(annotation, codec_of)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return enumeration(annotation)
    if isinstance(annotation, type) and issubclass(annotation, pathlib.PurePath):
        return text(annotation, str, annotation)
    return container(annotation, origin, typing.get_args(annotation), codec_of)


def _foreign(annotation: Any) -> Codec:
    """For a class that nobody has taught us."""

    def dump(value: Any, _: Any = None) -> Any:
        if not isinstance(annotation, type):
            problem = f"JSON cannot carry values of {shown(annotation)}; annotate it as plain data"
            raise Misfit(problem, carried=False)
        raise uncarried(value) if isinstance(value, annotation) else expected(annotation, value)

    def load(plain: Any, _: Any = None) -> Any:
        raise expected(annotation, plain)

    return Codec(dump, load)
