"""Step 1: the first task."""

import trio

import actorq


@actorq.task
async def resize(photo: str, width: int) -> str:
    await trio.sleep(0.1)  # here the work would be done
    return f"{photo}@{width}"


async def main() -> None:
    async with actorq.open_system() as sys:
        await sys.enqueue(resize, "cat.jpg", 640)
        print("accepted")
        await sys.wait_idle()
        print("done")


if __name__ == "__main__":
    trio.run(main)
