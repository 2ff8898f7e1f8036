"""The commands on a queue that is kept on a server: the same, and what only a server has to say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from actorq.cli import exits
from actorq.engines.postgres.storage import PostgresStorage
from cli import test_commands as commands
from cli.project import MODULE, PROJECT, Shop, make_shop
from cli.test_doctor import examined
from servers import postgres, redis
from servers.fixtures import running
from servers.postgres import PostgresServer
from servers.redis import RedisServer


pytestmark = pytest.mark.engine

ENGINES = ("redis", "postgres")


def url_of(engine: str, request: pytest.FixtureRequest, namespace: str) -> str:
    """Of a queue of the test's own."""
    server = request.getfixturevalue(f"{engine}_server")
    return f"{server.url}?{'namespace' if engine == 'redis' else 'schema'}={namespace}"


def project_on(url: str) -> str:
    """The same project, but for one line."""
    line = 'actorq.SQLiteBroker("shop.db", synchronous="off")'
    assert line in PROJECT
    return PROJECT.replace(line, f"actorq.broker_from_url({url!r})")


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, namespace: str) -> str:
    """Of an empty queue on each server."""
    return url_of(request.param, request, namespace)


@pytest.fixture
def shop(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shop]:
    """With a broker on that, and nothing in its queue."""
    yield make_shop(tmp_path, monkeypatch, capsys, project_on(url))
    sys.modules.pop(MODULE, None)


test_a_task_from_the_command_line_and_its_result = (
    commands.test_a_task_from_the_command_line_and_its_result
)
test_waiting_is_one_command = commands.test_waiting_is_one_command
test_later_and_once = commands.test_later_and_once
test_watching = commands.test_watching
test_cancelling = commands.test_cancelling
test_queues = commands.test_queues
test_a_queue_is_listed_from_its_first_task_on = (
    commands.test_a_queue_is_listed_from_its_first_task_on
)
test_where_a_job_sits = commands.test_where_a_job_sits
test_dead_letters = commands.test_dead_letters
test_schedules = commands.test_schedules


def test_what_the_engine_is(shop: Shop, url: str) -> None:
    """Status, top and the doctor say which server it is; a URL is enough for that."""
    place = url.rpartition("@")[2].removeprefix("redis://").partition("/")[0]
    name = "RedisBroker" if url.startswith("redis") else "PostgresBroker"
    server = redis.version() if url.startswith("redis") else postgres.version()
    for said in ([], ["-b", url]):
        assert place in shop("status", *said).out
        assert server in shop("status", *said).out
        assert place in shop("top", *said).out
        engine = shop("status", "--json", *said).json["engine"]
        assert engine["broker"] == name
        assert engine["server"] == server
    found = examined(shop, "-b", url, code=exits.FAILED)  # the tests' servers keep nothing
    assert server in found.findings["server"]["says"]
    assert found.level("size") == "ok"
    assert "its tasks are not known" in found.findings["broker"]["says"]


def test_a_backup_is_the_server_s_affair(shop: Shop, url: str) -> None:
    """Said with what to do instead."""
    told = shop("backup", "copy", code=exits.USAGE).err
    assert ("BGSAVE" if url.startswith("redis") else "pg_dump") in told
    assert not (shop.folder / "copy").exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_server_that_is_not_there(
    engine: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command says so, exits by its code, and shows no password."""
    url = {
        "redis": "redis://shop:secret@127.0.0.1:1/0",
        "postgres": "postgresql://shop:secret@127.0.0.1:1/shop",
    }[engine]
    shop = make_shop(tmp_path, monkeypatch, capsys, project_on(url))
    try:
        for words in (["status"], ["enqueue", f"{MODULE}:add", "--arg", "1"], ["dead", "list"]):
            answer = shop(*words, code=exits.UNAVAILABLE)
            assert "127.0.0.1" in answer.err
            assert "secret" not in answer.out + answer.err
        found = examined(shop, code=exits.FAILED)
        assert found.level("engine") == "problem"
        assert "secret" not in str(found.findings)
    finally:
        sys.modules.pop(MODULE, None)


def test_the_doctor_looks_at_how_redis_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that may throw tasks away, or forgets them, is found out."""
    with running(RedisServer(appendonly=False)) as server:
        shop = make_shop(tmp_path, monkeypatch, capsys, project_on(server.url))
        try:
            server.ask("config", "set", "maxmemory-policy", "allkeys-lru")
            careless = shop("doctor", "--json", code=exits.FAILED).json["findings"]
            said = {each["check"]: each for each in careless}
            assert said["persistence"]["level"] == "problem"
            assert "appendonly yes" in said["persistence"]["advice"]
            assert said["eviction"]["level"] == "problem"
            assert "noeviction" in said["eviction"]["advice"]
            server.ask("config", "set", "maxmemory-policy", "noeviction", "appendonly", "yes")
            found = examined(shop)
            assert found.level("persistence") == "ok"
            assert found.level("eviction") == "ok"
        finally:
            sys.modules.pop(MODULE, None)


def test_the_doctor_looks_at_how_postgres_is_set(
    namespace: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What may be lost, and whether words come through."""
    url = f"{postgres_server.url}?schema={namespace}"
    shop = make_shop(tmp_path, monkeypatch, capsys, project_on(url))
    try:
        found = examined(shop, code=exits.FAILED)
        assert found.level("fsync") == "problem"
        assert (
            found.level("pushes") == found.level("connections") == found.level("autovacuum") == "ok"
        )
    finally:
        sys.modules.pop(MODULE, None)


async def test_what_is_remarked_on_postgres(namespace: str) -> None:
    """Settings that lose what was accepted, connections that run out, rows that nobody cleans up."""
    with running(PostgresServer(fsync=True, autovacuum=False, max_connections=10)) as server:
        storage = PostgresStorage(server.url, schema=namespace)
        await storage.open()
        try:
            remarks = {each.check: each for each in (await storage.information()).remarks}
            assert remarks["fsync"].level == remarks["commit"].level == "ok"
            assert remarks["autovacuum"].level == "problem"
            assert "autovacuum = on" in remarks["autovacuum"].advice
            server.ask("alter system set synchronous_commit = off")
            server.ask("select pg_reload_conf()")
            with ExitStack() as stack:
                for _ in range(6):
                    stack.enter_context(psycopg.connect(server.url))
                while True:  # the settings are read by each connection when it comes to it
                    information = await storage.information()
                    remarks = {each.check: each for each in information.remarks}
                    if remarks["commit"].level != "ok":
                        break
            assert remarks["commit"].level == "warning"
            assert "last moments" in remarks["commit"].says
            assert remarks["connections"].level == "warning"
            assert "max_connections" in remarks["connections"].advice
            assert information.size
            assert information.server.startswith("PostgreSQL ")
        finally:
            await storage.close()
