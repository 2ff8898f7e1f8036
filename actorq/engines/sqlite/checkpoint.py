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

from actorq.engines.sqlite.connection import LOG_KEEPS, begin


#: Bytes more that the log has to grow after a checkpoint that could not empty it: somebody reads.
MORE: Final = 4 << 20
#: Seconds for which the write lock is waited for: who wants to write waits meanwhile.
PATIENCE: Final = 0.1


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
        self._next = LOG_KEEPS
        self._other: sqlite3.Connection | None = None

    def due(self) -> bool:
        """After each transaction: whether the log is too long.

        The first commit after a checkpoint begins it anew, and cuts it down to what it may keep.
        """
        size = os.stat(self._log).st_size
        if size <= LOG_KEEPS:
            self._next = LOG_KEEPS
        elif size > self._next:
            self._next = size + MORE
            return True
        return False

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
        begin(connection, self._path, PATIENCE)
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
