"""What changes for who comes from Celery."""

from collections.abc import Sequence

import trio

import actorq
from actorq import Context, Depends, RetryPolicy, cron


broker = actorq.InMemoryBroker()


class Busy(Exception):
    """The bank says: later."""


async def call_the_bank(order: int, attempt: int) -> str:
    """Busy at first."""
    await trio.sleep(0.1)
    if attempt == 1:
        raise Busy
    return f"order {order} is paid"


@broker.task(
    retries=RetryPolicy.exponential(5, base=2, cap=600, jitter="full", retry_on=OSError),
    rate="10/m",
)
async def charge(order: int, ctx: Context = Depends()) -> str:
    try:
        return await call_the_bank(order, ctx.attempt)
    except Busy as busy:
        raise actorq.Retry(60) from busy


@broker.task
async def download(name: str) -> str:
    await trio.sleep(1)
    return f"{name}.jpg"


@broker.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(1)
    return f"{photo}@{width}"


@broker.task
async def publish(photos: Sequence[str], ctx: Context = Depends()) -> str:
    small = await ctx.system.gather(*[resize.call(photo, 64) for photo in photos])
    return f"published: {', '.join(small)}"


@broker.task(schedule=[cron("30 7 * * mon-fri", tz="Europe/Berlin")])
async def wake_up() -> None:
    print("good morning")


async def main() -> None:
    async with actorq.open_system(broker):
        handle = await charge.kiq(7)
        later = await charge.using(delay=10, expires=3600, priority=9).kiq(8)
        print(await handle.result(), "|", await later.result())

        album = await publish.kiq(["cat.jpg", "dog.jpg"])
        print(await album.result())

        chain = download | resize.step(640)
        print(await (await chain.kiq("owl")).result())

        endless = await charge.using(delay=3600).kiq(9)
        print("cancelled:", await endless.cancel())


if __name__ == "__main__":
    trio.run(main)
