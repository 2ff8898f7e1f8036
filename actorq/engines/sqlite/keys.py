"""Unique keys in the file: which task has which.

The same as `actorq.engines.memory.keys`, as a table.  A key with a time is free when that has passed,
whatever became of its task; the others are given free by the law, at the task's start or end.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import attrs

from actorq.unique import UniqueKey, Until


TABLES: Final[tuple[str, ...]] = (
    # the unique keys that are taken
    """create table actorq_keys (
        key text primary key,
        task_id text not null,
        until real -- Unix seconds; null: until it is given free
    ) without rowid""",
    "create index actorq_keys_timed on actorq_keys (until) where until is not null",
)

#: Keys whose time is over that each new one with a time sweeps out: more than come.
SWEPT: Final = 4

_HOLDER = "select task_id from actorq_keys where key = ? and (until is null or until > ?)"
_TAKE = "insert or replace into actorq_keys (key, task_id, until) values (?, ?, ?)"
_FREE = "delete from actorq_keys where key = ? and task_id = ? and until is null"
_OVER = f"select key from actorq_keys where until <= ? order by until limit {SWEPT}"
_SWEEP = f"delete from actorq_keys where key in ({_OVER})"


@attrs.frozen
class UniqueKeys:
    """Every key that is taken; for the steps of one transaction."""

    connection: sqlite3.Connection

    def holder(self, key: str, now: float) -> str | None:
        """The id of the task that has *key*."""
        found: tuple[str] | None = self.connection.execute(_HOLDER, (key, now)).fetchone()
        return None if found is None else found[0]

    def take(self, unique: UniqueKey, task_id: str, now: float) -> None:
        """*task_id* has the key from now on."""
        until = None
        if unique.seconds is not None:
            until = now + unique.seconds
            self.connection.execute(_SWEEP, (now,))
        self.connection.execute(_TAKE, (unique.key, task_id, until))

    def started(self, unique: UniqueKey, task_id: str) -> None:
        """A worker has taken the task."""
        if unique.until is Until.START:
            self._free(unique.key, task_id)

    def ended(self, unique: UniqueKey, task_id: str) -> None:
        """The task has ended."""
        if unique.until is not Until.TIME:
            self._free(unique.key, task_id)

    def _free(self, key: str, task_id: str) -> None:
        self.connection.execute(_FREE, (key, task_id))
