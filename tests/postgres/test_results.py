"""Results in PostgreSQL: the contract, and what is this engine's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.actors.result_backend import ResultBackend
from actorq.engines.postgres.results import PostgresResultBackend
from actorq.testing.contracts.results import ResultBackendContract

from .here import storage_in


pytestmark = pytest.mark.engine


def in_folder(folder: Path) -> ResultBackend:
    """In the schema that stands for the folder."""
    return PostgresResultBackend(storage_in(folder))


class TestPostgresResultBackend(ResultBackendContract):
    factory = in_folder
