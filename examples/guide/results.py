"""Results: waiting for them, looking at them, and what becomes of old ones."""

import trio

import actorq


@actorq.task
async def divide(a: int, b: int) -> float:
    return a / b


@actorq.task
async def total(numbers: list[int], ctx: actorq.Context = actorq.Depends()) -> float:
    halves = await ctx.system.enqueue_many(divide, [(number, 2) for number in numbers])
    return sum([await half.result() for half in halves])  # its own slot is free meanwhile


async def main() -> None:
    async with actorq.open_system(concurrency=1) as sys:
        handle = await sys.enqueue(divide, 1, 0)
        outcome = await handle.wait_result()
        print(outcome.is_err, repr(outcome.error))
        try:
            outcome.raise_for_error()
        except ZeroDivisionError as error:
            print("from the worker:", "return a / b" in str(error.__cause__))

        again = sys.handle(handle.task_id, divide)  # by id, somewhere else in the program
        print((await again.get_result()).attempts)

        print(await (await sys.enqueue(total, [1, 2, 3])).result())

    small = actorq.InMemoryResultBackend(max_stored_results=2)
    async with actorq.open_system(actorq.InMemoryBroker().with_result_backend(small)) as sys:
        handles = await sys.enqueue_many(divide, [(number, 1) for number in range(3)])
        await sys.wait_idle()
        try:
            await handles[0].result()
        except actorq.ResultGetError as error:
            print(error)


if __name__ == "__main__":
    trio.run(main)
