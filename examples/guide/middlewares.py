"""Middlewares: hooks on every task's way."""

from typing import Any

import trio

import actorq
from actorq import Middleware, TaskMessage, TaskResult


class Tracing(Middleware):
    def __init__(self) -> None:
        self.numbers = iter(range(1, 1000))

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        return message.with_labels(trace=next(self.numbers))

    async def post_save(self, message: TaskMessage, result: TaskResult[Any]) -> None:
        await trio.sleep(0.1)  # an async hook may wait; it holds up its own task only
        print("trace", message.labels["trace"], message.task_name, "attempts:", result.attempts)


class Alarm(Middleware):
    def on_error(self, message: TaskMessage, result: TaskResult[Any], error: Exception) -> None:
        print(f"attempt {result.attempts} failed:", error)


class QuietHours(Middleware):
    def __init__(self) -> None:
        self.quiet = False

    def pre_send(self, message: TaskMessage) -> TaskMessage:
        if self.quiet:
            raise actorq.Reject(f"no {message.task_name} at night")
        return message


quiet_hours = QuietHours()
broker = actorq.InMemoryBroker().with_middlewares(Tracing(), Alarm(), quiet_hours)


@broker.task(name="ring", retries=1)
async def ring(times: int) -> str:
    if times > 3:
        raise ValueError("that is too often")
    return "ring " * times


async def main() -> None:
    async with actorq.open_system(broker):
        print(await (await ring.kiq(2)).result())
        outcome = await (await ring.kiq(9)).wait_result()
        print(repr(outcome.error))

        quiet_hours.quiet = True
        try:
            await ring.kiq(1)
        except actorq.Reject as error:
            print("refused:", error)


if __name__ == "__main__":
    trio.run(main)
