"""The result table and the two built-in result backends.

The table is pure and belongs to the backend object, so it outlives incarnations (promise 28).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import attrs

from actorq.actors.result_backend import ResultBackend
from actorq.capability import Capability
from actorq.errors import ResultGetError, StaleResult
from actorq.progress import TaskProgress
from actorq.result import TaskResult


#: Evicted ids that are remembered, so that a waiter hears of it at once.
EVICTED_KEPT = 100_000


@attrs.define
class ResultTable:
    """The most recent results; the oldest goes when there are more than `limit` (-1: never)."""

    limit: int
    results: OrderedDict[str, TaskResult[Any]] = attrs.field(factory=OrderedDict)
    progress: dict[str, TaskProgress] = attrs.field(factory=dict)
    gone: OrderedDict[str, bool] = attrs.field(factory=OrderedDict)  #: True: evicted, not deleted
    forgotten: int = 0  #: evicted ids that are not even remembered as such

    def put(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store; replacing a result evicts nothing."""
        self.results[task_id] = result
        if self.gone:
            self.gone.pop(task_id, None)
        if self.limit != -1 and len(self.results) > self.limit:
            oldest, _ = self.results.popitem(last=False)
            self.progress.pop(oldest, None)
            self._note_gone(oldest, evicted=True)

    def delete(self, task_id: str) -> None:
        """Forget a result and its progress."""
        self.progress.pop(task_id, None)
        if self.results.pop(task_id, None) is not None:
            self._note_gone(task_id, evicted=False)

    def _note_gone(self, task_id: str, *, evicted: bool) -> None:
        self.gone[task_id] = evicted
        if len(self.gone) > EVICTED_KEPT:
            self.gone.popitem(last=False)
            self.forgotten += 1


class InMemoryResultBackend(ResultBackend):
    """Keeps the most recent results in this process.

    *max_stored_results*: how many (100 unless told; -1: all).  Who waits for a result that was evicted
    gets a `ResultGetError` at once.  A waiter that was there before the result always gets it.
    *encoded*: keep them as bytes, as backends outside the process do.
    *table*: go on with what an earlier backend left there.
    """

    lacks = frozenset({Capability.SURVIVAL, Capability.SHARING})

    def __init__(
        self,
        max_stored_results: int = 100,
        *,
        encoded: bool = False,
        table: ResultTable | None = None,
    ) -> None:
        if isinstance(max_stored_results, bool) or not isinstance(max_stored_results, int):
            raise TypeError(
                f"max_stored_results expects a whole number, or -1 for no limit; "
                f"got {max_stored_results!r}"
            )
        if max_stored_results < 1 and max_stored_results != -1:
            raise ValueError(
                f"max_stored_results must be at least 1, or -1 for no limit; got "
                f"{max_stored_results}; to keep nothing, use DummyResultBackend()"
            )
        self.max_stored_results = max_stored_results
        self.encoded = encoded
        self.table = ResultTable(max_stored_results) if table is None else table
        self.table.limit = max_stored_results

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store *result*; the oldest one goes if there are too many.

        Raises `StaleResult` if a later attempt's is stored: another process may have come in between,
        while this one stood still.
        """
        if result.attempts < self.stored_attempt(task_id):
            raise StaleResult(f"attempt {result.attempts} of {task_id!r} is stale")
        if self.encoded:
            data = self.wire.encode_result(task_id, result)
            result = TaskResult(return_value=data, attempts=result.attempts)
        self.table.put(task_id, result)

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """The stored result; `ResultGetError` if there is none."""
        result = self.table.results.get(task_id)
        if result is None:
            raise ResultGetError(f"there is no result of task {task_id!r} (yet)")
        if self.encoded:
            data: Any = result.return_value
            result = self.wire.decode_result(data, task_id)
        return result if with_logs or result.log is None else attrs.evolve(result, log=None)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether a result is stored."""
        return task_id in self.table.results

    async def delete_result(self, task_id: str) -> None:
        """Forget a result and its progress."""
        self.table.delete(task_id)

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        """Store the latest progress."""
        self.table.progress[task_id] = progress

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        """The latest progress, if there is any."""
        return self.table.progress.get(task_id)

    def is_gone(self, task_id: str) -> str | None:
        """Say so if the result was evicted, or deleted."""
        evicted = self.table.gone.get(task_id)
        if evicted is None:
            return None
        if not evicted:
            return (
                f"the result of task {task_id!r} was deleted: its result_ttl is over, or somebody "
                f"called delete_result(); wait for it earlier, or allow it more time"
            )
        return (
            f"the result of task {task_id!r} was evicted: the backend keeps the latest "
            f"{self.max_stored_results}; wait for it earlier, or raise max_stored_results"
        )

    def may_have_forgotten(self) -> bool:
        """True once so many were evicted that not all can be remembered."""
        return self.table.forgotten > 0

    def stored_attempt(self, task_id: str) -> int:
        """The attempt whose result is stored."""
        result = self.table.results.get(task_id)
        return 0 if result is None else result.attempts


class DummyResultBackend(ResultBackend):
    """Keeps nothing and does not pretend: nothing is ever ready, and getting raises at once."""

    keeps_results = False
    lacks = frozenset(
        {Capability.RESULTS, Capability.PROGRESS, Capability.SURVIVAL, Capability.SHARING}
    )

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Nothing happens."""

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """Always raises `ResultGetError`."""
        raise ResultGetError(
            f"DummyResultBackend keeps no results, so there is none of task {task_id!r}; use "
            f"InMemoryResultBackend() or another backend that keeps them"
        )

    async def is_result_ready(self, task_id: str) -> bool:
        """Always False."""
        return False

    async def delete_result(self, task_id: str) -> None:
        """Nothing happens."""
