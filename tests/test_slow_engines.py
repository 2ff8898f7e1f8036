"""Engines that take their time: every call waits for a thread or a socket, and gives less than asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq.message import Delivery
from actorq.testing import BrokerContract, Tape, simulate
from strategies import examples, tapes


CALLS = (
    *("startup", "shutdown", "store", "claim", "settle", "open_session", "extend", "revoke"),
    *("ending", "locate", "promote", "lapse", "release", "statistics_of_queue", "published"),
)


def waiting(
    before: Callable[[], Awaitable[object]], after: Callable[[], Awaitable[object]]
) -> type[actorq.InMemoryBroker]:
    """Others run before each call does something, and before it answers."""

    def slowed(call: Callable[..., Awaitable[Any]]) -> Any:
        @wraps(call)
        async def waits(*args: Any) -> Any:
            await before()
            value = await call(*args)
            await after()
            return value

        return waits

    slow = {name: slowed(getattr(actorq.InMemoryBroker, name)) for name in CALLS}
    return type("Slow", (actorq.InMemoryBroker,), slow)


def steps(n: int) -> Callable[[], Awaitable[object]]:
    """So many."""

    async def pause() -> None:
        for _ in range(n):
            await trio.lowlevel.checkpoint()

    return pause


async def thread() -> None:
    """Go to one and come back."""
    await trio.to_thread.run_sync(lambda: None)


class OneByOne(actorq.InMemoryBroker):
    """Claims one task in a call, however many are wanted."""

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        return await super().claim(session, min(limit, 1), now)


class TestSlowToBegin(BrokerContract):
    factory = waiting(thread, steps(0))
    max_examples = 15  # each step is a few threads


class TestSlowToAnswer(BrokerContract):
    factory = waiting(steps(0), thread)
    max_examples = 15


class TestOneByOne(BrokerContract):
    factory = OneByOne
    max_examples = 40
    simulated = True


@given(tape=tapes, before=st.integers(0, 3), after=st.integers(0, 3))
@settings(max_examples=examples(30))
def test_53_what_was_claimed_while_the_pool_ended_goes_back_unharmed(
    tape: Tape, before: int, after: int
) -> None:
    """53: the pool may be gone when the engine answers the claim that was made for it."""

    async def main() -> None:
        broker = waiting(steps(before), steps(after))()
        attempts: dict[int, int] = {}

        @actorq.task
        async def work(n: int, ctx: actorq.Context = actorq.Depends()) -> None:
            attempts[n] = ctx.attempt
            await trio.sleep(1)

        async with actorq.open_system(broker, concurrency=1) as sys:
            await sys.enqueue_many(work, [(n,) for n in range(4)])
            await trio.sleep(1)  # the first job ends as the shutdown begins
        async with actorq.open_system(broker, tasks=[work], concurrency=1) as sys:
            await sys.wait_idle()
        assert attempts == dict.fromkeys(range(4), 1)

    simulate(main, tape=tape)


@given(tape=tapes)
@settings(max_examples=examples(30))
def test_small_batches_fill_all_slots(tape: Tape) -> None:
    """A claim may give less than it was asked for: that is no reason to leave a slot empty."""

    async def main() -> None:
        @actorq.task
        async def work() -> None:
            await trio.sleep(1)

        async with actorq.open_system(OneByOne(), concurrency=5) as sys:
            for handle in await sys.enqueue_many(work, [()] * 5):
                await handle.result()
            assert trio.current_time() == 1

    simulate(main, tape=tape)
