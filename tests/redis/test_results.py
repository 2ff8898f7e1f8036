"""The result backend of a Redis server keeps the contract of all backends."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from actorq.actors.result_backend import ResultBackend
from actorq.engines.redis.results import RedisResultBackend
from actorq.engines.redis.storage import RedisStorage
from actorq.engines.remote.acts import Reply
from actorq.testing.contracts.results import ResultBackendContract
from servers import RedisServer

from .here import storage_of


pytestmark = pytest.mark.engine


def in_namespace(folder: Path) -> ResultBackend:
    """One for each folder."""
    return RedisResultBackend(storage_of(folder))


class TestRedisResultBackend(ResultBackendContract):
    factory = in_namespace


async def do(storage: RedisStorage, *acts: list[Any], now: float, **asked: Any) -> Reply:
    """In a time of the test's own."""
    request = storage.request(acts)
    request.now, request.ttl = now, 10.0
    for name, value in asked.items():
        setattr(request, name, value)
    return await storage.call(request, "results")


def rows(ids: Iterable[str], *, attempt: int = 1, ttl: float | None = None) -> list[Any]:
    """Results of these."""
    return ["set_results", [[task_id, attempt, ttl, b"data", False] for task_id in ids]]


def sizes(server: RedisServer, storage: RedisStorage) -> dict[str, int]:
    """How many are kept where."""
    found: dict[str, int] = {}
    for name in ("results", "progress", "gone"):
        found[name] = int(str(server.ask("hlen", f"{{{storage.namespace}}}:{name}")))
    for name in ("results:expiry", "results:order", "progress:expiry", "gone:order"):
        found[name] = int(str(server.ask("zcard", f"{{{storage.namespace}}}:{name}")))
    return found


async def test_what_has_expired_goes_with_what_comes(
    server: RedisServer, storage: RedisStorage
) -> None:
    """Nobody has to ask for it; notes of it are kept."""
    await do(storage, rows(f"old{n}" for n in range(500)), ["set_progress", "p", 1, b"5"], now=0.0)
    assert sizes(server, storage)["results:expiry"] == 5  # lists of a hundred
    for n in range(40):
        await do(storage, rows([f"new{n}"]), now=20.0)
    for n in range(40):
        await do(storage, rows(f"newer{n}-{m}" for m in range(20)), now=20.0)
    found = sizes(server, storage)
    assert found["results"] == 840
    assert found["results:expiry"] == 80
    assert found["gone"] == found["gone:order"] == 500
    assert found["progress"] == found["progress:expiry"] == 0


async def test_a_result_for_ever_never_expires(server: RedisServer, storage: RedisStorage) -> None:
    """Nor does one that takes the place of one that would have."""
    await do(storage, rows(["a"], ttl=5.0), now=0.0)
    await do(storage, rows(["a"], attempt=2), now=0.0, ttl=None)
    assert sizes(server, storage)["results:expiry"] == 1
    await do(storage, rows(f"{n}" for n in range(20)), now=1e9)
    assert sizes(server, storage)["results"] == 21  # it was looked at
    reply = await do(storage, ["get_results", ["a"]], now=1e9)
    assert [task_id for task_id, _ in reply.answers[0]["results"]] == ["a"]


async def test_the_oldest_go_when_there_are_too_many(
    server: RedisServer, storage: RedisStorage
) -> None:
    """Those that were there before anybody said how many may be kept, too."""
    await do(storage, rows(f"{n}" for n in range(30)), now=0.0)
    assert sizes(server, storage)["results:order"] == 0  # nobody needs it
    await do(storage, rows(["a", "b"]), now=0.0, limit=10)
    found = sizes(server, storage)
    assert found["results"] == found["results:order"] == 10
    await do(storage, rows(["c", "d"]), now=0.0)
    await do(storage, rows(["c"], attempt=2), now=0.0)  # younger than d
    await do(storage, rows(["e"]), now=0.0, limit=2)
    reply = await do(storage, ["get_results", ["a", "c", "d", "e"]], now=0.0)
    assert [task_id for task_id, _ in reply.answers[0]["results"]] == ["c", "e"]
    assert reply.answers[0]["gone"] == [["a", "evicted 2"], ["d", "evicted 2"]]
    await do(storage, ["delete_results", ["c"]], now=0.0)
    assert sizes(server, storage)["results:order"] == 1


async def test_notes_of_what_is_gone_are_limited(
    server: RedisServer, storage: RedisStorage
) -> None:
    """The oldest are forgotten; how many, is known."""
    for part in range(11):
        await do(storage, rows(f"{part}-{n}" for n in range(9_500)), now=float(20 * part))
    while sizes(server, storage)["results"] > 10:
        await do(storage, rows(f"last{n}" for n in range(10)), now=1000.0)
        await do(storage, rows(f"more{n}" for n in range(4_000)), now=2000.0)
        await do(storage, rows([]), now=3000.0)
        await do(storage, *[rows([])] * 2, now=4000.0, limit=10)
    found = sizes(server, storage)
    assert found["gone"] == found["gone:order"] == 100_000
    (forgotten,) = (await do(storage, ["forgotten"], now=4000.0)).answers
    assert forgotten > 4_500
    reply = await do(storage, ["get_results", ["0-0", "10-9499"]], now=4000.0)
    assert [task_id for task_id, _ in reply.answers[0]["gone"]] == ["10-9499"]
