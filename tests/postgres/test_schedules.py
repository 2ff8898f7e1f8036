"""Schedules in PostgreSQL: the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.engines.postgres.schedules import PostgresScheduleSource
from actorq.schedule_source import ScheduleSource
from actorq.testing.contracts.schedules import ScheduleSourceContract

from .here import storage_in


pytestmark = pytest.mark.engine


def in_folder(folder: Path) -> ScheduleSource:
    """In the schema that stands for the folder."""
    return PostgresScheduleSource(storage_in(folder))


class TestPostgresScheduleSource(ScheduleSourceContract):
    factory = in_folder
