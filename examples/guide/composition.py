import trio

import actorq


@actorq.task
async def download(name: str) -> str:
    await trio.sleep(len(name) / 10)
    if name == "broken.jpg":
        raise OSError("404")
    return f"<{name}>"


@actorq.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.1)
    return f"{photo}@{width}"


@actorq.task
async def publish(photo: str) -> int:
    await trio.sleep(0.1)
    return len(photo)


@actorq.task
async def album(names: list[str], ctx: actorq.Context = actorq.Depends()) -> list[str]:
    calls = [download.call(name) for name in names]
    return list(await ctx.system.gather(*calls, concurrency=2))


async def main() -> None:
    async with actorq.open_system(concurrency=3) as sys:
        async with sys.open_task_nursery() as jobs:
            cat = jobs.start_soon(download, "cat.jpg")
            dog = jobs.start_soon(download, "puppy.jpg")
        print(await cat.result(), await dog.result())

        try:
            async with sys.open_task_nursery() as jobs:
                jobs.start_soon(download, "a-very-long-name.jpg")
                jobs.start_soon(download, "broken.jpg")
        except* OSError as failures:
            print("failed:", [str(error) for error in failures.exceptions])

        text, size = await sys.gather(download.call("cat.jpg"), publish.call("dog"))
        print(text, size)

        with trio.move_on_after(0.5) as limit:
            await sys.gather(*[download.call(name) for name in ("a.jpg", "too-late.jpg")])
        print("in time:", not limit.cancelled_caught)

        results = await sys.gather(
            download.call("cat.jpg"), download.call("broken.jpg"), return_results=True
        )
        print([result.is_err for result in results])

        photos = ["puppy.jpg", "cat.jpg", "kitten.jpg"]
        async with sys.map(download, photos, concurrency=2) as done:
            async for photo, content in done:
                print(photo, content)

        chain = download | resize.step(64) | publish
        handle = await sys.enqueue(chain, "cat.jpg")
        print(await handle.result())
        print([await step.result() for step in handle.steps])

        call = download.call("broken.jpg") | resize.using(retries=2).step(width=64) | publish
        broken = await sys.enqueue(call)
        try:
            await broken.result()
        except actorq.ChainBroken as error:
            print(error.task_name, repr(error.__cause__))

        print(await (await sys.enqueue(album, photos)).result())


if __name__ == "__main__":
    trio.run(main)
