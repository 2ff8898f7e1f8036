"""A server for all tests, and a namespace for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from actorq.engines.redis.storage import RedisStorage
from servers import RedisServer

from .here import servers


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    """The one that is shared: do not stop it."""
    servers.append(redis_server.url)
    yield redis_server
    servers.pop()


@pytest.fixture(autouse=True)
def _server_of_engine_tests(request: pytest.FixtureRequest) -> None:
    """Where engines are made without a fixture."""
    if request.node.get_closest_marker("engine"):
        request.getfixturevalue("server")


@pytest.fixture
async def storage(
    server: RedisServer, namespace: str, nursery: trio.Nursery
) -> AsyncIterator[RedisStorage]:
    """An open one."""
    storage = RedisStorage(server.url, namespace=namespace)
    await storage.open()
    yield storage
    await storage.close()
