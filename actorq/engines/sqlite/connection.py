"""The connection: how the file is opened, and how its write lock is waited for."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from actorq.engines.sqlite.troubles import is_busy, locked_too_long, without_wal


T = TypeVar("T")

#: What a commit survives: "full" a power cut, "normal" and "off" the process's end.
Synchronous: TypeAlias = Literal["full", "normal", "off"]

#: Seconds for which another one's write lock is waited for.
PATIENCE: Final = 30.0
#: The first and the longest pause between two tries for it; SQLite's own go up to 0.1 s.
SHORTEST, LONGEST = 0.0001, 0.005
#: Bytes that the log (-wal) keeps when it begins anew, and beyond which a checkpoint is due.
LOG_KEEPS: Final = 4 << 20


def connect(path: Path, synchronous: Synchronous = "full") -> sqlite3.Connection:
    """A connection as the engine uses it; raises what `troubles.explained` explains."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=512)
    try:
        (pages,) = patiently(path, lambda: connection.execute("pragma page_count").fetchone())
        for pragma in (
            # before anything is written, or not at all: free pages can be given back in slices
            "auto_vacuum" if pages else "auto_vacuum = incremental",
            "journal_mode = wal",
            f"synchronous = {synchronous}",
            "temp_store = memory",
            "cache_size = -16384",
            f"journal_size_limit = {LOG_KEEPS}",
            "wal_autocheckpoint = 0",  # see checkpoint.py
            "secure_delete = off",  # Debian's SQLite overwrites what is deleted
        ):
            patiently(path, partial(connection.execute, f"pragma {pragma}"))
        (mode,) = connection.execute("pragma journal_mode").fetchone()
        if mode != "wal":
            raise without_wal(path, mode)  # noqa: TRY301
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection, path: Path, patience: float | None = None) -> None:
    """Begin a transaction with the write lock; `EngineUnavailable` if it is not to be had."""
    patiently(path, lambda: connection.execute("begin immediate"), patience)


def patiently(path: Path, call: Callable[[], T], patience: float | None = None) -> T:
    """Do it as soon as nobody else has the lock that it takes."""
    patience = PATIENCE if patience is None else patience
    since, pause = 0.0, SHORTEST
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            since = since or time.monotonic()
            waited = time.monotonic() - since
            if waited > patience:
                raise locked_too_long(path, time.time() - waited, waited) from error
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, LONGEST)
