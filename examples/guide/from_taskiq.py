"""What changes for who comes from taskiq."""

import trio

import actorq


broker = actorq.InMemoryBroker()


@broker.task(retries=3, timeout=30)
async def add_one(value: int) -> int:
    return value + 1


async def main() -> None:
    async with actorq.open_system(broker):
        handle = await add_one.kiq(1)
        with trio.fail_after(5):
            print(await handle.result())

        handle = await add_one.using(labels={"customer": 7}).kiq(2)
        outcome = await handle.wait_result()
        print(outcome.return_value, outcome.labels)


if __name__ == "__main__":
    trio.run(main)
