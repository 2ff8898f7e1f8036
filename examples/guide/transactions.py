"""An order and the task that ships it: both are in the file, or neither."""

import sqlite3
from pathlib import Path

import trio

import actorq


broker = actorq.SQLiteBroker("shop.db")


@broker.task
async def ship(order: int) -> str:
    return f"order {order} is on its way"


def place_order(customer: str) -> str:
    with broker.transaction() as tx:
        (order,) = tx.connection.execute(
            "insert into orders (customer) values (?) returning id", (customer,)
        ).fetchone()
        return tx.enqueue(ship, order)


def place_order_on(connection: sqlite3.Connection, customer: str) -> str:
    with connection:  # commits, or rolls back if something raises
        connection.execute("begin immediate")
        insert = "insert into orders (customer) values (?) returning id"
        (order,) = connection.execute(insert, (customer,)).fetchone()
        return broker.enqueue_in(connection, ship, order)


def place_and_fail(customer: str) -> None:
    with broker.transaction() as tx:
        tx.connection.execute("insert into orders (customer) values (?)", (customer,))
        tx.enqueue(ship, 0)
        raise LookupError("no such customer")


def prepare(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table if not exists orders (id integer primary key, customer)")


async def main() -> None:
    prepare(Path("shop.db"))
    async with actorq.open_system(broker) as sys:
        # a synchronous web handler, in a thread of its own
        task_id = await trio.to_thread.run_sync(place_order, "Ada")
        print(await sys.handle(task_id, ship).result())

        # your own connection, with your own way to begin and to commit
        own = sqlite3.connect("shop.db")
        task_id = place_order_on(own, "Grace")
        print(await sys.handle(task_id, ship).result())
        own.close()

        try:
            await trio.to_thread.run_sync(place_and_fail, "Nobody")
        except LookupError as error:
            print("rolled back:", error)
        await sys.wait_idle()
        print((await sys.queue_statistics()).done, "tasks were done")


if __name__ == "__main__":
    trio.run(main)
