"""The server of this process's tests, for who makes engines without a fixture's help."""

from __future__ import annotations

import hashlib
from pathlib import Path

from actorq.engines.redis.storage import RedisStorage


#: Set by the fixture in conftest.py.
servers: list[str] = []


def storage_of(folder: Path) -> RedisStorage:
    """What a test keeps in a folder elsewhere is kept in a namespace here."""
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return RedisStorage(servers[-1], namespace=f"t{digest}")
