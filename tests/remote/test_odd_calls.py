"""Calls that are unlike most, on real servers: nobody else is hurt by them (promise 42)."""

from __future__ import annotations

import math
import secrets
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorq
from actorq import Concurrency, Rate, Unique
from actorq.engines.postgres.broker import PostgresBroker
from actorq.engines.postgres.storage import PostgresStorage
from actorq.engines.redis.broker import RedisBroker
from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.broker import RemoteBroker
from actorq.engines.remote.results import RemoteResultBackend


pytestmark = pytest.mark.engine

#: More than an index of a database holds, and nothing that it could pack smaller.
LONG = secrets.token_hex(4000)
#: What people write for "no limit".
ENDLESS = sys.maxsize


@pytest.fixture(params=["redis", "postgres"])
def broker(request: pytest.FixtureRequest, namespace: str) -> RemoteBroker:
    """An empty queue; nothing is found by looking."""
    server = request.getfixturevalue(f"{request.param}_server")
    name = "namespace" if request.param == "redis" else "schema"
    broker = actorq.broker_from_url(f"{server.url}?{name}={namespace}&recheck=30")
    assert isinstance(broker, RemoteBroker)
    return broker


@actorq.task(name="plain")
async def plain(x: int) -> int:
    """Give it back."""
    return x


@actorq.task(name="length")
async def length(text: str) -> int:
    """Of whatever it is."""
    return len(text)


def another(broker: RemoteBroker, **said: Any) -> RemoteBroker:
    """One of the same queue, as another process has it."""
    storage = broker.storage
    if isinstance(storage, RedisStorage):
        url = f"redis://{storage.where}"
        return RedisBroker(url, namespace=storage.namespace, recheck=30, **said)
    assert isinstance(storage, PostgresStorage)
    return PostgresBroker(storage.conninfo, schema=storage.schema, recheck=30, **said)


ODD: dict[str, dict[str, Any]] = {
    "a long unique key": {"unique": Unique(key="{text}")},
    "a long key of a limit": {"concurrency": Concurrency(1, key="{text}")},
    "a long key of a rate": {"rate": Rate(1000, key="{text}")},
    "no end of retries": {"retries": ENDLESS},
    "no end of deliveries": {"max_deliveries": ENDLESS},
    "a limit that is none": {"concurrency": ENDLESS},
    "a rate that is none": {"rate": Rate(ENDLESS, smooth=False)},
    "a smooth rate that is none": {"rate": Rate(ENDLESS)},
}


@pytest.mark.parametrize("options", ODD.values(), ids=ODD)
async def test_a_call_is_of_any_size(broker: RemoteBroker, options: dict[str, Any]) -> None:
    """42: it runs, and so does what comes after it."""
    broker.register(plain, length)
    async with actorq.open_system(broker) as system:
        for _ in range(2):
            handle = await system.enqueue(length.using(**options), LONG)
            assert await handle.result() == len(LONG)
        assert await (await system.enqueue(plain, 7)).result() == 7


async def test_long_keys_are_told_apart(broker: RemoteBroker) -> None:
    """39: by their ends, too."""
    once = length.using(unique=Unique(key="{text}"), delay=3600)
    broker.register(length)
    async with actorq.open_system(broker, role="client") as system:
        await system.enqueue(once, LONG)
        await system.enqueue(once, LONG + "x")
        with pytest.raises(actorq.DuplicateTask):
            await system.enqueue(once, LONG)


MANY: dict[str, Callable[[int], Any]] = {
    "unique": lambda _: length.using(unique=Unique(key="{text}"), delay=3600),
    "limited": lambda _: length.using(concurrency=Concurrency(1, key="{text}"), delay=3600),
    "expiring": lambda _: length.using(expires=7200, delay=3600),
}


@pytest.mark.parametrize("kind", MANY)
async def test_many_at_once_are_one_step(broker: RemoteBroker, kind: str) -> None:
    """31: 10,000 of them are accepted within the time that a call may take."""
    broker.register(length)
    async with actorq.open_system(broker, role="client") as system:
        handles = await system.enqueue_many(MANY[kind](0), [(str(n),) for n in range(10_000)])
        assert len({handle.task_id for handle in handles}) == 10_000
        assert (await system.queue_statistics()).scheduled == 10_000


async def test_many_that_are_there_already_are_one_step(broker: RemoteBroker) -> None:
    """39: each stands for its twin, which is as many again; and who is new is accepted."""
    once = length.using(unique=Unique(key="{text}", on_conflict="return"), delay=3600)
    broker.register(length)
    texts = [(str(n % 6000),) for n in range(10_000)]
    async with actorq.open_system(broker, role="client") as system:
        first = await system.enqueue_many(once, texts[:3000])
        second = await system.enqueue_many(once, texts)
        assert [each.task_id for each in second[:3000]] == [each.task_id for each in first]
        assert [each.task_id for each in second[6000:]] == [each.task_id for each in second[:4000]]
        assert (await system.queue_statistics()).scheduled == 6000


async def test_many_may_be_sent_again(broker: RemoteBroker) -> None:
    """31: under their own ids, as who imports the same table twice does."""
    broker.register(plain)
    numbers = iter([*range(10_000), *range(10_000)])
    broker.with_id_generator(lambda: f"row {next(numbers)}")
    async with actorq.open_system(broker, role="client") as system:
        for _ in range(2):
            system._new_id._seen.clear()  # type: ignore[attr-defined]
            with trio.fail_after(30):
                await system.enqueue_many(plain, [(n,) for n in range(10_000)])
            assert (await system.queue_statistics()).ready == 10_000


# --- and what others say ---


async def test_words_of_somebody_else_are_no_words_of_ours(
    broker: RemoteBroker, request: pytest.FixtureRequest, namespace: str
) -> None:
    """43: whoever speaks on our channels, no actor crashes on it, and ours are heard after it."""
    postgres = request.node.callspec.params["broker"] == "postgres"
    server = request.getfixturevalue("postgres_server" if postgres else "redis_server")
    heard = trio.Event()

    async def listen() -> None:
        await broker.storage.listen(("tasks", "ends", "results"), lambda *_: heard.set())

    await broker.storage.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        with trio.fail_after(10):
            await heard.wait()
        for junk in (
            "",
            "x",
            "hello, world",
            "1",
            "null",
            "[1]",
            '["a", 5]',
            '["a", [1]]',
            "\x92\xa1a\x05",
        ):
            for topic in ("tasks", "ends", "results"):
                if postgres:
                    server.ask("select pg_notify(%s, %s)", f"{namespace}:{topic}", junk)
                else:
                    server.ask("publish", f"{{{namespace}}}:{topic}", junk)
        heard = trio.Event()
        other = another(broker).storage
        await other.open()
        await other.call(other.request([["pause", "q", True]]), "broker")
        with trio.fail_after(10):
            await heard.wait()
        await other.close()
        nursery.cancel_scope.cancel()
    await broker.storage.close()


def test_times_without_end(broker: RemoteBroker) -> None:
    """A lease ends; results may be kept for ever."""
    with pytest.raises(ValueError, match="lease expects a finite number of seconds"):
        another(broker, lease=math.inf)
    assert RemoteResultBackend(broker.storage, ttl=math.inf).keeping.ttl is None


# --- clocks ---


class Late:
    """A storage whose replies are read late, and whose server's clock is ahead of ours."""

    def __init__(self, broker: RemoteBroker) -> None:
        self.lag = self.ahead = 0.0
        send = broker.storage._send

        async def late(*of: Any) -> Any:
            reply = await send(*of)
            reply.now += self.ahead
            time.sleep(self.lag)  # the event loop stands still  # noqa: ASYNC251
            return reply

        broker.storage._send = late  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("ahead", [0.0, 3600.0])
async def test_what_is_delayed_waits_as_long_though_a_reply_was_late(
    broker: RemoteBroker,
    request: pytest.FixtureRequest,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    ahead: float,
) -> None:
    """38: a reply that was long in coming is no clock that is behind."""
    monkeypatch.setattr("actorq.engines.remote.broker.SKEW", 0.05)
    broker.register(plain)
    late = Late(broker)
    late.ahead = ahead
    async with actorq.open_system(broker, role="client") as system:
        late.lag = 0.2
        await system.queue_statistics()
        late.lag = 0.0
        before = time.time()
        await system.enqueue(plain.using(delay=600), 1)
        after = time.time()
    if request.node.callspec.params["broker"] == "postgres":
        server = request.getfixturevalue("postgres_server")
        ((due,),) = server.ask(f"select due from {namespace}.tasks")
    else:
        server = request.getfixturevalue("redis_server")
        _, score = server.ask("zrange", f"{{{namespace}}}:scheduled", "0", "0", "withscores")
        due = float(score)
    assert before + 600 + ahead <= due + 1e-3
    assert due <= after + 600 + ahead + 1.0  # it may be as much late


# --- what is large ---


@pytest.mark.parametrize("limited", [False, True])
async def test_a_claim_brings_no_more_than_one_call_can_carry(
    broker: RemoteBroker, limited: bool
) -> None:
    """37: 16 MB; the others come next, the highest priority first, then the oldest."""
    options: dict[str, Any] = {"concurrency": 100} if limited else {}
    broker.register(length)
    async with actorq.open_system(broker, role="client") as system:
        sent = []
        for priority in (0, 1):
            for n in range(8):
                task = length.using(priority=priority, **options)
                handle = await system.enqueue(task, f"{n}" * 3_000_000)
                sent.append(handle.task_id)
        expected = [*sent[8:], *sent[:8]]
        clock = system.wiring.clock()
        session = await broker.open_session("w", clock)
        got: list[str] = []
        for portion in (6, 6, 4):
            claimed = await broker.claim(session, 100, clock)
            assert len(claimed) == portion
            got += [each.fence.task_id for each in claimed]
            assert {each.fence.attempt for each in claimed} == {1}
            assert broker.claimable() is (len(got) < 16)
        assert got == expected


async def test_all_that_is_large_is_worked_off(broker: RemoteBroker) -> None:
    """42: though a worker has room for more of it than one call carries; none counts twice."""
    attempts: list[int] = []

    @broker.task(name="weigh")
    async def weigh(text: str, ctx: actorq.Context = actorq.Depends()) -> int:
        attempts.append(ctx.attempt)
        return len(text)

    async with actorq.open_system(broker, role="client") as system:
        handles = await system.enqueue_many(weigh, [("x" * 3_000_000,)] * 30)
    async with actorq.open_system(broker) as system:
        for handle in handles:
            assert await system.handle(handle.task_id).result() == 3_000_000
    assert attempts == [1] * 30
