"""What Prometheus sees of a queue."""

import trio
from prometheus_client import CollectorRegistry

import actorq
from actorq.middlewares import Prometheus


metrics = Prometheus(CollectorRegistry())
broker = actorq.InMemoryBroker().with_middlewares(metrics)


@broker.task(name="resize")
async def resize(width: int) -> None:
    await trio.sleep(width)
    if width > 3:
        raise ValueError("too wide")


async def main() -> None:
    async with actorq.open_system(broker) as sys:
        await sys.enqueue_many(resize, [(width,) for width in range(1, 6)])
        await trio.sleep(2.5)
        text = (await metrics.exposition()).decode()
        await sys.wait_idle()
    for line in text.splitlines():
        if line.startswith(("actorq_tasks_", "actorq_queue_")) and "_created" not in line:
            print(line)


if __name__ == "__main__":
    trio.run(main)
