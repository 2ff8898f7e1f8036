"""Classes of messages: how a fault says which it is about."""

from __future__ import annotations

from typing import Any


#: A class of messages, or some.
Kinds = type[Any] | tuple[type[Any], ...]


def kinds_of(of: object) -> tuple[type[Any], ...] | None:
    """The classes; None for all."""
    if of is None:
        return None
    found: tuple[Any, ...] = of if isinstance(of, tuple) else (of,)
    for each in found:
        if not isinstance(each, type):
            raise TypeError(
                f"of= expects the class of a message, such as of=Enqueue, or several in a tuple; "
                f"got {each!r}"
            )
    if not found:
        raise TypeError("of=() names no message; leave it out for all")
    return found


def name_of(of: Kinds | None) -> str:
    """As it is written in a program."""
    if of is None:
        return "None"
    if isinstance(of, tuple):
        return f"({', '.join(each.__name__ for each in of)},)"
    return of.__name__
