"""A connection that is cut in the middle of a call, at any byte of it, changes nothing of what is done.

A program of calls, each kind among them, is run once as it should be: what each answers, and how many
bytes it takes.  Then again and again through a proxy that cuts the connection in one of them.
"""

from __future__ import annotations

import itertools
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import pytest
import trio

import actorq
from actorq.engine import Claim, Store
from actorq.engines.remote.acts import Request
from actorq.engines.remote.broker import RemoteBroker
from actorq.message import Delivery
from actorq.protocol import Ending, Outcome, Settle, Settlement
from actorq.testing.contracts.host import Bench, Host, call, hosted
from servers.process import Server
from servers.proxy import WAYS, Proxy, Way


pytestmark = pytest.mark.engine

#: How many places of each command are tried; the places are drawn.
PLACES: Final = int(os.environ.get("ACTORQ_CUTS", "1"))
#: What a step of the program sees.
Step: TypeAlias = Callable[["Program"], Awaitable[Any]]
Point: TypeAlias = Literal["first", "middle", "last", "after"]
POINTS: Final[tuple[Point, ...]] = ("first", "middle", "last", "after")


class Program:
    """What it knows as it goes on."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.broker = bench.broker
        assert isinstance(self.broker, RemoteBroker)
        self.storage = self.broker.storage
        self.now = bench.host.now
        self.session = 0
        self.taken: dict[str, Delivery] = {}

    async def enqueue(self, *ids: str, **said: Any) -> Any:
        """These tasks."""
        return await self.bench.enqueue(*[call(each, each, **said) for each in ids])

    async def claim(self, limit: int) -> list[tuple[str, int]]:
        """So many."""
        found = await self.broker.claim(self.session, limit, self.now)
        self.taken |= {each.fence.task_id: each for each in found}
        return [(each.fence.task_id, each.fence.attempt) for each in found]

    async def settle(self, ending: Ending, *ids: str, **said: Any) -> list[bool]:
        """Say this of them."""
        return await self.bench.settle(
            self.session, ending, *[self.taken[each] for each in ids], **said
        )

    async def open(self) -> None:
        """A session."""
        self.session = await self.bench.session()

    async def together(self) -> Any:
        """An end with its result, new tasks and a claim in one call."""
        done = Settlement(
            self.taken["b"].fence,
            Ending.DONE,
            outcome=Outcome("b", actorq.TaskResult(return_value="of b")),
        )
        more = Store((call("m1"), call("m2")))
        verdicts, stored, found = await self.broker.perform(
            [Settle(self.session, (done,)), more, Claim(self.session, 1)], self.now
        )
        self.taken |= {each.fence.task_id: each for each in found}
        return verdicts, stored, [each.fence.task_id for each in found]

    async def act(self, lane: Literal["results", "schedules"], *act: Any) -> Any:
        """Of the other parts."""
        request = self.storage.request()
        request.acts.append(_put(request, [*act]))
        request.now = self.now
        return (await self.storage.call(request, lane)).answers

    async def progress(self) -> bool:
        """Its number may come later in the row: one that was rolled back has had the next."""
        (number,) = await self.act("results", "set_progress", "m1", 1, b"half")
        return bool(number >= 1)

    async def told(self) -> list[str]:
        """Who is told an end, and by whom."""
        return sorted(
            f"{task_id} {result.error!r}" for task_id, result in (await self.bench.told()).items()
        )


def _put(request: Request, what: Any) -> Any:
    if isinstance(what, list):
        return [_put(request, each) for each in what]
    return request.put(what) if isinstance(what, bytes) else what


PROGRAM: Final[dict[str, Step]] = {
    "store": lambda it: it.enqueue("a", "b", "c", "d", "e"),
    "store delayed": lambda it: it.enqueue("later", eta=it.now + 60),
    "store in order": lambda it: it.enqueue("first", priority=5),
    "open": lambda it: it.open(),
    "claim": lambda it: it.claim(4),
    "renew": lambda it: it.broker.extend(it.session, it.now),
    "done": lambda it: it.settle(Ending.DONE, "first"),
    "retry": lambda it: it.settle(Ending.RETRY, "a", delay=30.0),
    "settle, store and claim": lambda it: it.together(),
    "dead": lambda it: it.settle(Ending.DEAD, "c"),
    "cancel": lambda it: it.bench.cancel("e"),
    "told": lambda it: it.told(),
    "pause": lambda it: it.broker.set_paused("default", paused=True),
    "claim nothing": lambda it: it.claim(1),
    "unpause": lambda it: it.broker.set_paused("default", paused=False),
    "replay": lambda it: it.broker.replay([("c", call("c2", "c"))], it.now),
    "set results": lambda it: it.act(
        "results", "set_results", [["x", 1, None, b"of x", False], ["y", 1, 60.0, b"", True]]
    ),
    "progress": lambda it: it.progress(),
    "delete": lambda it: it.act("results", "delete_results", ["x"]),
    "swap": lambda it: it.act("schedules", "swap", "s", None, ["1", "{}"], True),
    "swap back": lambda it: it.act("schedules", "swap", "s", "1", None, True),
    "lapse": lambda it: it.broker.lapse(it.now, 0.0),
    "purge": lambda it: it.broker.purge("default", it.now),
    "told again": lambda it: it.told(),
}


async def run(program: Program, proxy: Proxy, cut: Callable[[str], None]) -> dict[str, Any]:
    """Each answer, and how things are at the end."""
    seen: dict[str, Any] = {}
    for name, step in PROGRAM.items():
        cut(name)
        seen[name] = await step(program)
    cut("")
    proxy.spare()
    broker = program.broker
    seen["counts"] = await broker.statistics_of_queue()
    ids = ["a", "b", "c", "c2", "d", "e", "first", "later", "m1", "m2"]
    seen["where"] = [await broker.locate(each) for each in ids]
    results = await program.act("results", "get_results", ["b", "x", "y"])
    seen["results"] = [task_id for task_id, _ in results[0]["results"]]
    seen["gone"] = results[0]["gone"]
    seen["letters"] = [each.task_id for each in await broker.dead_tasks()]
    return seen


@contextmanager
def through(server: Server) -> Iterator[tuple[Proxy, Callable[[], actorq.Broker]]]:
    """A proxy, and brokers that go through it, each in a namespace of its own."""
    with Proxy(server.port) as proxy:

        def make() -> actorq.Broker:
            name = f"t{secrets.token_hex(6)}"
            url: str = server.url_at(proxy.port)  # type: ignore[attr-defined]
            option = {"namespace": name} if url.startswith("redis") else {"schema": name}
            return actorq.broker_from_url(url, **option)

        yield proxy, make


async def clean(
    make: Callable[[], actorq.Broker], proxy: Proxy
) -> tuple[dict[str, Any], dict[str, dict[Way, int]]]:
    """What it answers if nothing is wrong, and the bytes of each step."""
    sizes: dict[str, dict[Way, int]] = {}
    last: list[tuple[str, dict[Way, int]]] = []

    def count(name: str) -> None:
        if last:
            before, passed = last[-1]
            sizes[before] = {way: proxy.passed[way] - passed[way] for way in WAYS}
        last.append((name, dict(proxy.passed)))

    async with hosted(Host(make, lambda _: None)) as host:
        seen = await run(Program(host.first), proxy, count)
    return seen, sizes


def place(random_: random.Random, point: Point, size: int) -> int:
    """After how many bytes of a command or an answer of this size."""
    if point == "middle":
        return random_.randrange(1, max(2, size))
    return {"first": 1, "last": max(1, size - 1), "after": max(1, size)}[point]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", ["redis", "postgres"])
async def test_a_call_that_is_cut_is_done_once(
    engine: str, way: Way, request: pytest.FixtureRequest
) -> None:
    """31, 34: wherever it is cut, its answer and all that comes after it are as if it had not been."""
    server: Server = request.getfixturevalue(f"{engine}_server")
    seed = random.randrange(10**6)
    random_ = random.Random(seed)
    with through(server) as (proxy, make):
        expected, sizes = await clean(make, proxy)
        for target, _ in itertools.product(PROGRAM, range(PLACES)):
            point = random_.choice(POINTS)
            size = place(random_, point, sizes[target][way])
            reset = random_.random() < 0.5

            def cut(name: str, target: str = target, size: int = size, reset: bool = reset) -> None:
                if name == target:
                    proxy.cut_after(size, way, reset=reset)

            with trio.fail_after(30):
                async with hosted(Host(make, lambda _: None)) as host:
                    seen = await run(Program(host.first), proxy, cut)
            where = (
                f"seed {seed}: {target} cut after {size} bytes of {sizes[target]} ({way}, {point})"
            )
            assert {**seen, "": where} == {**expected, "": where}
        # numbers have more digits now and then: a cut behind the last byte may come too late
        assert proxy.were_cut > 0.8 * len(PROGRAM) * PLACES
