"""A connection that is open for as long as tasks run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

import actorq


broker = actorq.InMemoryBroker()


class Database:
    """Stands for one of yours."""

    async def count(self, table: str) -> int:
        await trio.sleep(0.1)
        return len(table)


@asynccontextmanager
async def database(state: actorq.State) -> AsyncIterator[None]:
    print("connecting")
    state.db = Database()
    try:
        yield
    finally:
        await trio.sleep(0.1)
        print("disconnected")


broker.with_lifespan(database)


@broker.on_startup
async def warm_up(state: actorq.State) -> None:
    state.users = await state.db.count("users")


@broker.on_shutdown
def say_so(state: actorq.State) -> None:
    print("no task runs any more, and the database is still there:", "db" in state)


@broker.task
async def report() -> str:
    return f"{broker.state.users} users, {await broker.state.db.count('orders')} orders"


async def main() -> None:
    async with actorq.open_system(broker):
        print(await (await report.kiq()).result())
        await report.kiq()  # runs while the system closes


if __name__ == "__main__":
    trio.run(main)
