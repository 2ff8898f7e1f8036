"""The server that the tests of this process use, and schemas in it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from actorq.engines.postgres.storage import PostgresStorage
from servers.postgres import PostgresServer


server: PostgresServer | None = None


def storage_in(folder: Path) -> PostgresStorage:
    """In the schema that stands for this folder."""
    assert server is not None
    schema = f"t{sha256(str(folder).encode()).hexdigest()[:16]}"
    return PostgresStorage(server.url, schema=schema)
