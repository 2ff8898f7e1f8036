"""The watchdog names the line that holds up the event loop."""

import time

import trio

import actorq
from actorq.middlewares import Stall, Watchdog


def alarm(stall: Stall) -> None:
    print(f"{stall.task_name} holds everybody up: {stall.line}")


broker = actorq.InMemoryBroker().with_middlewares(Watchdog(threshold=0.05, on_stall=alarm))


@broker.task(name="report")
async def report() -> None:
    time.sleep(0.15)  # noqa: ASYNC251 - the mistake that is to be found


async def main() -> None:
    async with actorq.open_system(broker):
        await (await report.kiq()).result()


if __name__ == "__main__":
    trio.run(main)
