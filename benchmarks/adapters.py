"""What the adapters of the peers have in common: a client that awaits, and one that does not.

Standard library only.  A peer says how it enqueues and how it waits; how that is timed is said here.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import own_servers
from durable import TRIPS
from fleet import cpu


T = TypeVar("T")

#: Where the server is, and which settings a worker is to have: in the environment of the workers.
URL = "BENCH_URL"
SETTING = "BENCH_SETTING"

#: What is never connected to, in a process that only reads the module.
NOWHERE = "redis://127.0.0.1:1"


def here() -> str:
    """The server of this worker."""
    return os.environ.get(URL, NOWHERE)


def setting() -> str:
    """The settings of this worker."""
    return os.environ.get(SETTING, "default")


def use_uvloop() -> None:
    """In a worker whose command has no option for it."""
    asyncio.set_event_loop_policy(importlib.import_module("uvloop").EventLoopPolicy())


class OnServer:
    """What a server costs."""

    #: `default`: as it comes, but for the concurrency. `best`: as quick as it was got.
    setting: str
    url: str
    _pid: int

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.accepted = 0  #: no-ops, so far

    def server_cpu(self) -> float:
        """Seconds that it has computed."""
        return cpu(self._pid)


class OnRedis(OnServer):
    """A server that writes each second what came."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with own_servers.redis(folder) as self.redis:
            self.url, self._pid = self.redis.url, self.redis.pid
            os.environ[URL], os.environ[SETTING] = self.url, self.setting
            yield {URL: self.url, SETTING: self.setting}


class OnPostgres(OnServer):
    """A server with its stock settings, and what the peer makes in it before use."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        psycopg: Any = importlib.import_module("psycopg")  # not in every peer's environment
        with own_servers.postgres() as (self.url, self._pid):
            os.environ[URL], os.environ[SETTING] = self.url, self.setting
            self.prepare()
            with psycopg.connect(self.url, autocommit=True) as self._connection:
                yield {URL: self.url, SETTING: self.setting}

    def prepare(self) -> None:
        """Make the tables."""

    def count(self, statement: str) -> int:
        """The number that the server answers."""
        return int(self._connection.execute(statement).fetchone()[0])


class Awaiting(ABC):
    """A client on asyncio, `best` on uvloop."""

    setting: str
    accepted: int

    @abstractmethod
    def client(self) -> AbstractAsyncContextManager[Any]:
        """A client that is connected."""

    @abstractmethod
    async def enqueue(self, client: Any) -> Any:
        """A no-op; what its result is waited for with."""

    @abstractmethod
    async def enqueue_nap(self, client: Any, number: int, seconds: float, log: str) -> Any:
        """A job that sleeps."""

    @abstractmethod
    async def result(self, client: Any, handle: Any) -> None:
        """Wait for it."""

    async def round_trip(self, client: Any) -> None:
        """Enqueue and wait, as the peer does it."""
        await self.result(client, await self.enqueue(client))

    async def enqueue_many(self, client: Any, n: int) -> None:
        """As quickly as it can: without a call for many, by a hundred callers."""
        await self._spread(client, n, 100)

    def single(self, n: int) -> float:
        return self._timed(lambda client: self._some(client, n), n)

    def callers(self, n: int) -> float:
        return self._timed(lambda client: self._spread(client, n, 50), n)

    def batch(self, n: int) -> float:
        return self._timed(lambda client: self.enqueue_many(client, n), n)

    def round_trips(self, n: int) -> list[float]:
        async def trips(client: Any) -> list[float]:
            trips: list[float] = []
            while len(trips) < n and sum(trips) < TRIPS:
                began = perf_counter()
                await self.round_trip(client)
                trips.append(perf_counter() - began)
            return trips

        return self._run(trips)

    def waits(self, seconds: float) -> float:
        async def wait(client: Any) -> float:
            handle = await self.enqueue_nap(client, 0, seconds, "")
            used = process_time()
            await self.result(client, handle)
            return process_time() - used

        return self._run(wait)

    def naps(self, n: int, seconds: float, log: Path) -> None:
        async def enqueue(client: Any) -> None:
            for number in range(n):
                await self.enqueue_nap(client, number, seconds, str(log))

        self._run(enqueue)

    async def _spread(self, client: Any, n: int, callers: int) -> None:
        await self.at_once([partial(self._some, client, count) for count in shares(n, callers)])

    async def _some(self, client: Any, n: int) -> None:
        for _ in range(n):
            await self.enqueue(client)

    def _timed(self, body: Callable[[Any], Coroutine[Any, Any, None]], n: int) -> float:
        async def timed(client: Any) -> float:
            began = perf_counter()
            await body(client)
            return perf_counter() - began

        self.accepted += n
        return self._run(timed)

    def _run(self, body: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        async def run() -> T:
            async with self.client() as client:
                return await body(client)

        return self.run(run)

    # of these two streaq has others, on Trio

    async def at_once(self, calls: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:
        """All of them."""
        await asyncio.gather(*(call() for call in calls))

    def run(self, body: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """On an event loop of its own."""
        if self.setting == "best":
            result: T = importlib.import_module("uvloop").run(body())
            return result
        return asyncio.run(body())


class Blocking(ABC):
    """A client whose calls block; several callers are threads."""

    setting: str
    accepted: int

    @abstractmethod
    def enqueue(self) -> Any:
        """A no-op; what its result is waited for with."""

    @abstractmethod
    def enqueue_nap(self, number: int, seconds: float, log: str) -> Any:
        """A job that sleeps."""

    @abstractmethod
    def result(self, handle: Any) -> None:
        """Wait for it."""

    def enqueue_many(self, n: int) -> None:
        """As quickly as it can: without a call for many, one by one."""
        for _ in range(n):
            self.enqueue()

    def single(self, n: int) -> float:
        self.accepted += n
        began = perf_counter()
        for _ in range(n):
            self.enqueue()
        return perf_counter() - began

    def callers(self, n: int) -> float:
        def some(count: int) -> None:
            for _ in range(count):
                self.enqueue()

        self.accepted += n
        threads = [threading.Thread(target=some, args=(count,)) for count in shares(n, 50)]
        began = perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return perf_counter() - began

    def batch(self, n: int) -> float:
        self.accepted += n
        began = perf_counter()
        self.enqueue_many(n)
        return perf_counter() - began

    def round_trips(self, n: int) -> list[float]:
        trips: list[float] = []
        while len(trips) < n and sum(trips) < TRIPS:
            began = perf_counter()
            self.result(self.enqueue())
            trips.append(perf_counter() - began)
        return trips

    def waits(self, seconds: float) -> float:
        handle = self.enqueue_nap(0, seconds, "")
        used = process_time()
        self.result(handle)
        return process_time() - used

    def naps(self, n: int, seconds: float, log: Path) -> None:
        for number in range(n):
            self.enqueue_nap(number, seconds, str(log))


def shares(n: int, callers: int) -> Sequence[int]:
    """How many each of them enqueues."""
    return [n // callers + (each < n % callers) for each in range(callers)]
