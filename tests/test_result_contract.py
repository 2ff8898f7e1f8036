"""The contract of result backends: ours keep it, and the example does; what one lacks is skipped."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from actorq import DummyResultBackend, InMemoryResultBackend, ResultBackend
from actorq.testing.contracts.results import ResultBackendContract


def loaded(name: str) -> Any:
    """An example, which may import others."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[0]


class TestInMemoryResultBackend(ResultBackendContract):
    factory = InMemoryResultBackend


def encoded() -> ResultBackend:
    """In memory, as bytes."""
    return InMemoryResultBackend(encoded=True)


class TestEncodedResultBackend(ResultBackendContract):
    factory = encoded


TestFileResultBackend = loaded("proving_stores").TestFileResultBackend  # the example


class TestDummyResultBackend(ResultBackendContract):
    factory = DummyResultBackend
