"""`SQLiteResultBackend`: results and progress in a SQLite file, for every process that has it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import attrs

from actorq.actors.result_backend import News, ResultBackend
from actorq.engines.sqlite.result_rows import (
    Found,
    Position,
    bury,
    latest_progress,
    look_after,
    look_up,
    note_gone,
    position,
    progress_after,
    refuse_if_overtaken,
    store_progress,
    store_row,
    sweep,
)
from actorq.engines.sqlite.storage import SQLiteStorage, Topic
from actorq.engines.stored_result import (
    A_WEEK,
    GONE_KEPT,
    Eviction,
    Keeping,
    Row,
    Told,
    check_keeping,
    row_of,
    why,
)
from actorq.errors import EnvelopeError, ResultGetError, StaleResult
from actorq.progress import TaskProgress
from actorq.protocol import Outcome
from actorq.result import TaskResult


TOPICS: Final[tuple[Topic, ...]] = ("results",)


class SQLiteResultBackend(ResultBackend):
    """Keeps results in a SQLite file, for every process that has it.

    *where*: the file's path, or the `SQLiteStorage` that other parts share; a `SQLiteBroker` keeps its
    results in its own file without being told.  *ttl*: seconds that a result is kept, unless its
    task's `result_ttl` says otherwise (a week; None: for ever).  *max_stored_results*: the oldest go
    when there are more (None: all are kept); it is looked after at every hundredth part of that many,
    so there may be one per cent more.

    Who waits in any process is woken as soon as a result is committed; should that word be lost, within
    the storage's `recheck`.  Of a task's progress the latest is kept: readers in other processes may
    miss what came before it.
    """

    keeps_terms = True

    def __init__(
        self,
        where: str | os.PathLike[str] | SQLiteStorage,
        *,
        ttl: float | None = A_WEEK,
        max_stored_results: int | None = None,
    ) -> None:
        check_keeping(ttl, max_stored_results)
        self.storage = where if isinstance(where, SQLiteStorage) else SQLiteStorage(where)
        self.keeping = Keeping(ttl, max_stored_results)
        self._eviction = Eviction(max_stored_results)
        self._seen = self._first = Position(0, 0, 0)
        self._has_looked = False
        self._reading: frozenset[str] = frozenset()  #: whose progress the last look was for
        self._told = Told()

    async def startup(self) -> None:
        """Open the file, unless another part has; begin to look for what is new from here on."""
        await self.storage.open()
        try:
            found = await self.storage.read(position)
        except BaseException:
            await self.storage.close()
            raise
        self._seen, self._reading = found, frozenset()
        if not self._has_looked:
            self._has_looked, self._first = True, found

    async def shutdown(self) -> None:
        """Close it, unless another part uses it."""
        await self.storage.close()

    # --- results ---

    def limit_now(self, stored: int) -> int | None:
        """What `sweep` is to be given after *stored* results more: a limit now and then."""
        return self._eviction.after(stored)

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store one result; raises `StaleResult` if a later attempt's is stored, or runs."""
        (verdict,) = await self.set_results([Outcome(task_id, result)])
        if verdict is not None:
            raise verdict

    async def set_results(self, outcomes: Sequence[Outcome]) -> Sequence[Exception | None]:
        """Store these in one step, each with its own verdict."""
        verdicts: list[Exception | None] = [None] * len(outcomes)
        rows: list[tuple[int, Row]] = []
        for number, outcome in enumerate(outcomes):
            try:
                rows.append((number, row_of(outcome, self.wire)))
            except Exception as error:  # noqa: BLE001 - its own verdict
                verdicts[number] = error
        now, limit = self._wiring.clock(), self.limit_now(len(rows))

        def step(connection: sqlite3.Connection) -> dict[int, StaleResult]:
            stale: dict[int, StaleResult] = {}
            for number, row in rows:
                try:
                    refuse_if_overtaken(connection, row.task_id, row.attempt)
                    store_row(connection, row, now, self.keeping)
                except StaleResult as refusal:
                    stale[number] = refusal
            sweep(connection, now, limit)
            self.storage.touch("results", self)
            return stale

        if rows:
            for number, refusal in (await self.storage.write(step)).items():
                verdicts[number] = refusal
        return verdicts

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """The stored result; raises `ResultGetError` if there is none."""
        found = await self._look([task_id])
        if not found.results:
            raise ResultGetError(f"there is no result of task {task_id!r} (yet)")
        result = self.wire.decode_result(found.results[0][1], task_id)
        return result if with_logs or result.log is None else attrs.evolve(result, log=None)

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether a result is stored, and its time is not over."""
        return bool((await self._look([task_id])).results)

    async def delete_result(self, task_id: str) -> None:
        """Forget a result and its progress."""

        def step(connection: sqlite3.Connection) -> None:
            bury(connection, [task_id], "deleted")
            self.storage.touch("results", self)

        await self.storage.write(step)
        self._told.forget(task_id)

    async def why_gone(self, task_id: str) -> str | None:
        """Why there is no result, if it was there once, or was given up."""
        gone = (await self._look([task_id])).gone
        return why(*gone[0]) if gone else None

    def may_have_forgotten(self) -> bool:
        """True once so many are gone, since this object began to look, that not all are remembered."""
        return self._seen.gone - self._first.gone > GONE_KEPT

    async def give_up(self, task_id: str, error: Exception) -> None:
        """No result of this task will come: who waits for it in any process is told."""
        text = str(error)
        if not isinstance(error, ResultGetError):
            text = f"the result of task {task_id!r} could not be stored: {text}"

        def step(connection: sqlite3.Connection) -> None:
            connection.execute("delete from actorq_progress where task_id = ?", (task_id,))
            note_gone(connection, task_id, f"unsaved {text}")
            self.storage.touch("results", self)

        await self.storage.write(step)

    async def _look(self, task_ids: Collection[str]) -> Found:
        now = self._wiring.clock()
        return await self.storage.read(lambda connection: look_up(connection, task_ids, now))

    # --- what is new ---

    async def listen(self, changed: Callable[[], None]) -> None:
        """Hear of what other parts and other processes store."""
        await self.storage.listen(TOPICS, changed, self)

    async def look_up(self, task_ids: Collection[str]) -> News:
        """All of them in one look."""
        found = await self._look(task_ids)
        if not self._desk.waiters and not self._desk.readers:
            # nobody waits: what is older is nobody's news
            self._seen, self._reading = found.position, frozenset()
        return self._news(found)

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """What is new of these, by what was stored since the last look."""
        now, seen = self._wiring.clock(), self._seen
        reading = frozenset(read)
        fresh, known = reading - self._reading, reading & self._reading

        def step(
            connection: sqlite3.Connection,
        ) -> tuple[Found, list[tuple[int, str, bytes]]]:
            found = look_after(connection, seen, awaited, now)
            if reading:
                ended = look_after(connection, seen, reading, now)
                found.results.extend(ended.results)
                found.gone.extend(ended.gone)
            return found, progress_after(connection, seen.progress, fresh, known, now)

        found, updates = await self.storage.read(step)
        self._seen, self._reading = found.position, reading
        progress = [
            (task_id, self.wire.decode_progress(data, task_id))
            for number, task_id, data in updates
            if self._told.is_new(task_id, number)
        ]
        return attrs.evolve(self._news(found), progress=progress)

    def _news(self, found: Found) -> News:
        results: list[tuple[str, TaskResult[Any]]] = []
        gone: list[tuple[str, Exception]] = [
            (task_id, ResultGetError(why(task_id, noted))) for task_id, noted in found.gone
        ]
        for task_id, data in found.results:
            try:
                results.append((task_id, self.wire.decode_result(data, task_id)))
            except EnvelopeError as error:
                gone.append((task_id, ResultGetError(f"{error}")))
        return News(results, given_up=gone)

    # --- progress ---

    async def take_progress(self, task_id: str, progress: TaskProgress, attempt: int) -> None:
        """Store the latest progress; raises `StaleResult` if a later attempt has begun, or ended."""
        data = self.wire.encode_progress(task_id, progress)
        now = self._wiring.clock()

        def step(connection: sqlite3.Connection) -> int:
            refuse_if_overtaken(connection, task_id, attempt)
            number = store_progress(connection, task_id, attempt, data, now, self.keeping)
            self.storage.touch("results", self)
            return number

        self._told.is_new(task_id, await self.storage.write(step))

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        """The latest progress, if there is any."""

        now = self._wiring.clock()
        found = await self.storage.read(
            lambda connection: latest_progress(connection, task_id, now)
        )
        return None if found is None else self.wire.decode_progress(found, task_id)

    def __repr__(self) -> str:
        return f"<SQLiteResultBackend: {self.storage.path}>"
