"""A worker of tasks that are acknowledged before they have ended; is killed."""

from __future__ import annotations

import sys

import trio

import actorq


async def main(path: str) -> None:
    """Say when it is at work, and when a task has begun."""
    broker = actorq.SQLiteBroker(path)

    @broker.task(name="hangs", ack="when_received")
    async def hangs() -> None:
        print("began", flush=True)  # noqa: T201
        await trio.sleep_forever()

    @broker.task(name="ends", ack="when_received")
    async def ends(value: int) -> int:
        return value

    @broker.task(name="executed", ack="when_executed")
    async def executed(value: int) -> int:
        return value

    async with actorq.open_system(broker, role="worker"):
        print("ready", flush=True)  # noqa: T201
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
