"""Logging with the task's context, and one line for each event."""

import logging
import sys

import trio

import actorq
from actorq.middlewares import Logging, TaskContextFilter


log = logging.getLogger("shop")
broker = actorq.InMemoryBroker().with_middlewares(Logging())


@broker.task(name="charge", retries=1)
async def charge(cents: int, ctx: actorq.Context = actorq.Depends()) -> None:
    log.info("charging %d cents", cents)
    if ctx.attempt == 1:
        raise ConnectionError("the bank does not answer")


def configure() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(TaskContextFilter())
    handler.setFormatter(logging.Formatter("%(levelname)-7s #%(attempt)s %(task_id)s: %(message)s"))
    for name in ("shop", "actorq.tasks"):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).setLevel(logging.INFO)


async def main() -> None:
    configure()
    async with actorq.open_system(broker):
        log.info("open")
        await (await charge.using(task_id="order-7", retries=1).kiq(1200)).result()


if __name__ == "__main__":
    trio.run(main)
