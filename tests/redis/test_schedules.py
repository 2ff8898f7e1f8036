"""The schedule source of a Redis server keeps the contract of all sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.engines.redis.schedules import RedisScheduleSource
from actorq.schedule_source import ScheduleSource
from actorq.testing.contracts.schedules import ScheduleSourceContract

from .here import storage_of


pytestmark = pytest.mark.engine


def in_namespace(folder: Path) -> ScheduleSource:
    """One for each folder."""
    return RedisScheduleSource(storage_of(folder))


class TestRedisScheduleSource(ScheduleSourceContract):
    factory = in_namespace
