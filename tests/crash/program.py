"""What the crash tests start and kill: `python -m crash.program worker|client|scheduler ...`.

`worker CONCURRENCY [COMMIT MICROSECONDS]`: with the latter it dies so long after it has begun that
commit.  `client SEED TASKS KINDS DONE`: enqueues the plan, but for the calls DONE.  `scheduler`.
`rival KEY TIMES`: enqueues under one unique key.  `fill SIZE`: enqueues large tasks until the disk is
full, and once more after SIGUSR2.  All end well on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from typing import Any

import trio

import actorq
from actorq.environment import Environment, set_environment
from crash import plan, tasks
from crash.journal import note


#: In the environment: seconds that the wall clock is off; pages that the disk has.
WALL = "ACTORQ_CRASH_WALL"
PAGES = "ACTORQ_CRASH_PAGES"


async def until_told(role: Any, **options: Any) -> None:
    """Open the system in this role, until SIGTERM."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with actorq.open_system(tasks.broker, role=role, grace=5, **options):
            note("up", role)
            async for _ in signals:
                return


async def client(calls: list[plan.Call]) -> None:
    """Enqueue all, eight at a time; say which were accepted."""
    async with actorq.open_system(tasks.broker, role="client") as sys_:
        note("up", "client")
        async with trio.open_nursery() as nursery:
            for caller in range(8):
                nursery.start_soon(_enqueue, sys_, calls[caller::8])
    note("enqueued")


async def _enqueue(sys_: actorq.System, calls: list[plan.Call]) -> None:
    for call in calls:
        note("asked", call.index)
        if call.kind == "many":
            many = await sys_.enqueue_many(tasks.step, [call.args] * plan.MANY)
            ids = [each.task_id for each in many]
        else:
            handle = await sys_.enqueue(call.task, *call.args)
            ids = [each.task_id for each in handle.steps]
        note("accepted", call.index, call.kind, *ids)


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
    """Be one of them."""
    _, role, *arguments = sys.argv
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
        seed, amount, kinds, done = arguments
        calls = plan.plan(int(seed), int(amount), getattr(plan, kinds))
        known = set(filter(None, done.split(",")))
        trio.run(client, [call for call in calls if str(call.index) not in known])


if __name__ == "__main__":
    main()
