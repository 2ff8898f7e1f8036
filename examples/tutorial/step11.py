"""Step 11: your own actor beside the queue."""

import attrs
import trio

import actorq


@attrs.frozen
class Add(actorq.Message[None]):
    photo: str


@attrs.frozen
class Photos(actorq.Message[list[str]]):
    pass


class Album(actorq.Actor[Add | Photos]):
    def __init__(self) -> None:
        self.photos: list[str] = []

    async def receive(self, message: Add | Photos) -> list[str] | None:
        match message:
            case Add(photo):
                self.photos.append(photo)
                return None
            case Photos():
                return sorted(self.photos)


async def main() -> None:
    async with actorq.open_system() as sys:
        album = await sys.spawn(Album, name="album")

        @actorq.task
        async def resize(photo: str, width: int) -> None:
            await trio.sleep(0.1)
            await album.tell(Add(f"{photo}@{width}"))

        await sys.enqueue_many(resize, [("dog.jpg", 640), ("cat.jpg", 640)])
        await sys.wait_idle()
        photos = await album.ask(Photos())
        print(photos)


if __name__ == "__main__":
    trio.run(main)
