"""Many connections at once: what one of them does alone holds for all together."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import psycopg
import pytest

from actorq.engines.postgres import migrations
from actorq.engines.postgres.storage import SETTINGS
from servers.postgres import PostgresServer

from .plain_law import Law, Plain, on_its_way, word


pytestmark = pytest.mark.engine

#: Enqueuers, workers, and tasks that each enqueuer brings.
ENQUEUERS, WORKERS, TASKS = 3, 3, 120


@attrs.define(eq=False)
class Crowd:
    """Who works on one schema, each on a connection and in a thread of its own."""

    server: PostgresServer
    schema: str
    ended: Counter[str] = attrs.field(factory=Counter)  #: how often each task was done
    running: Counter[str] = attrs.field(factory=Counter)  #: by key, at this moment
    most: Counter[str] = attrs.field(factory=Counter)  #: and at worst
    lock: threading.Lock = attrs.field(factory=threading.Lock)
    stored: threading.Event = attrs.field(factory=threading.Event)

    def law(self, peer: str) -> Law:
        """A connection more."""
        connection = psycopg.connect(self.server.conninfo, autocommit=True)
        for setting, value in SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (setting, value))
        return Law(connection, self.schema, peer)

    def enqueue(self, name: str, bring: Callable[[int], list[Plain]], seed: int) -> None:
        """In batches; now and then one of before once more, as after an uncertain answer."""
        law, rng = self.law(name), random.Random(seed)
        with law.connection:
            former: list[Plain] = []
            n = 0
            while n < TASKS:
                batch = [each for _ in range(rng.randint(1, 9)) for each in bring(n)]
                some = former if rng.random() < 0.3 else []
                law.ask(["store", batch + some, False])
                former, n = batch, n + len(batch)

    def work(self, name: str, seed: int) -> None:
        """Until nothing is left."""
        law, rng = self.law(name), random.Random(seed)
        with law.connection:
            (session,) = law.ask(["open", name, None, 1, "host"])
            while True:
                over = self.stored.is_set()
                (answer,) = law.ask(["claim", session, rng.randint(1, 20), []])
                jobs = answer["claimed"]
                if not jobs and over and not answer["more"]:
                    return
                self._run(law, session, jobs, rng)

    def _run(self, law: Law, session: int, jobs: list[Plain], rng: random.Random) -> None:
        keys = Counter([job[0].split("!")[0] for job in jobs if "!" in job[0]])
        with self.lock:
            self.running += keys
            self.most |= self.running
        again = [job for job in jobs if job[1] < 3 and rng.random() < 0.1]
        done = [job for job in jobs if job not in again]
        with self.lock:  # before others can have what this gives back
            self.running -= keys
        verdicts = law.ask(
            ["settle", session, [word(job, "done", result=True) for job in done]],
            ["settle", session, [word(job, "retry") for job in again]],
        )
        assert verdicts == [[True] * len(done), [True] * len(again)]
        with self.lock:
            self.ended.update([job[0] for job in done])

    def all(self, bring: Callable[[int, int], list[Plain]]) -> None:
        """Everybody, until nothing is left."""
        with ThreadPoolExecutor(ENQUEUERS + WORKERS) as pool:
            workers = [pool.submit(self.work, f"w{n}", n) for n in range(WORKERS)]
            enqueuers = [
                pool.submit(self.enqueue, f"e{n}", lambda i, n=n: bring(n, i), n)  # type: ignore[misc]
                for n in range(ENQUEUERS)
            ]
            try:
                for each in enqueuers:
                    each.result()
            finally:
                self.stored.set()
            for each in workers:
                each.result()

    def left(self) -> int:
        """Tasks that have not ended."""
        with self.law("looks").connection as connection:
            row = connection.execute(
                f'select count(*) from "{self.schema}".tasks'.encode()
            ).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def crowd(server: PostgresServer, namespace: str) -> Crowd:
    """On tables of its own."""
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(migrations.script(namespace).encode())
    return Crowd(server, namespace)


def test_each_of_many_is_done_once(crowd: Crowd) -> None:
    """29, 31, 34: enqueued again while it waits, runs or has ended, it is the same task."""
    ids: set[str] = set()

    def bring(who: int, n: int) -> list[Plain]:
        task_id = f"{who}.{n}.{len(ids)}"
        ids.add(task_id)
        return [on_its_way(task_id, queue=f"q{n % 2}", priority=n % 3)]

    crowd.all(bring)
    assert crowd.left() == 0
    assert crowd.ended == Counter(dict.fromkeys(ids, 1))


def test_what_meets_limits_is_done_alone_among_plain_ones(crowd: Crowd) -> None:
    """39, 41: no more run than may, one key has one task, and the plain ones go on beside them."""
    made: Counter[str] = Counter()

    def bring(who: int, n: int) -> list[Plain]:
        made["all"] += 1
        number = made["all"]
        kind = ("plain", "few", "once", "timely")[n % 4]
        bounds: Any = None
        if kind == "few":
            bounds = [None, [["few", 2]], [], []]
        elif kind == "once":
            bounds = [["once", "return", "finish", None], [], [], []]
        return [
            on_its_way(
                f"{kind}!{who}.{n}.{number}",
                bounds=bounds,
                expires=9e9 if kind == "timely" else None,
            )
        ]

    crowd.all(bring)
    assert crowd.left() == 0
    assert set(crowd.ended.values()) == {1}
    assert crowd.most["few"] <= 2, "permits"
    assert crowd.most["once"] <= 1, "unique keys"
    assert crowd.most["plain"] > 2, "or nothing was seen of it"
