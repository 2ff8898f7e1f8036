"""The checkpoint: what is in the log (-wal) goes into the file, so that the log stays small.

SQLite before 3.51.3 may damage a file if one connection makes a checkpoint while another commits
("WAL-reset bug", sqlite.org/wal.html#walresetbug).  So nobody here makes one in passing: it is made
under the write lock, when no one can commit.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from actorq.engines.sqlite.connection import begin


#: Rows changed, each commit counting for some, after which it is time.
ENOUGH: Final = 4_000
A_COMMIT: Final = 4
#: The log's bytes below which it is not.
SMALL: Final = 4 << 20


def has_reset_bug(version: tuple[int, int, int] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite has that bug, which was mended in three of its branches."""
    if version >= (3, 51, 3):
        return False
    return not ((3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45))


class Checkpoints:
    """When one is due, and how it is made; in the storage's thread."""

    def __init__(self, path: Path) -> None:
        self.made = 0
        self._path = path
        self._log = f"{path}-wal"
        self._since = 0
        self._changes = 0
        self._other: sqlite3.Connection | None = None

    def due(self, connection: sqlite3.Connection) -> bool:
        """After each transaction: whether it is time."""
        changes = connection.total_changes
        if changes == self._changes:
            return False
        self._since += A_COMMIT + changes - self._changes
        self._changes = changes
        if self._since < ENOUGH:
            return False
        self._since = 0
        return os.stat(self._log).st_size >= SMALL

    def make(self, connection: sqlite3.Connection) -> None:
        """Make one, as far as nobody reads what is older.

        Raises what SQLite raises, which harms nobody: the log grows.
        """
        self.made += 1
        if not has_reset_bug():
            connection.execute("pragma wal_checkpoint(passive)").fetchone()
            return
        if self._other is None:  # a connection in a transaction cannot make one itself
            self._other = sqlite3.connect(self._path, timeout=0, isolation_level=None)
            self._other.execute("pragma wal_autocheckpoint = 0")
        begin(connection, self._path)
        try:
            self._other.execute("pragma wal_checkpoint(passive)").fetchone()
        finally:
            connection.execute("rollback")

    def close(self, connection: sqlite3.Connection | None) -> None:
        """With the connection that writes.  Whoever closes the file last empties its log."""
        for each in (self._other, connection):
            if each is not None:
                each.close()
        self._other = None
