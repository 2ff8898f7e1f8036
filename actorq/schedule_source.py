"""The schedule source: where schedules are kept, and how they are added, paused and removed.

An engine subclasses `ScheduleSource` and writes the storage methods: a table of states, each put in
place of another only if that is still there.  What users and schedulers do with it is written here,
once, as loops round that one step; so any number of schedulers and processes may share a source.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from actorq.capability import Capability
from actorq.environment import current_environment
from actorq.errors import OptionError, ScheduleNotFound
from actorq.message import TaskMessage
from actorq.schedule import CatchUp, Overlap, Trigger
from actorq.schedule_state import Schedule
from actorq.serialization import dump
from actorq.task import Task


if TYPE_CHECKING:
    from actorq.message import TaskId


_FAR = datetime.max.replace(tzinfo=UTC)


@attrs.frozen
class ScheduleInfo:
    """One schedule, at one moment."""

    schedule_id: str
    task_name: str
    trigger: Trigger
    args: tuple[Any, ...]  #: as plain data
    kwargs: Mapping[str, Any]
    description: str  #: of the rhythm, for people
    next_time: datetime | None  #: when the next slot is fired, UTC; None: it is paused, or over
    last_time: datetime | None  #: the newest slot that was fired, as planned
    last_task_id: TaskId | None  #: of that slot
    owed: int  #: slots that are due and not yet enqueued
    paused: bool
    declared: bool  #: in a task's options, not by `add`

    def upcoming(self, count: int = 5) -> list[datetime]:
        """The next *count* slots as planned, without jitter; fewer if it ends before."""
        if self.next_time is None or self._planned is None:
            return []
        slots = [self._planned]
        while len(slots) < count:
            following = self.trigger.next_after(slots[-1], self._activated)
            if following is None:
                break
            slots.append(following)
        return [_utc(slot) for slot in slots]

    def order(self) -> tuple[datetime, str]:
        """What sorts lists: the next one first, paused ones last."""
        return (self.next_time or _FAR, self.schedule_id)

    _planned: float | None = attrs.field(default=None, alias="planned")
    _activated: float = attrs.field(default=0.0, alias="activated")


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(min(moment, _FAR.timestamp()), UTC)


def info_of(schedule: Schedule) -> ScheduleInfo:
    """What users see of a schedule."""
    at = None if schedule.paused else schedule.due
    last = schedule.previous_slot
    return ScheduleInfo(
        schedule_id=schedule.id,
        task_name=schedule.call.task_name,
        trigger=schedule.trigger,
        args=schedule.call.args,
        kwargs=schedule.call.kwargs,
        description=schedule.trigger.describe(),
        next_time=None if at is None else _utc(at),
        last_time=None if last is None else _utc(last),
        last_task_id=schedule.previous,
        owed=len(schedule.owed),
        paused=schedule.paused,
        declared=schedule.declared,
        planned=schedule.planned,
        activated=schedule.activated,
    )


class ScheduleHandle:
    """A schedule that was added."""

    __slots__ = ("_source", "schedule_id")

    def __init__(self, source: ScheduleSource, schedule_id: str) -> None:
        self._source = source
        self.schedule_id = schedule_id

    async def unschedule(self) -> bool:
        """Remove it; False if it is gone already."""
        return await self._source.remove(self.schedule_id)

    async def pause(self) -> None:
        """See `ScheduleSource.pause`."""
        await self._source.pause(self.schedule_id)

    async def resume(self) -> None:
        """See `ScheduleSource.resume`."""
        await self._source.resume(self.schedule_id)

    async def get(self) -> ScheduleInfo | None:
        """How it stands; None if it is gone, as a one-shot is after it was fired."""
        return await self._source.get(self.schedule_id)

    def __repr__(self) -> str:
        return f"<ScheduleHandle {self.schedule_id}>"


class ScheduleSource:
    """Keeps schedules.  Use an engine's: `InMemoryScheduleSource()`.

    The public methods may be called from any process that has the source, with or without an open
    system; a scheduler that has it too hears of the change at once.
    """

    #: What it cannot do: the contract skips that by name.
    lacks: frozenset[Capability] = frozenset()

    # --- to be written by an engine ---

    async def startup(self) -> None:
        """Begin to serve a scheduler; tried again if it raises."""

    async def shutdown(self) -> None:
        """A scheduler's life ends."""

    async def load(self) -> Sequence[Schedule]:
        """All schedules."""
        raise NotImplementedError

    async def fetch(self, schedule_id: str) -> Schedule | None:
        """One schedule, as it is now."""
        raise NotImplementedError

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """Put *new* in place of the state of that *version*, in one step; False if it is not there.

        *version* None: only if there is no such schedule; *new* None: delete it.  *announce*: tell
        those who `watch`, in other processes too; a scheduler's own progress is not announced.
        Whoever gets an error finds out with `fetch` whether it was done.
        """
        raise NotImplementedError

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Call *changed* with the id of each schedule that is announced, until cancelled.

        With None as soon as it listens, and whenever announcements may have been lost: then all are
        loaded.  An engine that may lose some unnoticed does that now and then.
        """
        raise NotImplementedError

    # --- for users ---

    async def add(
        self,
        task: Task[..., Any] | str,
        trigger: Trigger,
        /,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        schedule_id: str | None = None,
        catch_up: CatchUp | str | None = None,
        overlap: Overlap | str | None = None,
        jitter: float | timedelta | None = None,
    ) -> ScheduleHandle:
        """Enqueue *task* with these arguments in each slot of *trigger* from now on.

        *task*: a task, whose options hold for each of its slots, or the name of one that only other
        processes know.  *schedule_id*: made of the task's and the trigger's name, or a new one; an id
        that is there already is renewed: the same rhythm keeps its progress.  The others as in the
        trigger.  Raises `ArgumentsError`, `NotSerializable` or `OptionError`; nothing was added then.
        """
        trigger = _trigger(trigger, args, kwargs, catch_up, overlap, jitter)
        now = current_environment().wall()
        call = call_of(task, trigger, now)
        key = schedule_id or (
            current_environment().new_id()
            if trigger.name is None
            else f"{call.task_name}/{trigger.name}"
        )
        if not isinstance(key, str):
            raise OptionError(f"schedule_id expects a string; got {schedule_id!r}")

        def renew(known: Schedule | None) -> Schedule:
            if known is None:
                return _alive(Schedule.new(key, trigger, call, now))
            if known.declared:
                raise OptionError(
                    f"schedule {key!r} is declared by task {known.call.task_name!r}; take another "
                    f"schedule_id, or change the task's options"
                )
            return _alive(known.renewed(trigger, call, now))

        await self.change(key, renew, announce=True)
        return ScheduleHandle(self, key)

    async def list(self) -> tuple[ScheduleInfo, ...]:
        """Every schedule that has something to come, the next one first."""
        infos = [info_of(each) for each in await self.load() if not each.is_over]
        return tuple(sorted(infos, key=ScheduleInfo.order))

    async def get(self, schedule_id: str) -> ScheduleInfo | None:
        """One schedule; None if it is not there, or over."""
        schedule = await self.fetch(schedule_id)
        return None if schedule is None or schedule.is_over else info_of(schedule)

    async def pause(self, schedule_id: str) -> None:
        """Fire no slot of it until it is resumed; what is owed is dropped.

        A slot that a scheduler is firing at this moment may still be enqueued.
        Raises `ScheduleNotFound`.
        """
        await self.change(schedule_id, _there(schedule_id, Schedule.pausing), announce=True)

    async def resume(self, schedule_id: str) -> None:
        """Go on with the next slot; those that went by are not caught up with.

        Raises `ScheduleNotFound`.
        """
        now = current_environment().wall()
        step = _there(schedule_id, lambda schedule: schedule.resuming(now))
        await self.change(schedule_id, step, announce=True)

    async def remove(self, schedule_id: str) -> bool:
        """Forget it, with what it owes; False if it is not there.

        Raises `OptionError` if a task declares it: it would be back at the next start.
        """
        found = False

        def forget(known: Schedule | None) -> None:
            nonlocal found
            found = known is not None
            if known is not None and known.declared:
                raise OptionError(
                    f"schedule {schedule_id!r} is declared by task {known.call.task_name!r}; "
                    f"pause it, or take it out of the task's options"
                )

        await self.change(schedule_id, forget, announce=True)
        return found

    async def run_now(self, schedule_id: str) -> TaskId:
        """Let a scheduler enqueue its task once, at once and besides its slots; the task's id.

        Raises `ScheduleNotFound`.
        """
        here = current_environment()
        now, token = here.wall(), here.new_id()
        step = _there(schedule_id, lambda schedule: schedule.running_now(now, token))
        changed = await self.change(schedule_id, step, announce=True)
        assert changed is not None
        return changed.owed[-1].task_id

    # --- for schedulers ---

    async def change(
        self,
        schedule_id: str,
        step: Callable[[Schedule | None], Schedule | None],
        *,
        announce: bool = False,
    ) -> Schedule | None:
        """Apply *step* to the schedule as it is; again if somebody else was quicker.

        *step* must not mind: it may be asked several times.  A schedule that is over is deleted,
        unless a task declares it: declaring it again must not begin it anew.  Returns what is kept.
        """
        while True:
            known = await self.fetch(schedule_id)
            new = step(known)
            if new is known:
                return known
            if new is not None and new.is_over and not new.declared:
                new = None
            if new is not None:
                new = attrs.evolve(new, version=secrets.token_hex(8))
            version = None if known is None else known.version
            if await self.swap(schedule_id, version, new, announce=announce):
                return new


def _alive(schedule: Schedule) -> Schedule:
    if schedule.is_over:
        raise OptionError(f"{schedule.trigger!r} has no slot in the next fifty years")
    return schedule


def _there(
    schedule_id: str, step: Callable[[Schedule], Schedule]
) -> Callable[[Schedule | None], Schedule]:
    def checked(known: Schedule | None) -> Schedule:
        if known is None or known.is_over:
            raise ScheduleNotFound(
                f"there is no schedule {schedule_id!r}: it was never added here, was removed, or was "
                f"a one-shot and has been fired"
            )
        return step(known)

    return checked


def _trigger(
    trigger: object,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    catch_up: CatchUp | str | None,
    overlap: Overlap | str | None,
    jitter: float | timedelta | None,
) -> Trigger:
    if not isinstance(trigger, Trigger):
        raise OptionError(
            f"a schedule needs a trigger, such as every(60), cron('0 3 * * *') or at(datetime); "
            f"got {trigger!r}"
        )
    said: dict[str, Any] = {"catch_up": catch_up, "overlap": overlap, "jitter": jitter}
    changes = {name: value for name, value in said.items() if value is not None}
    if args or kwargs:
        if trigger.args or trigger.kwargs:
            raise OptionError(
                f"arguments were given twice: in the trigger ({trigger.args!r}, "
                f"{trigger.kwargs!r}), and beside it"
            )
        changes.update(args=args, kwargs=kwargs)
    return attrs.evolve(trigger, **changes) if changes else trigger


def call_of(task: Task[..., Any] | str, trigger: Trigger, now: float) -> TaskMessage:
    """What a schedule's slots enqueue, without an id; see `Slot.call`."""
    if isinstance(task, str) and task:
        args, kwargs = dump(list(trigger.args)), dump(trigger.kwargs)
        return TaskMessage("", task, tuple(args), kwargs, enqueued_at=now)
    if not isinstance(task, Task):
        raise TypeError(
            f"a schedule needs a task made with @actorq.task, or the name of one; got {task!r}"
        )
    options = task.options
    for name, given in [
        ("task_id", options.task_id),
        ("eta", options.eta),
        ("expires as a moment", options.expires_at),
    ]:
        if given is not None:
            raise OptionError(
                f"{name} cannot hold for a schedule of {task.name!r}: it says something of one call, "
                f"and each slot is a call with an id and a time of its own"
            )
    bare = task._copy(attrs.evolve(options, schedule=(), propagate_deadline=False))
    return bare.message(tuple(trigger.args), trigger.kwargs, task_id="", now=now)
