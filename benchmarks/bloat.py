"""A million jobs through PostgreSQL: what each costs the server, and how large the tables become.

    python benchmarks/bloat.py [JOBS [BACKLOG]]

Jobs are stored, claimed and settled in hundreds, by one connection, as a broker's calls do it; *BACKLOG*
tasks wait before them.  Autovacuum is as the server and the law have it.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from time import perf_counter
from typing import Any

import psycopg

import own_servers
from actorq.engines.postgres import migrations
from actorq.engines.postgres.storage import SETTINGS


#: Jobs in a call, and the bytes of each.
BATCH, BODY = 100, b"x" * 200


class Law:
    """Calls, and the processor time of the connection's process on the server."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.number = 0
        self.stat = Path(f"/proc/{connection.info.backend_pid}/schedstat")

    def ask(self, *acts: list[Any], given: bytes = b"") -> list[Any]:
        """The answers."""
        self.number += 1
        asked = {
            "acts": acts,
            "law": migrations.VERSION,
            "peer": "bloat",
            "lane": "broker",
            "number": self.number,
            "lease": 30.0,
            "view": True,
            "seen": 0,
            "room": 0,
            "ttl": 3600.0,
            "early": True,
        }
        row = self.connection.execute(
            "select reply::text, taken from actorq.perform(%s::jsonb, %s::bytea)",
            (json.dumps(asked), given),
            prepare=True,
        ).fetchone()
        assert row is not None
        return json.loads(row[0])["answers"]  # type: ignore[no-any-return]

    def store(self, n: int) -> None:
        """New ones, of the same body each."""
        rows = [
            [uuid.uuid4().hex, len(BODY), None, "noop", "default", 0, None, None, 5, None, None]
            for _ in range(n)
        ]
        self.ask(["store", rows, False], given=BODY)

    def work(self, session: int) -> int:
        """A hundred, from claim to result; how many there were."""
        (answer,) = self.ask(["claim", session, BATCH, []])
        words = [
            [
                *(task_id, attempt, token, "done", 0.0, "", None, [], False),
                [task_id, attempt, None, len(BODY), False],
            ]
            for task_id, attempt, token, *_ in answer["claimed"]
        ]
        self.ask(["settle", session, words], given=BODY)
        return len(words)

    def cpu(self) -> float:
        """Seconds that the server has spent on us."""
        return int(self.stat.read_text().split()[0]) / 1e9

    def size(self, what: str, relation: str) -> float:
        """In megabytes."""
        row = self.connection.execute(
            f"select {what}('actorq.{relation}') / 1e6".encode()
        ).fetchone()
        assert row is not None
        return float(row[0])


def main(jobs: int = 1_000_000, backlog: int = 0) -> None:
    """A line for each tenth."""
    with (
        own_servers.postgres() as (url, _),
        psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection,
    ):
        connection.prepare_threshold = 1_000_000  # what asks for it, and nothing else
        for setting, value in SETTINGS.items():
            connection.execute("select set_config(%s, %s, false)", (setting, value))
        connection.execute(migrations.script("actorq").encode())
        law = Law(connection)
        (session,) = law.ask(["open", "worker", None, 1, "host"])
        for _ in range(backlog // 1000):
            law.store(1000)
        print(
            "   jobs  server us  wall us   tasks MB  indexes MB  claimable MB  ended MB  results MB"
        )
        done, step = 0, max(BATCH, jobs // 10)
        while done < jobs:
            began, cpu, upto = perf_counter(), law.cpu(), done + step
            former = done
            while done < upto:
                law.store(BATCH)
                done += law.work(session)
            n = done - former
            print(
                f"{done:7} {(law.cpu() - cpu) / n * 1e6:10.1f} {(perf_counter() - began) / n * 1e6:8.1f}"
                f" {law.size('pg_relation_size', 'tasks'):10.1f}"
                f" {law.size('pg_indexes_size', 'tasks'):11.1f}"
                f" {law.size('pg_relation_size', 'tasks_claimable'):13.1f}"
                f" {law.size('pg_total_relation_size', 'ended'):9.1f}"
                f" {law.size('pg_total_relation_size', 'results'):11.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main(*[int(float(each)) for each in sys.argv[1:]])
