"""The contract of result backends: ours keep it, and the example does; what one lacks is skipped."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from actorq import DummyResultBackend, InMemoryResultBackend, ResultBackend, TaskResult
from actorq.actors import result_backend
from actorq.actors.result_backend import News
from actorq.errors import EngineUnavailable
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


class FailsFirst(OnDisk):
    """Cannot say what is new when it is asked first."""

    error: Exception = OSError("not now")
    failures = 1

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """After that."""
        if self.failures:
            self.failures -= 1
            raise self.error
        return await super().news(awaited, read)


class IsAway(FailsFirst):
    """As the storage is for a while."""

    error = EngineUnavailable("not now")
    failures = 3


@pytest.mark.parametrize("failing", [FailsFirst, IsAway])
def test_a_storage_that_cannot_say_what_is_new_is_asked_again(
    failing: type[FailsFirst],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """43: nobody else would say that there is something.  It is logged once, however long that takes."""
    monkeypatch.setattr(result_backend, "LOOK_PAUSE", 0.01)

    async def main() -> None:
        async with (
            open_results(failing(tmp_path)) as one,
            open_results(OnDisk(tmp_path)) as other,
        ):
            waiter = await one.waiter("a")
            await other.put("a", TaskResult(return_value=1))
            assert await soon(lambda: not waiter.waits)
            assert waiter.result == TaskResult(return_value=1)

    caplog.set_level("ERROR", logger="actorq")
    run_in_real_time(main)
    assert caplog.text.count("asking again") == 1
