"""Calls that are right, and the types that they have.

Read by mypy and pyright in `tests/test_typing.py`; nothing here is run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_type

import attrs
import trio

import actorq
from actorq import Depends
from actorq import testing as kit


# --- actors ---


@attrs.frozen
class Add(actorq.Message[None]):
    """Answered by nothing."""

    n: int


@attrs.frozen
class Get(actorq.Message[int]):
    """Answered by a number."""


class Counter(actorq.Actor[Add | Get]):
    """The design's."""

    def __init__(self, start: int = 0) -> None:
        self.n = start

    async def receive(self, message: Add | Get) -> int | None:
        """Count."""
        assert_type(self.ref, actorq.ActorRef[Add | Get])
        if isinstance(message, Get):
            return self.n
        self.n += message.n
        self.set_timer("again", 1.0, Add(1))
        return None


async def actors(sys: actorq.System) -> None:
    """A message names the type of its reply; a ref names what may be told."""
    counter = await sys.spawn(Counter, name="counter", restart=actorq.Restart.PERMANENT)
    assert_type(counter, actorq.ActorRef[Add | Get])
    assert_type(await sys.spawn(lambda: Counter(5)), actorq.ActorRef[Add | Get])
    assert_type(await counter.ask(Get()), int)
    await counter.ask(Add(1))  # None: neither checker lets it be used as a value
    await counter.tell(Add(1))
    counter.tell_nowait(Get())
    only_add: actorq.ActorRef[Add] = counter  # who takes both takes the one
    await only_add.tell(Add(1))
    supervisor = await sys.spawn_supervisor("below")
    assert_type(supervisor, actorq.SupervisorRef)
    assert_type(await supervisor.spawn(Counter), actorq.ActorRef[Add | Get])


async def kernel_alone() -> None:
    """Without a queue."""
    async with actorq.open_kernel() as kernel:
        assert_type(kernel, actorq.Kernel)
        assert_type(await (await kernel.spawn(Counter)).ask(Get()), int)


# --- tasks ---


@actorq.task
async def fibonacci(n: int) -> int:
    """A task is still callable."""
    return n if n < 2 else await fibonacci(n - 1) + await fibonacci(n - 2)


@actorq.task(timeout=30, retries=3, ack="when_executed", labels={"team": "media"})
async def resize(path: str, width: int, *, keep: bool = True) -> dict[str, int]:
    """With options."""
    return {path: width}


@actorq.task
def checksum(data: str) -> bytes:
    """A plain function."""
    return data.encode()


@actorq.task(name="other.checksum", executor="thread")
def other_checksum(data: str) -> bytes:
    """A plain function, with options."""
    return data.encode()


@actorq.task
async def report(path: str, ctx: actorq.Context = Depends()) -> None:
    """Its context is injected: callers do not pass it."""
    await ctx.set_progress(actorq.TaskProgress(progress=0.5, status="half"))
    assert_type(ctx.system, actorq.System)
    await ctx.system.enqueue(fibonacci, 3)


# --- dependencies ---


class Database:
    """The application's."""

    async def save(self) -> int:
        """Not of interest."""
        return 1

    def __enter__(self) -> str:
        return "what nobody enters"

    def __exit__(self, *_: object) -> None: ...


def get_database() -> Database:
    """A function."""
    return Database()


async def get_database_soon() -> Database:
    """An async function."""
    return Database()


def yield_database() -> Iterator[Database]:
    """A generator."""
    yield Database()


def generate_database() -> Generator[Database, None, None]:
    """A generator, said in full."""
    yield Database()


async def yield_database_soon() -> AsyncIterator[Database]:
    """An async generator."""
    yield Database()


async def generate_database_soon() -> AsyncGenerator[Database, None]:
    """An async generator, said in full."""
    yield Database()


@contextmanager
def open_database() -> Iterator[Database]:
    """A context manager."""
    yield Database()


@asynccontextmanager
async def open_database_soon() -> AsyncIterator[Database]:
    """An async context manager."""
    yield Database()


class GetsDatabase:
    """Its instances are dependencies."""

    async def __call__(self) -> Database:
        """Not of interest."""
        return Database()


GETS_DATABASE = GetsDatabase()


class AppState(actorq.State):
    """With types."""

    database: Database


DatabaseDependency = Annotated[Database, Depends(get_database)]


@actorq.task
async def everything(
    path: str,
    a: Database = Depends(get_database),
    b: Database = Depends(get_database_soon),
    c: Database = Depends(yield_database, use_cache=False),
    d: Database = Depends(yield_database_soon),
    e: Database = Depends(open_database),
    f: Database = Depends(open_database_soon),
    g: Database = Depends(Database),
    h: Database = Depends(GETS_DATABASE),
    i: Database = Depends(lambda: Database()),
    j: Database = Depends(),
    k: Database = Depends(generate_database),
    m: Database = Depends(generate_database_soon),
    state: AppState = Depends(),
    progress: actorq.Progress = Depends(),
) -> int:
    """Each has the type of its value; callers pass none of them."""
    assert_type(await a.save(), int)
    assert_type(state.database, Database)
    await progress.set(1, 2, status="half", meta={"a": 1})
    async for word in progress.track(["a", "b"]):
        assert_type(word, str)
    return 1


@actorq.task
async def annotated(path: str, db: DatabaseDependency = Depends()) -> int:
    """The default makes it one that callers need not pass."""
    return await db.save()


@actorq.task
async def annotated_only(path: str, db: DatabaseDependency) -> int:
    """For a type checker, callers must pass it."""
    return await db.save()


assert_type(Depends(get_database), Database)
assert_type(Depends(get_database_soon), Database)
assert_type(Depends(yield_database), Database)
assert_type(Depends(yield_database_soon), Database)
assert_type(Depends(open_database), Database)
assert_type(Depends(open_database_soon), Database)
assert_type(Depends(Database), Database)


async def with_dependencies(sys: actorq.System) -> None:
    """Nobody passes what is injected, though a test may."""
    await sys.enqueue(everything, "a.csv")
    await sys.enqueue(annotated, "a.csv")
    await everything("a.csv", a=Database())
    sys.state.database = Database()
    with broker.override(get_database, yield_database):
        broker.dependency_overrides[get_database] = lambda: Database()
    broker.dependency_overrides = {}
    broker.state = AppState()
    assert_type(broker.with_dependency(Database, Database()), actorq.InMemoryBroker)


broker = actorq.InMemoryBroker().with_result_backend(
    actorq.InMemoryResultBackend(max_stored_results=500)
)
assert_type(broker, actorq.InMemoryBroker)


@broker.task
async def greet(name: str) -> str:
    """Bound."""
    return name


@broker.task(timeout=timedelta(seconds=3), schedule=[actorq.every(60)], raises=(KeyError,))
async def tidy() -> int:
    """Bound, with options."""
    return 1


@broker.task
def count(word: str) -> int:
    """Bound and plain."""
    return len(word)


async def calling() -> None:
    """Runs the function here and now."""
    coroutine = assert_type(fibonacci(10), Coroutine[Any, Any, int])
    assert_type(await coroutine, int)
    assert_type(await fibonacci(n=10), int)
    assert_type(await resize("a.png", 64, keep=False), dict[str, int])
    assert_type(checksum("a"), bytes)
    assert_type(other_checksum("a"), bytes)
    assert_type(await greet("you"), str)
    assert_type(count("you"), int)
    await report("a.csv")
    anything: actorq.Task[..., int] = fibonacci
    assert_type(anything.name, str)
    # a task is an async function for Trio too
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fibonacci, 10)


def in_a_transaction(broker: actorq.SQLiteBroker, own: sqlite3.Connection) -> None:
    """Typed as `enqueue` is; the answer is the id."""
    assert_type(broker.enqueue_in(own, resize, "a.png", width=64, keep=False), str)
    broker.enqueue_in(own, report, "a.csv")  # the context is not passed
    with broker.transaction() as tx:
        assert_type(tx.connection, sqlite3.Connection)
        assert_type(tx.enqueue(fibonacci, 10), str)
        tx.enqueue(greet | count | fibonacci, name="you")
        tx.enqueue(fibonacci.call(10))


async def enqueueing() -> None:
    """The arguments are the function's, and the handle knows what it returns."""
    async with actorq.open_system() as sys:
        assert_type(sys, actorq.System)
        handle = await sys.enqueue(fibonacci, 10)
        assert_type(handle, actorq.TaskHandle[int])
        assert_type(await handle.result(), int)
        outcome = await handle.wait_result()
        assert_type(outcome, actorq.TaskResult[int])
        assert_type(outcome.return_value, int | None)
        assert_type(await handle.get_result(), actorq.TaskResult[int])
        assert_type(await handle.is_ready(), bool)
        assert_type(await handle.cancel(), bool)
        async for progress in handle.progress():
            assert_type(progress, actorq.TaskProgress)
        assert_type(await sys.enqueue(fibonacci, n=10), actorq.TaskHandle[int])
        assert_type(
            await sys.enqueue(resize, "a.png", width=64, keep=False),
            actorq.TaskHandle[dict[str, int]],
        )
        assert_type(await sys.enqueue(checksum, "a"), actorq.TaskHandle[bytes])
        assert_type(await sys.enqueue(other_checksum, data="a"), actorq.TaskHandle[bytes])
        await sys.enqueue(report, "a.csv")  # the context is not passed
        await sys.enqueue(tidy)
        many = await sys.enqueue_many(resize, [("a.png", 64), {"path": "b.png", "width": 64}])
        assert_type(many, list[actorq.TaskHandle[dict[str, int]]])
        assert_type(sys.handle(handle.task_id, fibonacci), actorq.TaskHandle[int])
        assert_type(await sys.dead_tasks(), tuple[actorq.DeadTask, ...])


async def bound_to_a_broker() -> None:
    """`kiq` takes what the function takes."""
    assert_type(await greet.kiq("you"), actorq.TaskHandle[str])
    assert_type(await greet.kiq(name="you"), actorq.TaskHandle[str])
    assert_type(await tidy.kiq(), actorq.TaskHandle[int])
    assert_type(await count.kiq("you"), actorq.TaskHandle[int])


async def on_the_clock(sys: actorq.System, at: datetime) -> None:
    """The arguments are the function's."""
    by_cron = await greet.schedule_by_cron(sys, "0 3 * * *", "you")
    assert_type(by_cron, actorq.ScheduleHandle)
    await greet.schedule_by_cron(sys, actorq.cron("@daily", overlap="skip"), name="you")
    await greet.schedule_by_interval(sys, timedelta(hours=1), "you")
    await fibonacci.schedule_by_interval(sys, actorq.every(5, jitter=1), 10)
    await greet.using(priority=1).schedule_by_time(sys, at, "you")
    source = actorq.InMemoryScheduleSource()
    await greet.schedule_by_time(source, actorq.at(at), "you")
    assert_type(await sys.schedules.list(), tuple[actorq.ScheduleInfo, ...])
    assert_type(await sys.schedules.run_now("s"), actorq.TaskHandle[Any])
    assert_type(await by_cron.unschedule(), bool)


async def with_other_options(sys: actorq.System, at: datetime) -> None:
    """A copy takes and returns the same."""
    soon = fibonacci.using(timeout=3)
    assert_type(await sys.enqueue(soon, 10), actorq.TaskHandle[int])
    assert_type(await greet.using(delay=5, priority=9).kiq("you"), actorq.TaskHandle[str])
    await sys.enqueue(checksum.using(eta=at, task_id="once", labels={"a": 1}), "a")
    await sys.enqueue(fibonacci.using(ack=actorq.AckMode.WHEN_RECEIVED, retries=0), 1)


async def composing(sys: actorq.System) -> None:
    """A call knows what it returns, and so does what is made of calls."""
    call = fibonacci.call(10)
    assert_type(call, actorq.Call[int])
    assert_type(checksum.call(data="a"), actorq.Call[bytes])
    assert_type(await sys.enqueue(call), actorq.TaskHandle[int])
    assert_type(await call.kiq(), actorq.TaskHandle[int])
    handle = await sys.enqueue(checksum, "a")
    assert_type(await sys.gather(call, handle), tuple[int, bytes])
    assert_type(await sys.gather(call, handle, greet.call("you")), tuple[int, bytes, str])
    assert_type(await sys.gather(*[call, call], concurrency=2), tuple[int, ...])
    assert_type(
        await sys.gather(call, call, return_results=True), tuple[actorq.TaskResult[int], ...]
    )
    async with sys.open_task_nursery() as jobs:
        assert_type(jobs, actorq.TaskNursery)
        assert_type(jobs.start_soon(fibonacci, 10), actorq.TaskHandle[int])
        assert_type(jobs.start_soon(call), actorq.TaskHandle[int])
        assert_type(
            await jobs.enqueue(resize, "a.png", width=64), actorq.TaskHandle[dict[str, int]]
        )
        jobs.cancel_scope.cancel("enough")
    async with sys.map(checksum, ["a", "b"], concurrency=2) as done:
        async for data, checked in done:
            assert_type(data, str)
            assert_type(checked, bytes)
    async with sys.map(checksum, ["a", "b"], return_results=True) as results:
        async for data, result in results:
            assert_type(data, str)
            assert_type(result, actorq.TaskResult[bytes])
    async with sys.as_completed([call, fibonacci.call(2)]) as ended:
        async for which, value in ended:
            assert_type(which, actorq.Call[int])
            assert_type(value, int)


async def bytes_and_keys(sys: actorq.System) -> None:
    """A broker stays what it is, whatever is chosen for it."""
    memory = actorq.InMemoryBroker(encoded=True).with_serializer(
        actorq.MsgpackSerializer(), also=[actorq.JSONSerializer(), actorq.CBORSerializer()]
    )
    assert_type(memory, actorq.InMemoryBroker)
    assert_type(memory.with_signing({"a": b"", "b": b""}, use="a"), actorq.InMemoryBroker)
    assert_type(memory.with_encryption({"a": b""}, accept_plain=True), actorq.InMemoryBroker)
    assert_type(memory.with_size_limit(None), actorq.InMemoryBroker)
    assert_type(memory.with_id_generator(actorq.uuid4), actorq.InMemoryBroker)
    assert_type(await sys.send_encoded(b"{}"), actorq.TaskHandle[Any])


async def chains(sys: actorq.System) -> None:
    """The result of one step is the first argument of the next."""
    chain: actorq.Chain[[str], int] = greet | count
    call = greet.call("you") | count | fibonacci
    assert_type(call, actorq.Call[int])
    assert_type(await sys.enqueue(call), actorq.TaskHandle[int])
    assert_type(await sys.enqueue(greet | count | fibonacci, name="you"), actorq.TaskHandle[int])
    assert_type(await (greet | count).kiq("you"), actorq.TaskHandle[int])
    step: actorq.Step[str, dict[str, int]] = resize.step(64, keep=False)
    sized = await sys.enqueue(greet | resize.step(width=64), "you")
    assert_type(sized, actorq.TaskHandle[dict[str, int]])
    assert_type(await sys.enqueue(chain, "you"), actorq.TaskHandle[int])
    assert_type(await sys.enqueue(greet.call("you") | step), actorq.TaskHandle[dict[str, int]])
    assert_type(await sys.gather(call, greet.call("you")), tuple[int, str])
    await sys.enqueue(greet.using(retries=2) | report, "you")  # the context is not passed
    async with sys.map(greet | count, ["you", "me"]) as done:
        async for name, length in done:
            assert_type(name, str)
            assert_type(length, int)


# --- the kit ---


class Shop:
    """What survives a process."""

    charged: list[str]


async def sell(shop: Shop) -> None:
    """A process of it."""


def shop_is_right(shop: Shop) -> bool:
    """An invariant."""
    return not shop.charged


async def double(n: int, *, times: int = 2) -> int:
    """To be simulated; `simulate` passes what comes after the function, by position."""
    return n * times


def what_dies() -> None:
    """The world has one type in all of the functions that get it."""
    report = kit.assert_crash_safe(
        sell, shop_is_right, world=Shop, always=lambda shop: shop.charged, pairs=None
    )
    assert_type(report, kit.CrashReport)
    told = kit.assert_idempotent(
        fibonacci, 10, observe=lambda shop: shop.charged, world=Shop, tape=kit.Tape.of_seed(1)
    )
    assert_type(told, kit.CrashReport)


def what_is_simulated() -> None:
    """The function's arguments are checked, and its result comes back."""
    assert_type(kit.simulate(double, 21, tape=kit.Tape(), seed=3, limit=60), int)
    with kit.recorded() as trace:
        assert_type(trace, kit.Trace)


async def tests_of_tasks(sys: actorq.System) -> None:
    """Of one task, and of what was enqueued."""
    assert_type(await kit.run_task(fibonacci, 10), int)
    assert_type(await kit.run_task(fibonacci, n=10), int)
    assert_type(await kit.run_task(checksum, "x"), bytes)
    assert_type(kit.enqueued(sys), list[kit.Enqueued])
    assert_type(kit.assert_enqueued(sys, fibonacci, 10), kit.Enqueued)
    assert_type(kit.assert_enqueued(sys, fibonacci), kit.Enqueued)
    kit.assert_not_enqueued(sys, fibonacci)
    assert_type(await kit.drain(sys), list[kit.Ran])
    await kit.time_travel(seconds=timedelta(days=1))
    assert_type(kit.arguments(fibonacci).example(), kit.Arguments)


class TestOurs(kit.BrokerContract):
    """A class, or a function of a folder."""

    factory = actorq.InMemoryBroker


class TestOurResults(kit.ResultBackendContract):
    """So is this."""

    factory = actorq.InMemoryResultBackend
