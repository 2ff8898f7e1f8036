"""Several servers: the sentinels' master after a failover; the node of a cluster that has our slot."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio

from actorq.engines.redis import storage as redis_storage
from actorq.engines.redis.storage import RedisStorage
from actorq.errors import EngineUnavailable
from servers import RedisServer
from servers.fixtures import running
from servers.redis import RedisError

from .test_connections import keep, kept, works


pytestmark = pytest.mark.engine

#: Seconds that servers may take to agree.
PATIENCE = 30.0


def until(condition: Any) -> None:
    """Wait for what the servers do among themselves."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the servers did not agree in time"
        time.sleep(0.01)


def has_all(replica: RedisServer, master: RedisServer) -> None:
    """Return when it has what was written by now."""
    written = int(master.info("master_repl_offset"))
    until(lambda: int(replica.info("slave_repl_offset")) >= written)


class Sentinel(RedisServer):
    """One that watches."""

    def command(self) -> list[str]:
        """With a file that it writes into, and no settings of ours."""
        program, *_ = super().command()
        return [program, str(self.data / "sentinel.conf"), "--sentinel"]

    def start(self) -> None:
        """Once only, so there is no file yet."""
        text = f"port {self.port}\nbind 127.0.0.1\ndir {self.data}\n"
        (self.data / "sentinel.conf").write_text(text)
        super().start()


@pytest.fixture
def watched() -> Iterator[tuple[Sentinel, RedisServer, RedisServer]]:
    """A sentinel, a master, a replica."""
    with running(RedisServer()) as master, running(RedisServer()) as replica:
        replica.ask("config", "set", "repl-ping-replica-period", "1")
        replica.ask("replicaof", "127.0.0.1", master.port)
        until(lambda: replica.info("master_link_status") == "up")
        with running(Sentinel()) as sentinel:
            sentinel.ask("sentinel", "monitor", "album", "127.0.0.1", master.port, 1)
            sentinel.ask("sentinel", "set", "album", "down-after-milliseconds", 200)
            sentinel.ask("sentinel", "set", "album", "failover-timeout", 2000)
            until(
                lambda: (
                    sentinel.info("sentinel_masters") == "1"
                    and "slaves=1" in sentinel.info("master0")
                )
            )
            yield sentinel, master, replica


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where somebody listens, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_the_master_is_found_and_found_again(
    watched: tuple[Sentinel, RedisServer, RedisServer],
    silent: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A master dies, its replica is promoted: calls go on there.

    Sentinels that are away, or silent, do no harm.
    """
    sentinel, master, replica = watched
    with pytest.raises(EngineUnavailable, match="knows no master 'pictures'"):
        await RedisStorage(f"redis+sentinel://127.0.0.1:{sentinel.port}/pictures").open()
    monkeypatch.setattr(redis_storage, "PATIENCE", 0.5)
    hosts = f"127.0.0.1:1,127.0.0.1:{silent},127.0.0.1:{sentinel.port}"
    url = f"redis+sentinel://{hosts}/album/0"
    await works(url, namespace="first")
    storage = RedisStorage(url, timeout=20.0)
    await storage.open()
    assert await keep(storage, "one")
    has_all(replica, master)
    await trio.to_thread.run_sync(master.kill)
    with trio.fail_after(PATIENCE):
        while True:
            try:
                await keep(storage, "two")
                break
            except EngineUnavailable:
                await trio.sleep(0.05)
    assert await kept(storage) == ["one", "two"]
    assert replica.info("role") == "master"
    await storage.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Two nodes, each with a half of the slots."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(running(RedisServer(cluster_enabled="yes"))) for _ in range(2)]
        nodes[0].ask("cluster", "addslotsrange", 0, 8191)
        nodes[1].ask("cluster", "addslotsrange", 8192, 16383)
        nodes[0].ask("cluster", "meet", "127.0.0.1", nodes[1].port)
        until(lambda: all("cluster_state:ok" in str(node.ask("cluster", "info")) for node in nodes))
        until(
            lambda: all(len(str(node.ask("cluster", "nodes")).splitlines()) == 2 for node in nodes)
        )
        yield nodes


def holder_of(nodes: list[RedisServer], namespace: str) -> int:
    """Which node has the keys of a namespace."""
    slot = nodes[0].ask("cluster", "keyslot", f"{{{namespace}}}")
    assert isinstance(slot, int)
    return int(slot > 8191)


async def test_the_node_with_our_slot_is_found(cluster: list[RedisServer]) -> None:
    """From any node, for any namespace; a listener hears wherever it is connected."""
    seen = set()
    for namespace in ("a", "b", "c", "d", "e"):
        seen.add(holder_of(cluster, namespace))
        for node in cluster:
            await works(f"redis+cluster://127.0.0.1:{node.port}", namespace=f"{namespace}")
            node_with_it = cluster[holder_of(cluster, namespace)]
            node_with_it.ask("del", f"{{{namespace}}}:schedules")
    assert seen == {0, 1}


async def test_a_slot_that_moves_is_followed(cluster: list[RedisServer]) -> None:
    """Empty as it is: what moving does to keys is the cluster's business."""
    first = holder_of(cluster, "moving")
    storage = RedisStorage(f"redis+cluster://127.0.0.1:{cluster[first].port}", namespace="moving")
    await storage.open()
    slot = cluster[0].ask("cluster", "keyslot", "{moving}")
    target = cluster[1 - first]
    identity = target.ask("cluster", "myid")
    for name in cluster[first].ask("keys", "{moving}*") or ():  # type: ignore[union-attr]
        cluster[first].ask("del", name)
    for node in (target, cluster[first]):
        node.ask("cluster", "setslot", slot, "node", identity)
    assert await keep(storage)
    with pytest.raises(RedisError, match="MOVED"):
        cluster[first].ask("hlen", "{moving}:schedules")
    assert target.ask("hlen", "{moving}:schedules") == 1
    await storage.close()


async def test_a_node_of_a_cluster_says_so(
    cluster: list[RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    """To who took it for a server of its own."""
    caplog.set_level("WARNING", logger="actorq")
    holder = holder_of(cluster, "actorq")
    storage = RedisStorage(cluster[holder].url)
    await storage.open()
    assert "Write redis+cluster:// in the URL" in caplog.text
    await storage.close()
    with pytest.raises(EngineUnavailable, match=r"write redis\+cluster://"):
        await RedisStorage(cluster[1 - holder].url).open()


async def test_a_replica_in_a_cluster_takes_over(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL names the node that dies; the others were learnt from it."""
    with ExitStack() as stack:
        master, replica = (
            stack.enter_context(running(RedisServer(cluster_enabled="yes"))) for _ in range(2)
        )
        master.ask("cluster", "addslotsrange", 0, 16383)
        replica.ask("cluster", "meet", "127.0.0.1", master.port)
        identity = str(master.ask("cluster", "myid"))
        until(lambda: identity in str(replica.ask("cluster", "nodes")))
        until(lambda: "cluster_state:ok" in str(replica.ask("cluster", "info")))
        replica.ask("cluster", "replicate", identity)
        until(lambda: replica.info("role") == "slave")
        until(lambda: replica.info("master_link_status") == "up")
        until(lambda: len(str(master.ask("cluster", "nodes")).splitlines()) == 2)
        monkeypatch.setattr(redis_storage, "PATIENCE", 0.5)
        hosts = f"127.0.0.1:{silent},127.0.0.1:{master.port}"
        storage = RedisStorage(f"redis+cluster://{hosts}", timeout=20.0)
        await storage.open()
        assert await keep(storage, "one")
        has_all(replica, master)
        await trio.to_thread.run_sync(master.kill)
        replica.ask("cluster", "failover", "takeover")
        until(lambda: replica.info("role") == "master")
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await keep(storage, "two")
                    break
                except EngineUnavailable:
                    await trio.sleep(0.05)
        assert await kept(storage) == ["one", "two"]
        await storage.close()
