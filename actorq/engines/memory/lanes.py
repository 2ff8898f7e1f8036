"""The lines of one queue: ready tasks by name of the queue, by priority, by age (pure).

Owned by the queue core.  A place in a lane is taken out when it is claimed; a task that goes another way
meanwhile (cancelled, held, replaced) leaves its place behind, and whoever finds it skips it.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar


if TYPE_CHECKING:
    from actorq.engines.memory.entry import Entry

    E = TypeVar("E", bound=Entry)
else:
    E = TypeVar("E")


#: Lanes of one line before empty ones are dropped.
MANY_PRIORITIES = 16


class Lane(Generic[E]):
    """Ready tasks of one priority: those that came, in order; those that came back, by age."""

    __slots__ = ("back", "fresh")

    def __init__(self) -> None:
        self.fresh: deque[E] = deque()
        self.back: list[tuple[int, int, E]] = []  #: heap by number, then by when it came back

    def __len__(self) -> int:
        return len(self.fresh) + len(self.back)

    def pop(self) -> E:
        """The oldest; the lane must not be empty."""
        if self.back and (not self.fresh or self.back[0][0] < self.fresh[0].number):
            return heapq.heappop(self.back)[2]
        return self.fresh.popleft()

    def keep(self, wanted: Callable[[E], bool]) -> None:
        """Drop the places of others; in place, for somebody may be going through them."""
        kept = [entry for entry in self.fresh if wanted(entry)]
        self.fresh.clear()
        self.fresh.extend(kept)
        self.back[:] = [place for place in self.back if wanted(place[2])]
        heapq.heapify(self.back)


class Line(Generic[E]):
    """One named queue."""

    __slots__ = ("_returns", "claimable", "held", "lanes", "name", "paused", "priorities")

    def __init__(self, name: str) -> None:
        self.name = name
        self.lanes: dict[int, Lane[E]] = {}
        self.priorities: list[int] = []  #: of `lanes`, highest first
        self.claimable = 0  #: tasks in the lanes that a worker could have
        self.held = 0  #: ready tasks that are not in the lanes
        self.paused = False
        self._returns = 0

    def lane(self, priority: int) -> Lane[E]:
        """The lane of a priority."""
        lane = self.lanes.get(priority)
        if lane is None:
            lane = self.lanes[priority] = Lane()
            self.priorities = sorted(self.lanes, reverse=True)
        return lane

    def append(self, entry: E) -> None:
        """A task that is younger than all that were ready before."""
        self.claimable += 1
        lane = self.lanes.get(entry.message.options.priority)
        if lane is None:
            lane = self.lane(entry.message.options.priority)
        lane.fresh.append(entry)

    def put_back(self, entry: E) -> None:
        """A task that was here before: it keeps its place by age."""
        self.claimable += 1
        self._returns += 1
        lane = self.lane(entry.message.options.priority)
        heapq.heappush(lane.back, (entry.number, self._returns, entry))

    def tidy(self) -> None:
        """Drop empty lanes: few priorities stay, and many come and go."""
        self.lanes = {priority: lane for priority, lane in self.lanes.items() if lane}
        self.priorities = sorted(self.lanes, reverse=True)
