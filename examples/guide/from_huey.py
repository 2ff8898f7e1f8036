"""What docs/coming-from-huey.md shows."""

import trio

import actorq
from actorq import RetryPolicy, cron


broker = actorq.SQLiteBroker("app.db")


@broker.task(retries=RetryPolicy.constant(2, base=60), priority=10)
async def count_beans(number: int) -> str:
    return f"counted {number} beans"


@broker.task(schedule=[cron("0 3 * * *", tz="Europe/Berlin")])
async def back_up() -> None:
    print("backing up")


async def main() -> None:
    async with actorq.open_system(broker):
        handle = await count_beans.kiq(100)
        with trio.fail_after(5):
            print(await handle.result())

        later = await count_beans.using(delay=3600).kiq(5)
        print("revoked:", await later.cancel())


if __name__ == "__main__":
    trio.run(main)
