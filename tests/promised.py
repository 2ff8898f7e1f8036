"""Our convention: a test's docstring begins with the numbers of the promises that it is about."""

from __future__ import annotations

import inspect
import re


def promises_in(docstring: str | None) -> list[int]:
    """Those numbers; what has a letter before it is a statement of docs/parity.md."""
    head = re.match(r"([\dA-Z, ]+)([.:]|$)", inspect.cleandoc(docstring or ""), re.MULTILINE)
    parts = [] if head is None else head[1].split(", ")
    return [int(part) for part in parts if part.isdecimal()]
