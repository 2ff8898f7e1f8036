"""The contract of result backends: ours keep it, and the example does; what one lacks is skipped."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from actorq import DummyResultBackend, InMemoryResultBackend, ResultBackend
from actorq.testing.contracts.results import ResultBackendContract


EXAMPLES = str(Path(__file__).parents[1] / "examples")


class TestInMemoryResultBackend(ResultBackendContract):
    factory = InMemoryResultBackend


def encoded() -> ResultBackend:
    """In memory, as bytes."""
    return InMemoryResultBackend(encoded=True)


class TestEncodedResultBackend(ResultBackendContract):
    factory = encoded


def in_files(folder: Path) -> ResultBackend:
    """The example."""
    sys.path.insert(0, EXAMPLES)
    try:
        example: Any = importlib.import_module("file_result_backend")
    finally:
        sys.path.remove(EXAMPLES)
    made: ResultBackend = example.FileResultBackend(folder / "results")
    return made


class TestFileResultBackend(ResultBackendContract):
    factory = in_files


class TestDummyResultBackend(ResultBackendContract):
    factory = DummyResultBackend
