"""A queue on a PostgreSQL server.

Run it: QUEUE_URL=postgresql://localhost/postgres python examples/servers/postgres_queue.py
"""

import os

import trio

import actorq


URL = os.environ.get("QUEUE_URL", "postgresql://localhost/postgres")
broker = actorq.PostgresBroker(URL)


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
