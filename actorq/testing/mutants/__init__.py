"""Mutants: engines, result backends and schedule sources that break one promise each.

What shows that the contracts would notice: `python -m actorq.testing report` lists which test caught
which.
"""

from __future__ import annotations

import importlib
from typing import Any

from actorq.testing.mutants.mutant import Mutant


__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...]

#: Where they are.
_TUPLES = {"brokers": "BROKERS", "results": "RESULTS", "schedules": "SCHEDULES"}


def __getattr__(name: str) -> Any:
    """`MUTANTS`, all of them: imported when it is asked for."""
    if name == "MUTANTS":
        return tuple(
            [
                mutant
                for module, found in _TUPLES.items()
                for mutant in getattr(importlib.import_module(f"{__name__}.{module}"), found)
            ]
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
