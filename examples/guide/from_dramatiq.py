"""What changes for who comes from Dramatiq."""

import trio

import actorq
from actorq import Concurrency, Context, Depends, Per, RetryPolicy


broker = actorq.InMemoryBroker()


async def fetch(url: str) -> str:
    """A page."""
    await trio.sleep(0.1)
    return f"the page at {url}"


@broker.task(
    queue="pages",
    retries=RetryPolicy.exponential(20, base=15, cap=7 * 24 * 3600, jitter="full"),
    timeout=60,
    concurrency=Concurrency(1, per=Per.TASK),
)
async def count_words(url: str, ctx: Context = Depends()) -> int:
    print("attempt", ctx.attempt)
    return len((await fetch(url)).split())


async def main() -> None:
    async with actorq.open_system(broker) as sys:
        await count_words.kiq("https://example.com")
        handle = await count_words.using(delay=10).kiq("https://example.org")
        print(await handle.result(), "words")
        await sys.wait_idle()


if __name__ == "__main__":
    trio.run(main)
