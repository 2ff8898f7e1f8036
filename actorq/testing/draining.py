"""Draining a queue and travelling in time: what is to happen, happens now, in order."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trio
import trio.testing

from actorq.errors import UnsupportedOption
from actorq.job import current_slot
from actorq.protocol import QueuedTask
from actorq.testing.ledger import Ledger, Ran, ledger_of
from actorq.testing.simulation import current_simulation
from actorq.whereabouts import sits_at, tasks_below


if TYPE_CHECKING:
    from actorq.system import System

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

#: Virtual seconds in which something must begin or end while there is work for now.
PATIENCE = 6 * 3600.0


class NotDrained(AssertionError):
    """The queue does not become empty.  The message says what is left, and why."""


async def drain(sys: System, *, attempts: int = 10_000) -> list[Ran]:
    """Let the workers work until nothing is left to do; the attempts that ended meanwhile, in order.

    Nothing is left when no task is ready, running or waiting for its time: delayed ones, retries and
    chains are waited for.  What a schedule will enqueue is not; what it enqueues on the way is.

    Raises `NotDrained`, which says what is left, after more than *attempts* of them; if for six
    virtual hours nothing began or ended although there is work; and if a task is left that no worker
    knows.  Raises `RuntimeError` in a task, inside `hold`, or if *sys* was not opened in virtual time.
    Always a checkpoint.
    """
    ledger = ledger_of(sys, "drain()")
    if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
        raise ValueError(f"drain(attempts=...) expects a whole number >= 1; got {attempts!r}")
    if current_slot.get() is not None:
        raise RuntimeError("drain() inside a task would wait for that task itself")
    if ledger.held:
        raise RuntimeError("drain() inside hold() would wait for ever: leave hold() first")
    first = len(ledger.ran)
    watch = _Watch(sys, ledger, attempts)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.look, name="drain: watch")
        await sys.wait_idle(scheduled=True)
        await _come_to_rest()
        nursery.cancel_scope.cancel("actorq.testing: drained")
    if watch.complaint:
        raise NotDrained(watch.complaint)
    unknown = Counter(
        each.message.task_name for each in await _queued(sys) if each.state == "parked"
    )
    if unknown:
        raise NotDrained(
            f"tasks are left that no worker here knows: {_counted(unknown)}; declare them on this "
            f"broker, or open the system with tasks=[...]"
        )
    return ledger.ran[first:]


class _Watch:
    """Says when a queue will never be empty."""

    def __init__(self, sys: System, ledger: Ledger, attempts: int) -> None:
        self.complaint = ""
        self._sys = sys
        self._ledger = ledger
        self._attempts = attempts
        self._begun = ledger.begun

    async def look(self) -> None:
        """Look every six hours; cancel the drain when there is something to complain of."""
        over = trio.Event()
        self._ledger.on_begin = lambda: self._count(over)
        try:
            while not self.complaint:
                before = self._changes()
                with trio.move_on_after(PATIENCE):
                    await over.wait()
                if over.is_set():
                    self.complaint = self._too_many()
                elif self._changes() == before:
                    self.complaint = await self._stalled()
        finally:
            self._ledger.on_begin = None
        task = trio.lowlevel.current_task()
        assert task.parent_nursery is not None
        task.parent_nursery.cancel_scope.cancel("actorq.testing: this queue will not be empty")

    def _count(self, over: trio.Event) -> None:
        if self._ledger.begun - self._begun > self._attempts:
            over.set()

    def _changes(self) -> tuple[int, int]:
        return self._ledger.begun, len(self._ledger.ran)

    def _too_many(self) -> str:
        ran = Counter(each.task_name for each in self._ledger.ran[-self._attempts :])
        return (
            f"drain() gave up after {self._attempts} attempts, and there is still work; what ran: "
            f"{_counted(ran)}.  Does a task enqueue itself?  If so many are meant: "
            f"drain(sys, attempts=...); else travel: time_travel(seconds=...)"
        )

    async def _stalled(self) -> str:
        counts = await self._sys.queue_statistics()
        if not counts.leased and counts.ready == counts.parked:
            return ""  # there is nothing to do now
        lines = [
            "drain() waits for what does not end: nothing has begun or ended for six virtual hours"
        ]
        for _, task in tasks_below(trio.lowlevel.current_root_task()):
            label = self._sys.label(task)
            if label != task.name:
                lines.append(f"  {label} runs: {sits_at(task)}")
        if counts.paused:
            lines.append(f"  paused queues: {', '.join(sorted(counts.paused))}")
        waiting = Counter(
            f"{each.message.task_name} ({each.state})"
            for each in await _queued(self._sys)
            if each.state not in ("leased", "scheduled", "parked")
        )
        if waiting:
            lines.append(f"  waiting: {_counted(waiting)}")
        return "\n".join(lines)


async def time_travel(
    *, seconds: float | timedelta | None = None, to: datetime | None = None
) -> None:
    """Let virtual time go by: so many *seconds*, or until the moment *to*, an aware datetime.

    All that is due on the way happens, in order and at its time; what is due at the very end has begun,
    too, and ended if it takes no time.  Always a checkpoint.  Raises `RuntimeError` on a real clock,
    and `ValueError` for a moment that is past.
    """
    try:
        simulation = current_simulation()
    except RuntimeError:
        raise RuntimeError(
            "time_travel() needs virtual time, and this is a real clock: take the fixture "
            "actorq_system, or run the program with actorq.testing.simulate(...)"
        ) from None
    if (seconds is None) == (to is None):
        raise TypeError(
            "time_travel() expects one of the two: time_travel(seconds=60) or "
            "time_travel(to=datetime(2024, 2, 1, tzinfo=UTC))"
        )
    if to is not None:
        seconds = _until(to, simulation.environment.wall())
    elif isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"time_travel(seconds=...) expects seconds or a timedelta; got {seconds!r}")
    if not 0 <= seconds < math.inf:
        raise ValueError(f"time_travel(seconds=...) expects a finite number >= 0; got {seconds!r}")
    await trio.sleep(seconds)
    await _come_to_rest()


def now() -> datetime:
    """The wall clock of the simulation, UTC; it begins at 2024-01-01.  `RuntimeError` outside of one."""
    return datetime.fromtimestamp(current_simulation().environment.wall(), UTC)


def _until(to: datetime, wall: float) -> float:
    if not isinstance(to, datetime) or to.tzinfo is None:
        raise TypeError(
            f"time_travel(to=...) expects an aware datetime, such as "
            f"datetime(2024, 2, 1, tzinfo=UTC); got {to!r}"
        )
    seconds = to.timestamp() - wall
    if seconds < 0:
        raise ValueError(
            f"time goes forwards only: it is {datetime.fromtimestamp(wall, UTC).isoformat()}, and "
            f"{to.isoformat()} is past"
        )
    return seconds


async def _queued(sys: System) -> tuple[QueuedTask, ...]:
    try:
        return await sys.queued_tasks(limit=1_000)
    except UnsupportedOption:  # its engine cannot list them; then they are not named
        return ()


async def _come_to_rest() -> None:
    """Until everybody waits, threads included; no time goes by."""
    await trio.testing.wait_all_tasks_blocked()
    while trio.testing.active_thread_count():
        await trio.testing.wait_all_threads_completed()
        await trio.testing.wait_all_tasks_blocked()


def _counted(names: Counter[str]) -> str:
    return ", ".join([f"{name} ({count}x)" for name, count in names.most_common(10)])
