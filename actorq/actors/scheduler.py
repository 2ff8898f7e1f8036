"""The scheduler: the actor that enqueues each slot of each schedule once.

The table of schedules and what they owe outlives its lives; the slot's own task id makes enqueueing a
slot again harmless (promise 40).  Sleeps until the next slot; with no schedule it has no timer.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from actorq.actor import Actor
from actorq.ref import Message
from actorq.schedule_table import ScheduleTable, Slot
from actorq.task import Task, TaskRegistry


log = logging.getLogger("actorq.scheduler")

#: Slots are planned on the wall clock, which may leap: look at it at least this often, in seconds.
RECHECK = 60.0


@attrs.frozen
class Tick(Message[None]):
    """Time to look for slots that are due."""


@attrs.frozen
class TaskAdded(Message[None]):
    """A task with a schedule became known."""

    task: Task[..., Any]


class Scheduler(Actor[Tick | TaskAdded]):
    """Fires what `schedule=` says."""

    def __init__(
        self,
        table: ScheduleTable,
        tasks: TaskRegistry,
        wall: Callable[[], float],
        fire: Callable[[Task[..., Any], Slot], Awaitable[None]],
    ) -> None:
        self._table = table
        self._tasks = tasks
        self._wall = wall
        self._fire = fire
        self._by_schedule: dict[str, Task[..., Any]] = {}
        self._failures = 0

    async def on_start(self) -> None:
        """Take up every schedule; one that is known keeps its place."""
        for task in self._tasks:
            self._add(task)
        self._arm()

    def _add(self, task: Task[..., Any]) -> None:
        now = self._wall()
        for number, trigger in enumerate(task.options.schedule):
            schedule_id = f"{task.name}/{trigger.name or number}"
            self._by_schedule[schedule_id] = task
            self._table.add(schedule_id, trigger, now)

    async def receive(self, message: Tick | TaskAdded) -> None:
        """Fire what is due."""
        if isinstance(message, TaskAdded):
            self._add(message.task)
        else:
            await self._fire_due()
        self._arm()

    async def _fire_due(self) -> None:
        sick: set[str] = set()
        for slot in self._table.due(self._wall()):
            task = self._by_schedule.get(slot.schedule_id)
            if task is None:
                self._table.remove(slot.schedule_id)
                continue
            if slot.schedule_id in sick:
                continue  # its slots stay in order
            try:
                await self._fire(task, slot)
            except Exception:
                # the slot stays owed: tried again after a pause, under the same task id
                sick.add(slot.schedule_id)
                log.exception("slot %s of %r could not be enqueued", slot.planned, task.name)
            else:
                self._table.fired(slot)
        self._failures = self._failures + 1 if sick else 0

    def _arm(self) -> None:
        now = self._wall()
        wakeup = self._table.next_wakeup(now)
        if wakeup is None:
            self.cancel_timer("tick")
            return
        pause = max(0.0, wakeup - now)
        if self._failures:  # what is owed is tried again later; what is not yet due keeps its time
            pause = 0.5 * 2.0 ** min(self._failures, 10)
            planned = self._table.next_planned()
            if planned is not None:
                pause = min(pause, max(0.0, planned - now))
        self.set_timer("tick", min(RECHECK, pause), Tick())
