"""A trace: what the actors of a queue say to one another about one task."""

import trio

import actorq
from actorq.protocol import Enqueue
from actorq.testing import crash, recorded


@actorq.task(retries=1)
async def greet(name: str) -> str:
    await trio.sleep(1)
    return f"hello {name}"


async def main() -> None:
    async with actorq.open_system() as sys:
        with recorded() as trace:
            handle = await sys.enqueue(greet, "Ann")
            await trio.sleep(0.5)
            crash(sys.actor("broker"))
            await handle.result()

    print(trace.latest())
    (enqueued,) = trace.messages(Enqueue, source="main")
    assert enqueued.messages[0].args == ("Ann",)


if __name__ == "__main__":
    from actorq.testing import simulate

    simulate(main)
