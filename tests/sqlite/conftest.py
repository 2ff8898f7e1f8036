"""A file for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from actorq.engines.sqlite.storage import SQLiteStorage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where no file is yet."""
    return tmp_path / "queue.db"


@pytest.fixture
async def storage(path: Path, nursery: trio.Nursery) -> AsyncIterator[SQLiteStorage]:
    """An open one."""
    storage = SQLiteStorage(path)
    await storage.open()
    yield storage
    await storage.close()
