"""The contract of result backends: ours keep it, and the example does; what one lacks is skipped."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from actorq import DummyResultBackend, InMemoryResultBackend, ResultBackend, TaskResult
from actorq.actors.result_backend import News
from actorq.testing.contracts.real_time import run_in_real_time
from actorq.testing.contracts.result_sharing import soon
from actorq.testing.contracts.result_users import open_results
from actorq.testing.contracts.results import ResultBackendContract
from actorq.testing.mutants.results import OnDisk


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


class FailsOnce(OnDisk):
    """Cannot say what is new when it is asked first."""

    failures = 0

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """The second time."""
        self.failures += 1
        if self.failures == 1:
            raise OSError("not now")
        return await super().news(awaited, read)


def test_a_storage_that_cannot_say_what_is_new_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """43: nobody else would say that there is something."""

    async def main() -> None:
        async with (
            open_results(FailsOnce(tmp_path)) as one,
            open_results(OnDisk(tmp_path)) as other,
        ):
            waiter = await one.waiter("a")
            await other.put("a", TaskResult(return_value=1))
            assert await soon(lambda: not waiter.waits)
            assert waiter.result == TaskResult(return_value=1)

    caplog.set_level("ERROR", logger="actorq")
    run_in_real_time(main)
    assert "asking again" in caplog.text
