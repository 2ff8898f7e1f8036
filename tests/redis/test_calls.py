"""A call is done exactly once though connections break, and what is pushed is heard again after that."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.engines.redis import storage as redis_storage
from actorq.engines.redis.link import Link
from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.storage import CARRIED, Interrupted
from actorq.errors import EngineUnavailable
from remote.calls import Cut, announce, announced, check_done_once, cuts
from servers import Proxy, RedisServer, Server

from .here import servers


pytestmark = pytest.mark.engine

Through = Callable[[Server], Proxy]


@settings(max_examples=25)
@given(some_cuts=cuts(700), calls=st.integers(1, 4))
def test_a_call_is_done_once_wherever_the_connection_is_cut(
    some_cuts: list[Cut], calls: int
) -> None:
    """31: in the request, in the reply, at any byte; in each, or in several one after another."""

    async def main() -> None:
        port = int(servers[-1].rpartition(":")[2].partition("/")[0])
        with Proxy(port) as proxy:
            storage = RedisStorage(f"redis://127.0.0.1:{proxy.port}/0", namespace="cut")
            await check_done_once(storage, proxy, some_cuts, calls)

    trio.run(main)


async def test_the_same_call_again_is_not_done_again(storage: RedisStorage) -> None:
    """It has its answers; what has come after it is never overtaken by it."""
    request = storage.request([["swap", "a", None, ["v", "{}"], True]])
    first = await storage._send(request, "schedules", 7)
    again = await storage._send(request, "schedules", 7)
    assert (first.answers, again.answers) == ([True], [True])
    assert (first.previous, again.previous) == (None, 7)
    assert (await storage._send(request, "schedules", 8)).answers == [False]
    with pytest.raises(EngineUnavailable, match="came after 8"):
        await storage._send(request, "schedules", 7)
    other = await storage._send(storage.request([["delete_results", []]]), "results", 1)
    assert other.previous is None  # each lane counts for itself


async def test_a_repeated_call_has_its_blobs_again(storage: RedisStorage) -> None:
    """Bytes of answers, too."""
    keep = storage.request([["set_results", [["a", 1, None, b"\x00\xff", False]]]])
    await storage._send(keep, "results", 1)
    look = storage.request([["get_results", ["a"]]])
    for _ in range(2):
        reply = await storage._send(look, "results", 2)
        ((_, blob),) = reply.answers[0]["results"]
        assert reply.take(blob) == b"\x00\xff"


async def test_a_server_that_was_emptied_is_another(
    server: RedisServer, storage: RedisStorage, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, once, and everything goes on."""
    caplog.set_level("ERROR", logger="actorq")
    await announce(storage)
    generation = storage.generation
    assert generation
    await announce(storage)
    assert storage.generation == generation
    for name in server.ask("keys", f"{{{storage.namespace}}}*") or ():  # type: ignore[union-attr]
        server.ask("del", name)
    await announce(storage)
    await announce(storage)
    assert storage.generation != generation
    assert caplog.text.count("has lost all its data") == 1


async def test_data_of_another_version_are_left_alone(
    server: RedisServer, storage: RedisStorage, namespace: str
) -> None:
    """Whatever that makes of them later."""
    await announce(storage)
    server.ask("hset", f"{{{namespace}}}:meta", "format", "2")
    with pytest.raises(EngineUnavailable, match=r"those of another version.*FORMAT 2"):
        await announce(storage)
    with pytest.raises(EngineUnavailable, match="or take another namespace"):
        await RedisStorage(server.url, namespace=namespace).open()


async def test_who_closes_leaves_nothing_behind(server: RedisServer, namespace: str) -> None:
    """No saved answers, no connection."""

    def keys_of_peer() -> Any:
        fields = server.ask("hkeys", f"{{{namespace}}}:meta")
        assert isinstance(fields, list)
        return [each for each in fields if str(each).startswith("call ")]

    def connections() -> int:
        return str(server.ask("client", "list")).count("name=actorq")

    before = connections()
    storage = RedisStorage(server.url, namespace=namespace)
    await storage.open()
    await announce(storage)
    assert keys_of_peer() == [f"call {storage.peer} schedules"]
    assert connections() > before
    await storage.close()
    assert keys_of_peer() == []
    assert server.ask("zrange", f"{{{namespace}}}:peers", 0, -1) == []
    while connections() > before:
        await trio.lowlevel.checkpoint()


async def test_a_cancelled_call_is_finished_before_another(
    server: RedisServer, through_proxy: Through, namespace: str
) -> None:
    """What it was answered is never taken for the answer to the next."""
    proxy = through_proxy(server)
    storage = RedisStorage(server.url_at(proxy.port), namespace=namespace)
    await storage.open()
    for size in range(8):
        with trio.move_on_after(0):
            await announce(storage)
        request = storage.request([["schedule", f"{size}"]], writes=False)
        assert (await storage.call(request, "schedules")).answers == [None]
    await storage.close()


async def test_a_call_that_takes_too_long_gives_its_connection_up(
    server: RedisServer, through_proxy: Through, namespace: str
) -> None:
    """Its late reply is nobody's."""
    proxy = through_proxy(server)
    storage = RedisStorage(server.url_at(proxy.port), namespace=namespace, timeout=0.2)
    await storage.open()
    before = await announced(storage)
    proxy.freeze("replies")
    with pytest.raises(EngineUnavailable):
        await announce(storage)
    proxy.thaw()
    storage.timeout = 10.0
    assert (await announce(storage)).answers == [True, True]
    assert await announced(storage) == before + 2  # the first was done, late
    await storage.close()


class Ear:
    """Who hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, Any]] = []
        self.news = trio.Event()

    def __call__(self, topic: Any, ids: Collection[str] | None) -> None:
        self.heard.append((topic, ids))
        self.news.set()

    async def hear(self, topic: str) -> Any:
        """Wait for it, and return the ids."""
        while True:
            for said, ids in self.heard:
                if said == topic:
                    self.heard.clear()
                    return ids
            self.news = trio.Event()
            await self.news.wait()


async def listening(storage: RedisStorage, nursery: trio.Nursery, **options: Any) -> Ear:
    """Somebody who listens, from now on."""
    ear = Ear()

    async def listen() -> None:
        await storage.listen(["results", "schedules"], ear, **options)

    nursery.start_soon(listen)
    channel = f"{{{storage.namespace}}}:peer:{storage.peer}"
    while True:
        link = await storage._dial()
        count = (await link.call(b"PUBSUB", b"NUMSUB", channel.encode()))[1]
        storage._drop(link)
        if count:
            break
    return ear


async def test_others_hear_of_results_by_their_ids(
    server: RedisServer, storage: RedisStorage, nursery: trio.Nursery
) -> None:
    """And who did it does not, unless asked for."""
    other = RedisStorage(server.url, namespace=storage.namespace)
    await other.open()
    far, near = await listening(other, nursery), await listening(storage, nursery)
    rows = [[f"{n}", 1, None, b"", False] for n in range(3)]
    await storage.call(storage.request([["set_results", rows]]), "results")
    assert await far.hear("results") == ["0", "1", "2"]
    many = [[f"{n}", 1, None, b"", False] for n in range(2000)]
    await storage.call(storage.request([["set_results", many]]), "results")
    assert await far.hear("results") is None  # any
    await announce(storage)
    assert await far.hear("schedules") is None
    assert not [topic for topic, _ in near.heard if topic]
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await other.close()


async def test_a_result_comes_with_the_word_of_it(
    server: RedisServer, storage: RedisStorage, nursery: trio.Nursery
) -> None:
    """A small one, alone: who waits for it need not ask.  Another word of it means: ask."""
    other = RedisStorage(server.url, namespace=storage.namespace)
    await other.open()
    far = await listening(other, nursery)

    async def step(*acts: list[Any]) -> dict[str, bytes]:
        await storage.call(storage.request(acts), "results")
        await far.hear("results")
        return other.take_carried()

    def stored(*ids: str, size: int = 2, attempt: int = 1) -> list[Any]:
        return ["set_results", [[each, attempt, None, b"\xff" * size, False] for each in ids]]

    assert await step(stored("a")) == {"a": b"\xff\xff"}
    assert await step(stored("b", "c")) == {}
    assert await step(stored("d", size=5000)) == {}
    assert await step(stored("e"), ["set_progress", "f", 1, b"5"]) == {}
    assert await step(["give_up", "g", "why"]) == {}
    await storage.call(storage.request([stored("h")]), "results")
    await far.hear("results")
    assert await step(["delete_results", ["h"]]) == {}
    assert storage.take_carried() == {}
    for number in range(CARRIED + 2):  # and nobody asks
        await storage.call(storage.request([stored(f"{number}")]), "results")
    while f"{CARRIED + 1}" not in other._carried:
        await trio.lowlevel.checkpoint()
    assert len(other.take_carried()) == CARRIED
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await other.close()


async def test_who_listens_hears_again_after_a_cut(
    server: RedisServer, through_proxy: Through, storage: RedisStorage, nursery: trio.Nursery
) -> None:
    """Whatever was said meanwhile: anything may have happened."""
    proxy = through_proxy(server)
    other = RedisStorage(server.url_at(proxy.port), namespace=storage.namespace, recheck=1000)
    await other.open()
    ear = await listening(other, nursery)
    for _ in range(3):
        await announce(storage)
        await ear.hear("schedules")
        proxy.cut()
        ear.heard.clear()
        await announce(storage)
        while (None, None) not in ear.heard:
            ear.news = trio.Event()
            await ear.news.wait()
    nursery.cancel_scope.cancel()
    with trio.CancelScope(shield=True):
        await other.close()


async def test_a_restarted_server_is_found_again(namespace: str) -> None:
    """With what it keeps on disk; idle connections of before are not taken for good ones."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        storage = RedisStorage(server.url, namespace=namespace)
        await storage.open()
        for n in range(3):
            assert (await announce(storage)).answers == [True, True]
            await trio.to_thread.run_sync(lambda: server.restart(kill=True))
            assert await announced(storage) == n + 1
        await storage.close()


async def test_a_process_that_was_killed_calls_no_more(server: RedisServer, namespace: str) -> None:
    """As the contract's kill wants it."""
    storage = RedisStorage(server.url, namespace=namespace, timeout=1.0)
    await storage.open()
    await announce(storage)
    storage.die()
    with pytest.raises(RuntimeError, match="not open"):
        await announce(storage)
    with pytest.raises(EngineUnavailable, match="is closed"):
        await storage._send(storage.request(), "broker", 0)
    await storage.open()
    assert await announced(storage) == 1
    await storage.close()


async def test_a_listener_whose_server_is_silent_asks_and_gives_up(
    server: RedisServer,
    through_proxy: Through,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection that leads nowhere any more is noticed by who only listens."""
    proxy = through_proxy(server)
    storage = RedisStorage(server.url_at(proxy.port), namespace=namespace)
    await storage.open()
    subscribed, pongs = trio.Event(), trio.Event()
    monkeypatch.setattr(redis_storage, "SILENCE", 0.02)
    send = Link.send

    async def counted(link: Link, *command: bytes) -> None:
        if command == (b"PING",) and subscribed.is_set():
            pongs.set()
        await send(link, *command)

    monkeypatch.setattr(Link, "send", counted)

    async def listen() -> None:
        await storage._subscribe(["tasks"], lambda *_: None, subscribed.set)

    async with trio.open_nursery() as nursery:

        async def gives_up() -> None:
            with pytest.raises(Interrupted, match="has been silent for"):
                await listen()

        nursery.start_soon(gives_up)
        await pongs.wait()  # silence alone is no reason to go
        await announce(storage)
        proxy.freeze()
    await storage.close()
