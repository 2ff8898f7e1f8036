"""What can go wrong with a task, and what its enqueuer sees of it.

Run it: python examples/retries_and_cancel.py
"""

from __future__ import annotations

import logging

import trio

import actorq


class OutOfStock(Exception):
    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)  # all arguments: that is what an exception is rebuilt from
        self.item = item
        self.left = left

    def __str__(self) -> str:
        return f"only {self.left} {self.item} left"


@actorq.task(retries=2)  # up to three attempts, with back-off and jitter between them
async def flaky(ctx: actorq.Context = actorq.Depends()) -> str:
    if ctx.attempt == 1:
        raise ConnectionError("the other side hung up")
    return f"worked at attempt {ctx.attempt}"


@actorq.task(raises=(OutOfStock,))  # comes back as itself; builtin exceptions do so anyway
async def order(item: str) -> None:
    raise OutOfStock(item, left=0)


@actorq.task(timeout=0.1)
async def too_slow() -> None:
    await trio.sleep(60)


@actorq.task
async def endless() -> None:
    try:
        await trio.sleep_forever()
    finally:
        print("endless:    cancelled, cleaning up")


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(flaky)
        print("flaky:     ", await handle.result())
        outcome = await handle.wait_result()  # never raises the task's error
        print("flaky:     ", f"attempts={outcome.attempts} is_err={outcome.is_err}")

        try:
            await (await sys.enqueue(order, "tea")).result()
        except OutOfStock as error:
            print("order:     ", repr(error), f"item={error.item!r}")

        try:
            await (await sys.enqueue(too_slow)).result()
        except actorq.TaskTimeout as error:
            print("too_slow:  ", error)

        running = await sys.enqueue(endless)
        waiting = await sys.enqueue(endless.using(delay=3600, task_id="in an hour"))
        await trio.sleep(0.05)
        print("endless:    cancel took effect:", await running.cancel())  # its scope is cancelled
        print("in an hour: cancel took effect:", await waiting.cancel())  # it never starts
        try:
            await running.result()
        except actorq.TaskCancelled as error:
            print("endless:   ", error)

        # waiting for a result takes no timeout: Trio has that already
        running = await sys.enqueue(endless)
        with trio.move_on_after(0.05) as patience:
            await running.result()
        print("patience:   gave up waiting:", patience.cancelled_caught)
        await running.cancel()  # or the end of `async with` would wait for it, 30 seconds long

        for dead in await sys.dead_tasks():  # what failed for good is kept
            print("dead:      ", dead.message.task_name, dead.reason, f"attempts={dead.attempts}")


if __name__ == "__main__":
    logging.getLogger("actorq.worker").setLevel(logging.ERROR)  # it warns of each final failure
    trio.run(main)
