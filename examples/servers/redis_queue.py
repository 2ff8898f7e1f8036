"""A queue on a Redis server.

Run it: QUEUE_URL=redis://localhost:6379/0 python examples/servers/redis_queue.py
"""

import os

import trio

import actorq


URL = os.environ.get("QUEUE_URL", "redis://localhost:6379/0")
broker = actorq.RedisBroker(URL)


@broker.task(name="resize")
async def resize(photo: str, width: int) -> str:
    return f"{photo}@{width}"


async def main() -> None:
    async with actorq.open_system(broker) as sys:
        handle = await resize.kiq("cat.jpg", 640)
        print(await handle.result())
        await resize.using(delay=3600).kiq("dog.jpg", 640)

    # the server has it, whoever opens it next
    async with actorq.open_system(broker, role="client") as sys:
        print((await sys.queue_statistics()).scheduled, "is scheduled")
        print(await sys.handle(handle.task_id, resize).result(), "is still there")


if __name__ == "__main__":
    trio.run(main)
