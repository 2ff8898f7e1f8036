"""A default retry policy for every task that says nothing about retries."""

import trio

import actorq
from actorq.middlewares import SimpleRetry


broker = actorq.InMemoryBroker().with_middlewares(SimpleRetry(retries=2))


@broker.task(name="fetch")
async def fetch(ctx: actorq.Context = actorq.Depends()) -> str:
    print("fetch, attempt", ctx.attempt)
    raise ConnectionError("no answer")


@broker.task(name="pay", retries=0)
async def pay(ctx: actorq.Context = actorq.Depends()) -> str:
    print("pay, attempt", ctx.attempt)
    raise ConnectionError("no answer")


async def main() -> None:
    async with actorq.open_system(broker):
        await (await fetch.kiq()).wait_result()
        await (await pay.kiq()).wait_result()


if __name__ == "__main__":
    trio.run(main)
