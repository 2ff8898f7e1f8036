"""A broker whose calls are in doubt: nothing is claimed for nobody, and what is said of it is so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest

import actorq
from actorq.engine import Claim, EngineInDoubt, Store
from actorq.engines.remote.acts import Reply, Request
from actorq.engines.remote.broker import RemoteBroker
from actorq.engines.remote.storage import Interrupted, Lane, NotSent
from actorq.errors import EngineUnavailable, EnqueueUncertain
from actorq.testing.contracts.host import Bench, Host, call, hosted


pytestmark = pytest.mark.engine


@attrs.define
class Connection:
    """Cuts calls of these kinds behind what they do, and then is away for as long as it is told."""

    broker: RemoteBroker
    cuts: list[str] = attrs.field(factory=list)  #: acts, each cut once, in this order; "-": not cut
    refuses: str = ""  #: what cannot be sent

    def __attrs_post_init__(self) -> None:
        send = self.broker.storage._send
        away = False

        async def cut(request: Request, lane: Lane, number: int) -> Reply:
            nonlocal away
            kind = request.acts[0][0] if request.acts else "look"
            if kind == self.refuses:
                raise NotSent("refused")
            if away:
                if self.cuts and self.cuts[0] == "heal":
                    self.cuts.pop(0)
                    away = False
                else:
                    raise Interrupted("away")
            reply = await send(request, lane, number)
            if self.cuts and self.cuts[0].removeprefix("-") == kind:
                away = self.cuts.pop(0) == kind
                if away:
                    raise Interrupted("cut")
            return reply

        self.broker.storage._send = cut  # type: ignore[method-assign]

    def heals(self) -> None:
        """It is there again from the next call on."""
        self.cuts.insert(0, "heal")


@asynccontextmanager
async def bench_of(url: str) -> AsyncIterator[tuple[Bench, RemoteBroker, Connection]]:
    """A broker of an empty queue, and its connection."""

    def make() -> actorq.Broker:
        return actorq.broker_from_url(url)

    async with hosted(Host(make, lambda _: None)) as host:
        broker = host.first.broker
        assert isinstance(broker, RemoteBroker)
        yield host.first, broker, Connection(broker)


@pytest.fixture(params=["redis", "postgres"])
def url(request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of an empty queue; a call is tried once: there is no time for another pause."""
    monkeypatch.setattr("actorq.engines.remote.storage.SHORTEST_PAUSE", 60.0)
    server = request.getfixturevalue(f"{request.param}_server")
    name = "namespace" if request.param == "redis" else "schema"
    return f"{server.url}?{name}={namespace}"


async def test_what_was_claimed_for_nobody_goes_back(url: str) -> None:
    """29: though the connection breaks again before that is said."""
    async with bench_of(url) as (bench, broker, connection):
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        connection.cuts.append("claim")
        with pytest.raises(EngineInDoubt):
            await broker.perform([Claim(session, 2)], bench.host.now)
        connection.heals()
        await bench.look()  # what became of it is found out
        connection.refuses = "settle"
        with pytest.raises(EngineUnavailable):
            await bench.enqueue(call("c"))
        connection.refuses = ""
        await bench.enqueue(call("c"))
        assert await bench.take(session) == ["a", "b", "c"]


async def test_a_doubt_is_remembered_though_another_follows(url: str) -> None:
    """29: who asks again gets the answer to the first, and not to another call."""
    async with bench_of(url) as (bench, broker, connection):
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        connection.cuts += ["claim"]
        steps = [Claim(session, 1)]
        with pytest.raises(EngineInDoubt):
            await broker.perform(steps, bench.host.now)
        connection.cuts += ["heal", "renew"]
        with pytest.raises(EngineInDoubt):
            await bench.extend(session)
        connection.heals()
        await bench.look()
        ((delivery,),) = await broker.perform(steps, bench.host.now)
        assert delivery.fence.task_id == "a"
        assert await bench.where("a", "b") == ["leased", "ready"]


async def test_a_claim_after_what_cannot_be_read_is_not_lost(url: str) -> None:
    """29, 42: the claim that follows it may be in doubt itself."""
    async with bench_of(url) as (bench, broker, connection):
        request = broker.storage.request()
        request.now = bench.host.now
        garbage = request.put(b"garbage")
        row = ["x", garbage, None, "add", "default", 0, None, None, 10, None, None]
        request.acts.append(["store", [row], False])
        await broker.storage.call(request, "broker")
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        connection.cuts += ["-claim", "claim"]
        assert await broker.claim(session, 1, bench.host.now) == ()
        connection.heals()
        assert await bench.take(session) == ["a", "b"]
        assert [each.message.task_id for each in await broker.dead_tasks()] == ["x"]


async def test_who_enqueues_again_is_told_that_it_is_not_certain(url: str) -> None:
    """31: where calls had to be compared first, and then the connection broke."""
    async with bench_of(url) as (bench, broker, connection):
        await bench.enqueue(call("a", labels={"sent": 1}))
        connection.cuts += ["-store", "store"]
        (answer,) = await broker.perform(
            [Store((call("a", labels={"sent": 2}), call("b")))], bench.host.now
        )
        assert isinstance(answer, EnqueueUncertain)
        assert answer.task_ids == ("a", "b")
        connection.heals()
        assert await bench.where("a", "b") == ["ready", "ready"]
