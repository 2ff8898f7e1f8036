"""Which queues there are: known from their first task on, and not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import attrs
import pytest
import trio

import actorq
from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote import broker as remote_broker
from actorq.engines.remote.acts import QUEUES_KEPT, QUEUES_KEPT_FOR, Act
from actorq.engines.remote.storage import RemoteStorage
from servers.postgres import PostgresServer
from servers.redis import RedisServer


pytestmark = pytest.mark.engine


@attrs.define(eq=False)
class Client:
    """One process: its calls, at a time of the test's own."""

    storage: RemoteStorage
    now: float = 1_000.0

    async def do(self, *acts: Act, writes: bool = True) -> list[Any]:
        """The answers."""
        request = self.storage.request(acts, writes=writes)
        request.view, request.now = True, self.now
        return (await self.storage.call(request, "broker")).answers

    async def store(self, *queues: str) -> None:
        """A task in each."""
        rest = [0, None, None, 5, None, None]
        ids = [uuid4().hex for _ in queues]
        sent = [
            [task_id, None, "not written", queue, queue, *rest]
            for task_id, queue in zip(ids, queues, strict=True)
        ]
        await self.do(["store", sent, False])

    async def take_all(self) -> int:
        """Claim and settle what is ready; how many there were."""
        session = (await self.do(["open", "w", None, 1, "host"]))[0]
        claimed = (await self.do(["claim", session, 5_000, []]))[0]["claimed"]
        words = [[*each[:3], "done", 0.0, "", None, [], False, None] for each in claimed]
        await self.do(["settle", session, words])
        return len(claimed)

    async def queues(self) -> dict[str, int]:
        """As statistics have them: those that are known, and what is ready in them."""
        found = (await self.do(["statistics"], writes=False))[0]
        queues = dict.fromkeys(found["queues"], 0)
        queues |= {queue: n for queue, place, n in found["places"] if place == "ready"}
        return queues


def storage_on(request: pytest.FixtureRequest, namespace: str) -> RemoteStorage:
    """Of the engine that is asked for."""
    server: RedisServer | PostgresServer = request.getfixturevalue(f"{request.param}_server")
    if request.param == "redis":
        return RedisStorage(server.url, namespace=namespace)
    return PostgresStorage(server.url, schema=namespace)


@pytest.fixture(params=["redis", "postgres"])
async def client(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Client]:
    """On each server."""
    storage = storage_on(request, namespace)
    await storage.open()
    yield Client(storage)
    await storage.close()


async def test_a_queue_that_nobody_uses_for_a_month_is_forgotten(client: Client) -> None:
    """Unless something is in it; and it is as good as new when it is used again."""
    await client.store("past", "used")
    await client.do(["name", ["past", "used"]])
    assert await client.take_all() == 2
    await client.store("full")
    await client.do(["name", ["full"]])
    assert await client.queues() == {"past": 0, "used": 0, "full": 1}
    client.now += QUEUES_KEPT_FOR - 1
    await client.do(["name", ["used"]])
    assert set(await client.queues()) == {"past", "used", "full"}
    client.now += 2
    await client.do(["name", ["new"]])
    assert (await client.queues()).keys() - {"new"} == {"used", "full"}
    await client.store("past")
    assert (await client.queues())["past"] == 1
    assert await client.take_all() == 2


async def test_many_names_are_not_kept(client: Client) -> None:
    """Of empty queues, so many as are kept; nothing of what waits is lost."""
    await client.store("full")
    await client.do(["name", ["full"]])
    for begin in range(0, 2 * QUEUES_KEPT, 500):
        client.now += 100
        names = [f"q{n}" for n in range(begin, begin + 500)]
        await client.store(*names)
        await client.do(["name", names])
        assert await client.take_all() == 500 + (begin == 0)
    for n in range(30):
        client.now += 100
        await client.do(["name", [f"q{n}"]])
    queues = await client.queues()
    assert QUEUES_KEPT - 50 < len(queues) <= QUEUES_KEPT + 1
    assert "q29" in queues
    await client.store(*[f"q{n}" for n in range(700)])
    assert await client.take_all() == 700


@pytest.mark.parametrize("engine", ["redis", "postgres"])
async def test_the_server_is_told_of_a_queue_now_and_then(
    engine: str,
    namespace: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not with each task; and once more when an hour has gone by, or it has lost its data."""
    server = request.getfixturevalue(f"{engine}_server")
    broker: actorq.RedisBroker | actorq.PostgresBroker
    if engine == "redis":
        broker = actorq.RedisBroker(server.url, namespace=namespace)
    else:
        broker = actorq.PostgresBroker(server.url, schema=namespace)
    told: list[str] = []
    call = broker.storage.call

    async def listening(asked: Any, lane: Any) -> Any:
        told.extend(name for act in asked.acts if act[0] == "name" for name in act[1])
        return await call(asked, lane)

    monkeypatch.setattr(broker.storage, "call", listening)

    @actorq.task
    async def work() -> None:
        """Nobody does it."""

    async with actorq.open_system(broker, role="client") as sys:
        for queue in ("b", "a", "b", "a"):
            await sys.enqueue(work.using(queue=queue))
        for queue in ("c", "a", "d"):
            await sys.enqueue_many(work.using(queue=queue), [(), ()])
        assert told == ["b", "a", "c", "d"]
        monkeypatch.setattr(remote_broker, "NAMED_FOR", -1.0)
        await sys.enqueue(work.using(queue="a"))
        assert told[4:] == ["a"]
        monkeypatch.setattr(remote_broker, "NAMED_FOR", 3600.0)
        if engine == "redis":
            for key in server.ask("keys", f"{{{namespace}}}:*"):
                server.ask("del", key)
        else:
            server.ask(f"drop schema {namespace} cascade")
        await sys.queue_statistics()
        await sys.enqueue(work.using(queue="a"))
        assert told[5:] == ["a"]
        with trio.fail_after(20):
            assert (await sys.queue_statistics()).queues == {"a": 1}
