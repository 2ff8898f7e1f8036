import trio

import actorq
from tasks import broker, greet


async def main() -> None:
    async with actorq.open_system(broker, role="client") as sys:
        handle = await sys.enqueue(greet, "world")  # on the disk when this has returned
        print(await handle.result())  # pushed from the worker's process


trio.run(main)
