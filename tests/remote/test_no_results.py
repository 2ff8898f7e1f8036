"""A queue on a server whose results nobody wants: nothing of them is sent there."""

from __future__ import annotations

import pytest
import trio

import actorq
from actorq.errors import ResultGetError
from servers import PostgresServer, RedisServer


pytestmark = pytest.mark.engine

AnyServer = RedisServer | PostgresServer


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> AnyServer:
    """Each of them."""
    found: AnyServer = request.getfixturevalue(f"{request.param}_server")
    return found


async def test_tasks_run_and_no_result_is_kept(server: AnyServer, namespace: str) -> None:
    """Also not of those that fail, and end, and are retried."""
    query = f"{'namespace' if isinstance(server, RedisServer) else 'schema'}={namespace}"
    url = f"{server.url}?{query}"
    ran: list[int] = []

    @actorq.task(retries=1)
    async def work(number: int) -> int:
        ran.append(number)
        if number % 3 == 0:
            raise ValueError(number)
        return number

    broker = actorq.broker_from_url(url).with_result_backend(actorq.DummyResultBackend())
    async with actorq.open_system(broker, tasks=[work]) as sys:
        with trio.fail_after(20):
            handles = await sys.enqueue_many(work, [(number,) for number in range(30)])
            await sys.wait_idle(scheduled=True)
            counts = await sys.queue_statistics()
            with pytest.raises(ResultGetError, match="keeps no results"):
                await handles[1].result()
    assert sorted(ran) == sorted([*range(30), *range(0, 30, 3)])
    assert (counts.done, counts.dead, counts.ready, counts.leased) == (20, 10, 0, 0)
    # who keeps results there finds none
    async with actorq.open_system(actorq.broker_from_url(url), role="client") as client:
        for handle in handles:
            assert not await client.handle(handle.task_id).is_ready()
