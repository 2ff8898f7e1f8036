"""Step 7: progress."""

import trio

import actorq


@actorq.task
async def resize_album(photos: list[str], ctx: actorq.Context = actorq.Depends()) -> int:
    for done, photo in enumerate(photos, start=1):
        await trio.sleep(0.1)
        await ctx.set_progress(
            actorq.TaskProgress(
                progress=done / len(photos),
                status=f"resized {photo}",
                current=done,
                total=len(photos),
            )
        )
    return len(photos)


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(resize_album, ["cat.jpg", "dog.jpg", "cow.jpg"])
        async for progress in handle.progress():
            print(f"{progress.progress:4.0%} {progress.status}")
        print(await handle.result(), "photos")


if __name__ == "__main__":
    trio.run(main)
