"""The examples that need a server print what they should, on a server of their own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from actorq.engines.postgres.migrations import script
from servers import PostgresServer, RedisServer
from servers.fixtures import running


pytestmark = pytest.mark.engine

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "servers"


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty server."""
    with running(RedisServer()) as server:
        yield server.url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer, namespace: str) -> str:
    """An empty database."""
    postgres_server.ask(f"create database {namespace}")
    before, _, _ = postgres_server.url.rpartition("/")
    return f"{before}/{namespace}"


def run(name: str, url: str) -> list[str]:
    """What the example prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "QUEUE_URL": url},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def told(page: str, pattern: str) -> list[str]:
    """What a page tells to do."""
    return re.findall(pattern, (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)


QUEUE = ["cat.jpg@640", "1 is scheduled", "cat.jpg@640 is still there"]
PARTS = ["8", "8 is still there", "['hourly']"]


def test_on_redis(redis_url: str) -> None:
    """The queue; results and schedules beside another."""
    assert run("redis_queue", redis_url) == QUEUE
    assert run("redis_parts", redis_url) == PARTS


def test_on_postgres(postgres_url: str) -> None:
    """The queue; results and schedules beside another."""
    assert run("postgres_queue", postgres_url) == QUEUE
    assert run("postgres_parts", postgres_url) == PARTS
    assert run("postgres_transactions", postgres_url) == [
        "order 1 is on its way",
        "order 2 is on its way",
        "order 3 is on its way",
        "rolled back: no such customer",
        "0 tasks are left",
    ]


def keys_on_the_page() -> list[str]:
    """Or what they begin with."""
    (table,) = told("redis.md", r"(?s)^\| key, after `\{actorq\}:` (.*?)\n\n")
    return [name.partition(":")[0] for name in re.findall(r"`([\w:*]+)`", table)]


def test_every_key_of_the_queue_is_on_the_page() -> None:
    """The law itself says which there are."""
    law = (ROOT / "actorq/engines/redis/law/queue.lua").read_text(encoding="utf-8")
    names = re.findall(
        r"^-- (\w+)(?::[A-Z:]+)?  +[a-z]", law.partition("-- Its state")[0], re.MULTILINE
    )
    assert len(names) > 30
    assert sorted(set(names) - set(keys_on_the_page())) == []


def test_the_permissions_that_the_page_on_redis_gives_suffice() -> None:
    """A user with them, and with no others, runs the program that uses all there is."""
    (line,) = told("redis.md", r"^ACL SETUSER (.*)$")
    with running(RedisServer()) as server:
        server.ask("acl", "setuser", *line.split())
        url = server.url.replace("://", "://shop:password@")
        assert run("../any_engine", url)[-1] == "nothing is left"
        denied = server.ask("acl", "log")
        assert denied in ([], b"", "", None), denied
        for words in told("redis.md", r"^\$ redis-cli ([^|\n]*)$"):
            assert "ERR" not in str(server.ask(*shlex.split(words)))
        keys = server.ask("keys", "*")
        assert isinstance(keys, list)
        names = {str(key).removeprefix("{actorq}:").partition(":")[0] for key in keys}
        assert sorted(names - set(keys_on_the_page())) == []


def test_the_permissions_that_the_page_on_postgres_gives_suffice(
    postgres_server: PostgresServer, postgres_url: str, namespace: str
) -> None:
    """Both ways: what is made for a user who may make nothing, and a schema of its own."""
    grants = told("postgres.md", r"^\$ psql shop -c '(.*)'$")
    assert len(grants) == 3
    (create,) = told("postgres.md", r"^(create schema actorq authorization shop);")
    user = f"{namespace}_user"
    url = postgres_url.replace("actorq@", f"{user}@")
    with psycopg.connect(postgres_url, autocommit=True) as administrator:
        administrator.execute(f"create role {user} login".encode())
        administrator.execute(script("actorq").encode())
        for grant in grants:
            administrator.execute(grant.replace("shop", user).encode())
        assert run("../any_engine", url)[-1] == "nothing is left"
        (look,) = told("postgres.md", r"(?s)^```sql\n(set search_path.*?)^```$")
        for statement in look.strip().split(";\n"):
            administrator.execute(statement.encode())
        tables = administrator.execute(
            "select tablename from pg_tables where schemaname = 'actorq' order by 1"
        ).fetchall()
        (head,) = told("postgres.md", r"(?s)^\| table \| what \|\n(.*?)\n\n")
        assert {name for (name,) in tables} == {
            name for row in head.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])
        }
        administrator.execute("drop schema actorq cascade")
        administrator.execute(create.replace("shop", user).encode())
        assert run("../any_engine", url)[-1] == "nothing is left"
