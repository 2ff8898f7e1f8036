"""A task says what is to become of it: again, never, without a result, later, done."""

from __future__ import annotations

import trio
import trio.lowlevel

import actorq


class Busy(Exception):
    """The service said 429."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"come back in {seconds:g} s")
        self.seconds = seconds


calls: list[str] = []


async def call_the_service(film: str) -> str:
    """Busy the first time, and it knows no film without a name."""
    calls.append(film)
    if not film:
        raise LookupError("a film has a name")
    if calls.count(film) == 1:
        raise Busy(0.1)
    return f"{film}: 4 stars"


@actorq.task(
    retries=actorq.RetryPolicy.exponential(5, base=2, cap=60, jitter=0.1, retry_on=OSError),
)
async def rate(film: str) -> str:
    try:
        return await call_the_service(film)
    except Busy as busy:
        raise actorq.Retry(busy.seconds) from busy
    except LookupError as error:
        raise actorq.Reject("no such film") from error


@actorq.task
async def remember(film: str) -> None:
    calls.append(f"remember {film}")
    raise actorq.NoResult


@actorq.task
async def at_night(film: str, ctx: actorq.Context = actorq.Depends()) -> str:
    if not await is_night():
        await ctx.requeue(delay=0.1)
    return f"{film} is encoded"


@actorq.task(ack="manual")
async def pay(order: int, ctx: actorq.Context = actorq.Depends()) -> str:
    prepared = f"order {order}"  # a crash here: the task runs again
    await ctx.ack()
    await trio.sleep(0.1)  # a crash here: it does not, for the money may have been sent
    return f"{prepared} is paid"


async def is_night() -> bool:
    """The second time."""
    calls.append("is it night?")
    return calls.count("is it night?") > 1


async def main() -> None:
    async with actorq.open_system() as sys:
        outcome = await (await sys.enqueue(rate, "Metropolis")).wait_result()
        print(outcome.return_value, "in attempt", outcome.attempts)

        refused = await sys.enqueue(rate, "")
        print(repr((await refused.wait_result()).error))

        silent = await sys.enqueue(remember, "Metropolis")
        try:
            await silent.result()
        except actorq.ResultGetError as error:
            print(error)

        outcome = await (await sys.enqueue(at_night, "Metropolis")).wait_result()
        print(outcome.return_value, "in attempt", outcome.attempts)

        print(await (await sys.enqueue(pay, 7)).result())


if __name__ == "__main__":
    trio.run(main)
