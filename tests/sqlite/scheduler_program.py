"""One of several schedulers of a file; is killed."""

from __future__ import annotations

import sys

import trio

import actorq
from actorq import every


async def main(path: str) -> None:
    """Say when it is at work."""
    broker = actorq.SQLiteBroker(path)

    @broker.task(name="tick", schedule=[every(0.1, name="t", catch_up="all")])
    async def tick() -> None: ...

    async with actorq.open_system(broker, role="scheduler"):
        print("ready", flush=True)  # noqa: T201
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
