"""Step 6: later."""

from datetime import UTC, datetime, timedelta

import trio

import actorq


@actorq.task
async def remind(text: str) -> str:
    return text


async def main() -> None:
    async with actorq.open_system() as sys:
        start = trio.current_time()
        in_a_moment = await sys.enqueue(remind.using(delay=0.2), "tidy the album")
        soon = datetime.now(UTC) + timedelta(seconds=0.1)
        at_a_time = await sys.enqueue(remind.using(eta=soon), "feed the cat")
        print((await sys.queue_statistics()).scheduled, "are scheduled")

        print(await at_a_time.result())
        print(await in_a_moment.result())
        print(trio.current_time() - start >= 0.2)


if __name__ == "__main__":
    trio.run(main)
