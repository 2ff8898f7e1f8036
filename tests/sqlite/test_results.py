"""The result backend of one file keeps the contract of all backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq import ResultBackend
from actorq.engines.sqlite.results import SQLiteResultBackend
from actorq.engines.sqlite.storage import SQLiteStorage
from actorq.testing.contracts.results import ResultBackendContract


pytestmark = pytest.mark.engine


def in_folder(folder: Path) -> ResultBackend:
    """Fast: the contract kills no machine."""
    return SQLiteResultBackend(SQLiteStorage(folder / "results.db", synchronous="off"))


class TestSQLiteResultBackend(ResultBackendContract):
    factory = in_folder
