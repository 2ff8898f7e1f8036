"""The schedule source of one file keeps the contract of all sources."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import actorq
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


async def test_a_schedule_that_cannot_be_read_holds_up_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One that a newer version has stored, say: it is said, and may be added again."""
    caplog.set_level("INFO", logger="actorq")
    broker = actorq.SQLiteBroker(tmp_path / "queue.db")

    @broker.task
    async def sweep() -> None:
        """Nothing."""

    async with actorq.open_system(broker, role="client") as system:
        for name in ("one", "two"):
            await system.schedules.add(sweep, actorq.every(60), schedule_id=name)
        with sqlite3.connect(tmp_path / "queue.db") as connection:
            connection.execute("update actorq_schedules set state = '{}' where id = 'one'")
        connection.close()
        assert [each.schedule_id for each in await system.schedules.list()] == ["two"]
        assert "schedule 'one' cannot be read" in caplog.text
        assert await system.schedules.get("one") is None
        await system.schedules.add(sweep, actorq.every(60), schedule_id="one")
        assert {each.schedule_id for each in await system.schedules.list()} == {"one", "two"}
        assert await system.schedules.remove("one")
