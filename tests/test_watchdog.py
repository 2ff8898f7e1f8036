"""The watchdog: it names the line on which the loop stands still, and costs an idle loop nothing."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from typing import Any

import pytest
import trio
import trio.testing

import actorq
import actorq.testing
from actorq import InMemoryBroker
from actorq.job import Job, current_slot
from actorq.message import Delivery, Fence, TaskMessage
from actorq.middlewares import Stall, Watchdog
from actorq.middlewares.watchdog import Watch, running_task


def watchdogs() -> list[threading.Thread]:
    """Those that live."""
    return [each for each in threading.enumerate() if each.name == "actorq watchdog"]


async def test_it_names_the_line_that_blocks(caplog: pytest.LogCaptureFixture) -> None:
    """35: while it blocks; the blocking step ends as soon as it was reported."""
    stalls: list[Stall] = []
    reported = threading.Event()

    def on_stall(stall: Stall) -> None:
        stalls.append(stall)
        reported.set()

    def computes() -> None:
        assert reported.wait(10)  # THE LINE

    broker = InMemoryBroker().with_middlewares(Watchdog(0.02, on_stall=on_stall))

    @broker.task(name="resize")
    async def resize() -> None:
        await trio.lowlevel.checkpoint()
        computes()

    with caplog.at_level(logging.WARNING, "actorq.watchdog"):
        async with actorq.open_system(broker):
            handle = await resize.kiq()
            await handle.result()
            assert len(watchdogs()) == 1
            while len(caplog.records) < 2:  # the second is written by the thread
                await trio.lowlevel.checkpoint()
    (stall,) = stalls
    assert stall.label == f"task resize ({handle.task_id})"
    assert (stall.task_id, stall.task_name) == (handle.task_id, "resize")
    assert stall.line.startswith(f"{computes.__qualname__} ({__file__}:")
    assert "assert reported.wait(10)  # THE LINE" in stall.stack
    calls = [line.rsplit(" ", 1)[-1] for line in stall.stack.splitlines() if " in " in line]
    assert calls == ["resize", "computes", "wait", "wait"]  # from the task's function on
    assert stall.seconds >= 0.015
    first, second = caplog.records
    assert f"in task resize ({handle.task_id}), at {stall.line}" in first.getMessage()
    assert first.__dict__["task_name"] == "resize"
    assert "goes on; it stood still for" in second.getMessage()


async def test_it_says_which_task_of_trio_s_when_it_is_no_job() -> None:
    """The body of `open_system`, say."""
    stalls: list[Stall] = []
    reported = threading.Event()

    def on_stall(stall: Stall) -> None:
        stalls.append(stall)
        reported.set()
        raise RuntimeError("and this is only logged")

    broker = InMemoryBroker().with_middlewares(Watchdog(0.02, on_stall=on_stall))
    async with actorq.open_system(broker):
        await trio.lowlevel.checkpoint()
        reported.wait(10)
    assert stalls[0].task_id is None
    assert "test_it_says_which_task" in stalls[0].line


async def test_no_thread_outlives_the_system() -> None:
    """A39: not after the body's error either, and not when the chain starts again."""
    broker = InMemoryBroker().with_middlewares(Watchdog())
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the body of open_system is what raises
        async with actorq.open_system(broker):
            assert len(watchdogs()) == 1
            raise ZeroDivisionError
    assert watchdogs() == []
    async with actorq.open_system(broker, backoff=actorq.Backoff(base=0.0)) as sys:
        actorq.testing.crash(sys.actor("middleware"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(watchdogs()) == 1
    assert watchdogs() == []


def test_an_idle_loop_is_left_alone() -> None:
    """No pings while nothing goes on: its own pauses are so short that they would be thousands."""
    watch: list[Watch] = []

    async def main() -> None:
        one = Watch(1e-9, time.monotonic, lambda *_: pytest.fail("nothing blocks"))
        one._look = lambda lasting: None  # type: ignore[method-assign]  # it is late at once
        watch.append(one)
        one.start()
        for _ in range(10):
            await trio.lowlevel.checkpoint()
        over = trio.Event()
        token = trio.lowlevel.current_trio_token()
        timer = threading.Timer(0.05, lambda: token.run_sync_soon(over.set))
        timer.start()
        await over.wait()
        timer.join()
        one.stop()

    trio.run(main)
    assert 1 <= watch[0].pings <= 12  # one for each turn of the loop that was ours, at most


def test_a_stop_that_nobody_saw_is_reported_by_its_length(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The whole process was stopped: the answer is late, and no step was seen to last."""

    async def main() -> None:
        watch = Watch(5.0, time.monotonic, lambda *_: pytest.fail("nothing was seen"))
        watch._tell_the_end(None, 7.5)
        watch._tell_the_end(None, 4.9)

    with caplog.at_level(logging.WARNING, "actorq.watchdog"):
        trio.run(main)
    (record,) = caplog.records
    assert "stood still for 7.50 s; where, could not be seen" in record.getMessage()


async def test_the_running_task_is_found_from_outside() -> None:
    """Among those that wait."""
    found: list[trio.lowlevel.Task | None] = []

    async def looks() -> None:
        await trio.lowlevel.checkpoint()
        root = trio.lowlevel.current_root_task()
        thread = threading.Thread(target=lambda: found.append(running_task(root)))
        thread.start()
        thread.join()
        found.append(trio.lowlevel.current_task())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        async with trio.open_nursery() as inner:
            inner.start_soon(looks)
            inner.start_soon(trio.lowlevel.checkpoint)
        nursery.cancel_scope.cancel()
    assert found[0] is found[1]


def test_bad_thresholds_are_refused() -> None:
    """Seconds above zero."""
    with pytest.raises(actorq.OptionError, match="threshold expects seconds"):
        Watchdog("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expects a threshold > 0 seconds; got 0"):
        Watchdog(0)


class EndsAtOnce:
    """A slot whose job is over when it has been looked at."""

    def __init__(self, job: Job) -> None:
        self._jobs = [job]

    @property
    def job(self) -> Job | None:
        """Once."""
        return self._jobs.pop() if self._jobs else None


def is_in(slot: Any) -> None:
    """What the task that calls this seems to run in."""
    current_slot.set(slot)


async def test_a_job_that_ends_while_it_is_looked_at_ends_no_watchdog() -> None:
    """The thread looks while the loop may go on: what it saw of a slot was asked for twice."""
    job = Job(Delivery(TaskMessage("id", "resize", (), {}), Fence("id", 1, 1), 0))
    watchdog = Watchdog()
    async with actorq.open_system(InMemoryBroker().with_middlewares(watchdog)) as sys:
        task = trio.lowlevel.current_task()
        frame = inspect.currentframe()
        assert frame is not None
        is_in(EndsAtOnce(job))
        assert sys.label(task) == "task resize (id)"
        is_in(EndsAtOnce(job))
        stall = watchdog._blocked(task, frame, 1.0)
        is_in(None)
    assert stall.label in ("task resize (id)", task.name)
