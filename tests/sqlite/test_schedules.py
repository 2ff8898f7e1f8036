"""The schedule source of one file keeps the contract of all sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.engines.sqlite.schedules import SQLiteScheduleSource
from actorq.engines.sqlite.storage import SQLiteStorage
from actorq.schedule_source import ScheduleSource
from actorq.testing.contracts.schedules import ScheduleSourceContract


pytestmark = pytest.mark.engine


def in_folder(folder: Path) -> ScheduleSource:
    """Fast: the contract kills no machine."""
    return SQLiteScheduleSource(SQLiteStorage(folder / "schedules.db", synchronous="off"))


class TestSQLiteScheduleSource(ScheduleSourceContract):
    factory = in_folder
