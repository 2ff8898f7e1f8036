"""Step 3: many at once."""

import trio

import actorq


@actorq.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.1)
    return f"{photo}@{width}"


async def main() -> None:
    async with actorq.open_system(concurrency=10) as sys:
        start = trio.current_time()
        photos = [f"{number}.jpg" for number in range(20)]
        handles = await sys.enqueue_many(resize, [(photo, 640) for photo in photos])
        small = [await handle.result() for handle in handles]
        print(len(small), "photos, the last is", small[-1])
        print(f"{trio.current_time() - start:.1f} s")

        urgent = await sys.enqueue(resize.using(priority=10), "front-page.jpg", 1920)
        print(await urgent.result())


if __name__ == "__main__":
    trio.run(main)
