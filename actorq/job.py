"""The job: one delivery in a worker's hands, from its arrival to its settlement.

A value of the worker pool's; `current_job` tells code that runs inside a job which one it is, so that
waiting for another job's result can give the slot back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import trio

from actorq.captured_log import CapturedLog
from actorq.message import Delivery


if TYPE_CHECKING:
    from actorq.protocol import Settlement
    from actorq.result import TaskResult
    from actorq.task import Task


class Job:
    """One delivery."""

    __slots__ = (
        "acked",
        "acking",
        "began",
        "begun",
        "came",
        "cancelled",
        "captured",
        "error",
        "failures",
        "fence",
        "final",
        "lost",
        "message",
        "requeue",
        "result",
        "scope",
        "settlement",
        "settling",
        "slotless",
        "task",
        "unstored",
        "value",
        "waits",
    )

    def __init__(self, delivery: Delivery, came: float = 0.0) -> None:
        self.message, self.fence, self.failures = delivery
        self.came = came  #: by Trio's clock; 0 where nobody asks
        self.task: Task[..., Any] | None = None
        self.began = 0.0  #: when it was begun, on the engine's clock
        self.begun = False  #: a slot has taken it
        self.scope: trio.CancelScope | None = None  #: round its function, while that runs
        self.cancelled = False  #: somebody cancelled it
        self.lost = False  #: its lease is gone: whatever it did counts for nothing
        self.acked = False  #: the broker knows how it ended
        self.acking: trio.Event | None = None  #: `ctx.ack()` was called; set when the broker knows
        self.requeue: float | None = (
            None  #: `ctx.requeue()` was called: go back after so many seconds
        )
        self.unstored: Exception | None = None  #: why it has no result that could be stored
        self.waits = 0  #: tasks of this job that wait for other jobs
        self.captured: CapturedLog | None = None  #: what its function logged, if that was asked for
        self.value: Any = None  #: what its function returned, as plain data
        self.error: Exception | None = None  #: what its function raised
        self.final = False  #: a further attempt could not end otherwise
        self.settlement: Settlement | None = None
        self.settling = False  #: the broker is about to settle it
        self.slotless = False  #: its slot was given to another
        self.result: TaskResult[Any] | None = None


class Slot(Protocol):
    """Where a job runs, as code inside the job sees it."""

    job: Job | None
    ending: trio.Event  #: set when the worker goes down, and with it this job

    async def suspend(self, job: Job) -> None:
        """Give the slot back."""

    async def resume(self, job: Job) -> None:
        """Wait for a slot."""


@asynccontextmanager
async def slot_given_back() -> AsyncIterator[None]:
    """While this waits for another job: inside a job, its slot is free for others."""
    slot = current_slot.get()
    job = None if slot is None else slot.job
    if slot is None or job is None:
        yield
        return
    await slot.suspend(job)
    try:
        yield
    except BaseException:
        # cancelled while it waits for a slot, it goes on without: what is on its way up stays that
        with suppress(trio.Cancelled):
            await slot.resume(job)
        raise
    await slot.resume(job)


#: The slot in which this code runs, if it runs in a job.
current_slot: ContextVar[Slot | None] = ContextVar("actorq_current_slot", default=None)
