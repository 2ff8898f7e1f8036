"""What the tests of the tables look with: a connection of their own, and what SQLite means to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actorq.engines.sqlite import schema


def connected(path: Path) -> sqlite3.Connection:
    """A connection to the file, with its tables made; quick rather than safe."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = off")
    connection.execute("begin immediate")
    schema.migrate(connection, schema.migrations())
    connection.execute("commit")
    return connection


def plan(connection: sqlite3.Connection, statement: str) -> str:
    """How SQLite would do *statement*, a line for each part."""
    given = [1] * statement.count("?")
    rows = connection.execute(f"explain query plan {statement}", given).fetchall()
    return "\n".join([row[3] for row in rows])
