"""Step 10: schedules."""

import trio

import actorq
from actorq import cron, every


times = 0


@actorq.task(schedule=[every(0.1, args=("inbox",))])
async def scan(folder: str) -> None:
    global times
    times += 1
    print("scan", times, "of", folder)


@actorq.task(schedule=[cron("30 3 * * *", tz="Europe/Berlin")])
async def back_up() -> None:
    print("backing up")


async def main() -> None:
    async with actorq.open_system(tasks=[scan, back_up]) as sys:
        await trio.sleep(0.35)
        await sys.wait_idle()


if __name__ == "__main__":
    trio.run(main)
