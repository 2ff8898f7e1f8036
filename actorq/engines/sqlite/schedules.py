"""`SQLiteScheduleSource`: schedules in a SQLite file, for any number of schedulers in any processes."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

from actorq.engines.sqlite import schedule_rows
from actorq.engines.sqlite.storage import SQLiteStorage, Topic
from actorq.engines.stored_schedule import decoded
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Schedule


T = TypeVar("T")

TOPICS: Final[tuple[Topic, ...]] = ("schedules",)


class SQLiteScheduleSource(ScheduleSource):
    """Keeps schedules in a SQLite file, for every process that has it.

    *where*: the file's path, or the `SQLiteStorage` that other parts share; a `SQLiteBroker` keeps its
    schedules in its own file without being told.  Without an open system each call opens the file for
    itself.  Other processes' changes are heard of as soon as they are committed; should that word be
    lost, within the storage's `recheck`.
    """

    def __init__(self, where: str | os.PathLike[str] | SQLiteStorage) -> None:
        self.storage = where if isinstance(where, SQLiteStorage) else SQLiteStorage(where)

    async def startup(self) -> None:
        """Open the file, unless another part has."""
        await self.storage.open()

    async def shutdown(self) -> None:
        """Close it, unless another part uses it."""
        await self.storage.close()

    async def load(self) -> Sequence[Schedule]:
        """All of them that can be read: another holds up no schedule.  Always a checkpoint."""
        rows = await self._read(
            lambda connection: connection.execute(
                "select id, state from actorq_schedules order by id"
            ).fetchall()
        )
        read = [decoded(schedule_id, state) for schedule_id, state in rows]
        return tuple([each for each in read if each is not None])

    async def fetch(self, schedule_id: str) -> Schedule | None:
        """One of them.  Always a checkpoint."""
        state = await self._read(lambda connection: schedule_rows.fetch(connection, schedule_id))
        return None if state is None else decoded(schedule_id, state)

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """See `ScheduleSource.swap`.  Always a checkpoint; cancelled, it has done nothing."""
        state = None if new is None else (new.version, json.dumps(new.to_dict()))

        def step(connection: sqlite3.Connection) -> bool:
            if version is None:
                _make_room(connection, schedule_id)
            done = schedule_rows.swap(connection, schedule_id, version, state, announce=announce)
            if done and announce:
                self.storage.touch("schedules")
            return done

        async with self._open():
            return await self.storage.write(step)

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Tell of each announcement, this process's own as well; until cancelled."""
        async with self._open():
            news = _News(self.storage, changed)
            await news.begin()
            changed(None)  # what was announced before we came
            async with trio.open_nursery() as nursery:
                nursery.start_soon(news.tell, name="schedules: tell")
                await self.storage.listen(TOPICS, news.hear)

    async def _read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        async with self._open():
            return await self.storage.read(step)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.storage.open()
        try:
            yield
        finally:
            await self.storage.close()

    def __repr__(self) -> str:
        return f"<SQLiteScheduleSource: {self.storage.path}>"


class _News:
    """What somebody who watches has heard of."""

    def __init__(self, storage: SQLiteStorage, changed: Callable[[str | None], None]) -> None:
        self._storage = storage
        self._changed = changed
        self._seen = 0
        self._heard = trio.Event()

    async def begin(self) -> None:
        """All that comes from now on is news."""
        self._seen = await self._storage.read(schedule_rows.newest_change)

    def hear(self) -> None:
        """There may be some."""
        self._heard.set()

    async def tell(self) -> None:
        """Pass it on, until cancelled."""
        while True:
            await self._heard.wait()
            self._heard = trio.Event()
            self._seen, ids = await self._storage.read(self._look)
            for schedule_id in (None,) if ids is None else ids:
                self._changed(schedule_id)

    def _look(self, connection: sqlite3.Connection) -> tuple[int, list[str] | None]:
        return schedule_rows.changes_after(connection, self._seen)


def _make_room(connection: sqlite3.Connection, schedule_id: str) -> None:
    """Forget what stands where nothing seems to stand, for it cannot be read."""
    found = connection.execute(
        "select state from actorq_schedules where id = ?", (schedule_id,)
    ).fetchone()
    if found is not None and decoded(schedule_id, found[0]) is None:
        connection.execute("delete from actorq_schedules where id = ?", (schedule_id,))
