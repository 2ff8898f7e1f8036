"""The servers of the tests do what the tests say of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from servers import PostgresServer, RedisServer, Server
from servers.fixtures import running


pytestmark = pytest.mark.engine

#: What PostgreSQL answers with one byte, before anything else.
SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")

KEPT: dict[str, Callable[[], Server]] = {
    "redis": lambda: RedisServer(appendonly=True, appendfsync="always"),
    "postgres": lambda: PostgresServer(fsync=True),
}


def put(server: Server, value: str) -> None:
    """Have it keep something."""
    if isinstance(server, RedisServer):
        server.ask("set", "key", value)
    if isinstance(server, PostgresServer):
        server.ask("create table if not exists kept (value text)")
        server.ask("delete from kept")
        server.ask("insert into kept values (%s)", value)


def put_much(server: Server) -> None:
    """More than there is room for."""
    for _ in range(1000):
        put(server, os.urandom(500_000).hex())


def get(server: Server) -> object:
    """What it has kept."""
    if isinstance(server, RedisServer):
        return server.ask("get", "key")
    assert isinstance(server, PostgresServer)
    return server.ask("select value from kept")[0][0]


@pytest.mark.parametrize("kind", KEPT)
def test_what_it_has_answered_outlives_it(kind: str) -> None:
    """Stopped, killed, and paused, it has its data and its port when it is there again."""
    with running(KEPT[kind]()) as server:
        port = server.port
        put(server, "one")
        server.restart()
        assert get(server) == "one"
        put(server, "two")
        server.restart(kill=True)
        assert get(server) == "two"
        server.pause()
        server.resume()
        assert get(server) == "two"
        assert server.port == port


@pytest.mark.parametrize("kind", KEPT)
def test_while_it_is_paused_nobody_is_answered(kind: str) -> None:
    """Neither refused nor answered."""
    with running(KEPT[kind]()) as server:
        put(server, "one")
        server.pause()
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.1) as connection:
            connection.sendall(b"PING\r\n" if kind == "redis" else SSL_REQUEST)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            server.resume()
            assert connection.recv(1)
        assert get(server) == "one"


@pytest.mark.parametrize("kind", KEPT)
def test_a_full_disk_is_full_until_it_is_freed(kind: str) -> None:
    """It refuses to write, and writes again."""
    disk = {"redis": "8m", "postgres": "80m"}[kind]
    full: Server
    if kind == "redis":
        full = RedisServer(
            disk=disk, appendonly=True, appendfsync="always", auto_aof_rewrite_percentage=0
        )
    else:
        full = PostgresServer(disk=disk, fsync=True)
    with running(full) as server:
        put(server, "x" * 100)
        server.fill_disk()
        with pytest.raises(Exception, match=r"(?i)no space|MISCONF|closed"):
            put_much(server)
        server.free_disk()
        server.revive()
        put(server, "y")
        assert get(server) == "y"


@pytest.mark.parametrize("kind", KEPT)
def test_nothing_is_left_when_the_tests_are_killed(kind: str) -> None:
    """Not the server, though it stands still, nor its folder."""
    program = (
        "import sys\n"
        "from servers.test_servers import KEPT\n"
        f"with KEPT[{kind!r}]() as server:\n"
        "    server.pause()\n"
        "    print(server.folder, (server.folder / 'pids').read_text().split(), sep='|', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    tests = Path(__file__).parent.parent
    with running(KEPT[kind]()):
        pass  # or it is not installed
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])},
    ) as process:
        assert process.stdout is not None
        folder, pids = process.stdout.readline().strip().split("|")
        process.send_signal(signal.SIGKILL)
        process.wait()
    give_up = time.monotonic() + 10
    while Path(folder).exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not Path(folder).exists()
    numbers = [int(pid) for pid in pids.strip("[]").replace("'", "").split(",")]
    assert numbers
    for pid in numbers:
        commands = Path(f"/proc/{pid}/cmdline")
        assert not commands.exists() or folder.encode() not in commands.read_bytes()


def test_what_is_not_installed_skips_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With what to install, in both cases."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ACTORQ_TEST_REDIS_SERVER", raising=False)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install redis-server"):
        running(RedisServer()).__enter__()
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install redis-server"):
        running(RedisServer()).__enter__()


@pytest.mark.parametrize("kind", KEPT)
def test_another_version_is_run_if_it_is_named(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And one that is not there is an error: other tests than those asked for would be green."""
    with running(KEPT[kind]()) as server:
        program = server.command()[0]
    variable = {"redis": "ACTORQ_TEST_REDIS_SERVER", "postgres": "ACTORQ_TEST_POSTGRES_BIN"}[kind]
    link = tmp_path / Path(program).name
    monkeypatch.setenv(variable, str(link if kind == "redis" else tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(FileNotFoundError, match=variable):
        running(KEPT[kind]()).__enter__()
    link.symlink_to(program)
    assert KEPT[kind]().command()[0] == str(link)
