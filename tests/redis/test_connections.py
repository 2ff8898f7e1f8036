"""A Redis server is reached in each way that a URL can say, and each refusal says what to do."""

from __future__ import annotations

import datetime
import ipaddress
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from actorq.engines.redis import storage as redis_storage
from actorq.engines.redis.link import Link
from actorq.engines.redis.storage import RedisStorage
from actorq.errors import EngineUnavailable
from servers import RedisServer
from servers.fixtures import running
from servers.process import free_port
from servers.redis import version


pytestmark = pytest.mark.engine

#: A schedule: the smallest thing that can be kept.
STATE = '{"any": "text"}'


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[RedisStorage]:
    """A storage, open."""
    storage = RedisStorage(url, **options)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def keep(storage: RedisStorage, name: str = "one") -> bool:
    """Write something."""
    request = storage.request([["swap", name, None, ["v", STATE], True]])
    answer: bool = (await storage.call(request, "schedules")).answers[0]
    return answer


async def kept(storage: RedisStorage) -> list[str]:
    """What was written."""
    request = storage.request([["schedules"]], writes=False)
    return [name for name, _ in (await storage.call(request, "schedules")).answers[0]]


async def works(url: str, **options: Any) -> None:
    """What is written there can be read, and is heard of."""
    async with opened(url, **options) as storage:
        told = trio.Event()
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                def heard(topic: Any, ids: Any) -> None:
                    if topic is not None:
                        told.set()

                await storage.listen(["schedules"], heard, own=True)

            nursery.start_soon(listen)
            assert await keep(storage)
            assert not await keep(storage)
            number = 0
            while not told.is_set():  # it may not have listened before
                await keep(storage, f"{number}")
                number += 1
            nursery.cancel_scope.cancel()
        assert "one" in await kept(storage)


# --- the ways ---


async def test_by_a_socket(server: RedisServer, namespace: str) -> None:
    """On one machine there need be no network."""
    await works(f"unix://{server.socket}", namespace=namespace)


async def test_another_database(server: RedisServer, namespace: str) -> None:
    """They know nothing of one another."""
    await works(f"redis://127.0.0.1:{server.port}/3", namespace=namespace)
    async with opened(server.url, namespace=namespace) as storage:
        assert await kept(storage) == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key, and a certificate for this machine that vouches for itself."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder


@pytest.fixture(scope="module")
def tls_server(certificates: Path) -> Iterator[tuple[RedisServer, int]]:
    """One that speaks TLS at a port, and wants to see a certificate of ours."""
    port = free_port()
    server = RedisServer(
        tls_port=port,
        tls_cert_file=certificates / "cert.pem",
        tls_key_file=certificates / "key.pem",
        tls_ca_cert_file=certificates / "cert.pem",
        tls_auth_clients="optional",
    )
    with running(server):
        yield server, port


async def test_by_tls(tls_server: tuple[RedisServer, int], certificates: Path) -> None:
    """Both sides show who they are; what is long goes through, too."""
    _, port = tls_server
    cert, key = certificates / "cert.pem", certificates / "key.pem"
    url = f"rediss://localhost:{port}/0?ssl_ca_certs={cert}&ssl_certfile={cert}&ssl_keyfile={key}"
    await works(url)
    async with opened(url) as storage:
        blob = bytes(range(256)) * 4096
        request = storage.request([["set_results", [["a", 1, None, blob, False]]]])
        await storage.call(request, "results")
        reply = await storage.call(
            storage.request([["get_results", ["a"]]], writes=False), "results"
        )
        assert reply.take(reply.answers[0]["results"][0][1]) == blob
    await works(f"rediss://127.0.0.1:{port}/1?ssl_cert_reqs=none")
    context = ssl.create_default_context(cafile=str(cert))
    await works(f"rediss://localhost:{port}/2", ssl_context=context)


async def test_a_listener_by_tls_hears_after_a_silence(
    tls_server: tuple[RedisServer, int], monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    """Waiting that was cut short, to ask whether anybody is there, does no harm to the stream."""
    _, port = tls_server
    monkeypatch.setattr(redis_storage, "SILENCE", 0.005)
    asked, told = trio.Event(), trio.Event()
    send, count = Link.send, 0

    async def counted(link: Link, *command: bytes) -> None:
        nonlocal count
        count += command == (b"PING",)
        if count == 5:
            asked.set()
        await send(link, *command)

    monkeypatch.setattr(Link, "send", counted)
    async with opened(f"rediss://localhost:{port}/3?ssl_cert_reqs=none") as storage:

        async def listen() -> None:
            await storage._subscribe(["schedules"], lambda *_: told.set(), lambda: None)

        nursery.start_soon(listen)
        await asked.wait()
        assert await keep(storage)
        await told.wait()
        nursery.cancel_scope.cancel()


async def test_a_certificate_that_nobody_vouches_for(tls_server: tuple[RedisServer, int]) -> None:
    """Is refused, and the reason is said."""
    _, port = tls_server
    with pytest.raises(EngineUnavailable, match="certificate verify failed"):
        await RedisStorage(f"rediss://localhost:{port}").open()
    with pytest.raises(EngineUnavailable):
        await RedisStorage(f"redis://localhost:{port}").open()


#: What docs/redis.md says a user needs.
RIGHTS = (
    "~{album}:*",
    "&{album}:*",
    "-@all",
    *("+@read", "+@write", "+@connection", "+@transaction", "+fcall", "+function|load", "+time"),
    *("+publish", "+subscribe", "+ping", "+info"),
)


@pytest.fixture
def guarded() -> Iterator[RedisServer]:
    """A server with users of its own."""
    with running(RedisServer()) as server:
        server.ask("acl", "setuser", "clerk", "on", ">s3cr3t", *RIGHTS)
        server.ask("acl", "setuser", "guest", "on", ">s3cr3t", "-@all", "+info")
        server.ask(
            *("acl", "setuser", "writer", "on", ">s3cr3t", "~*", "&*", "+@all"),
            *("-function", "-fcall"),
        )
        yield server


async def test_as_a_user_with_few_rights(guarded: RedisServer) -> None:
    """Those that the documentation says; another namespace is not its own."""
    url = f"redis://clerk:s3cr3t@127.0.0.1:{guarded.port}/0"
    await works(url, namespace="album")
    with pytest.raises(EngineUnavailable, match=r"may not do that: it needs .*\{other\}") as why:
        await RedisStorage(url, namespace="other").open()
    assert "s3cr3t" not in str(why.value)


async def test_a_user_without_channels(guarded: RedisServer) -> None:
    """Nobody would hear of what it does; who loses the right later goes on all the same."""
    guarded.ask("acl", "setuser", "mute", "on", ">s3cr3t", *RIGHTS, "resetchannels")
    url = f"redis://mute:s3cr3t@127.0.0.1:{guarded.port}/0"
    with pytest.raises(EngineUnavailable, match=r"the channels &\{album\}"):
        await RedisStorage(url, namespace="album").open()
    guarded.ask("acl", "setuser", "mute", "allchannels")
    async with opened(url, namespace="album") as storage:
        guarded.ask("acl", "setuser", "mute", "resetchannels")
        assert await keep(storage)
        assert not await keep(storage)


async def test_a_user_without_rights(guarded: RedisServer) -> None:
    """Is told which it needs."""
    url = f"redis://guest:s3cr3t@127.0.0.1:{guarded.port}/0"
    with pytest.raises(EngineUnavailable, match=r"it needs \+fcall \+function"):
        await RedisStorage(url).open()


async def test_a_wrong_password(guarded: RedisServer) -> None:
    """And none."""
    with pytest.raises(EngineUnavailable, match="user or the password is wrong") as why:
        await RedisStorage(f"redis://clerk:wrong@127.0.0.1:{guarded.port}").open()
    assert "clerk:" not in str(why.value)
    guarded.ask("acl", "setuser", "default", "off")
    with pytest.raises(EngineUnavailable, match="demands a password"):
        await RedisStorage(guarded.url).open()


async def test_where_functions_are_not_allowed(guarded: RedisServer) -> None:
    """The same law as scripts; they are brought again if the server has forgotten them."""
    url = f"redis://writer:s3cr3t@127.0.0.1:{guarded.port}/0"
    await works(url)
    async with opened(url, namespace="again") as storage:
        assert await keep(storage)
        guarded.ask("script", "flush")
        assert await keep(storage, "two")
        assert await kept(storage) == ["one", "two"]
    assert guarded.ask("function", "list") == []


async def test_a_server_that_has_forgotten_the_law(server: RedisServer, namespace: str) -> None:
    """After FUNCTION FLUSH, say: it is brought again, and the call is done."""
    async with opened(server.url, namespace=namespace) as storage:
        server.ask("function", "flush")
        assert await keep(storage)
        server.ask("function", "flush")
        assert await kept(storage) == ["one"]


# --- what refuses ---


async def test_a_server_that_is_too_old_is_refused(
    server: RedisServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed, what it is, and what to do; nothing was written."""
    monkeypatch.setattr("actorq.engines.redis.server.OLDEST", (99, 1))
    with pytest.raises(
        EngineUnavailable, match=r"Redis 99\.1 or newer.*upgrade the server"
    ) as told:
        await RedisStorage(server.url, namespace=namespace).open()
    assert f" is {version()}; " in str(told.value)
    assert server.ask("keys", f"{{{namespace}}}:*") == []


async def test_a_replica_is_refused(server: RedisServer) -> None:
    """It says where the master is; one that became a replica later says so, too."""
    with running(RedisServer()) as other:
        async with opened(other.url) as storage:
            assert await keep(storage)
            other.ask("replicaof", "127.0.0.1", server.port)
            with pytest.raises(EngineUnavailable, match="it is a replica"):
                await keep(storage, "two")
            with pytest.raises(EngineUnavailable, match=f"is a replica of 127.0.0.1:{server.port}"):
                await RedisStorage(other.url).open()
            other.ask("replicaof", "no", "one")
            await keep(storage, "three")


async def test_a_full_server_takes_nothing_new_and_gives(namespace: str) -> None:
    """What needs room is refused as a whole; what makes room is done."""
    with running(RedisServer()) as server:
        async with opened(server.url, namespace=namespace) as storage:
            assert await keep(storage)
            server.ask("config", "set", "maxmemory", "1")
            with pytest.raises(EngineUnavailable, match="memory is used up"):
                await keep(storage, "two")
            done = storage.request([["delete_results", ["a"]]])
            assert (await storage.call(done, "results")).answers == [None]
            assert await kept(storage) == ["one"]
            server.ask("config", "set", "maxmemory", "0")
            assert await keep(storage, "two")


async def test_a_server_with_too_many_clients(namespace: str) -> None:
    """It says so and hangs up; when there is room again, all goes on."""
    with running(RedisServer(maxclients=4)) as server:
        async with opened(server.url, namespace=namespace) as storage:
            address = ("127.0.0.1", server.port)
            with ExitStack() as stack:
                for _ in range(6):
                    stack.enter_context(socket.create_connection(address))
                with pytest.raises(EngineUnavailable, match="max number of clients reached"):
                    await RedisStorage(server.url).open()
                assert await keep(storage)  # it has its connection
            while True:
                try:
                    await works(server.url)
                    break
                except EngineUnavailable:
                    await trio.lowlevel.checkpoint()


async def test_a_disk_that_cannot_be_written(namespace: str) -> None:
    """Redis takes nothing in then; neither do we."""
    with running(RedisServer(save="3600 1")) as server:
        async with opened(server.url, namespace=namespace) as storage:
            assert await keep(storage)
            (server.data / "dump.rdb").mkdir()  # nothing can be put in its place
            server.ask("bgsave")
            while server.info("rdb_last_bgsave_status") == "ok":
                await trio.lowlevel.checkpoint()
            with pytest.raises(EngineUnavailable, match="cannot write to its disk"):
                await keep(storage, "two")


async def test_a_server_that_reads_its_data_is_waited_for() -> None:
    """After a restart of all, who comes first need not die of it."""
    settings = {"key_load_delay": "0", "loading_process_events_interval_bytes": "1024"}
    with running(RedisServer(save="3600 1", **settings)) as server:
        server.ask("eval", "for i = 1, 3000 do redis.call('set', i, i) end", 0)
        server.ask("save")
        server.stop()
        server.settings["key_load_delay"] = "300"  # microseconds
        server.launch()
        while True:
            try:
                if "loading:1" in str(server.ask("info", "persistence")):
                    break
            except OSError:
                await trio.lowlevel.checkpoint()
        await works(server.url)


async def test_nobody_there() -> None:
    """Where, and why."""
    port = free_port()
    with pytest.raises(EngineUnavailable, match=f"no connection to localhost:{port}.*does it run"):
        await RedisStorage(f"redis://localhost:{port}").open()


async def test_a_slip_in_the_url_is_answered_with_how_it_is_written(
    server: RedisServer, namespace: str
) -> None:
    """With or without a password or TLS, a number too high, keys of somebody else."""
    place = f"127.0.0.1:{server.port}"
    server.ask("set", f"{{{namespace}}}:meta", "mine")
    for storage, says in [
        (RedisStorage(f"redis://:secret@{place}"), "it has no password"),
        (RedisStorage(f"redis://{place}/99"), "no database of that number"),
        (RedisStorage(f"rediss://{place}", timeout=0.5), "without TLS it is redis://"),
        (RedisStorage(f"redis+sentinel://{place}/mine"), "expected sentinels there"),
        (RedisStorage(f"redis://{place}", namespace=namespace), "take another namespace"),
    ]:
        with pytest.raises(EngineUnavailable, match=says) as told:
            await storage.open()
        assert "secret" not in str(told.value)


# --- what is looked at when it connects ---


async def remarks(caplog: pytest.LogCaptureFixture, **settings: Any) -> list[str]:
    """The warnings of a start."""
    caplog.set_level(logging.WARNING, logger="actorq")
    caplog.clear()
    with running(RedisServer(**settings)) as server:
        async with opened(server.url) as storage:
            found = await storage.information()
    assert found.where == str(storage)
    assert found.server == version()
    assert found.size
    assert all(bool(each.advice) == (each.level != "ok") for each in found.remarks)
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


async def test_what_may_lose_tasks_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """What is well is not."""
    assert await remarks(caplog, appendonly="yes") == []
    (warning,) = await remarks(caplog)
    assert "nothing is kept on disk" in warning
    assert "Set appendonly yes" in warning
    (warning,) = await remarks(caplog, save="3600 1")
    assert "after the last save" in warning
    (warning,) = await remarks(caplog, appendonly="yes", maxmemory_policy="allkeys-lru")
    assert "throws tasks away as soon as maxmemory is set" in warning
    (warning,) = await remarks(
        caplog, appendonly="yes", maxmemory="100mb", maxmemory_policy="allkeys-lru"
    )
    assert "throws tasks away at 104857600 bytes" in warning
    assert await remarks(caplog, appendonly="yes", maxmemory_policy="volatile-lru") == []
