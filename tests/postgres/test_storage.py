"""The storage: what it makes, what it refuses, what it says; behind a pooler too."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import trio

import actorq
from actorq.engines.postgres import migrations
from actorq.engines.postgres.broker import PostgresBroker
from actorq.engines.postgres.storage import PostgresStorage
from actorq.errors import EngineUnavailable
from servers import PostgresServer
from servers.fixtures import lacking, running


pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]


async def opens(storage: PostgresStorage) -> None:
    """Open and close it, and do something meanwhile."""
    with trio.fail_after(60):
        await storage.open()
        try:
            request = storage.request([["open", "w", None, 1, "host"]])
            await storage.call(request, "broker")
        finally:
            await storage.close()


# --- what it is given ---


def test_a_schema_is_a_plain_name() -> None:
    """It is written into statements and names of channels."""
    for wrong in ("", "Big", 'a"b', "a b", "x" * 49, "1a", None):
        with pytest.raises(ValueError, match="schema expects a name"):
            PostgresStorage(schema=wrong)  # type: ignore[arg-type]
    PostgresStorage(schema="x" * 48)


def test_what_cannot_be_read_is_said_without_the_password() -> None:
    """And so is what it is."""
    for wrong, says in [
        ("postgresql://me:secret@host:port:1/x?y", "connection string"),
        ("password=secret nonsense", "connection string"),
        ("postgresql+psycopg://me:secret@host/x", "SQLAlchemy"),
        ("postgresql://me:half@secret@host/x", "%40 for @"),
        ("postgresql://me:half@secret/x@host/x", "%40 for @"),
        ("postgresql://me:half/secret@host/x", "%2F for /"),
        ("postgresql://me:secret@host/x?sslmod=disable", "did you mean sslmode="),
        ("postgresql://host/x?password=half&secret", "special characters"),
    ]:
        with pytest.raises(ValueError, match=says) as told:
            PostgresStorage(wrong)
        assert "secret" not in str(told.value)
        assert told.value.__cause__ is None
    storage = PostgresStorage("postgresql://me:secret@host:7/x")
    assert str(storage) == "PostgreSQL host:7/x (schema actorq)"
    for fine in [
        "me:s%40%2F@host:7/x",
        "host:7/x?user=me&password=s@h",
        "me@host:7/x?password=s@h",
    ]:
        storage = PostgresStorage(f"postgresql://{fine}")
        assert str(storage) == "PostgreSQL host:7/x (schema actorq)"
    with pytest.raises(TypeError, match="named by a string"):
        PostgresStorage(7)  # type: ignore[arg-type]


# --- what it makes ---


async def test_several_that_begin_at_once_make_it_once(
    server: PostgresServer, namespace: str
) -> None:
    """28: one makes the tables, the others find them."""
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(opens, PostgresStorage(server.url, schema=namespace))
    assert server.ask(f"select value from {namespace}.meta where key = 'schema'") == [
        (f"{migrations.VERSION}",)
    ]


async def test_what_a_newer_program_has_made_is_not_touched(
    server: PostgresServer, namespace: str
) -> None:
    """28: and a program that is at work meanwhile is told, too."""
    storage = PostgresStorage(server.url, schema=namespace)
    with trio.fail_after(60):
        await storage.open()
        server.ask(f"update {namespace}.meta set value = '1000' where key = 'schema'")
        with pytest.raises(EngineUnavailable, match=r"of version 1000.*Install that version"):
            await opens(PostgresStorage(server.url, schema=namespace))
        (body,) = server.ask(
            "select pg_get_functiondef(p.oid) from pg_proc p where p.proname = 'perform' "
            "and p.pronamespace = %s::regnamespace",
            namespace,
        )[0]
        assert "is distinct from 1 " in body
        server.ask(body.replace("is distinct from 1 ", "is distinct from 1000 "))
        with pytest.raises(EngineUnavailable, match="newer actorq"):
            await storage.call(storage.request([["forgotten"]], writes=False), "results")
        await storage.close()


def functions(server: PostgresServer, schema: str) -> set[tuple[str, str, str]]:
    """All that are in a schema: what each is called, takes and gives."""
    return set(
        server.ask(
            f"""select proname::text, replace(pg_get_function_arguments(oid), '{schema}.', ''),
                replace(pg_get_function_result(oid), '{schema}.', '')
            from pg_proc where pronamespace = '{schema}'::regnamespace"""
        )
    )


@pytest.fixture
def older_law(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """Inside, programs are of an older actorq, whose law has functions of another form, and one more."""
    law_of = migrations.law_of
    swap = "function actorq.act_changes(act jsonb) returns jsonb"
    text = migrations._text("schedules.sql")
    assert text.count(swap) == text.count("function actorq.act_clear(act jsonb)") == 1
    older = text.replace(swap, swap.replace("act jsonb", "act jsonb default '[]'"))
    older = older.replace("act_clear(act jsonb)", "act_clear(act jsonb, more int default 1)")
    older += """
        create or replace function actorq.act_former(m actorq.moment, ids text[]) returns void
        language sql as '';
    """

    def law(schema: str) -> str:
        return law_of(schema).replace(
            migrations.written_for(schema, text), migrations.written_for(schema, older)
        )

    @contextmanager
    def installed() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(migrations, "law_of", law)
            patch.setattr(migrations, "law_id", lambda: "older")
            yield

    return installed


async def test_another_text_of_the_law_replaces_it(
    server: PostgresServer,
    namespace: str,
    older_law: Callable[[], AbstractContextManager[None]],
) -> None:
    """28: also where a function has another form, and nothing of the former law is left.

    What took other arguments would stand beside its successor.  Who is at work meanwhile goes on, and
    functions that are somebody else's stay.
    """
    await opens(PostgresStorage(server.url, schema=f"{namespace}_new"))
    ours = functions(server, f"{namespace}_new")
    storage = PostgresStorage(server.url, schema=namespace)
    with trio.fail_after(60), older_law():
        await storage.open()
    its = functions(server, namespace)
    assert {each[0] for each in its - ours} == {"act_changes", "act_clear", "act_former"}
    server.ask(
        f"create function {namespace}.act_clear(mine int) returns int language sql as 'select 1'"
    )
    with trio.fail_after(60):
        await storage.call(storage.request([["clear", "nobody's"]]), "schedules")
        await opens(PostgresStorage(server.url, schema=namespace))
        assert functions(server, namespace) == {*ours, ("act_clear", "mine integer", "integer")}
        await storage.call(storage.request([["clear", "nobody's"]]), "schedules")
        await storage.close()
        with older_law():  # and back
            await opens(PostgresStorage(server.url, schema=namespace))
    assert functions(server, namespace) == {*its, ("act_clear", "mine integer", "integer")}


async def test_a_function_of_somebody_else_is_left_alone(
    server: PostgresServer, namespace: str
) -> None:
    """28: where ours cannot be made nothing is changed, and it is said what is in the way."""
    await opens(PostgresStorage(server.url, schema=namespace))
    server.ask(f"drop function {namespace}.act_changes(jsonb)")
    server.ask(
        f"create function {namespace}.act_changes(act jsonb) returns int language sql as 'select 1'"
    )
    server.ask(f"update {namespace}.meta set value = 'older' where key = 'law'")
    before = functions(server, namespace)
    with pytest.raises(EngineUnavailable, match=r"function of yours.*schema of its own"):
        await opens(PostgresStorage(server.url, schema=namespace))
    assert functions(server, namespace) == before
    assert server.ask(f"select value from {namespace}.meta where key = 'law'") == [("older",)]


async def test_what_depends_on_a_former_law_is_not_dropped_with_it(
    server: PostgresServer,
    namespace: str,
    older_law: Callable[[], AbstractContextManager[None]],
) -> None:
    """28: it is said, and nothing is changed."""
    with older_law():
        await opens(PostgresStorage(server.url, schema=namespace))
    server.ask(f"create view {namespace}.mine as select {namespace}.act_clear('[]', 1)")
    before = functions(server, namespace)
    with pytest.raises(EngineUnavailable, match=r"mine depends on function.*drop it first"):
        await opens(PostgresStorage(server.url, schema=namespace))
    assert functions(server, namespace) == before


async def test_tables_of_somebody_else_are_left_alone(
    server: PostgresServer, namespace: str
) -> None:
    """28: nothing is half made."""
    server.ask(f"create schema {namespace}")
    server.ask(f"create table {namespace}.results (mine int)")
    with pytest.raises(EngineUnavailable, match=r"not of actorq.*schema of its own"):
        await opens(PostgresStorage(server.url, schema=namespace))
    assert server.ask(
        "select relname from pg_class where relnamespace = %s::regnamespace", namespace
    ) == [("results",)]


@pytest.fixture
def guest(server: PostgresServer, namespace: str) -> str:
    """The URL of a user who may do nothing yet."""
    server.ask(f"create role {namespace} login")
    return server.url.replace("actorq@", f"{namespace}@")


async def test_who_may_not_make_it_is_told_what_to_ask_for(
    server: PostgresServer, namespace: str, guest: str
) -> None:
    """Either way does: the schema given away, or all of it made by an administrator."""
    with pytest.raises(EngineUnavailable) as told:
        await opens(PostgresStorage(guest, schema=namespace))
    first, _, second = str(told.value).partition("(2)")
    statement = first.partition("(1) ")[2].partition(";")[0]
    server.ask(statement)
    await opens(PostgresStorage(guest, schema=namespace))
    server.ask(f"drop schema {namespace} cascade")
    server.ask(f"create schema {namespace}")  # of somebody else
    with pytest.raises(EngineUnavailable, match=r"\(2\) make all of it"):
        await opens(PostgresStorage(guest, schema=namespace))
    server.ask(f"drop schema {namespace}")
    await make_by_hand(server, namespace)
    with pytest.raises(EngineUnavailable, match="permission denied"):
        await opens(PostgresStorage(guest, schema=namespace))
    for statement in second.partition("then: ")[2].split("; "):
        if statement.startswith("grant"):
            server.ask(statement)
    await opens(PostgresStorage(guest, schema=namespace))


async def make_by_hand(server: PostgresServer, schema: str) -> None:
    """As an administrator does."""
    made = await trio.run_process(
        [sys.executable, "-m", "actorq.engines.postgres", schema],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_stdout=True,
    )
    with psycopg.connect(server.url, autocommit=True) as administrator:
        administrator.execute(made.stdout)


async def test_what_was_made_by_hand_is_upgraded_by_hand(
    server: PostgresServer,
    namespace: str,
    guest: str,
    older_law: Callable[[], AbstractContextManager[None]],
) -> None:
    """28: by the same command as before; what is queued stays, and so do the grants."""
    with older_law():
        await opens(PostgresStorage(server.url, schema=namespace))
        server.ask(f"grant usage on schema {namespace} to {namespace}")
        for kind, rights in (("tables", "select, insert, update, delete"), ("sequences", "all")):
            server.ask(f"grant {rights} on all {kind} in schema {namespace} to {namespace}")
        await opens(PostgresStorage(guest, schema=namespace))
    server.ask(f"insert into {namespace}.paused values ('kept')")
    with pytest.raises(
        EngineUnavailable, match=r"denied for schema \w+; nothing.*again after an upgrade"
    ):
        await opens(PostgresStorage(guest, schema=namespace))
    await make_by_hand(server, namespace)
    await opens(PostgresStorage(guest, schema=namespace))
    assert server.ask(f"select * from {namespace}.paused") == [("kept",)]
    server.ask(f"update {namespace}.meta set value = '1000' where key = 'schema'")
    with pytest.raises(psycopg.Error, match=r"of version 1000.*nothing was changed"):
        await make_by_hand(server, namespace)


async def test_who_closes_while_something_is_asked_has_left_too(
    server: PostgresServer, namespace: str
) -> None:
    """29: its connection is of no use any more then; others would take its worker for one that works."""
    storage = PostgresStorage(server.url, schema=namespace)
    with trio.fail_after(60):
        await storage.open()
        await storage.call(storage.request([["open", "w", None, 1, "host"]]), "broker")
        calls = f"select 1 from {namespace}.calls where peer = %s"
        assert len(server.ask(calls, storage.peer)) == 1
        calling = storage._calling
        assert calling is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(calling.execute, f"select pg_sleep(5) as {namespace}".encode())
            asked = f"select 1 from pg_stat_activity where query like '%%sleep(5) as {namespace}'"
            while not server.ask(asked + " and state = %s", "active"):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert calling.closed
        await storage.close()
        assert server.ask(calls, storage.peer) == []


# --- what it refuses, and warns of ---


async def test_what_is_wrong_with_a_server_is_said(server: PostgresServer, namespace: str) -> None:
    """With what to do, and without the password."""
    wrong = {
        "postgresql://actorq:secret@127.0.0.1:1/postgres": "refused",
        "postgresql://actorq:secret@nowhere.invalid/postgres": "does the URL name its host",
        server.url.replace("/postgres", "/nowhere"): "create the database first",
        server.url.replace("actorq@", "nobody:secret@"): "create the user",
        server.url + "?sslmode=require": "leave sslmode out",
        server.url + "?options=-c%20default_transaction_read_only%3Don": "takes no writes",
    }
    for url, says in wrong.items():
        with pytest.raises(EngineUnavailable, match=says) as told:
            await opens(PostgresStorage(url, schema=namespace))
        assert "secret" not in str(told.value)
    server.ask(f"create database {namespace} encoding 'LATIN1' template template0 locale 'C'")
    url = server.url.replace("/postgres", f"/{namespace}")
    with pytest.raises(EngineUnavailable, match="expected UTF8"):
        await opens(PostgresStorage(url))
    server.ask(f"drop database {namespace}")


async def test_settings_that_lose_tasks_are_warned_of_once(
    server: PostgresServer, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """28: accepted is then not what it says."""
    caplog.set_level("WARNING", logger="actorq")
    url = f"{server.url}?options=-c%20synchronous_commit%3Doff"
    storage = PostgresStorage(url, schema=namespace)
    await opens(storage)
    await opens(storage)
    warned = [each.getMessage() for each in caplog.records]
    assert len([each for each in warned if "synchronous_commit is off" in each]) == 1
    assert len([each for each in warned if "fsync is off" in each]) == 1


async def test_a_server_that_is_too_old_is_refused(
    server: PostgresServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is expected, what it is, and what to do; nothing was made."""
    monkeypatch.setattr("actorq.engines.postgres.storage.OLDEST", 990_000)
    ((version,),) = server.ask("show server_version_num")
    with pytest.raises(EngineUnavailable) as told:
        await opens(PostgresStorage(server.url, schema=namespace))
    assert f"is PostgreSQL {int(version) // 10_000}; actorq needs PostgreSQL 99 or newer" in str(
        told.value
    )
    assert "upgrade" in str(told.value)
    assert server.ask("select 1 from pg_namespace where nspname = %s", namespace) == []


async def test_too_many_connections_are_said() -> None:
    """And it goes on when there are fewer."""
    with running(PostgresServer(max_connections=5, superuser_reserved_connections=0)) as server:
        storage = PostgresStorage(server.url)
        taken: list[psycopg.Connection[object]] = []
        with suppress(psycopg.OperationalError):
            while True:
                taken.append(psycopg.connect(server.url))
        with pytest.raises(EngineUnavailable, match="max_connections"):
            await opens(storage)
        for each in taken:
            each.close()
        with trio.fail_after(60):
            while True:
                try:
                    await opens(storage)
                except EngineUnavailable:
                    await trio.sleep(0.05)
                else:
                    break


async def test_another_isolation_is_not_ours(server: PostgresServer, namespace: str) -> None:
    """30: whatever the database's default is."""
    url = f"{server.url}?options=-c%20default_transaction_isolation%3Dserializable"
    storage = PostgresStorage(url, schema=namespace)
    await storage.open()
    assert storage._calling is not None
    cursor = await storage._calling.execute("show transaction_isolation")
    assert await cursor.fetchone() == ("read committed",)
    await storage.close()


# --- poolers ---


@contextmanager
def pooler(server: PostgresServer, folder: Path, mode: str) -> Iterator[str]:
    """pgbouncer in front of the server: its URL."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        lacking("pgbouncer is not installed: apt install pgbouncer")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    (folder / "users.txt").write_text('"actorq" ""\n')
    settings.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={server.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {folder / 'users.txt'}\npool_mode = {mode}\n"
        f"default_pool_size = 3\nlogfile = {folder / 'log'}\n"
    )
    command = [program, "-q", str(settings)]
    if os.geteuid() == 0:  # it refuses to be run by root
        for path in (folder, *folder.parents):  # however deep it is
            if not path.stat().st_mode & 0o001:
                path.chmod(0o755)
        shutil.chown(folder, "postgres")
        command = ["runuser", "-u", "postgres", "--", *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"postgresql://actorq@127.0.0.1:{port}/postgres"
        for _ in range(200):
            try:
                psycopg.connect(url, connect_timeout=5).close()
                break
            except psycopg.OperationalError:
                if process.poll() is not None:
                    raise
        yield url
    finally:
        process.terminate()
        process.wait()


@actorq.task(name="double")
async def double(number: int) -> int:
    """For a result."""
    return 2 * number


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_a_pooler_may_be_in_between(
    server: PostgresServer,
    namespace: str,
    tmp_path: Path,
    mode: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """31, 43: all is done as without; where it breaks LISTEN that is said, and we look now and then."""
    caplog.set_level(logging.WARNING, logger="actorq")
    monkeypatch.setattr("actorq.engines.postgres.storage.ECHO", 0.5)

    async def main(url: str) -> None:
        broker = PostgresBroker(url, schema=namespace, recheck=0.1).register(double)
        client = PostgresBroker(url, schema=namespace, recheck=0.1).register(double)
        with trio.fail_after(60):
            async with (
                actorq.open_system(broker),
                actorq.open_system(client, role="client") as sys,
            ):
                handles = [await sys.enqueue(double, number) for number in range(30)]
                assert [await each.result() for each in handles] == [2 * n for n in range(30)]
                assert broker.storage._is_pooled
                while mode != "session" and "do not come through" not in caplog.text:
                    await trio.sleep(0.01)
                handle = await sys.enqueue(double, 7)
                assert await handle.result() == 14

    with pooler(server, tmp_path, mode) as url:
        if mode == "statement":  # a migration is a transaction
            trio.run(opens, PostgresStorage(server.url, schema=namespace))
        trio.run(main, url)
    assert ("notifications do not come through" in caplog.text) is (mode != "session")


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP", "SQL_ASCII"])
async def test_every_name_can_be_said_whatever_the_clients_encoding_is(
    server: PostgresServer, namespace: str, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """42: that may be chosen in the environment, for the role, in the URL: a crash was the answer."""
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    server.ask(f"create role {namespace} superuser login")
    server.ask(f"alter role {namespace} set client_encoding = {encoding}")
    url = server.url.replace("actorq@", f"{namespace}@") + f"?client_encoding={encoding}"
    storage = PostgresStorage(url, schema=namespace)
    await storage.open()
    name = "Łódź, 名前, \N{GRINNING FACE}"
    await storage.call(storage.request([["pause", name, True]]), "broker")
    found = await storage.call(storage.request([["statistics"]], writes=False), "broker")
    assert found.answers[0]["paused"] == [name]
    await storage.close()
