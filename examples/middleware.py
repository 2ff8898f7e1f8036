"""Middlewares: hooks on every task's way.  One measures, one labels.

Run it: python examples/middleware.py
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import trio

import actorq


class Labels(actorq.Middleware):
    """Says who sent a task; labels travel with it, and come back with its result."""

    def __init__(self, sender: str) -> None:
        self.sender = sender

    def pre_send(self, message: actorq.TaskMessage) -> actorq.TaskMessage:
        return message.with_labels(sender=self.sender, sent_at=time.time())


class Timing(actorq.Middleware):
    """How long tasks waited and ran, by name.  Hooks may be plain functions or async."""

    def __init__(self) -> None:
        self.waited: defaultdict[str, list[float]] = defaultdict(list)
        self.ran: defaultdict[str, list[float]] = defaultdict(list)
        self.errors: list[str] = []

    async def pre_execute(self, message: actorq.TaskMessage) -> actorq.TaskMessage:
        self.waited[message.task_name].append(time.time() - message.labels["sent_at"])
        return message

    def on_error(
        self, message: actorq.TaskMessage, result: actorq.TaskResult[Any], error: Exception
    ) -> None:
        self.errors.append(f"{message.task_name}, attempt {result.attempts}: {error!r}")

    def post_execute(self, message: actorq.TaskMessage, result: actorq.TaskResult[Any]) -> None:
        self.ran[message.task_name].append(result.execution_time)


timing = Timing()
broker = actorq.InMemoryBroker().with_middlewares(Labels(sender="checkout"), timing)


@broker.task(name="resize")
async def resize(width: int) -> int:
    await trio.sleep(width / 10_000)
    return width // 2


@broker.task(name="flaky", retries=1)
def flaky(ctx: actorq.Context = actorq.Depends()) -> None:  # a plain function runs in a thread
    if ctx.attempt == 1:
        raise OSError("no luck")


async def main() -> None:
    async with actorq.open_system(broker, concurrency=2) as sys:
        handles = await sys.enqueue_many(resize, [(width,) for width in range(100, 700, 100)])
        await flaky.kiq()
        await sys.wait_idle(scheduled=True)  # scheduled: until the retry has run, too
        outcome = await handles[0].wait_result()
        print("labels:", {key: outcome.labels[key] for key in ("sender",)})

    for name, seconds in timing.ran.items():
        print(
            f"{name:8} {len(seconds)} attempts, waited up to {max(timing.waited[name]):.3f} s, "
            f"ran {min(seconds):.3f} to {max(seconds):.3f} s"
        )
    print("errors:", *timing.errors)


if __name__ == "__main__":
    trio.run(main)
