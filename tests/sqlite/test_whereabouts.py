"""Where jobs sit, asked across the processes that share a file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

import actorq
from actorq import Context, Depends
from actorq.engines.sqlite import whereabouts
from actorq.engines.sqlite.peers import boot_id
from actorq.engines.sqlite.storage import SQLiteStorage


pytestmark = pytest.mark.engine


@actorq.task
async def waits(ctx: Context = Depends()) -> None:
    """Say that it has begun, and wait."""
    ctx.system.state.begun.set()
    await trio.sleep_forever()


@asynccontextmanager
async def a_job(path: Path) -> AsyncIterator[tuple[actorq.SQLiteBroker, str]]:
    """A worker with one job; its broker, and the job's id."""
    broker = actorq.SQLiteBroker(path)
    async with actorq.open_system(broker, grace=0) as sys:
        sys.state.begun = trio.Event()
        handle = await sys.enqueue(waits)
        await sys.state.begun.wait()
        yield broker, handle.task_id
        await handle.cancel()


@asynccontextmanager
async def another(path: Path) -> AsyncIterator[SQLiteStorage]:
    """The same file, as another process has it open."""
    storage = SQLiteStorage(path)
    await storage.open()
    try:
        yield storage
    finally:
        await storage.close()


async def test_who_looks_is_answered_by_who_works(path: Path) -> None:
    """By a push: in far less time than the patience."""
    async with a_job(path) as (_, task_id), another(path) as storage:
        began = trio.current_time()
        lines = await whereabouts.look(storage)
        assert trio.current_time() - began < whereabouts.PATIENCE
        assert lines[task_id].startswith(f"waits ({__file__}:")
        assert (await whereabouts.look(storage))[task_id] == lines[task_id]


async def test_nobody_is_asked_where_nobody_works(path: Path) -> None:
    """Looking writes nothing then."""
    async with another(path) as idle, another(path) as storage:
        before = await storage.read(_number), idle.commits, storage.commits
        assert await whereabouts.look(storage) == {}
        assert (await storage.read(_number), idle.commits, storage.commits) == before


async def test_one_that_does_not_answer_is_waited_for_a_moment(path: Path) -> None:
    """A worker that blocks its loop has no line; who looks goes on without it."""
    async with another(path) as mute, another(path) as storage:
        await mute.write(partial(_work, mute.peer))
        with trio.fail_after(20):
            assert await whereabouts.look(storage) == {}
        assert await storage.read(_number) == 1


async def test_lines_of_jobs_that_have_ended_are_gone(path: Path) -> None:
    """And with the worker, what it wrote."""
    async with another(path) as storage:
        async with a_job(path) as (_, task_id):
            assert set(await whereabouts.look(storage)) == {task_id}
        assert await whereabouts.look(storage) == {}


async def test_a_worker_that_has_closed_the_file_is_listed_no_more(path: Path) -> None:
    """Though nobody but who looks is left to end its session."""
    async with a_job(path) as (former, _):
        assert len(await former.workers()) == 1
    async with actorq.open_system(actorq.SQLiteBroker(path), role="client") as sys:
        assert await sys.workers() == ()


async def test_a_worker_that_was_killed_is_listed_no_more(path: Path) -> None:
    """At once, by whoever looks."""
    async with another(path) as killed:
        await killed.write(partial(_work, killed.peer))
        async with actorq.open_system(actorq.SQLiteBroker(path), role="client") as sys:
            assert [worker.name for worker in await sys.workers()] == ["mute"]
            killed.die()
            assert await sys.workers() == ()


def _number(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("select number from actorq_looks").fetchone()
    return int(number)


def _work(peer: str, connection: sqlite3.Connection) -> None:
    """Rows of a worker that has a job."""
    connection.execute(
        "insert into actorq_sessions (id, worker, peer, pid, host, boot, until, since, beat) "
        "values (1, 'mute', ?, 1, 'here', ?, 1e12, 0, 0)",
        (peer, boot_id()),
    )
    connection.execute(
        "insert into actorq_tasks (task_id, name, queue, priority, state, number, deliveries, session, "
        "message) values ('a', 'b', 'default', 0, 'leased', 1, 1, 1, x'')"
    )
