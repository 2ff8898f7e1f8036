"""The scheduler: the actor that enqueues each slot of each schedule once.

What is scheduled and what is owed is kept in schedule sources, outside of its lives, and of other
schedulers' too.  Three things make a slot's task come once (promise 40): the state that says it is
owed is put in place of the one that says it is planned, in one step; the slot has a task id of its
own; and it is noted as fired only when the broker has accepted it.

Each source is tended by a child task, each schedule that is due served by another: one that is sick or
slow holds up no other.  Sleeps until the next slot, or until somebody says that something changed;
with no schedule it has no timer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs
import trio

from actorq.actor import Actor
from actorq.errors import (
    ArgumentsError,
    DuplicateTask,
    DuplicateTaskId,
    EngineUnavailable,
    NotSerializable,
    OptionError,
    Reject,
    SkipSlot,
    SystemClosed,
)
from actorq.protocol import Cancel, Locate
from actorq.ref import Message
from actorq.schedule import Overlap, Trigger
from actorq.schedule_source import ScheduleSource, call_of
from actorq.schedule_state import Rules, Schedule, Slot
from actorq.schedule_table import ScheduleTable
from actorq.task import Task
from actorq.wiring import Wiring


log = logging.getLogger("actorq.scheduler")

T = TypeVar("T")

#: Slots are planned on the wall clock, which may leap: look at it at least this often, in seconds.
RECHECK = 60.0
#: The longest pause between two tries, in seconds.
LONGEST_PAUSE = 30.0

#: The broker's answers for a task that has ended; any other means that it has not.
_ENDED = {"done", "dead", "unknown"}
#: What no further try would change: the slot is dropped.
_REFUSALS = (SkipSlot, DuplicateTask, OptionError, ArgumentsError, NotSerializable, Reject)


@attrs.frozen
class TaskAdded(Message[None]):
    """A task with a schedule became known."""

    task: Task[..., Any]


@attrs.define
class Desk:
    """What one life of a scheduler knows of one source."""

    source: ScheduleSource
    table: ScheduleTable
    undeclared: list[Task[..., Any]] = attrs.field(factory=list)  #: not yet brought to the source
    changed: set[str] = attrs.field(factory=set)  #: to be fetched
    unloaded: bool = True  #: all are to be fetched
    busy: set[str] = attrs.field(factory=set)  #: being served
    woken: trio.Event = attrs.field(factory=trio.Event)

    @property
    def name(self) -> str:
        """For logs; a source's own repr is somebody else's code."""
        return type(self.source).__name__

    def note_change(self, schedule_id: str | None) -> None:
        """The source says that somebody changed this schedule; None: or any."""
        if schedule_id is None:
            self.unloaded = True
        else:
            self.changed.add(schedule_id)
        self.woken.set()


class Scheduler(Actor[TaskAdded]):
    """Fires what schedules say."""

    def __init__(
        self,
        sources: Sequence[ScheduleSource],
        wiring: Wiring,
        wall: Callable[[], float],
        fire: Callable[[Slot], Awaitable[str]],
        *,
        me: str,
        rules: Rules | None = None,
    ) -> None:
        self._wiring = wiring
        self._wall = wall
        self._fire = fire
        self._me = me
        self._rules = rules or Rules()
        self._desks = [Desk(source, ScheduleTable(me)) for source in sources]
        self._started: list[ScheduleSource] = []

    async def on_start(self) -> None:
        """Take up every schedule; one that is known keeps its place."""
        # schedules that tasks declare are kept in the first source
        self._desks[0].undeclared += [task for task in self._wiring.tasks if task.options.schedule]
        for desk in self._desks:
            self.start_soon(self._tend, desk, name=f"scheduler: {desk.name}")

    async def on_stop(self) -> None:
        """Shut the sources down that were started."""
        while self._started:
            source = self._started.pop()
            try:
                await source.shutdown()
            except Exception:
                log.exception("%s failed in shutdown", type(source).__name__)
            finally:  # also when time has run out: what the others do before they wait, they do
                await self.on_stop()

    async def receive(self, message: TaskAdded) -> None:
        """A further task: take up its schedules."""
        desk = self._desks[0]
        desk.undeclared.append(message.task)
        desk.woken.set()

    # --- one source ---

    async def _tend(self, desk: Desk) -> None:
        await _until_done(desk.source.startup, f"{desk.name} does not start")
        self._started.append(desk.source)
        self.start_soon(self._watch, desk)
        failures = 0
        while True:
            desk.woken = trio.Event()  # before we look: what changes meanwhile wakes us again
            try:
                await self._refresh(desk)
            except EngineUnavailable as why:
                failures += 1
                log.warning("%s does not answer; its known schedules go on: %s", desk.name, why)
            except Exception:
                failures += 1
                log.exception("%s does not answer; its known schedules go on", desk.name)
            else:
                failures = 0
            now = self._wall()
            for schedule_id in desk.table.take_due(now):
                if schedule_id not in desk.busy:
                    desk.busy.add(schedule_id)
                    self.start_soon(self._serve, desk, schedule_id)
            look = desk.table.next_look()
            # every schedule of a table may be over, and then nobody needs to look at the clock
            pause = math.inf if look is None else min(RECHECK, max(0.0, look - self._wall()))
            if failures:
                pause = min(pause, _pause(failures))
            with trio.move_on_after(pause):
                await desk.woken.wait()

    async def _watch(self, desk: Desk) -> None:
        async def watch() -> None:
            await desk.source.watch(desk.note_change)
            raise RuntimeError("watch() returned; it should go on until it is cancelled")

        await _until_done(watch, f"{desk.name} announces nothing")

    async def _refresh(self, desk: Desk) -> None:
        """Bring what tasks declare to the source, and what changed there into the table."""
        if desk.unloaded:
            desk.unloaded = (
                False  # before we look, as below: what changes meanwhile is looked at again
            )
            try:
                known = {schedule.id: schedule for schedule in await desk.source.load()}
            except Exception:
                desk.unloaded = True
                raise
            for schedule in desk.table:
                if schedule.id not in known and schedule.id not in desk.busy:
                    desk.table.remove(schedule.id)
            for schedule_id in known.keys() & desk.busy:
                desk.changed.add(schedule_id)  # looked at when it has been served
            for schedule in known.values():
                if schedule.id not in desk.busy:
                    desk.table.put(schedule)
        while desk.undeclared:
            task = desk.undeclared[0]
            try:
                await self._declare(desk, task)
            except (OptionError, ArgumentsError, NotSerializable):  # and it will not be otherwise
                log.exception("a schedule that %r declares is impossible", task.name)
            desk.undeclared.remove(task)
        for schedule_id in sorted(desk.changed - desk.busy):
            desk.changed.discard(schedule_id)
            try:
                found = await desk.source.fetch(schedule_id)
            except Exception:
                desk.changed.add(schedule_id)
                raise
            _put(desk.table, schedule_id, found)

    async def _declare(self, desk: Desk, task: Task[..., Any]) -> None:
        ids = set()
        for number, trigger in enumerate(task.options.schedule):
            schedule_id = f"{task.name}/{trigger.name or number}"
            ids.add(schedule_id)
            step = _declaring(schedule_id, task, trigger, self._wall())
            await desk.source.change(schedule_id, step, announce=True)
        for schedule in desk.table:  # it was declared by an earlier version of the program
            gone = schedule.declared and schedule.call.task_name == task.name
            if gone and schedule.id not in ids:
                await desk.source.change(schedule.id, lambda _: None, announce=True)
        desk.changed |= ids

    # --- one schedule ---

    async def _serve(self, desk: Desk, schedule_id: str) -> None:
        """Fire what is due of one schedule, however often it takes."""
        sent: dict[
            str, str
        ] = {}  #: accepted by the broker and not yet noted, and what stands for it

        async def serve() -> Schedule | None:
            return await self._bring_up(desk.source, schedule_id, sent)

        schedule = await _until_done(serve, f"schedule {schedule_id!r} cannot be served")
        _put(desk.table, schedule_id, schedule)
        desk.busy.discard(schedule_id)
        desk.woken.set()

    async def _bring_up(
        self, source: ScheduleSource, schedule_id: str, sent: dict[str, str]
    ) -> Schedule | None:
        def decide(known: Schedule | None) -> Schedule | None:
            now = self._wall()
            if known is None or (known.look_at(self._me) or 0.0) > now:
                return known  # another scheduler has decided it, and is given time to fire it
            return known.decided(self._me, now, self._rules)

        schedule = await source.change(schedule_id, decide)
        while schedule is not None and schedule.owed and schedule.holder == self._me:
            slot = schedule.owed[0]
            fired = sent.get(slot.task_id) or await self._fire_slot(schedule, slot)
            if fired is not None:
                sent[slot.task_id] = fired
            schedule = await source.change(schedule_id, _noting(slot, fired))
        return schedule

    async def _fire_slot(self, schedule: Schedule, slot: Slot) -> str | None:
        """Enqueue it, if the slot before it lets us; the id of its task, None: it is dropped."""
        try:
            if not slot.manual and not await self._may_start(schedule, slot):
                log.info("slot %s is skipped: %s has not ended", slot.task_id, schedule.previous)
                return None
            return await self._fire(slot)
        except DuplicateTaskId:
            log.warning("slot %s was enqueued before, with other arguments", slot.task_id)
        except SkipSlot as skip:
            log.info("slot %s is skipped: %s", slot.task_id, skip)
            return None
        except _REFUSALS:
            log.exception("slot %s is refused, and dropped", slot.task_id)
            return None
        return slot.task_id

    async def _may_start(self, schedule: Schedule, slot: Slot) -> bool:
        overlap, previous = schedule.trigger.overlap, schedule.previous
        if overlap is Overlap.ALLOW or previous is None or previous == slot.task_id:
            return True
        broker = self._wiring.broker
        if await broker.ask(Locate(previous)) in _ENDED:
            return True
        if await broker.ask(Locate(slot.task_id)) != "unknown":
            return True  # it has started: a life before this one did not come to note it
        if overlap is Overlap.SKIP:
            return False
        await broker.ask(Cancel(previous))  # answered when it has ended
        return True


def _declaring(
    schedule_id: str, task: Task[..., Any], trigger: Trigger, now: float
) -> Callable[[Schedule | None], Schedule]:
    call = call_of(task, trigger, now)

    def step(known: Schedule | None) -> Schedule:
        if known is None:
            return Schedule.new(schedule_id, trigger, call, now, declared=True)
        return attrs.evolve(known.renewed(trigger, call, now), declared=True)

    return step


def _noting(slot: Slot, task_id: str | None) -> Callable[[Schedule | None], Schedule | None]:
    def step(known: Schedule | None) -> Schedule | None:
        if known is None:
            return None
        return known.noted(slot, fired=task_id is not None, task_id=task_id)

    return step


def _put(table: ScheduleTable, schedule_id: str, schedule: Schedule | None) -> None:
    if schedule is None:
        table.remove(schedule_id)
    else:
        table.put(schedule)


def _pause(failures: int) -> float:
    return float(min(LONGEST_PAUSE, 0.5 * 2.0 ** min(failures, 10)))


async def _until_done(work: Callable[[], Awaitable[T]], complaint: str) -> T:
    """Try until it works, with longer and longer pauses."""
    failures = 0
    while True:
        try:
            return await work()
        except SystemClosed:  # the end is near, and it is not ours to log
            failures += 1
        except EngineUnavailable as why:  # it says what and why: a stack each time would hide it
            failures += 1
            log.warning("%s; tried again in %g s: %s", complaint, _pause(failures), why)
        except Exception:
            failures += 1
            log.exception("%s; tried again in %g s", complaint, _pause(failures))
        await trio.sleep(_pause(failures))
