"""The smallest program: define a task, enqueue it, await its result.

Run it: python examples/quickstart.py
"""

import trio

import actorq


@actorq.task
async def fibonacci(n: int) -> int:
    return n if n < 2 else await fibonacci(n - 1) + await fibonacci(n - 2)  # still callable


async def main() -> None:
    async with actorq.open_system() as sys:  # in memory, no sockets, nothing to install
        handle = await sys.enqueue(fibonacci, 10)  # typed: ParamSpec in, TaskHandle[int] out
        print(await handle.result())  # 55; raises the task's error if it failed


trio.run(main)
