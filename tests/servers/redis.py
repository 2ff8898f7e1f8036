"""A Redis server of the tests' own."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any, Final, TypeAlias

from servers.process import Server, named, setting, which


#: An environment variable: another `redis-server`, or a `valkey-server`.
PROGRAM: Final = "ACTORQ_TEST_REDIS_SERVER"

#: What Redis answers.
Answer: TypeAlias = "str | int | list[Answer] | None"


class RedisError(RuntimeError):
    """It refused a command."""


class RedisServer(Server):
    """A Redis server.  *settings*: as in redis.conf, with _ for -; without any, nothing is kept.

    For "nothing is lost when it dies": `RedisServer(appendonly=True, appendfsync="always")`.
    """

    name = "redis"

    def __init__(self, *, disk: str | None = None, **settings: Any) -> None:
        super().__init__(disk=disk)
        self.settings = {"save": "", "appendonly": "no", **settings}

    @property
    def url(self) -> str:
        """For clients, by TCP."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket(self) -> Path:
        """For clients on this machine."""
        return self.folder / "redis.sock"

    def url_at(self, port: int) -> str:
        """The same by another port: a proxy's."""
        return f"redis://127.0.0.1:{port}/0"

    def command(self) -> list[str]:
        """What is run."""
        settings: dict[str, Any] = {
            "port": self.port,
            "bind": "127.0.0.1",
            "unixsocket": self.socket,
            "unixsocketperm": 777,
            "dir": self.data,
            "daemonize": "no",
            **{key.replace("_", "-"): value for key, value in self.settings.items()},
        }
        given = [word for key, value in settings.items() for word in (f"--{key}", setting(value))]
        return [program(), *given]

    def is_ready(self) -> bool:
        """It has read its data."""
        try:
            return self.ask("ping") == "PONG"
        except RedisError:  # LOADING
            return False

    def is_writable(self) -> bool:
        """It accepts a key, and keeps it."""
        return self.ask("set", "actorq-is-writable", 1) == "OK"

    def ask(self, *words: object, timeout: float = 10.0) -> Answer:
        """One command, on a connection of its own, as an administrator would."""
        data = [str(word).encode() for word in words]
        message = b"*%d\r\n" % len(data) + b"".join(
            b"$%d\r\n%s\r\n" % (len(word), word) for word in data
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(message)
            with connection.makefile("rb") as replies:
                return _answer(replies.readline, replies.read)

    def info(self, name: str) -> str:
        """One value of INFO."""
        text = self.ask("info", "everything")
        assert isinstance(text, str)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)[name]


def program() -> str:
    """What `ACTORQ_TEST_REDIS_SERVER` names; else the one that is installed."""
    if chosen := os.environ.get(PROGRAM):
        return named(chosen, PROGRAM)
    return which("redis-server", "redis-server")


def version() -> str:
    """Of the server that would be run: "Redis 7.0.15", "Valkey 9.1.2"."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"(?:(\w+) server|Server) v=([\d.]+)", said.stdout)
    assert found is not None, said.stdout
    return f"{found[1] or 'Valkey'} {found[2]}"  # Valkey 7.2 does not say its name


def _answer(readline: Any, read: Any) -> Answer:
    line: bytes = readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("Redis closed the connection")
    kind, rest = line[:1], line[1:-2].decode()
    match kind:
        case b"+":
            return rest
        case b"-":
            raise RedisError(rest)
        case b":":
            return int(rest)
        case b"$":
            text: bytes = read(int(rest) + 2) if int(rest) >= 0 else b""
            return text[:-2].decode(errors="replace") if int(rest) >= 0 else None
        case b"*":
            return [_answer(readline, read) for _ in range(int(rest))]
        case _:
            raise RedisError(f"not understood: {line!r}")
