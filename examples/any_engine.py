"""A print shop: one program, and the engine is a line of configuration.

Run it: python examples/any_engine.py
Or:     QUEUE_URL=sqlite:///shop.db python examples/any_engine.py
        QUEUE_URL=redis://localhost:6379/0 python examples/any_engine.py
        QUEUE_URL=postgresql://localhost/mydb python examples/any_engine.py

With an engine that processes share, its tasks may run elsewhere:
        QUEUE_URL=... actorq worker any_engine:broker --processes 2 --scheduler
        QUEUE_URL=... python examples/any_engine.py client

It prints the same with each of them, and asserts what it sees.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Literal

import trio

import actorq
from actorq import Context, Depends, RetryPolicy, Unique


broker = actorq.broker_from_url(os.environ.get("QUEUE_URL", "memory://"))


@broker.task(name="charge", retries=RetryPolicy.constant(3, base=0.05, give_up_on=ValueError))
async def charge(order: int, card: str, ctx: Context = Depends()) -> str:
    if card == "expired":
        raise ValueError("this card has expired")
    if ctx.attempt < 3:
        raise ConnectionError("the bank does not answer")
    return f"order {order} is paid"


@broker.task(name="print", queue="press", concurrency=1)  # there is one press, for all workers
async def print_photo(paid: str, width: int) -> tuple[int, str]:
    began = time.time_ns()
    await trio.sleep(0.01)
    return began, f"{paid}, printed {width} cm wide"


@broker.task(name="ship")
async def ship(printed: tuple[int, str]) -> str:
    return f"{printed[1]}, shipped"


@broker.task(name="newsletter", unique=Unique(key="{customer}", on_conflict="return"))
async def newsletter(customer: str) -> str:
    return f"news for {customer}"


@broker.task(name="catalogue")
async def catalogue(pages: int, ctx: Context = Depends()) -> int:
    for page in range(1, pages + 1):
        await trio.sleep(0.03)
        await ctx.set_progress(
            actorq.TaskProgress(progress=page / pages, current=page, total=pages)
        )
    return pages


@broker.task(name="wait for the owner", timeout=60)
async def wait_for_the_owner(ctx: Context = Depends()) -> None:
    await ctx.set_progress(actorq.TaskProgress(status="at the door"))
    await trio.sleep_forever()


@broker.task(name="count the stock")
async def count_stock(shelf: str) -> str:
    return f"shelf {shelf} is counted"


async def an_order(sys: actorq.System) -> None:
    """A chain whose first step is tried three times."""
    order = charge | print_photo.step(13) | ship
    handle = await sys.enqueue(order, 1, "gold")
    assert await handle.result() == "order 1 is paid, printed 13 cm wide, shipped"
    attempts = [(await step.wait_result()).attempts for step in handle.steps]
    assert attempts == [3, 1, 1]
    print(await handle.result(), "| attempts:", *attempts)


async def a_dead_letter(sys: actorq.System) -> None:
    """What fails for good is kept, and replayed when the cause is mended."""
    handle = await sys.enqueue(charge, 2, "expired")
    try:
        await handle.result()
    except ValueError as error:
        print("order 2:", error)
    letter = await sys.dead_task(handle.task_id)
    assert (letter.message.args, letter.attempts) == ((2, "expired"), 1)
    mended = await sys.replay(handle.task_id, args=[2, "gold"])
    assert await mended.result() == "order 2 is paid"
    assert not [each for each in await sys.dead_tasks() if each.task_id == handle.task_id]
    print("replayed:", await mended.result())


async def priorities(sys: actorq.System) -> None:
    """What is more urgent is printed first, whenever it came."""
    await sys.pause("press")
    handles = {}
    for name, priority in (("poster", 1), ("card", 5), ("wedding", 9), ("birthday", 5)):
        handles[name] = await sys.enqueue(print_photo.using(priority=priority), name, 9)
    too_late = await sys.enqueue(print_photo.using(expires=0.01), "yesterday's news", 9)
    await trio.sleep(0.05)
    await sys.resume("press")
    began = {name: (await handle.result())[0] for name, handle in handles.items()}
    order = sorted(began, key=lambda name: began[name])
    assert order == ["wedding", "card", "birthday", "poster"]
    assert isinstance((await too_late.wait_result()).error, actorq.TaskExpired)
    print("printed:", *order)


async def once(sys: actorq.System) -> None:
    """Ten ask for the same letter; it is written once, and all know which it is."""
    await sys.pause("default")
    ids = set()

    async def ask() -> None:
        ids.add((await sys.enqueue(newsletter, "ann")).task_id)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask)
    await sys.resume("default")
    (task_id,) = ids
    print(await sys.handle(task_id, newsletter).result(), "| enqueued by 10, written once")
    again = await sys.enqueue(newsletter, "ann")  # the key is free again
    assert again.task_id != task_id
    assert await again.result() == "news for ann"


async def progress(sys: actorq.System) -> None:
    """It is pushed, from whichever process it comes."""
    handle = await sys.enqueue(catalogue, 4)
    pages = [update.current or 0 async for update in handle.progress()]
    assert pages[-1] == 4
    assert pages == sorted(pages)
    assert await handle.result() == 4
    print("catalogue: page", pages[-1], "of 4")


async def cancelling(sys: actorq.System) -> None:
    """What runs is cut off, what waits never begins."""
    running = await sys.enqueue(wait_for_the_owner)
    async for update in running.progress():
        assert update.status == "at the door"
        break
    waiting = await sys.enqueue(charge.using(delay=3600), 3, "gold")
    for handle in (running, waiting):
        assert await handle.cancel()
        assert isinstance((await handle.wait_result()).error, actorq.TaskCancelled)
    ended = await sys.enqueue(count_stock, "Z")
    assert await ended.result() == "shelf Z is counted"
    assert not await ended.cancel()  # too late, and its result stands
    print("cancelled: one that ran, one that waited")


async def schedules(sys: actorq.System) -> None:
    """Each slot is one task, whoever fires it."""
    before = (await sys.queue_statistics()).done
    added = await sys.schedules.add(count_stock, actorq.every(0.1), "A", schedule_id="stock")
    while True:
        await trio.sleep(0.02)
        if (await sys.queue_statistics()).done >= before + 3:
            break
    now = await sys.schedules.run_now("stock")
    print(await now.result())
    await added.unschedule()
    assert await sys.schedules.get("stock") is None


async def many(sys: actorq.System) -> None:
    """Two hundred in one step, and all their results."""
    handles = await sys.enqueue_many(count_stock, [(f"B{n}",) for n in range(200)])
    results = [await handle.result() for handle in handles]
    assert results == [f"shelf B{n} is counted" for n in range(200)]
    print(len(results), "shelves are counted")


async def main(role: Literal["client"] | None = None) -> None:
    async with actorq.open_system(broker, role=role) as sys:
        for scene in (
            an_order,
            a_dead_letter,
            priorities,
            once,
            progress,
            cancelling,
            schedules,
            many,
        ):
            with trio.fail_after(30):
                await scene(sys)
        await sys.wait_idle()
        counts = await sys.queue_statistics()
        assert (counts.ready, counts.leased, counts.scheduled) == (0, 0, 0)
    print("nothing is left")


if __name__ == "__main__":
    trio.run(main, "client" if sys.argv[1:] == ["client"] else None)
