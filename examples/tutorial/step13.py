"""Step 13: surviving."""

import trio

import actorq


broker = actorq.SQLiteBroker("album.db")


@broker.task
async def resize(photo: str) -> None:
    await trio.sleep(0.5)
    print(photo, "is finished")


@broker.task
async def render_film(ctx: actorq.Context = actorq.Depends()) -> None:
    print("rendering, attempt", ctx.attempt)
    try:
        await trio.sleep(2)
    except trio.Cancelled:
        print("the film is cut off")
        raise
    print("the film is finished")


async def main() -> None:
    async with actorq.open_system(broker, grace=1):
        await resize.kiq("cat.jpg")
        film = await render_film.kiq()
        await trio.sleep(0.1)
        print("the body ends")
    print("the system is closed")

    # what was given back is still there, and a new system goes on with it
    async with actorq.open_system(broker) as sys:
        await sys.handle(film.task_id).wait_result()


if __name__ == "__main__":
    trio.run(main)
