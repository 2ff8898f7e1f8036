"""The schema: the tables of the file, and how those of an older version become these.

Each part of the engine declares its own tables; here they become versions, in order.
"""

from __future__ import annotations

import sqlite3
from typing import Final


#: What brings the file from each version to the next, the first from nothing.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = ((),)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date; two processes may do this at once."""
