"""A program that orders and enqueues in one transaction, and is killed meanwhile.

Says on standard output how far it is, and goes on when it reads a line.
"""

from __future__ import annotations

import sys

import actorq


def main(path: str, rounds: int, *, halting: bool) -> None:
    """Order and enqueue."""
    broker = actorq.SQLiteBroker(path)

    def say(word: str) -> None:
        print(word, flush=True)  # noqa: T201
        if halting:
            sys.stdin.readline()

    @actorq.task(name="ship")
    def ship(order: int) -> None: ...

    for _ in range(rounds):
        with broker.transaction() as tx:
            say("begun")
            (order,) = tx.connection.execute(
                "insert into orders (task) values ('') returning id"
            ).fetchone()
            say("inserted")
            task_id = tx.enqueue(ship, order)
            tx.connection.execute("update orders set task = ? where id = ?", (task_id, order))
            say("enqueued")
        say("committed")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), halting=sys.argv[3] == "halting")
