"""The converter, and the functions round it that everybody calls.

Hooks that somebody has registered on the converter win over ours; codecs are kept once compiled.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import cattrs

from actorq.errors import EnvelopeError, NotSerializable
from actorq.serialization.annotations import bare
from actorq.serialization.dispatch import is_known, strict
from actorq.serialization.hook import Codec, Hook, guarded
from actorq.serialization.misfit import Misfit, told
from actorq.serialization.plain import plain


converter = cattrs.Converter(detailed_validation=False, forbid_extra_keys=True)

_codecs: dict[Any, Codec] = {}


def codec(annotation: Any) -> Codec:
    """The two hooks for values of this annotation: what `dump` and `load` are made of."""
    try:
        known = _codecs.get(annotation)
    except TypeError:  # unhashable: Annotated[int, []]
        return strict(annotation, codec)
    if known is None:
        known = _codecs[annotation] = _with_registered(annotation, strict(annotation, codec))
    return known


def carries(annotation: Any) -> bool:
    """Whether JSON can carry values of this annotation: by our codecs, or by registered hooks."""
    return (
        is_known(annotation, codec) or converter.get_unstructure_hook(bare(annotation)) not in _OURS
    )


# --- inside cattrs ---


def _bridge_dump(value: Any) -> Any:
    return codec(type(value)).dump(value)


def _bridge_load(plain: Any, annotation: Any) -> Any:
    return codec(annotation).load(plain)


_OURS: set[Hook] = {_bridge_dump, _bridge_load}


def _ours(hook: Hook) -> Hook:
    _OURS.add(hook)
    return hook


# cattrs asks its table of classes before any factory: an Enum of str is a str there.
for _class in (str, int, float, bytes, pathlib.Path):
    converter.register_unstructure_hook(_class, _bridge_dump)
    converter.register_structure_hook(_class, _bridge_load)
converter.register_unstructure_hook_factory(
    lambda _: True, lambda kind: _ours(strict(kind, codec).dump)
)
converter.register_structure_hook_factory(
    lambda _: True, lambda kind: _ours(strict(kind, codec).load)
)


def _with_registered(annotation: Any, ours: Codec) -> Codec:
    """Hooks that somebody has registered on the converter win; what they write is verified."""
    unstructure = converter.get_unstructure_hook(annotation)
    structure = converter.get_structure_hook(annotation)
    dump, load = ours
    if unstructure not in _OURS:
        dump = guarded(lambda value: plain(unstructure(value)))
    if structure not in _OURS:
        load = guarded(lambda plain: structure(plain, annotation))
    return Codec(dump, load)


# --- what everybody calls ---


def plain_data(value: Any, *, spare: int = 0) -> Any:
    """A copy of what is plain data already, or `NotSerializable` with the path.

    *spare*: levels of an envelope round the values, which do not count for their depth.
    """
    try:
        return plain(value, spare=spare)
    except (Misfit, RecursionError) as error:
        raise NotSerializable(told(error)) from error.__cause__


def dump(value: Any, annotation: Any = Any) -> Any:
    """Plain JSON data in containers of its own, or `NotSerializable` with the path."""
    try:
        return codec(annotation).dump(value)
    except (Misfit, RecursionError) as error:
        raise NotSerializable(told(error)) from error.__cause__


def load(plain: Any, annotation: Any = Any) -> Any:
    """The value that `dump` was given, or `EnvelopeError` with the path."""
    try:
        return codec(annotation).load(plain)
    except (Misfit, RecursionError) as error:
        raise EnvelopeError(told(error)) from error.__cause__


def dumper(annotation: Any) -> Callable[[Any], Any]:
    """`dump` for one annotation, which is looked up once."""
    hook = codec(annotation).dump

    def dump_it(value: Any) -> Any:
        try:
            return hook(value)
        except (Misfit, RecursionError) as error:
            raise NotSerializable(told(error)) from error.__cause__

    return dump_it


def loader(annotation: Any) -> Callable[[Any], Any]:
    """`load` for one annotation, which is looked up once."""
    hook = codec(annotation).load

    def load_it(plain: Any) -> Any:
        try:
            return hook(plain)
        except (Misfit, RecursionError) as error:
            raise EnvelopeError(told(error)) from error.__cause__

    return load_it
