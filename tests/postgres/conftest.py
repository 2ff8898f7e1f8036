"""A server for all tests of a process, a schema for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from actorq.engines.postgres.storage import PostgresStorage
from servers.postgres import PostgresServer

from . import here


@pytest.fixture(scope="session", autouse=True)
def server(postgres_server: PostgresServer) -> Iterator[PostgresServer]:
    """For the contracts, too, which know no fixtures."""
    here.server = postgres_server
    yield postgres_server
    here.server = None


@pytest.fixture
async def storage(
    server: PostgresServer, namespace: str, nursery: trio.Nursery
) -> AsyncIterator[PostgresStorage]:
    """An open one, in a schema of its own."""
    storage = PostgresStorage(server.url, schema=namespace)
    await storage.open()
    yield storage
    await storage.close()
