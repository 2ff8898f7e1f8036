"""What a task logs comes back with its result."""

import logging

import trio

import actorq


log = logging.getLogger("album")


@actorq.task(capture_logs=True, retries=1)
async def publish(photos: int, ctx: actorq.Context = actorq.Depends()) -> int:
    log.info("attempt %d", ctx.attempt)
    async with trio.open_nursery() as nursery:  # child tasks, and threads, are the task's own
        nursery.start_soon(upload, photos)
    return photos


async def upload(photos: int) -> None:
    if photos > 100:
        log.warning("%d photos: this takes a while", photos)


async def main() -> None:
    log.setLevel(logging.INFO)
    async with actorq.open_system() as sys:
        outcome = await (await sys.enqueue(publish, 250)).wait_result()
        for line in (outcome.log or "").splitlines():
            print(line[len("2026-01-31 12:00:00,000 ") :])


if __name__ == "__main__":
    trio.run(main)
