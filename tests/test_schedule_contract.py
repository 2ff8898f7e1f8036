"""The contract of schedule sources: the one in memory keeps it, and the example does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from actorq import InMemoryScheduleSource
from actorq.testing.contracts.schedules import ScheduleSourceContract


def loaded(name: str) -> Any:
    """An example, which may import others."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[0]


class TestInMemoryScheduleSource(ScheduleSourceContract):
    factory = InMemoryScheduleSource


TestFileScheduleSource = loaded("proving_stores").TestFileScheduleSource  # the example
