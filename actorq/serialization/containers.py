"""Containers: lists, tuples, sets and dicts of what their annotation says."""

from __future__ import annotations

import collections
import json
import types
from typing import Any

from actorq.serialization.annotations import COLLECTIONS, MAPPINGS
from actorq.serialization.hook import Codec, CodecOf, Hook, fits
from actorq.serialization.misfit import Misfit, crashed, expected, shown, shown_value, step
from actorq.serialization.plain import plain, scalar, string_key
from actorq.serialization.scalars import integer, string


def container(
    annotation: Any, origin: Any, args: tuple[Any, ...], codec_of: CodecOf
) -> Codec | None:
    """The codec of a container, or None if it is none."""
    if origin is tuple:
        if args and args[-1] is not Ellipsis:
            return _fixed_tuple(annotation, [codec_of(item) for item in args])
        if annotation == tuple[()]:
            return _fixed_tuple(annotation, [])
        return _many(annotation, codec_of(args[0] if args else Any), tuple, tuple)
    if origin in COLLECTIONS:
        return _many(annotation, codec_of(args[0] if args else Any), *COLLECTIONS[origin])
    if origin in MAPPINGS:
        if origin is collections.Counter:
            args = (*(args or (Any,)), int)
        key, value = args or (Any, Any)
        return _mapping(annotation, _key(key, codec_of(key)), codec_of(value), MAPPINGS[origin])
    return None


def _many(annotation: Any, item: Codec, accepts: Any, make: Any) -> Codec:
    if make in (set, frozenset) and item.dump is plain:
        item = Codec(scalar, scalar)
    return Codec(
        _each(annotation, accepts, item.dump, list), _each(annotation, list, item.load, make)
    )


def _each(annotation: Any, accepts: Any, item: Hook, make: Any) -> Hook:
    def hook(value: Any, _: Any = None) -> Any:
        if not isinstance(value, accepts):
            raise expected(annotation, value)
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
            raise crashed(error) from None
        if len(made) != len(out):
            raise Misfit(f"expected {shown(annotation)}, got a list in which an item comes twice")
        return made

    return hook


def _fixed_tuple(annotation: Any, items: list[Codec]) -> Codec:
    def hook(accepts: Any, hooks: list[Hook], make: Any) -> Hook:
        def convert(value: Any, _: Any = None) -> Any:
            if not isinstance(value, accepts) or len(value) != len(hooks):
                raise expected(annotation, value)
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
        hook(tuple, [both.dump for both in items], list),
        hook(list, [both.load for both in items], tuple),
    )


def _key(annotation: Any, both: Codec) -> Codec:
    """A key is text in JSON: a str as it is, another scalar as JSON writes it."""
    if both.dump is string:
        return Codec(string, string)
    if both.dump is plain:
        return Codec(string_key, string_key)

    def dump(key: Any) -> str:
        written = both.dump(key)
        text = written if isinstance(written, str) else json.dumps(scalar(written))
        if both.dump is integer:
            return text
        back = load(text)
        if back != key or type(back) is not type(key):
            raise Misfit(f"as a key, JSON cannot tell {shown_value(key)} from {back!r}")
        return text

    def load(text: str) -> Any:
        if both.dump is not integer and fits(both.load, text):
            return both.load(text)
        read = None
        try:
            read = json.loads(text)
            canonical = json.dumps(read) == text
        except (ValueError, RecursionError):
            canonical = False
        if not canonical:  # "01" and " 1" would be the key "1" once more
            raise expected(annotation, text)
        return both.load(read)

    return Codec(dump, load)


def _mapping(annotation: Any, keys: Codec, values: Codec, make: Any) -> Codec:
    def hook(convert_key: Hook, convert: Hook, make: Any) -> Hook:
        def convert_dict(value: Any, _: Any = None) -> Any:
            if not isinstance(value, (dict, types.MappingProxyType)):
                raise expected(annotation, value)
            out = make()
            name: Any = None
            try:
                for name, item in value.items():
                    out[convert_key(name)] = convert(item)
            except Misfit as misfit:
                misfit.steps.append(step(name))
                raise
            return out

        return convert_dict

    return Codec(hook(keys.dump, values.dump, dict), hook(keys.load, values.load, make))
