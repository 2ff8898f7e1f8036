"""An order and the task that ships it: both are in the database, or neither.

Run it: QUEUE_URL=postgresql://localhost/postgres python examples/servers/postgres_transactions.py
"""

import os

import psycopg
import trio

import actorq


URL = os.environ.get("QUEUE_URL", "postgresql://localhost/postgres")
broker = actorq.PostgresBroker(URL)


@broker.task(name="ship")
async def ship(order: int) -> str:
    return f"order {order} is on its way"


def place_order(connection: psycopg.Connection, customer: str) -> str:
    with connection.transaction():  # commits, or rolls back if something raises
        insert = "insert into orders (customer) values (%s) returning id"
        row = connection.execute(insert, (customer,)).fetchone()
        assert row is not None
        return broker.enqueue_in(connection, ship, row[0])


def place_order_here(customer: str) -> str:
    with broker.transaction() as tx:  # on a connection that it opens and closes
        insert = "insert into orders (customer) values (%s) returning id"
        row = tx.connection.execute(insert, (customer,)).fetchone()
        assert row is not None
        return tx.enqueue(ship, row[0])


async def place_order_in_trio(customer: str) -> str:
    async with broker.transaction() as tx:
        insert = "insert into orders (customer) values (%s) returning id"
        row = await (await tx.connection.execute(insert, (customer,))).fetchone()
        assert row is not None
        return await tx.enqueue(ship, row[0])


def place_and_fail(connection: psycopg.Connection, customer: str) -> None:
    with connection.transaction():
        connection.execute("insert into orders (customer) values (%s)", (customer,))
        broker.enqueue_in(connection, ship, 0)
        raise LookupError("no such customer")


async def main() -> None:
    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute("create table orders (id serial primary key, customer text)")
        async with actorq.open_system(broker) as sys:
            # a synchronous web handler, in a thread of its own
            task_id = await trio.to_thread.run_sync(place_order, connection, "Ada")
            print(await sys.handle(task_id, ship).result())

            task_id = await trio.to_thread.run_sync(place_order_here, "Grace")
            print(await sys.handle(task_id, ship).result())

            task_id = await place_order_in_trio("Edith")
            print(await sys.handle(task_id, ship).result())

            try:
                await trio.to_thread.run_sync(place_and_fail, connection, "Nobody")
            except LookupError as error:
                print("rolled back:", error)
            await sys.wait_idle()
            print((await sys.queue_statistics()).ready, "tasks are left")


if __name__ == "__main__":
    trio.run(main)
