"""Messages that were made elsewhere: from another program, from a file, from the dead letters."""

import json

import trio

import actorq


@actorq.task(name="resize")
async def resize(photo: str, width: int) -> str:
    if photo.endswith(".txt"):
        raise ValueError("not a photo")
    return f"{photo}@{width}"


async def main() -> None:
    async with actorq.open_system() as sys:
        line = '{"task_id": "7", "task_name": "resize", "args": ["cat.jpg", 64]}'
        handle = await sys.send(actorq.TaskMessage.from_dict(json.loads(line)))
        await trio.sleep(1)
        print((await sys.queue_statistics()).parked, "is parked: nobody knows its task")

        await sys.register(resize)
        print(await handle.result())

        failed = await sys.enqueue(resize, "cat.txt", 64)
        await failed.wait_result()
        await sys.wait_idle()
        (dead,) = await sys.dead_tasks()
        print(dead.reason, dead.message.args)
        await sys.enqueue(resize, "cat.jpg", dead.message.args[1])  # mended, as a new task


if __name__ == "__main__":
    trio.run(main)
