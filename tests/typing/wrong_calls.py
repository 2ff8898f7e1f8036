"""Calls that are wrong, and that a type checker must say so: each on a line marked `# error`.

Read by mypy and pyright in `tests/test_typing.py`, which want an error on each marked line and on no
other; nothing here is run, and the ordinary run of mypy leaves it out.

What cannot be told by types stands at the end, unmarked.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import attrs

import actorq
from actorq import Depends
from actorq import testing as kit


@attrs.frozen
class Add(actorq.Message[None]):
    """In the protocol."""

    n: int


@attrs.frozen
class Get(actorq.Message[int]):
    """In the protocol."""


@attrs.frozen
class Stranger(actorq.Message[str]):
    """Not in the protocol."""


class Counter(actorq.Actor[Add | Get]):
    """Takes two messages."""

    async def receive(self, message: Add | Get) -> int | None:
        """Not of interest."""
        self.set_timer("later", 1.0, Stranger())  # error
        return None


class Deaf(actorq.Actor[Add]):
    """Reads another protocol than it declares."""

    async def receive(self, message: Get) -> int:  # error
        """Not of interest."""
        return 1


@actorq.task
async def fibonacci(n: int) -> int:
    """One number."""
    return n


@actorq.task
def checksum(data: str) -> bytes:
    """A plain function."""
    return data.encode()


@actorq.task
async def report(path: str, ctx: actorq.Context = Depends()) -> None:
    """With a context."""
    await ctx.set_progress("half")  # error


async def not_a_task(n: int) -> int:
    """A plain function."""
    return n


broker = actorq.InMemoryBroker()


@broker.task(timeout=3)
async def greet(name: str, *, loud: bool = False) -> str:
    """Bound."""
    return name


def get_text() -> str:
    """A function."""
    return "text"


async def get_text_soon() -> str:
    """An async function."""
    return "text"


async def yield_text() -> AsyncIterator[str]:
    """An async generator."""
    yield "text"


@asynccontextmanager
async def open_text() -> AsyncIterator[str]:
    """An async context manager."""
    yield "text"


@actorq.task
async def with_wrong_types(
    a: int = Depends(get_text),  # error
    b: int = Depends(get_text_soon),  # error
    c: int = Depends(yield_text),  # error
    d: int = Depends(open_text),  # error
    e: int = Depends(str),  # error
    f: int = Depends(5),  # error
    g: str = Depends(get_text, cache=False),  # error
    right: str = Depends(get_text),
) -> None:
    """What is given is not what is asked for."""


@actorq.task
async def annotated_only(path: str, text: Annotated[str, Depends(get_text)]) -> None:
    """Type checkers read: callers must pass it."""


async def dependencies(sys: actorq.System, progress: actorq.Progress) -> None:
    """Not filled in by callers; not called with what it does not take."""
    await sys.enqueue(with_wrong_types, right=5)  # error
    await sys.enqueue(annotated_only, "a.csv")  # error
    await progress.set("1")  # error
    await progress.set(1, 2, "half")  # error
    broker.override(get_text, "fake")  # error
    broker.dependency_overrides[get_text] = "fake"  # error
    broker.state = {}  # error


async def actors(sys: actorq.System, counter: actorq.ActorRef[Add | Get]) -> None:
    """Messages that nobody reads, replies that are something else."""
    await counter.tell(Stranger())  # error
    counter.tell_nowait(Stranger())  # error
    await counter.tell(5)  # error
    await counter.ask(5)  # error
    text: str = await counter.ask(Get())  # error
    count: int = await counter.ask(Add(1))  # error
    more: actorq.ActorRef[Add | Get | Stranger] = counter  # error
    await sys.spawn(Counter())  # error
    await sys.spawn(int)  # error
    await sys.spawn(Counter, nmae="counter")  # error
    await sys.spawn(Counter, restart="permanent")  # error
    wrong_ref: actorq.ActorRef[Stranger] = await sys.spawn(Counter)  # error
    counter.tell(Add(1))  # error
    del text, count, more, wrong_ref


async def calling() -> None:
    """The function's own parameters."""
    await fibonacci("10")  # error
    await fibonacci()  # error
    text: str = await fibonacci(10)  # error
    await checksum("a")  # error
    fibonacci(10)  # error
    del text


async def enqueueing(sys: actorq.System) -> None:
    """The function's parameters again."""
    await sys.enqueue(fibonacci, "10")  # error
    await sys.enqueue(fibonacci)  # error
    await sys.enqueue(fibonacci, 10, 11)  # error
    await sys.enqueue(fibonacci, m=10)  # error
    await sys.enqueue(fibonacci(10))  # error
    await sys.enqueue(not_a_task, 10)  # error
    await sys.enqueue(checksum, b"a")  # error
    await sys.enqueue(report, "a.csv", "context")  # error
    await sys.enqueue_many(fibonacci, [10, 11])  # error
    await sys.send(fibonacci)  # error
    sys.enqueue(fibonacci, 10)  # error
    async with actorq.open_system(actorq.InMemoryBroker) as other:  # error
        await other.wait_idle()


async def results(handle: actorq.TaskHandle[int]) -> None:
    """What a handle gives."""
    text: str = await handle.result()  # error
    await handle.result(timeout=3)  # error
    value: int = (await handle.wait_result()).return_value  # error
    for _ in handle.progress():  # error
        pass
    wrong_handle: actorq.TaskHandle[str] = handle  # error
    del text, value, wrong_handle


async def bound_to_a_broker() -> None:
    """`kiq` takes what the function takes."""
    await greet.kiq(5)  # error
    await greet.kiq()  # error
    await greet.kiq("you", True)  # error
    await greet.kiq("you", laud=True)  # error
    greet.kiq("you")  # error


async def on_the_clock(sys: actorq.System) -> None:
    """The function's parameters, and a trigger of the right kind."""
    await greet.schedule_by_cron(sys, "0 3 * * *", 5)  # error
    await greet.schedule_by_interval(sys, "5m", "you")  # error
    await greet.schedule_by_time(sys, 5.0, "you")  # error
    await greet.schedule_by_interval(sys, 5)  # error
    await greet.schedule_by_cron(actorq.every(5), "0 3 * * *", "you")  # error


async def options() -> None:
    """Each option has its name and its type."""
    fibonacci.using(timout=3)  # error
    fibonacci.using(timeout="3")  # error
    fibonacci.using(retries="many")  # error
    fibonacci.using(ack="never")  # error
    fibonacci.using(executor="gpu")  # error
    fibonacci.using(eta=1_700_000_000.0)  # error
    fibonacci.using(raises=KeyError)  # error
    fibonacci.using(10)  # error


@actorq.task(retry=3)  # error
async def unknown_option() -> None:
    """Not of interest."""


@actorq.task("a name")  # error
async def name_without_its_name() -> None:
    """Not of interest."""


@broker.task(schedule=actorq.every(60))  # error
async def one_trigger_for_a_list() -> None:
    """Not of interest."""


class Halves(actorq.Middleware):
    """A hook of another shape."""

    async def pre_send(self, message: str) -> str:  # error
        """Not of interest."""
        return message


async def composing(sys: actorq.System) -> None:
    """The function's parameters once more."""
    fibonacci.call("10")  # error
    fibonacci.call()  # error
    await sys.enqueue(fibonacci.call(10), 10)  # error
    await sys.gather(fibonacci)  # error
    await sys.gather(fibonacci(10))  # error
    number: int = await sys.gather(fibonacci.call(10))  # error
    sys.gather(fibonacci.call(10))  # error
    async with sys.open_task_nursery() as jobs:
        jobs.start_soon(fibonacci, "10")  # error
        jobs.start_soon(fibonacci)  # error
        jobs.start_soon(not_a_task, 10)  # error
        await jobs.enqueue(fibonacci, m=10)  # error
        await jobs.start_soon(fibonacci, 10)  # error
    async with sys.map(fibonacci, ["10"]) as done:  # error
        del done
    async with sys.map(not_a_task, [10]) as nothing:  # error
        del nothing
    async with sys.map(fibonacci, [10]) as both:
        for _ in both:  # error
            pass
    del number


async def bytes_and_keys(sys: actorq.System) -> None:
    """Formats are objects, keys are bytes by their ids."""
    memory = actorq.InMemoryBroker(encoded="yes")  # error
    memory.with_serializer(json)  # error
    memory.with_serializer(actorq.JSONSerializer)  # error
    memory.with_serializer(actorq.JSONSerializer(), also=["msgpack"])  # error
    memory.with_signing(b"key")  # error
    memory.with_signing({"2025-01": "key"})  # error
    memory.with_encryption({1: b"key"})  # error
    memory.with_size_limit("1 MB")  # error
    memory.with_id_generator(uuid.uuid4)  # error
    await sys.send_encoded("{}")  # error


async def chains(sys: actorq.System) -> None:
    """Results and first arguments that do not fit."""
    fibonacci | greet  # error
    fibonacci.call(10) | checksum  # error
    fibonacci | not_a_task  # error
    fibonacci | fibonacci.call(10)  # error
    greet.step(laud=True)  # error
    fibonacci.step(10)  # error
    await sys.enqueue(fibonacci | fibonacci, "10")  # error
    await sys.enqueue(fibonacci | fibonacci)  # error
    await sys.enqueue(fibonacci.call(10) | fibonacci, 10)  # error
    text: str = await (await sys.enqueue(fibonacci | fibonacci, 10)).result()  # error
    del text


class Shop:
    """What survives a process."""

    charged: list[str]


async def sell(shop: Shop) -> None:
    """A process of it."""


def shop_is_right(shop: Shop) -> bool:
    """An invariant."""
    return not shop.charged


async def the_kit(sys: actorq.System) -> None:
    """Arguments that do not fit, worlds that are not what the program takes."""
    await kit.run_task(fibonacci, "10")  # error
    await kit.run_task(fibonacci)  # error
    await kit.run_task(not_a_task, 10)  # error
    kit.enqueued([fibonacci])  # error
    kit.assert_enqueued(sys, fibonacci, "10")  # error
    kit.assert_enqueued(sys, not_a_task)  # error
    kit.simulate(not_a_task, "10")  # error
    kit.simulate(not_a_task)  # error
    kit.simulate(not_a_task, 10, tape=1)  # error
    text: str = kit.simulate(not_a_task, 10)  # error
    kit.assert_crash_safe(sell, shop_is_right, world=list)  # error
    kit.assert_crash_safe(shop_is_right, sell, world=Shop)  # error
    kit.assert_crash_safe(sell, shop_is_right, world=Shop, tape=3)  # error
    kit.assert_idempotent(fibonacci, 10)  # error
    kit.assert_idempotent(not_a_task, 10, observe=list)  # error
    kit.arguments(not_a_task)  # error
    await kit.drain()  # error
    await kit.time_travel(60)  # error
    del text


def in_a_transaction(broker: actorq.SQLiteBroker, own: sqlite3.Connection) -> None:
    """Wrong as they would be for `enqueue`."""
    broker.enqueue_in(own, fibonacci)  # error
    broker.enqueue_in(own, fibonacci, "ten")  # error
    broker.enqueue_in("shop.db", fibonacci, 10)  # error
    with broker.transaction() as tx:
        tx.enqueue(fibonacci, m=10)  # error
        tx.enqueue(fibonacci, 10).result()  # error


async def what_types_cannot_tell(sys: actorq.System, counter: actorq.ActorRef[Add | Get]) -> None:
    """No checker finds these; all but the first raise where they are called."""
    # ask() takes every message that names a reply: a type variable for the reply's type cannot be
    # bound by the protocol as well.  The actor's receive() has to deal with it.
    await counter.ask(Stranger())
    # the calls of enqueue_many() are data
    await sys.enqueue_many(fibonacci, [("ten",)])
    # one TypedDict names the options of decorators and of using()
    fibonacci.using(schedule=[actorq.every(60)])
    actorq.task(task_id="one", timeout=3)
