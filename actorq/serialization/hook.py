"""The hook: a function from a value to plain data or back; and the codec, which is a pair of them.

A hook raises `Misfit`.  Its second parameter is the type that cattrs passes to a structure hook.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from actorq.errors import ActorqError
from actorq.serialization.misfit import Misfit, crashed


Hook = Callable[..., Any]


class Codec(NamedTuple):
    """The two directions of one annotation; both raise `Misfit`."""

    dump: Hook
    load: Hook


#: Finds the codec of an annotation.  Given to the makers of codecs, which need it for the
#: annotations inside theirs, and which it calls: so that neither imports the other.
CodecOf = Callable[[Any], Codec]


def fits(hook: Hook, value: Any) -> bool:
    """Whether the hook takes the value."""
    try:
        hook(value)
    except Misfit:
        return False
    return True


def guarded(hook: Callable[[Any], Any]) -> Hook:
    """A user's hook, whose own errors say that the value does not fit."""

    def convert(value: Any, _: Any = None) -> Any:
        try:
            return hook(value)
        except ActorqError:
            raise
        except Exception as error:
            raise crashed(error) from error

    return convert
