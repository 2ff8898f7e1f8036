"""The misfit: what went wrong, and where; and the words in which it is told.

Raised by a hook, caught by the containers on its way up, which add their step to its path.
"""

from __future__ import annotations

import reprlib
import typing
from typing import Any

from actorq.errors import ActorqError


MAX_DEPTH = 100  #: of nested containers or classes; json itself gives up between 300 and 1000


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


def expected(annotation: Any, value: Any) -> Misfit:
    """A value of another type, or with another value, than the annotation says."""
    got = "None" if value is None else f"{type(value).__name__} {shown_value(value)}"
    return Misfit(f"expected {shown(annotation)}, got {got}")


def crashed(error: Exception) -> Misfit:
    """The user's code raised this."""
    return Misfit(f"{type(error).__name__}: {error}")


def too_deep() -> Misfit:
    """One level more than JSON can be trusted with."""
    return Misfit(f"nested deeper than {MAX_DEPTH} levels, or it contains itself", carried=False)


def told(error: Exception) -> str:
    """A hook's error in words."""
    # A caller near the interpreter's limit runs into that before it meets ours.
    return str(error if isinstance(error, Misfit) else too_deep())


def step(key: Any) -> str:
    """One step of a path, into a dict."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{shown_value(key)}]"


def shown(annotation: Any) -> str:
    """An annotation as its author wrote it."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def shown_value(value: Any) -> str:
    """A value, shortened."""
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - __repr__ is the user's, and a huge int has none
        return "<no repr>"
