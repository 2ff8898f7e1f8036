"""Schedule sources that break promise 40: `ScheduleSourceContract` must catch them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from actorq.engines.memory.schedules import InMemoryScheduleSource
from actorq.schedule_state import Schedule
from actorq.testing.contracts.schedules import ScheduleSourceContract
from actorq.testing.mutants.mutant import Mutant


class SwapsBlindly(InMemoryScheduleSource):
    """Puts a state in place of whatever is there."""

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """Without a look."""
        known = self.schedules.get(schedule_id)
        seen = version if known is None else known.version
        return await super().swap(schedule_id, seen, new, announce=announce)


class LooksTooEarly(InMemoryScheduleSource):
    """Compares, waits for its storage, and then puts it there."""

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """Two steps, and others come between."""
        known = self.schedules.get(schedule_id)
        if (None if known is None else known.version) != version:
            return False
        await trio.lowlevel.checkpoint()
        now = self.schedules.get(schedule_id)
        seen = None if now is None else now.version
        await super().swap(schedule_id, seen, new, announce=announce)
        return True


class AddsTwice(InMemoryScheduleSource):
    """Whoever adds what is there replaces it."""

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """An upsert without a condition."""
        if version is None and schedule_id in self.schedules:
            version = self.schedules[schedule_id].version
        return await super().swap(schedule_id, version, new, announce=announce)


class TellsNobody(InMemoryScheduleSource):
    """Announces nothing."""

    async def swap(
        self,
        schedule_id: str,
        version: str | None,
        new: Schedule | None,
        *,
        announce: bool,
    ) -> bool:
        """In silence."""
        return await super().swap(schedule_id, version, new, announce=False)


class SaysNothingAtFirst(InMemoryScheduleSource):
    """Who begins to watch does not learn that it may have missed something."""

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """From now on only."""
        began = False

        def later(schedule_id: str | None) -> None:
            nonlocal began
            if began:
                changed(schedule_id)
            began = True

        await super().watch(later)


class LoadsAllButOne(InMemoryScheduleSource):
    """A page too few."""

    async def load(self) -> Sequence[Schedule]:
        """Up to two."""
        return (await super().load())[:2]


class ForgetsWhatIsOwed(InMemoryScheduleSource):
    """A column too few."""

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """Decided, and not to be fired by anybody."""
        if new is not None:
            new = attrs.evolve(new, owed=())
        return await super().swap(schedule_id, version, new, announce=announce)


class KeepsDeleted(InMemoryScheduleSource):
    """Deletes nothing."""

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """True, and there it is."""
        if new is not None:
            return await super().swap(schedule_id, version, new, announce=announce)
        known = await self.fetch(schedule_id)
        return known is not None and known.version == version


#: What stands for disks: a table for each folder that is still there.
_DISKS: dict[Path, dict[str, Schedule]] = {}


class StartsAfresh(InMemoryScheduleSource):
    """Says that it survives, and every process begins its schedules anew."""

    lacks = frozenset()

    def __init__(self, folder: Path) -> None:
        for gone in [each for each in _DISKS if not each.exists()]:
            del _DISKS[gone]
        super().__init__(_DISKS.setdefault(folder, {}))

    async def startup(self) -> None:
        """As if they had been added now."""
        for key, known in self.schedules.items():
            self.schedules[key] = attrs.evolve(
                Schedule.new(key, known.trigger, known.call, known.activated), version="new"
            )


def _mutant(name: str, breaks: str, factory: Any) -> Mutant:
    return Mutant(f"schedules: {name}", 40, breaks, ScheduleSourceContract, factory)


SCHEDULES: tuple[Mutant, ...] = (
    _mutant("swaps blindly", "swap does not compare", SwapsBlindly),
    _mutant("looks too early", "swap compares before it waits: updates are lost", LooksTooEarly),
    _mutant("adds twice", "what is there is replaced as if it were not", AddsTwice),
    _mutant("tells nobody", "who watches is told of nothing", TellsNobody),
    _mutant("silent at first", "who begins to watch is not told to load", SaysNothingAtFirst),
    _mutant("loads all but one", "load forgets a schedule", LoadsAllButOne),
    _mutant("forgets what is owed", "a decided slot is fired by nobody", ForgetsWhatIsOwed),
    _mutant("keeps deleted", "a schedule that was removed is there", KeepsDeleted),
    _mutant("starts afresh", "progress is lost with the process", StartsAfresh),
)
