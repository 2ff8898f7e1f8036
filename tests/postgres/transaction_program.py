"""A program that orders and enqueues in one transaction, and is killed meanwhile.

Says on standard output how far it is, and goes on when it reads a line.
"""

from __future__ import annotations

import sys

import actorq
from actorq.engines.postgres.broker import PostgresBroker


def main(url: str, schema: str, rounds: int, *, halting: bool) -> None:
    """Order and enqueue."""
    broker = PostgresBroker(url, schema=schema)

    def say(word: str) -> None:
        print(word, flush=True)  # noqa: T201
        if halting:
            sys.stdin.readline()

    @actorq.task(name="ship")
    def ship(order: int) -> None: ...

    for _ in range(rounds):
        with broker.transaction() as tx:
            say("begun")
            insert = f"insert into {schema}_orders (task) values ('') returning id"
            row = tx.connection.execute(insert.encode()).fetchone()
            assert row is not None
            say("inserted")
            task_id = tx.enqueue(ship, row[0])
            update = f"update {schema}_orders set task = %s where id = %s"
            tx.connection.execute(update.encode(), (task_id, row[0]))
            say("enqueued")
        say("committed")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), halting=sys.argv[4] == "halting")
