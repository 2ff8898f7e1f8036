"""Step 4: arguments and errors."""

import attrs
import trio

import actorq


@attrs.frozen
class Size:
    width: int
    height: int


class NoSuchPhoto(Exception):
    pass


class DiskOnFire(Exception):
    pass


@actorq.task(raises=(NoSuchPhoto,))
async def crop(photo: str, size: Size) -> Size:
    if photo == "missing.jpg":
        raise NoSuchPhoto(photo)
    if photo == "broken.jpg":
        raise ValueError("not a JPEG file")
    if photo == "unlucky.jpg":
        raise DiskOnFire("/dev/sda")
    return Size(min(size.width, 800), min(size.height, 600))


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(crop, "cat.jpg", Size(1024, 768))
        print(await handle.result())

        try:
            await sys.enqueue(crop, "cat.jpg", Size("wide", 768))  # type: ignore[arg-type]
        except actorq.ArgumentsError as error:
            print("refused:", error)

        for photo in ["missing.jpg", "broken.jpg", "unlucky.jpg"]:
            handle = await sys.enqueue(crop, photo, Size(1024, 768))
            try:
                await handle.result()
            except NoSuchPhoto as error:  # declared with raises=
                print("no such photo:", error)
            except ValueError as error:  # a builtin
                print("bad photo:", error)
            except actorq.TaskFailed as error:  # anything else
                print("failed:", error.type_name, error.message)

        await sys.wait_idle()
        for dead in await sys.dead_tasks():
            print("dead letter:", dead.message.args[0], "-", dead.reason)


if __name__ == "__main__":
    trio.run(main)
