"""`InMemoryScheduleSource`: schedules in a dictionary, and who is to be told of a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from actorq.capability import Capability
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Schedule


class InMemoryScheduleSource(ScheduleSource):
    """Keeps schedules in this process: they survive the crash of any actor, not of the process.

    One source may serve several systems of one Trio program.  *schedules*: go on with what an earlier
    source left there.
    """

    lacks = frozenset({Capability.SURVIVAL, Capability.SHARING})

    def __init__(self, schedules: dict[str, Schedule] | None = None) -> None:
        self.schedules: dict[str, Schedule] = {} if schedules is None else schedules
        self._watchers: dict[Callable[[str | None], None], None] = {}

    async def load(self) -> Sequence[Schedule]:
        """All of them.  Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        return tuple(self.schedules.values())

    async def fetch(self, schedule_id: str) -> Schedule | None:
        """One of them.  Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        return self.schedules.get(schedule_id)

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """See `ScheduleSource.swap`.  Always a checkpoint; cancelled, it has done nothing."""
        await trio.lowlevel.checkpoint()
        known = self.schedules.get(schedule_id)
        if (None if known is None else known.version) != version:
            return False
        if new is None:
            self.schedules.pop(schedule_id, None)
        else:
            self.schedules[schedule_id] = new
        if announce:
            for changed in tuple(self._watchers):
                changed(schedule_id)
        return True

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Nothing is lost here, so there is no timer."""
        self._watchers[changed] = None
        try:
            changed(None)  # what was announced before we came
            await trio.sleep_forever()
        finally:
            self._watchers.pop(changed, None)

    def __repr__(self) -> str:
        return f"<InMemoryScheduleSource: {len(self.schedules)} schedules>"
