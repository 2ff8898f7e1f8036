"""Fixtures: a server for all tests of a process, a name of its own for each test.

Where a server is not installed its tests are skipped, with what to install; in CI they fail.  What only
root may do is skipped everywhere.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

import pytest

from servers.postgres import PostgresServer
from servers.process import NotInstalled, NotPermitted, Server
from servers.proxy import Proxy
from servers.redis import RedisServer


AnyServer = TypeVar("AnyServer", bound=Server)


def lacking(why: object) -> NoReturn:
    """A test that cannot be run here: skipped, but in CI, where everything has to be there, it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{why} (in CI nothing may be missing)", pytrace=False)
    pytest.skip(str(why))


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """*server* while it runs; the test is skipped where it cannot."""
    try:
        server.__enter__()
    except NotPermitted as why:
        pytest.skip(str(why))
    except NotInstalled as why:
        lacking(why)
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One for all tests; it keeps nothing on the disk.  Do not stop it: make one of your own."""
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests; without fsync.  Do not stop it: make one of your own."""
    with running(PostgresServer()) as server:
        yield server


@pytest.fixture
def namespace() -> str:
    """A new name, for a namespace of keys or a schema."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
def through_proxy() -> Iterator[Callable[[Server], Proxy]]:
    """Call it with a server: a proxy that leads there."""
    opened: list[Proxy] = []

    def proxy(server: Server) -> Proxy:
        opened.append(Proxy(server.port).__enter__())
        return opened[-1]

    yield proxy
    for each in opened:
        each.__exit__(None, None, None)
