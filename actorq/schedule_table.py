"""The schedule table: which slot of which schedule comes next, which are owed, which are done.

Pure state, owned by whoever starts the scheduler, so it outlives the scheduler's incarnations;
touched by one incarnation at a time.  It has no clock: calls are told the time, in Unix seconds.
"""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from attrs import define, field, frozen

from actorq.errors import OptionError
from actorq.schedule import CatchUp, Trigger


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@frozen
class Slot:
    """One planned instant of one schedule, with the trigger that planned it."""

    schedule_id: str
    planned: float
    trigger: Trigger

    def task_id(self, task_name: str) -> str:
        """The same for a slot in every scheduler and every life: enqueue it twice, it runs once."""
        instant = (_EPOCH + timedelta(microseconds=round(self.planned * 1e6))).isoformat()
        # quoted, so that ("a/b", "c") and ("a", "b/c") stay two tasks
        return f"{quote(task_name, safe=':')}/{quote(self.schedule_id, safe=':')}@{instant}"


@define
class _Schedule:
    """Slots up to `cursor` are decided: fired, dropped, or in `owed`.  `cursor` never goes back."""

    trigger: Trigger
    activated: float
    cursor: float
    next: float | None  #: the first slot after the cursor; None: the schedule has ended
    stamp: int  #: the heap entry with this number is the valid one
    owed: dict[float, Slot] = field(factory=dict)  #: handed out and not yet `fired`, oldest first


@define
class ScheduleTable:
    """Every slot is decided once, when the clock has passed it; from then on owed until `fired`.

    A schedule that owes slots plans no further ones; what passes meanwhile is caught up with later.
    So a broker that is away for an hour leaves at most `limit` slots of each schedule to enqueue.
    """

    catch_up: CatchUp = field(default=CatchUp.LATEST, converter=CatchUp)
    limit: int = 100  #: the most slots that CatchUp.ALL fires after one pause: the newest
    grace: float = 10.0  #: how late, in seconds, CatchUp.SKIP still counts as on time
    _schedules: dict[str, _Schedule] = field(factory=dict, init=False)
    _owing: dict[str, None] = field(factory=dict, init=False)  #: ids with owed slots
    _heap: list[tuple[float, int, str]] = field(factory=list, init=False)  #: of the others
    _stamps: int = field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        if self.limit < 1 or not self.grace >= 0:
            raise OptionError(
                f"a schedule table needs limit >= 1 and grace >= 0, "
                f"not limit={self.limit!r} and grace={self.grace!r}"
            )

    def __len__(self) -> int:
        return len(self._schedules)

    def __contains__(self, schedule_id: object) -> bool:
        return schedule_id in self._schedules

    def add(self, schedule_id: str, trigger: Trigger, now: float) -> None:
        """Activate a schedule; one that is there already keeps its progress.

        New arguments for the same rhythm hold from the next slot on.  A new rhythm starts afresh
        from *now*; slots of the old one that are owed are still to be fired.
        """
        known = self._schedules.get(schedule_id)
        if known is not None and known.trigger.ticks_like(trigger):
            # owed slots keep the old trigger: they may have been enqueued already, and one task id
            # with two sets of arguments would be refused
            known.trigger = trigger
            return
        cursor = trigger.since(now)
        schedule = _Schedule(trigger, now, cursor, trigger.next_after(cursor, now), 0)
        if known is not None:
            schedule.owed = known.owed
        self._schedules[schedule_id] = schedule
        self._plan(schedule_id, schedule)

    def remove(self, schedule_id: str) -> None:
        """Forget the schedule, its progress and what it owes; no matter if it is not there."""
        self._schedules.pop(schedule_id, None)
        self._owing.pop(schedule_id, None)

    def due(self, now: float) -> list[Slot]:
        """The slots to enqueue now, oldest first; each comes back until it is `fired`."""
        while self._heap and self._heap[0][0] <= now:
            if self._is_stale(self._heap[0]):
                heapq.heappop(self._heap)
            else:  # makes the entry stale; if the trigger raises, the slot is still there
                self._decide(self._heap[0][2], now)
        owed = [slot for key in self._owing for slot in self._schedules[key].owed.values()]
        return sorted(owed, key=lambda slot: (slot.planned, slot.schedule_id))

    def fired(self, slot: Slot) -> None:
        """The broker has accepted the slot's task; no matter if that was said before."""
        schedule = self._schedules.get(slot.schedule_id)
        if schedule is not None and schedule.owed.pop(slot.planned, None) is not None:
            del self._owing[slot.schedule_id]
            self._plan(slot.schedule_id, schedule)

    def next_wakeup(self, now: float) -> float | None:
        """When to call `due` again; None while nothing is planned: an idle system has no timer.

        *now* while slots are owed: whoever could not enqueue them waits by a rule of its own.
        """
        if self._owing:
            return now
        planned = self.next_planned()
        return None if planned is None else max(now, planned)

    def next_planned(self) -> float | None:
        """The next slot of a schedule that owes none; None if there is none."""
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _decide(self, schedule_id: str, now: float) -> None:
        schedule = self._schedules[schedule_id]
        trigger, activated, slot = schedule.trigger, schedule.activated, schedule.next
        assert slot is not None  # it was in the heap
        planned, following = [slot], trigger.next_after(slot, activated)
        policy = trigger.catch_up or self.catch_up
        if following is not None and following <= now:  # a pause: more than one slot has passed
            limit = self.limit if policy is CatchUp.ALL else 1
            planned = trigger.last_slots(schedule.cursor, now, activated, limit)
            following = trigger.next_after(planned[-1], activated)
        schedule.cursor, schedule.next = planned[-1], following
        if policy is CatchUp.SKIP:
            planned = [slot for slot in planned if now - slot <= self.grace]
        schedule.owed.update((slot, Slot(schedule_id, slot, trigger)) for slot in planned)
        self._plan(schedule_id, schedule)

    def _plan(self, schedule_id: str, schedule: _Schedule) -> None:
        # There are three cases:
        # 1. It owes slots: `due` finds it among the owing, and the last `fired` plans it again.
        # 2. It has a next slot: into the heap, under a new stamp that makes older entries stale.
        # 3. It has ended: it stays known, so that adding it again does not begin it anew.
        self._stamps += 1
        schedule.stamp = self._stamps
        if schedule.owed:
            self._owing[schedule_id] = None
        elif schedule.next is not None:
            heapq.heappush(self._heap, (schedule.next, schedule.stamp, schedule_id))
            if len(self._heap) > 2 * len(self._schedules) + 64:
                # far slots of removed schedules never reach the top by themselves
                self._heap = [entry for entry in self._heap if not self._is_stale(entry)]
                heapq.heapify(self._heap)

    def _is_stale(self, entry: tuple[float, int, str]) -> bool:
        schedule = self._schedules.get(entry[2])
        return schedule is None or schedule.stamp != entry[1]
