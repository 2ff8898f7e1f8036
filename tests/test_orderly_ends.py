"""A process that ends in order leaves nothing behind on a server."""

from __future__ import annotations

import pytest

import actorq
from servers import PostgresServer, RedisServer


pytestmark = pytest.mark.engine


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest, namespace: str) -> str:
    """Of a queue of the test's own on each of them."""
    server: RedisServer | PostgresServer = request.getfixturevalue(f"{request.param}_server")
    return f"{server.url}?{'namespace' if request.param == 'redis' else 'schema'}={namespace}"


async def test_a_worker_that_ended_in_order_is_no_worker_any_more(url: str) -> None:
    """29: at once, and not when its lease is over; what it had not begun is there for others."""

    @actorq.task(name="work")
    async def work() -> None: ...

    async with actorq.open_system(actorq.broker_from_url(url, lease=3600), tasks=[work]) as sys:
        await (await sys.enqueue(work)).result()
        assert len(await sys.workers()) == 1
    async with actorq.open_system(actorq.broker_from_url(url), role="client") as sys:
        assert await sys.workers() == ()
        counts = await sys.queue_statistics()
        assert (counts.ready, counts.leased, counts.done) == (0, 0, 1)
