"""A worker whose connection to the server is lost: its tasks go on, and so does it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

import actorq
from servers import PostgresServer, Proxy, RedisServer, Server


pytestmark = pytest.mark.engine

AnyServer = RedisServer | PostgresServer


@pytest.fixture(params=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> AnyServer:
    """Each of them."""
    found: AnyServer = request.getfixturevalue(f"{request.param}_server")
    return found


def query(server: AnyServer, namespace: str) -> str:
    """For a queue of the test's own."""
    return f"{'namespace' if isinstance(server, RedisServer) else 'schema'}={namespace}"


async def test_a_lost_connection_kills_no_running_task(
    server: AnyServer, namespace: str, through_proxy: Callable[[Server], Proxy]
) -> None:
    """A06: it was begun once, its result is stored, and who waits for it in another place has it."""
    proxy = through_proxy(server)
    began: list[int] = []
    runs, go_on = trio.Event(), trio.Event()

    @actorq.task(name="work")
    async def work(number: int) -> int:
        began.append(number)
        runs.set()
        await go_on.wait()
        return number

    worker = actorq.broker_from_url(f"{server.url_at(proxy.port)}?{query(server, namespace)}")
    elsewhere = actorq.broker_from_url(f"{server.url}?{query(server, namespace)}")
    async with (
        actorq.open_system(worker, tasks=[work]) as sys,
        actorq.open_system(elsewhere, tasks=[work], role="client") as client,
    ):
        handle = await client.enqueue(work, 1)
        await runs.wait()
        for reset in (True, False):
            proxy.cut(reset=reset)
        go_on.set()
        with trio.fail_after(20):
            assert await handle.result() == 1
            again = await sys.enqueue(work, 2)  # by a new connection
            assert await again.result() == 2
    assert began == [1, 2]
    assert proxy.were_cut
