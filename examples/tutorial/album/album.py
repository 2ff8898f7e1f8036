"""The album's queue and its tasks: what the workers and the clients import."""

import trio

import actorq


broker = actorq.SQLiteBroker("album.db")


@broker.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.5)
    if photo == "broken.jpg":
        raise ValueError("not a JPEG file")
    return f"{photo}@{width}"


@broker.task
async def render_film(photos: list[str], progress: actorq.Progress = actorq.Depends()) -> str:
    async for _photo in progress.track(photos):
        await trio.sleep(0.5)
    return f"a film of {len(photos)} photos"
