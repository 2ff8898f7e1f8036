"""The schedule table: which schedule a scheduler has to look at next.

An index, not the truth, which is in the schedule source: in the hands of one life of a scheduler.
It has no clock: calls are told the time, in Unix seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from attrs import define, field

from actorq.schedule_state import Schedule


@define
class ScheduleTable:
    """Schedules as they were last seen, by the moment at which something is to be done about them."""

    me: str = ""  #: the scheduler, as `Schedule.holder` names it
    _schedules: dict[str, Schedule] = field(factory=dict, init=False)
    _stamp: dict[str, int] = field(factory=dict, init=False)  #: the valid heap entry of each
    _heap: list[tuple[float, int, str]] = field(factory=list, init=False)
    _stamps: int = field(default=0, init=False)

    def __len__(self) -> int:
        return len(self._schedules)

    def __iter__(self) -> Iterator[Schedule]:
        return iter(tuple(self._schedules.values()))

    def get(self, schedule_id: str) -> Schedule | None:
        """As it was last seen."""
        return self._schedules.get(schedule_id)

    def put(self, schedule: Schedule) -> None:
        """It looks like this now."""
        self._schedules[schedule.id] = schedule
        moment = schedule.look_at(self.me)
        if moment is None:
            self._stamp.pop(schedule.id, None)
            return
        self._stamps += 1
        self._stamp[schedule.id] = self._stamps
        heapq.heappush(self._heap, (moment, self._stamps, schedule.id))
        if len(self._heap) > 2 * len(self._schedules) + 64:
            # far slots of removed schedules never reach the top by themselves
            self._heap = [entry for entry in self._heap if not self._is_stale(entry)]
            heapq.heapify(self._heap)

    def remove(self, schedule_id: str) -> None:
        """It is gone; no matter if it was not there."""
        self._schedules.pop(schedule_id, None)
        self._stamp.pop(schedule_id, None)

    def take_due(self, now: float) -> list[str]:
        """The ids to look at, the longest due first; each comes again only when it was `put`."""
        due = []
        while (moment := self.next_look()) is not None and moment <= now:
            schedule_id = heapq.heappop(self._heap)[2]
            del self._stamp[schedule_id]
            due.append(schedule_id)
        return due

    def next_look(self) -> float | None:
        """When to call `take_due` again; None while nothing is planned: then there is no timer."""
        while self._heap and self._is_stale(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _is_stale(self, entry: tuple[float, int, str]) -> bool:
        return self._stamp.get(entry[2]) != entry[1]
