"""What the crash tests start and kill: `python -m crash.program worker|client|scheduler ...`.

`worker CONCURRENCY [COMMIT MICROSECONDS]`: with the latter it dies so long after it has begun that
commit.  `client SEED TASKS KINDS DONE [insist]`: enqueues the plan, but for the calls DONE; who insists
asks again when the engine cannot be had, and waits for results as it goes on.  `scheduler`.
`rival KEY TIMES`: enqueues under one unique key.  `fill SIZE`: enqueues large tasks until the disk is
full, and once more after SIGUSR2.  All end well on SIGTERM, and with `UNAVAILABLE` if the engine cannot
be had when they begin.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

import actorq
from actorq.environment import Environment, set_environment
from crash import plan, tasks
from crash.journal import note


#: In the environment: seconds that the wall clock is off; pages that the disk has.
WALL = "ACTORQ_CRASH_WALL"
PAGES = "ACTORQ_CRASH_PAGES"
#: The exit status of who could not begin.
UNAVAILABLE = 3
#: Calls of a caller that insists, between which it waits for their results.
LEAD = 10
#: Times that a result is asked for that cannot be had.
TRIES = 60
#: Seconds between two looks at whether this process runs, and for which it may not without a word.
STEP = 0.3

T = TypeVar("T")


async def until_told(role: Any, **options: Any) -> None:
    """Open the system in this role, until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            actorq.open_system(tasks.broker, role=role, grace=5, **options),
            trio.open_nursery() as nursery,
        ):
            note("up", role)
            nursery.start_soon(watch_the_loop)
            async for _ in signals:
                nursery.cancel_scope.cancel(reason="told to end")
                return


async def watch_the_loop() -> None:
    """Say when this process could not run: on a machine that has too much to do, or stopped."""
    while True:
        due = trio.current_time() + STEP
        await trio.sleep_until(due)
        late = trio.current_time() - due
        if late > STEP:
            note("starved", f"{late:.3f}")


async def client(calls: list[plan.Call], insists: bool) -> None:
    """Enqueue all, eight or sixteen at a time; say which were accepted."""
    callers = 16 if insists else 8
    async with actorq.open_system(tasks.broker, role="client") as sys_:
        note("up", "client")
        async with trio.open_nursery() as nursery:
            for caller in range(callers):
                nursery.start_soon(_enqueue, sys_, calls[caller::callers], insists)
    note("enqueued")


async def _enqueue(sys_: actorq.System, calls: list[plan.Call], insists: bool) -> None:
    handles: list[actorq.TaskHandle[Any]] = []
    for call in calls:
        note("asked", call.index)

        async def send(call: plan.Call = call) -> list[actorq.TaskHandle[Any]]:
            if call.kind == "many":
                return [*await sys_.enqueue_many(tasks.step, [call.args] * plan.MANY)]
            return [*(await sys_.enqueue(call.task, *call.args)).steps]

        sent = await (insist(send) if insists else send())
        note("accepted", call.index, call.kind, *[each.task_id for each in sent])
        handles += sent
        if insists and len(handles) >= LEAD:
            async with trio.open_nursery() as nursery:
                for handle in handles:
                    nursery.start_soon(wait_for, handle)
            handles.clear()


async def wait_for(handle: actorq.TaskHandle[Any]) -> None:
    """Its result, if it has one."""
    try:
        await insist(handle.wait_result)
    except actorq.ResultGetError as error:
        note("missed", handle.task_id, *str(error).split())


async def insist(ask: Callable[[], Awaitable[T]]) -> T:
    """Until it is known what became of it: each of these errors says that one may ask again."""
    tries = 0
    while True:
        try:
            return await ask()
        except (
            actorq.EngineUnavailable,
            actorq.EnqueueUncertain,
            actorq.ResultBackendError,
        ) as error:
            note("unsure", type(error).__name__, *str(error)[:200].split())
            tries += 1
            if tries > TRIES and isinstance(error, actorq.ResultGetError):
                raise  # it is lost: the judge will say so, too
            await trio.sleep(min(0.02 * tries, 0.5))


async def rival(key: str, times: int) -> None:
    """Enqueue under one key; say each time whose call it became."""
    async with actorq.open_system(tasks.broker, role="client") as sys_:
        note("up", "rival")
        for _ in range(times):
            try:
                handle = await sys_.enqueue(tasks.only_one, key)
            except actorq.DuplicateTask as duplicate:
                note("refused", duplicate.task_id)
            else:
                note("accepted", 0, "only_one", handle.task_id)


async def fill(size: int) -> None:
    """Enqueue large tasks until there is no room; then small ones, until there is room again."""
    with trio.open_signal_receiver(signal.SIGUSR2) as freed:
        async with actorq.open_system(tasks.broker, role="client") as sys_:
            note("up", "fill")
            try:
                while True:
                    handle = await sys_.enqueue(tasks.weigh, "x" * size)
                    note("accepted", 0, "weigh", handle.task_id)
            except actorq.EngineUnavailable as error:
                note("refused", type(error).__name__, str(error).replace(" ", "_"))
            await freed.__anext__()
            handle = await sys_.enqueue(tasks.weigh, "x" * size)
            note("accepted", 0, "weigh", handle.task_id)
    note("enqueued")


def limit_pages(pages: int) -> None:
    """The disk is full when the file has so many pages; until SIGUSR1."""
    is_full = True

    def free(*_: object) -> None:
        nonlocal is_full
        is_full = False

    signal.signal(signal.SIGUSR1, free)

    class Small(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if sql.startswith("begin"):
                super().execute(f"pragma max_page_count = {pages if is_full else 10**9}")
            return super().execute(sql, *args)

    connect_as(Small)


def connect_as(factory: type[sqlite3.Connection]) -> None:
    """Whoever connects gets one of these."""
    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, **{**options, "factory": factory})


def die_in_commit(number: int, microseconds: int) -> None:
    """Have this process killed so long after it has begun its so manieth commit."""
    commits = 0

    def die() -> None:
        give_up = time.monotonic_ns() + microseconds * 1000
        while time.monotonic_ns() < give_up:
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    class Dying(sqlite3.Connection):
        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            nonlocal commits
            if sql == "commit":
                commits += 1
                if commits == number:
                    note("dying")
                    threading.Thread(target=die, daemon=True).start()
            return super().execute(sql, *args)

    connect_as(Dying)


def main() -> None:
    """Be one of them, and say so if the engine was not there at the beginning."""
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    try:
        be(*sys.argv[1:])
    except actorq.EngineUnavailable as error:
        note("unavailable", type(error).__name__)
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(UNAVAILABLE)


def end_with(parent: int) -> None:
    """Leave nothing behind, if the tests are killed themselves."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def be(role: str, *arguments: str) -> None:
    """One of them."""
    if PAGES in os.environ:
        limit_pages(int(os.environ[PAGES]))
    if WALL in os.environ:
        off = float(os.environ[WALL])
        set_environment(Environment(wall=lambda: time.time() + off))
    if role == "worker":
        concurrency, *dying = map(int, arguments)
        if dying:
            die_in_commit(*dying)
        trio.run(lambda: until_told("worker", concurrency=concurrency))
    elif role == "scheduler":
        trio.run(until_told, "scheduler")
    elif role == "fill":
        trio.run(fill, int(arguments[0]))
    elif role == "rival":
        trio.run(rival, arguments[0], int(arguments[1]))
    else:
        seed, amount, kinds, done, *more = arguments
        calls = plan.plan(int(seed), int(amount), getattr(plan, kinds))
        known = set(filter(None, done.split(",")))
        rest = [call for call in calls if str(call.index) not in known]
        trio.run(client, rest, "insist" in more)


if __name__ == "__main__":
    main()
