"""The contract of schedule sources: the one in memory keeps it, and the example does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from actorq import InMemoryScheduleSource, ScheduleSource
from actorq.testing.contracts.schedules import ScheduleSourceContract


EXAMPLES = str(Path(__file__).parents[1] / "examples")


class TestInMemoryScheduleSource(ScheduleSourceContract):
    factory = InMemoryScheduleSource


def in_files(folder: Path) -> ScheduleSource:
    """The example."""
    sys.path.insert(0, EXAMPLES)
    try:
        example: Any = importlib.import_module("file_schedule_source")
    finally:
        sys.path.remove(EXAMPLES)
    made: ScheduleSource = example.FileScheduleSource(folder / "schedules")
    return made


class TestFileScheduleSource(ScheduleSourceContract):
    factory = in_files
