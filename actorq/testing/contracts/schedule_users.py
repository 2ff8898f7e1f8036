"""The users of a schedule source: who adds, pauses and fires, and a wall clock that they look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from actorq.environment import current_environment, set_environment
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Schedule
from actorq.task import task
from actorq.testing.contracts.real_time import let_pass
from actorq.testing.promises import broken
from actorq.testing.simulation import EPOCH


@task(name="greet")
async def greet(name: str, times: int = 1) -> str:
    """Not run here."""
    return name * times


class Wall:
    """The wall clock of a test: it stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = EPOCH

    def enter(self) -> None:
        """Be the clock that sources look at, in this task and all that it starts."""
        set_environment(attrs.evolve(current_environment(), wall=lambda: self.now))


class Listener:
    """Somebody who watches a source."""

    def __init__(self, source: ScheduleSource) -> None:
        self.heard: list[str | None] = []
        self._source = source

    async def watch(self) -> None:
        """Until cancelled."""
        await self._source.watch(self.heard.append)

    async def must_hear(self, schedule_id: str | None, what: str) -> None:
        """Raise unless it hears of this schedule, or of any, by the time that its source needs."""
        for _ in range(500):
            if None in self.heard or schedule_id in self.heard:
                return
            await trio.sleep(0.001)
            let_pass(0.1)  # a source may look now and then only
        raise broken(40, f"{what}; who watches was told of {self.heard}")

    def forget(self) -> None:
        """What was heard so far."""
        self.heard.clear()


@attrs.define
class Storage:
    """Where sources are made: another one is another process on the same storage."""

    make: Callable[[Path], Any]
    folder: Path

    def open(self) -> ScheduleSource:
        """A source on it."""
        made: ScheduleSource = self.make(self.folder)
        return made


def bare(schedule: Schedule) -> dict[str, Any]:
    """What it says, but for what is random: its version, and which "run now" a slot stands for."""
    data = schedule.to_dict()
    del data["version"]
    for slot in data["owed"]:
        slot["manual"] = bool(slot["manual"])
    return data
