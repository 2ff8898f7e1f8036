"""psycopg's connection on Trio: what actorq, and who uses it beside, needs of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib import import_module
from importlib.metadata import requires
from pathlib import Path

import psycopg
import pytest
import trio
import trio.testing

from actorq.engines.postgres.trio_connection import PRIVATE, TrioConnection
from servers.fixtures import running
from servers.postgres import PostgresServer
from servers.proxy import Proxy


pytestmark = pytest.mark.engine


@pytest.fixture
async def connection(
    server: PostgresServer, nursery: trio.Nursery
) -> AsyncIterator[TrioConnection]:
    """An open one."""
    connection = await TrioConnection.connect(server.conninfo, autocommit=True)
    yield connection
    await connection.close()


async def one(connection: TrioConnection, query: str) -> object:
    """The value that it returns."""
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def test_it_executes(connection: TrioConnection) -> None:
    """With parameters, prepared or not, and errors are errors."""
    for prepare in (None, True, False):
        cursor = await connection.execute("select %s::int + 1", (41,), prepare=prepare)
        assert await cursor.fetchone() == (42,)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.execute("select 1 / 0")
    assert await one(connection, "select 1") == 1


async def test_it_is_a_checkpoint(connection: TrioConnection) -> None:
    """Other tasks run meanwhile."""
    ran = False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await connection.execute("select 1")
        assert ran


async def test_large_data_go_through_both_ways(connection: TrioConnection) -> None:
    """More than a socket takes at once: it waits to write, and reads meanwhile."""
    data = bytes(range(256)) * 20_000
    cursor = connection.cursor(binary=True)
    await cursor.execute("select %s::bytea", (data,))
    assert await cursor.fetchone() == (data,)


async def test_a_transaction_is_all_or_nothing(connection: TrioConnection) -> None:
    """And a nested one is a savepoint."""
    await connection.execute("create temp table t (n int)")
    async with connection.transaction():
        await connection.execute("insert into t values (1)")
        with suppress(psycopg.errors.DivisionByZero):
            async with connection.transaction():
                await connection.execute("insert into t values (2)")
                await connection.execute("select 1 / 0")
    with suppress(RuntimeError):
        async with connection.transaction():
            await connection.execute("insert into t values (3)")
            raise RuntimeError
    assert await one(connection, "select array_agg(n) from t") == [1]


async def test_a_pipeline_sends_before_it_reads(connection: TrioConnection) -> None:
    """Many statements in one round trip."""
    async with connection.pipeline():
        cursors = [await connection.execute("select %s::int", (n,)) for n in range(50)]
    assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(50)]


async def test_copy_and_many(connection: TrioConnection) -> None:
    """Bulk loads, both ways of them."""
    await connection.execute("create temp table t (n int)")
    async with connection.cursor() as cursor:
        await cursor.executemany("insert into t values (%s)", [(n,) for n in range(100)])
        async with cursor.copy("copy t from stdin") as copy:
            for n in range(10_000):
                await copy.write_row((n,))
    assert await one(connection, "select count(*) from t") == 10_100


async def test_who_is_cancelled_cancels_at_the_server(
    connection: TrioConnection, server: PostgresServer
) -> None:
    """At once, and the connection is as before."""
    begin = time.monotonic()
    with trio.move_on_after(0.05) as scope:
        await connection.execute("select pg_sleep(30)")
    assert scope.cancelled_caught
    assert time.monotonic() - begin < 10
    assert not connection.closed
    assert await one(connection, "select 42") == 42
    running = (
        "select count(*) from pg_stat_activity "
        "where query like '%pg_sl' || 'eep(30)%' and state = 'active'"
    )
    assert await one(connection, running) == 0


async def test_calls_that_are_cancelled_at_any_time_do_no_harm(connection: TrioConnection) -> None:
    """The next one gets its own answer."""
    for n in range(150):
        with trio.move_on_after(n * 0.00002):
            await connection.execute("select pg_sleep(0.001)")
        assert await one(connection, f"select {n}") == n


async def test_without_patience_it_is_closed_at_once(connection: TrioConnection) -> None:
    """For who would rather connect anew than wait."""
    connection.patience = 0.0
    with trio.move_on_after(0.02):
        await connection.execute("select pg_sleep(30)")
    assert connection.closed


async def test_a_server_that_does_not_obey_is_left(server: PostgresServer) -> None:
    """The cancellation of a call ends within `patience`, though nothing comes through any more."""
    with Proxy(server.port) as proxy:
        connection = await TrioConnection.connect(server.url_at(proxy.port), autocommit=True)
        connection.patience = 0.1
        with trio.fail_after(10), trio.move_on_after(0.05):
            proxy.freeze()
            await connection.execute("select 1")
        assert connection.closed
        proxy.thaw()


async def test_notifications_come(connection: TrioConnection, server: PostgresServer) -> None:
    """Each once, those as well that came with the answer to a statement."""
    await connection.execute("listen here")
    await connection.execute("notify here, 'mine'")
    got = [each.payload for each in await connection.next_notifies()]
    async with trio.open_nursery() as nursery:

        async def hear() -> None:
            while len(got) < 3:
                got.extend([each.payload for each in await connection.next_notifies()])

        nursery.start_soon(hear)
        async with await TrioConnection.connect(server.conninfo, autocommit=True) as other:
            await other.execute("notify here, 'theirs'")
            await other.execute("notify here, 'too'")
    assert got == ["mine", "theirs", "too"]
    with trio.move_on_after(0.01) as scope:
        await connection.next_notifies()
    assert scope.cancelled_caught
    assert await one(connection, "select 1") == 1


async def test_closing_it_wakes_who_waits(connection: TrioConnection) -> None:
    """With an error, not for ever."""
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(psycopg.OperationalError):
                    await connection.execute("select pg_sleep(30)")

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await connection.close()
    with pytest.raises(psycopg.OperationalError):
        await connection.execute("select 1")


async def test_a_cut_connection_is_an_error_at_once(server: PostgresServer) -> None:
    """Whoever waits is told."""
    with Proxy(server.port) as proxy, trio.fail_after(10):
        connection = await TrioConnection.connect(server.url_at(proxy.port), autocommit=True)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(psycopg.OperationalError):
                    await connection.execute("select pg_sleep(30)")

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked(0.01)
            proxy.cut()
        assert connection.closed
        await connection.close()


async def test_a_unix_socket_will_do(server: PostgresServer) -> None:
    """And a name that has to be resolved, and the second of two hosts."""
    where = [
        f"host={server.data.parent} port={server.port} user=actorq dbname=postgres",
        f"host=localhost port={server.port} user=actorq dbname=postgres",
        f"host=127.0.0.1,127.0.0.1 port=1,{server.port} user=actorq dbname=postgres",
    ]
    for conninfo in where:
        async with await TrioConnection.connect(conninfo) as connection:
            assert await one(connection, "select 1") == 1


async def test_who_does_not_answer_is_not_waited_for() -> None:
    """*connect_timeout* counts, and so does a cancellation."""
    with trio.fail_after(20):
        sock = trio.socket.socket()
        await sock.bind(("127.0.0.1", 0))
        sock.listen()
        conninfo = f"host=127.0.0.1 port={sock.getsockname()[1]} user=x dbname=x"
        with trio.move_on_after(0.05) as scope:
            await TrioConnection.connect(conninfo)
        assert scope.cancelled_caught
        with pytest.raises(psycopg.errors.ConnectionTimeout, match="2 s"):
            await TrioConnection.connect(conninfo, connect_timeout=2)
        sock.close()


async def test_nobody_there_is_said() -> None:
    """With all that was tried."""
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await TrioConnection.connect("host=127.0.0.1 port=1 user=x dbname=x")
    with pytest.raises(psycopg.OperationalError, match=r"port 1 failed[^;]*; .*port 2 failed"):
        await TrioConnection.connect("host=127.0.0.1,127.0.0.1 port=1,2 user=x dbname=x")


async def test_tls(tmp_path: Path) -> None:
    """Encrypted, much data both ways."""
    made = await trio.run_process(
        [
            *("openssl", "req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost"),
            *("-out", str(tmp_path / "server.crt"), "-keyout", str(tmp_path / "server.key")),
        ],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"openssl cannot make a certificate: {made.stderr!r}")
    with running(PostgresServer()) as server:
        for name in ("server.crt", "server.key"):
            path = server.data / name
            path.write_bytes((tmp_path / name).read_bytes())
            path.chmod(0o600)
            if server.account is not None:
                import shutil

                shutil.chown(path, server.account)
        server.ask("alter system set ssl = on")
        server.ask("select pg_reload_conf()")
        conninfo = (
            f"host=localhost port={server.port} user=actorq dbname=postgres sslmode=verify-full "
            f"sslrootcert={tmp_path / 'server.crt'}"
        )
        async with await TrioConnection.connect(conninfo, autocommit=True) as connection:
            query = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"
            assert await one(connection, query) is True
            data = bytes(range(256)) * 12_000
            cursor = connection.cursor(binary=True)
            await cursor.execute("select %s::bytea", (data,))
            assert await cursor.fetchone() == (data,)
            with trio.move_on_after(0.05):
                await connection.execute("select pg_sleep(30)")
            assert await one(connection, "select 1") == 1


async def test_a_server_that_was_killed_is_noticed_at_once() -> None:
    """And the next connection is another."""
    with running(PostgresServer()) as server:
        connection = await TrioConnection.connect(server.conninfo, autocommit=True)
        with trio.fail_after(20):
            await trio.to_thread.run_sync(server.kill)
            with pytest.raises(psycopg.OperationalError):
                await connection.execute("select 1")
            await trio.to_thread.run_sync(server.start)
            async with await TrioConnection.connect(server.conninfo) as again:
                assert await one(again, "select 1") == 1


async def test_the_private_names_are_there(connection: TrioConnection) -> None:
    """Who widens the range of versions in pyproject.toml hears of what has changed."""
    for owner, names in PRIVATE.items():
        holder = connection if owner == "psycopg.AsyncConnection" else import_module(owner)
        for name in names:
            assert hasattr(holder, name), f"{owner} has no {name} any more"


def test_the_versions_are_bounded_from_above() -> None:
    """For private names are used."""
    (wanted,) = [each for each in requires("actorq") or () if each.startswith("psycopg")][:1]
    assert "<3.4" in wanted
