"""The law on a Redis server, act by act: what no other engine has, and what a broker does not ask."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio

from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.acts import SILENT, Act, Reply
from servers import RedisServer


pytestmark = pytest.mark.engine

BODY = b"\xff\x00body"
LEASE = 30.0


@attrs.define(eq=False)
class Client:
    """One process: its calls, at a time of the test's own."""

    storage: RedisStorage
    now: float = 1_000.0
    seen: int = 0

    async def call(self, *acts: Act, writes: bool = True, **told: Any) -> Reply:
        """One call, with a view."""
        request = self.storage.request(acts, writes=writes)
        request.view, request.now, request.lease, request.room = True, self.now, LEASE, 100
        request.seen = self.seen
        for name, value in told.items():
            setattr(request, name, value)
        return await self.storage.call(request, "broker")

    async def do(self, *act: Any, **told: Any) -> Any:
        """The answer to one act."""
        return (await self.call(list(act), **told)).answers[0]

    async def look(self) -> dict[str, Any]:
        """The view, as each broker sees it at each recheck."""
        view = (await self.call(writes=False)).view
        assert view is not None
        return view

    async def store(self, *ids: str, **said: Any) -> Any:
        """Tasks, all alike."""
        return await self.do("store", [sent(task_id, **said) for task_id in ids], False)

    async def session(self, worker: str = "w") -> int:
        """A new one."""
        return int(await self.do("open", worker, None, 1, "host"))

    async def claim(self, session: int, limit: int = 1_000) -> list[Any]:
        """What is leased then."""
        return list((await self.do("claim", session, limit, []))["claimed"])

    async def settle(self, session: int, claimed: list[Any], ending: str = "done") -> Any:
        """A word on each."""
        words = [[*each[:3], ending, 0.0, "", None, [], False, None] for each in claimed]
        return await self.do("settle", session, words)

    async def check(self) -> None:
        """What is kept agrees with itself."""
        assert await self.do("check", writes=False) == []


def sent(
    task_id: str,
    *,
    queue: str = "default",
    priority: int = 0,
    eta: float | None = None,
    expires: float | None = None,
    deliveries: int = 5,
    bounds: Any = None,
    body: bytes = BODY,
) -> list[Any]:
    """As a broker writes it."""
    head = [task_id, body, None, "work", queue, priority, eta, expires]
    return [*head, deliveries, bounds, None]


def ids(rows: list[Any]) -> list[str]:
    """Of what is claimed, or queued."""
    return [row[0] for row in rows]


@pytest.fixture
async def client(storage: RedisStorage) -> Client:
    """The first process."""
    return Client(storage)


@pytest.fixture
async def other(server: RedisServer, namespace: str) -> AsyncIterator[Client]:
    """Another one."""
    storage = RedisStorage(server.url, namespace=namespace)
    await storage.open()
    yield Client(storage)
    await storage.close()


# --- order ---


async def test_the_highest_priority_comes_first_then_the_first_accepted(client: Client) -> None:
    """37: of many lanes, negative ones too, in claims of any size."""
    chance = random.Random(7)
    tasks = [(f"t{n}", chance.choice([0, 0, 0, 5, -1, -20, 10**12])) for n in range(300)]
    for task_id, priority in tasks:
        await client.store(task_id, priority=priority)
    session = await client.session()
    found: list[str] = []
    while some := ids(await client.claim(session, chance.choice([1, 3, 50]))):
        found += some
    assert found == [task_id for task_id, _ in sorted(tasks, key=lambda each: -each[1])]
    await client.check()


async def test_what_comes_back_has_its_place_by_age(client: Client) -> None:
    """37: between tasks that were never claimed."""
    await client.store(*"abcdef")
    session = await client.session()
    first = await client.claim(session, 3)
    await client.settle(session, [first[1]], "give_back")
    await client.settle(session, [first[0]], "give_back")
    await client.settle(session, [first[2]], "retry")
    again = await client.claim(session)
    assert ids(again) == list("abcdef")
    assert [each[1] for each in again] == [1, 1, 2, 1, 1, 1]
    await client.check()


async def test_places_of_what_was_cancelled_are_passed_over(client: Client) -> None:
    """36: wherever in a long line they were, and however many."""
    everything = [f"t{n}" for n in range(500)]
    await client.store(*everything)
    gone = set(random.Random(3).sample(everything, 420)) | set(everything[:150])
    for task_id in gone:
        assert await client.do("revoke", task_id) is True
    await client.check()
    session = await client.session()
    found: list[str] = []
    while some := ids(await client.claim(session, 7)):
        found += some
    assert found == [task_id for task_id in everything if task_id not in gone]
    view = await client.look()
    assert not view["claimable"]
    await client.check()


async def test_more_priorities_than_are_kept_come_and_go(client: Client) -> None:
    """37: empty lanes are dropped, and others stay."""
    session = await client.session()
    await client.store("stays", priority=-1_000)
    for priority in range(60):
        await client.store(f"p{priority}", priority=priority)
        (claimed,) = await client.claim(session, 1)
        assert claimed[0] == f"p{priority}"
        await client.settle(session, [claimed])
    assert ids(await client.claim(session)) == ["stays"]
    await client.check()


# --- what goes back ---


async def test_a_claim_that_is_asked_again_has_its_messages(client: Client) -> None:
    """31: the reply was lost; the bodies are found where they are kept."""
    bodies = {f"t{n}": bytes([n]) * n for n in range(1, 40)}
    acts = [["store", [sent(i, body=b) for i, b in bodies.items()], False]]
    await client.call(*acts)
    session = await client.session()
    request = client.storage.request([["claim", session, 100, []]])
    request.now = client.now
    first = await client.storage._send(request, "broker", 900)
    again = await client.storage._send(request, "broker", 900)
    for reply in (first, again):
        claimed = reply.answers[0]["claimed"]
        assert {each[0]: reply.take(each[5]) for each in claimed} == bodies
    assert again.answers == first.answers


async def test_the_first_accepted_are_listed_first(client: Client) -> None:
    """Of all queues, or of one; across the pieces in which they are kept."""
    session = await client.session()
    for n in range(0, 9_000, 1_000):
        names = [f"t{i}" for i in range(n, n + 1_000)]
        await client.store(*names[:-1])
        await client.store(names[-1], queue="mail", eta=client.now + 60)
    held = await client.claim(session, 500)
    await client.settle(session, held[100:])
    listed = await client.do("queued", None, 150)
    assert ids(listed) == [f"t{i}" for i in [*range(100), *range(500, 550)]]
    assert listed[0][6:] == ["leased", 1]
    await client.settle(session, held[50:60], "retry")
    assert ids(await client.do("queued", "default", 150)) == ids(listed)
    assert await client.do("queued", "nothing", 150) == []
    assert await client.do("queued", None, 0) == []
    mail = await client.do("queued", "mail", 100)
    assert ids(mail) == [f"t{i}" for i in range(999, 9_000, 1_000)]
    assert mail[0][5:7] == ["mail", "scheduled"]


async def test_a_queue_is_purged_in_slices(client: Client) -> None:
    """36: ready, scheduled, and held back by a limit; not what runs, nor other queues."""
    limited = [None, [["k", 1]], [], []]
    session = await client.session()
    await client.store("runs", bounds=limited)
    await client.claim(session)
    await client.store(*[f"l{n}" for n in range(10)], bounds=limited)
    await client.claim(session)
    await client.store(*[f"r{n}" for n in range(30)])
    await client.store(*[f"s{n}" for n in range(30)], eta=client.now + 9)
    await client.store("other", queue="mail")
    slices = []
    more = True
    while more:
        n, more = await client.do("purge", "default", 25)
        slices.append(n)
    assert slices == [25, 25, 20]
    assert [await client.do("locate", each) for each in ("runs", "other", "l3", "r3", "s3")] == [
        *("leased", "ready", "done", "done", "done")
    ]
    await client.check()


async def test_much_that_was_parked_is_released_in_steps(client: Client) -> None:
    """42: no step takes long; each claim of who knows the task goes on."""
    names = [f"t{n}" for n in range(2_500)]
    await client.store(*names)
    first = await client.session("knows nothing")
    while claimed := await client.claim(first):
        await client.settle(first, claimed, "park")
    assert (await client.look())["parked"] == ["work"]
    session = await client.session()
    found: list[str] = []
    while some := ids((await client.do("claim", session, 300, ["work"]))["claimed"]):
        found += some
    assert found == names
    view = await client.look()
    assert (view["parked"], view["claimable"]) == ([], False)
    await client.check()


async def test_a_claim_has_no_more_than_a_step_can_take(client: Client) -> None:
    """Whatever is asked for; the rest is there for the next."""
    await client.store(*[f"t{n}" for n in range(9_500)])
    session = await client.session()
    await client.settle(session, await client.claim(session, 9_999), "retry")
    sizes = []
    while claimed := await client.claim(session, 100_000):
        sizes.append(len(claimed))
        assert all(await client.settle(session, claimed))
    assert sizes == [2_000, 2_000, 2_000, 2_000, 1_500]
    await client.check()


# --- who is there ---


async def heard(client: Client, nursery: trio.Nursery) -> trio.CancelScope:
    """It listens, as each broker does, until the scope is cancelled."""
    scope = trio.CancelScope()
    ready = trio.Event()

    async def listen() -> None:
        def hear(*_: object) -> None:
            ready.set()

        with scope:
            await client.storage.listen(["tasks"], hear)

    nursery.start_soon(listen)
    await ready.wait()
    return scope


async def at_work(client: Client, nursery: trio.Nursery) -> tuple[int, trio.CancelScope]:
    """It listens, and has a job; its session."""
    listening = await heard(client, nursery)
    session = await client.session("theirs")
    await client.store("a")
    assert ids(await client.claim(session)) == ["a"]
    await client.look()
    return session, listening


async def looked(client: Client, seconds: float) -> bool:
    """Whether somebody who looks every second sees something to do within these."""
    end = client.now + seconds
    while client.now < end:
        client.now += 1.0
        if (await client.look())["over"]:
            return True
    return False


async def test_a_killed_process_is_seen_to_be_dead(
    client: Client, other: Client, nursery: trio.Nursery
) -> None:
    """29: silent, and its connection gone: its jobs are others' long before its lease is over."""
    await at_work(other, nursery)
    other.storage.die()
    began = client.now
    assert await looked(client, LEASE)
    assert SILENT < client.now - began < LEASE / 2
    await client.do("lapse", 0.0)
    session = await client.session("ours")
    assert [each[:2] for each in await client.claim(session)] == [["a", 2]]
    assert not await looked(client, 5)
    await client.check()
    nursery.cancel_scope.cancel("the one that was killed still listens")


async def test_who_only_works_is_told_that_somebody_has_died(
    client: Client, other: Client, nursery: trio.Nursery
) -> None:
    """29: a worker that asks for tasks every second looks at nothing else."""
    await at_work(other, nursery)
    session = await client.session("ours")
    for _ in range(4):
        client.now = other.now = client.now + 1
        await client.claim(session)
        await other.do("renew", 1)
    other.storage.die()
    seen = []
    for _ in range(12):
        client.now += 1
        reply = await client.call(["claim", session, 1, []])
        assert reply.view is not None
        seen.append(reply.view["over"])
    assert not any(seen[: int(SILENT)])
    assert any(seen)
    await client.do("lapse", 0.0)
    assert ids(await client.claim(session)) == ["a"]
    nursery.cancel_scope.cancel("the one that was killed still listens")


async def test_who_is_silent_and_connected_keeps_its_jobs(
    client: Client, other: Client, nursery: trio.Nursery
) -> None:
    """35: its event loop stands still: that is what leases are for."""
    _, listening = await at_work(other, nursery)
    assert not await looked(client, LEASE - 1)
    assert await looked(client, 2)
    listening.cancel("over")


async def test_who_was_cut_off_and_comes_back_keeps_its_jobs(
    client: Client, other: Client, nursery: trio.Nursery
) -> None:
    """35: a server that starts again has cut off everybody."""
    session, listening = await at_work(other, nursery)
    listening.cancel("the connection is lost")
    assert not await looked(client, SILENT + 2)
    other.now = client.now
    assert await other.do("renew", session) is True
    assert not await looked(client, 2)
    listening = await heard(other, nursery)
    assert not await looked(client, 10)
    listening.cancel("over")


async def test_what_nobody_stores_any_more_is_passed_on(client: Client, other: Client) -> None:
    """43: the ends that a peer was to tell, when it has left, or has been silent for a lease."""
    await other.store("a", "b")
    await other.do("revoke", "a")
    client.now += LEASE - 1
    await client.do("lapse", 0.0)
    assert (await client.look())["outbox"] == []
    client.now += 1
    assert (await client.look())["leased"]
    await client.do("lapse", 0.0)
    ((number, task_id, *_),) = (await client.look())["outbox"]
    assert task_id == "a"
    assert await client.do("is_ending", "a") is True
    await client.do("published", [number])
    assert (await client.look())["outbox"] == []
    assert await client.do("is_ending", "a") is False
    other.now = client.now
    await other.do("revoke", "b")
    await other.do("sign_off")
    await client.do("lapse", 0.0)
    assert ids([each[1:] for each in (await client.look())["outbox"]]) == ["b"]


# --- fences ---


async def test_tokens_are_never_used_twice(client: Client, server: RedisServer) -> None:
    """34: not even by a server that was started again with an older state."""
    await client.store("a")
    session = await client.session()
    tokens: list[int] = []
    meta = client.storage._key("meta").decode()
    copied = "redis.call('HSET', KEYS[1], ARGV[2], redis.call('HGET', KEYS[1], ARGV[1]))"
    for _ in range(3):
        (claimed,) = await client.claim(session)
        tokens.append(claimed[2])
        await client.settle(session, [claimed], "give_back")
        if len(tokens) == 1:
            server.ask("eval", copied, 1, meta, "marks", "before")
        else:
            server.ask("eval", copied, 1, meta, "before", "marks")
        client.now += 0.001
    assert tokens == sorted(set(tokens))
    await client.check()


# --- a server that stood still ---


async def test_nobody_loses_a_lease_that_nobody_could_renew(
    client: Client, other: Client, server: RedisServer
) -> None:
    """35: the server was away for long; who comes back first does not take what others have."""
    key = client.storage._key
    client.now = other.now = None  # type: ignore[assignment] # the server's time
    await client.store("a")
    session = await client.session()
    assert ids(await client.claim(session)) == ["a"]
    server.ask("zadd", key("until").decode(), 1_000, session)
    server.ask("hset", key("meta").decode(), "last", 1_000)  # the last call before it stood still
    for _ in range(2):
        await other.do("lapse", 0.0)
        assert (await client.look())["good"] == [session]
    server.ask("hset", key("meta").decode(), "stood", 1_000)  # that was long ago
    await other.do("lapse", 0.0)
    assert (await client.look())["good"] == []
    await client.check()


# --- what is kept ---


async def test_nothing_is_left_of_tasks_that_have_ended(
    client: Client, server: RedisServer
) -> None:
    """But for ids that are remembered, and counters: memory is given back."""
    key = client.storage._key
    session = await client.session()
    pace = [["p", 1_000, 0.001, False]]
    for n in range(600):
        bounds = [["u", "return", "finish", None] if n % 3 else None, [["k", 9]], pace, []]
        await client.call(["store", [sent(f"b{n}", bounds=bounds, expires=client.now + 50)], True])
        await client.call(["store", [sent(f"t{n}", queue=f"q{n % 5}")], True], remember=0)
        client.now += 0.01
        claimed = await client.claim(session)
        ending = "done" if n % 2 else "dead"
        words = [[*each[:3], ending, 0.0, "x", None, [], False, None] for each in claimed]
        await client.call(["settle", session, words], remember=0, keep_dead=0)
    await client.check()
    prefix = key("").decode()
    found = server.ask("keys", prefix + "*")
    assert isinstance(found, list)
    names = {str(name).removeprefix(prefix).split(":")[0] for name in found}
    assert names <= {
        *(
            "marks",
            "meta",
            "peers",
            "calls",
            "lanes",
            "queues",
            "sessions",
            "sessions_of",
            "worker",
        ),
        *("unused", "until", "ended", "state", "segments", "paces", "starts", "idle"),
    }
    assert int(str(server.ask("hlen", key("state").decode()))) <= 300
    assert int(str(server.ask("zcard", key("segments").decode()))) <= 1
