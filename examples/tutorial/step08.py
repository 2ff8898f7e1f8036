"""Step 8: cancel."""

import trio

import actorq


@actorq.task
async def resize_album(photos: list[str]) -> int:
    try:
        for _ in photos:
            await trio.sleep(0.1)
    finally:
        print("half-made thumbnails are removed")
    return len(photos)


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(resize_album, ["cat.jpg"] * 1000)
        await trio.sleep(0.25)
        print("cancelled:", await handle.cancel())
        try:
            await handle.result()
        except actorq.TaskCancelled as error:
            print(type(error).__name__)

        handle = await sys.enqueue(resize_album.using(delay=3600), ["dog.jpg"])
        print("cancelled before it began:", await handle.cancel())

        handle = await sys.enqueue(resize_album, [])
        print(await handle.result())
        print("too late:", await handle.cancel())


if __name__ == "__main__":
    trio.run(main)
