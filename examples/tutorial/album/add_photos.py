"""Step 14: a client, whose tasks run in the workers' processes."""

import trio

import actorq
from album import broker, render_film, resize


PHOTOS = ["cat.jpg", "dog.jpg", "cow.jpg", "broken.jpg"]


async def main() -> None:
    async with actorq.open_system(broker, role="client") as sys:
        small = await sys.enqueue_many(resize, [(photo, 640) for photo in PHOTOS])
        film = await render_film.kiq(PHOTOS)
        async for progress in film.progress():
            print(f"{progress.progress:4.0%} of the film")
        print(await film.result())

        for photo, handle in zip(PHOTOS, small, strict=True):
            outcome = await handle.wait_result()
            print(photo, "->", outcome.error or outcome.return_value)


if __name__ == "__main__":
    trio.run(main)
