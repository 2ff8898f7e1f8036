"""Step 9: plain functions run in threads."""

import time

import trio

import actorq


@actorq.task
def blur(photo: str) -> str:
    time.sleep(0.1)  # blocks its thread, and nobody else
    return f"{photo}, blurred"


@actorq.task
def blur_all(photos: list[str]) -> int:
    for _ in photos:
        time.sleep(0.01)
        trio.from_thread.check_cancelled()  # a thread cannot be killed: it looks for itself
    return len(photos)


async def main() -> None:
    async with actorq.open_system() as sys:
        handles = await sys.enqueue_many(blur, [("cat.jpg",), ("dog.jpg",)])
        for handle in handles:
            print(await handle.result())

        long = await sys.enqueue(blur_all, ["cow.jpg"] * 10_000)
        await trio.sleep(0.1)
        print("cancelled:", await long.cancel())


if __name__ == "__main__":
    trio.run(main)
