"""Servers of one's own in a temporary folder, as programs of several processes need them.

Standard library only: the peers' programs need them too.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet import until


REDIS = shutil.which("redis-server")

#: Where an empty cluster lies that may be copied: making one takes longer than most programs.
CLUSTER = "BENCH_CLUSTER"


def postgres_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest if there are several."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: int(each.parts[-3])
    )
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def server_version(kind: str) -> str:
    """What a server of this kind calls itself."""
    programs = postgres_programs()
    command = {"redis": REDIS, "postgres": programs and str(programs / "postgres")}[kind]
    if not command:
        return f"no {kind}"
    said = subprocess.run(
        [command, "--version"], capture_output=True, text=True, check=False
    ).stdout
    return " ".join(said.split()[:3])


class Redis:
    """A server and a connection to look into it with."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.url = f"redis://127.0.0.1:{port}"
        self._connection = socket.create_connection(("127.0.0.1", port), 10)
        self._replies = self._connection.makefile("rb")

    def count(self, *command: str) -> int:
        """The number that it answers."""
        words = [f"${len(word.encode())}\r\n{word}\r\n" for word in command]
        self._connection.sendall(f"*{len(command)}\r\n{''.join(words)}".encode())
        answer = self._replies.readline().decode()
        if not answer.startswith(":"):
            raise RuntimeError(f"{' '.join(command)}: {answer}")
        return int(answer[1:])

    def close(self) -> None:
        """The connection only."""
        self._replies.close()
        self._connection.close()


@contextmanager
def redis(folder: Path, *, persistent: bool = True) -> Iterator[Redis]:
    """A Redis server, alone on a free port; unless told otherwise it writes each second what came."""
    assert REDIS is not None
    port = _free_port()
    kept = ["--appendonly", "yes", "--appendfsync", "everysec"] if persistent else []
    server = subprocess.Popen(
        [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *kept],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(port), "redis-server")
        client = Redis(port, server.pid)
        try:
            yield client
        finally:
            client.close()
    finally:
        server.kill()
        server.wait()


@contextmanager
def postgres() -> Iterator[tuple[str, int]]:
    """A PostgreSQL server with its stock settings, alone on a free port; its address and process."""
    programs = postgres_programs()
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="actorq-bench-") as folder:
        data = Path(folder) / "data"
        _own(Path(folder))
        if ready := os.environ.get(CLUSTER):
            subprocess.run(["cp", "-a", ready, str(data)], check=True)
        else:
            make_cluster(data)
        port = _free_port()
        server = subprocess.Popen(
            [
                str(programs / "postgres"),
                *("-D", str(data), "-p", str(port)),
                *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
            ],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_demotion(),
        )
        try:
            ready_to_serve = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p"]
            until(
                lambda: not subprocess.run([*ready_to_serve, str(port)], check=False).returncode,
                "postgres",
                pause=0.02,
            )
            yield f"postgresql://actorq@127.0.0.1:{port}/postgres", server.pid
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def make_cluster(data: Path) -> None:
    """An empty cluster."""
    programs = postgres_programs()
    assert programs is not None
    _own(data.parent)
    subprocess.run(
        [
            str(programs / "initdb"),
            *("-D", str(data), "-A", "trust", "-U", "actorq", "--no-sync"),
            *("-E", "UTF8", "--locale=C"),
        ],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=_demotion(),
        check=True,
    )


def _user() -> pwd.struct_passwd | None:
    """Who runs the server: it refuses to be run by root."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def _own(folder: Path) -> None:
    if user := _user():
        os.chown(folder, user.pw_uid, user.pw_gid)


def _demotion() -> Callable[[], None] | None:
    user = _user()
    if user is None:
        return None

    def become() -> None:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return become


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
