"""`sys.workers()`: who works on what, and where each job sits."""

from __future__ import annotations

import os
import threading

import trio

import actorq
from actorq import Context, Depends, TaskProgress


class Gate:
    """Jobs wait here until the test lets them go."""

    def __init__(self) -> None:
        self.reached = trio.Event()
        self.opened = trio.Event()
        self.thread = threading.Event()


@actorq.task
async def waits(gate: str, ctx: Context = Depends()) -> str:
    """Say that it has begun, and wait."""
    await ctx.set_progress(TaskProgress(progress=0.25, status=gate))
    here = ctx.system.state.gate
    here.reached.set()
    await here.opened.wait()  # the line
    return gate


@actorq.task
def blocks(ctx: Context = Depends()) -> None:
    """The same in a thread."""
    here = ctx.system.state.gate
    trio.from_thread.run_sync(here.reached.set)
    here.thread.wait(10)


@actorq.task
async def in_a_nursery(ctx: Context = Depends()) -> None:
    """The same in a child task."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ctx.system.state.gate.opened.wait)
        ctx.system.state.gate.reached.set()


async def test_a_worker_and_what_it_runs() -> None:
    """Its process, its queues, its job with the attempt; nothing once that has ended."""
    async with actorq.open_system(queues=["default", "mail"]) as sys:
        gate = sys.state.gate = Gate()
        handle = await sys.enqueue(waits, "a")
        await gate.reached.wait()
        (worker,) = await sys.workers()
        assert worker.pid == os.getpid()
        assert worker.queues is not None
        assert worker.queues.names == ("default", "mail")
        assert worker.since is not None
        assert worker.seen is not None
        (job,) = worker.jobs
        assert (job.task_id, job.task_name, job.queue) == (handle.task_id, waits.name, "default")
        assert job.attempt == 1
        assert job.since is not None
        assert job.since >= worker.since
        assert (job.line, job.progress) == ("", None)  # nobody asked
        gate.opened.set()
        await handle.result()
        await sys.wait_idle()
        (worker,) = await sys.workers()
        assert worker.jobs == ()


async def test_on_request_the_line_and_the_progress() -> None:
    """The line is the task's own, not Trio's nor ours."""
    async with actorq.open_system() as sys:
        gate = sys.state.gate = Gate()
        handle = await sys.enqueue(waits, "a")
        await gate.reached.wait()
        ((job,),) = [worker.jobs for worker in await sys.workers(look=True)]
        assert job.line.startswith(f"waits ({__file__}:")
        line = int(job.line.removesuffix(")").rsplit(":", 1)[1])
        with open(__file__, encoding="utf-8") as source:  # noqa: ASYNC230 - it is short
            assert "# the line" in source.read().splitlines()[line - 1]
        assert job.progress == TaskProgress(progress=0.25, status="a")
        gate.opened.set()
        await handle.result()


async def test_a_job_in_a_thread_and_one_that_waits_for_children() -> None:
    """The line of its thread; the line that opened the nursery."""
    async with actorq.open_system() as sys:
        gate = sys.state.gate = Gate()
        handles = [await sys.enqueue(blocks)]
        await gate.reached.wait()
        ((job,),) = [worker.jobs for worker in await sys.workers(look=True)]
        assert "threading.py" in job.line or job.line.startswith("blocks (")
        gate.thread.set()
        await handles[0].result()
        gate.reached = trio.Event()
        handle = await sys.enqueue(in_a_nursery)
        await gate.reached.wait()
        ((job,),) = [worker.jobs for worker in await sys.workers(look=True)]
        assert job.line.startswith("in_a_nursery (")
        gate.opened.set()
        await handle.result()
