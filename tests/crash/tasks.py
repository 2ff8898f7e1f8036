"""The tasks of the crash tests, and a broker on the file, or at the URL, that the environment names.

Each tells the journal when it begins and how it ends.  What it returns names this very execution, so
that a stored result can be held against the journal.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

import actorq
from crash.journal import note


URL: Final = "ACTORQ_CRASH_URL"
FILE: Final = "ACTORQ_CRASH_FILE"
LEASE: Final = "ACTORQ_CRASH_LEASE"
SYNCHRONOUS: Final = "ACTORQ_CRASH_SYNCHRONOUS"

#: How many `limited` may run at a time.
LIMIT: Final = 3
#: Seconds that a `late` is delayed, at least.
DELAY: Final = 0.3
#: In the environment, and else: seconds between two slots of `tick`.  100 are made up for after a pause.
EVERY: Final = "ACTORQ_CRASH_TICK"
TICK: Final = 0.25


def _broker() -> actorq.Broker:
    lease = float(os.environ.get(LEASE, "3"))
    if URL in os.environ:
        return actorq.broker_from_url(os.environ[URL], lease=lease)
    return actorq.SQLiteBroker(
        os.environ.get(FILE, "crash.db"),
        lease=lease,
        synchronous=os.environ.get(SYNCHRONOUS, "full"),  # type: ignore[arg-type]
    )


broker = _broker()


@contextmanager
def executed(kind: str, ctx: actorq.Context) -> Iterator[str]:
    """Tell the journal of one execution; its name."""
    token = secrets.token_hex(6)
    words = (ctx.task_id, ctx.attempt, token, kind)
    note("begin", *words)
    try:
        yield f"{ctx.attempt} {os.getpid()} {token}"
    except trio.Cancelled:
        note("cancelled", *words)
        raise
    except Exception:
        note("failed", *words)
        raise
    note("end", *words)


@broker.task(max_deliveries=50)
async def step(seconds: float, ctx: actorq.Context = actorq.Depends()) -> str:
    """Take so long."""
    with executed("step", ctx) as name:
        await trio.sleep(seconds)
    return name


@broker.task(max_deliveries=50, retries=actorq.RetryPolicy(retries=9, base=0.02, cap=0.1))
async def flaky(failures: int, ctx: actorq.Context = actorq.Depends()) -> str:
    """Fail so often."""
    with executed("flaky", ctx) as name:
        await trio.sleep(0.005)
        if ctx.attempt <= failures:
            raise OSError(f"attempt {ctx.attempt} fails")
    return name


@broker.task(max_deliveries=50)
async def link(before: str, number: int, ctx: actorq.Context = actorq.Depends()) -> str:
    """A step of a chain."""
    with executed("link", ctx) as name:
        await trio.sleep(0.005)
    return name


@broker.task(max_deliveries=50, unique=actorq.Unique(key="{key}", on_conflict="return"))
async def keyed(key: str, ctx: actorq.Context = actorq.Depends()) -> str:
    """One at a time for each key."""
    with executed(f"keyed:{key}", ctx) as name:
        await trio.sleep(0.01)
    return name


@broker.task(max_deliveries=50, concurrency=LIMIT)
async def limited(ctx: actorq.Context = actorq.Depends()) -> str:
    """A few at a time."""
    with executed("limited", ctx) as name:
        await trio.sleep(0.01)
    return name


@broker.task(max_deliveries=50, delay=DELAY)
async def late(ctx: actorq.Context = actorq.Depends()) -> str:
    """Not at once."""
    with executed("late", ctx) as name:
        await trio.lowlevel.checkpoint()
    return name


@broker.task(max_deliveries=50, ack="when_received")
async def at_most_once(ctx: actorq.Context = actorq.Depends()) -> str:
    """Never again."""
    with executed("at_most_once", ctx) as name:
        await trio.sleep(0.01)
    return name


@broker.task(max_deliveries=50)
async def hold(attempts: int, ctx: actorq.Context = actorq.Depends()) -> str:
    """Never end in the first so many attempts."""
    with executed("hold", ctx) as name:
        if ctx.attempt <= attempts:
            await trio.sleep_forever()
    return name


@broker.task(max_deliveries=50)
async def weigh(text: str, ctx: actorq.Context = actorq.Depends()) -> str:
    """Take up room."""
    with executed("weigh", ctx) as name:
        await trio.lowlevel.checkpoint()
    return name


@broker.task(unique=actorq.Unique(key="{key}", on_conflict="reject"))
async def only_one(key: str, ctx: actorq.Context = actorq.Depends()) -> str:
    """One of its key, and the others are refused."""
    with executed("only_one", ctx) as name:
        await trio.lowlevel.checkpoint()
    return name


@broker.task(max_deliveries=50)
def in_thread(seconds: float, ctx: actorq.Context = actorq.Depends()) -> str:
    """Take so long in a thread."""
    with executed("in_thread", ctx) as name:
        time.sleep(seconds)
    return name


@broker.task(max_deliveries=50)
async def stall(seconds: float, ctx: actorq.Context = actorq.Depends()) -> str:
    """Hold up the event loop for so long, as no task should."""
    with executed("stall", ctx) as name:
        time.sleep(seconds)  # noqa: ASYNC251 - that is what it is there for
        await trio.lowlevel.checkpoint()
    return name


@broker.task(
    max_deliveries=50,
    schedule=[actorq.every(float(os.environ.get(EVERY, TICK)), catch_up=actorq.CatchUp.ALL)],
)
async def tick(ctx: actorq.Context = actorq.Depends()) -> str:
    """Of a schedule."""
    with executed("tick", ctx) as name:
        await trio.lowlevel.checkpoint()
    return name
