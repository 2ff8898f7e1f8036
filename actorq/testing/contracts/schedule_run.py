"""How a test of `ScheduleSourceContract` runs, and what several of them ask of a source."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Schedule
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.contracts.real_time import run_in_real_time
from actorq.testing.contracts.schedule_users import Storage, Wall
from actorq.testing.promises import broken


Source: TypeAlias = ScheduleSource


def moment(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """On the first of January 2024, when these tests begin."""
    return datetime(2024, 1, 1, hour, minute, second, tzinfo=UTC)


@contextmanager
def refused(kind: type[Exception], text: str) -> Iterator[None]:
    """The body must raise an error of this type that matches *text*."""
    try:
        yield
    except kind as error:
        if re.search(text, str(error)):
            return
        raise AssertionError(f"expected an error like {text!r}; got {error!r}") from error
    raise AssertionError(f"expected {kind.__name__} like {text!r}; nothing was raised")


async def must_find(source: Source, kept: Schedule, when: str = "") -> None:
    """Raise unless *source* gives this state back, alone and among all; promise 40."""
    found = await source.fetch(kept.id)
    among = [each for each in await source.load() if each.id == kept.id]
    for where, each in [("fetch", found), ("load", among[0] if among else None)]:
        if each is None:
            raise broken(40, f"schedule {kept.id!r} is not found by {where}{when}")
        if each.to_dict() != kept.to_dict():
            one, other = kept.to_dict(), each.to_dict()
            wrong = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
            raise broken(
                40, f"schedule {kept.id!r} came back another one by {where}{when}: {wrong}"
            )
    if len(among) > 1:
        raise broken(40, f"schedule {kept.id!r} is there {len(among)} times{when}")


class SourceContract(Contract):
    """The ground of `ScheduleSourceContract` and its parts."""

    _kind = ScheduleSource

    factory: Callable[..., ScheduleSource]
    #: Seconds that a test may take; `Stuck` then says who waits for what.
    limit: float = 30.0

    def run(self, test: Callable[[Source, Wall], Awaitable[None]]) -> None:
        """Run *test* with a new source."""

        async def alone(storage: Storage, wall: Wall) -> None:
            source = storage.open()
            await source.startup()
            await test(source, wall)
            await source.shutdown()

        self.run_on_storage(alone)

    def run_on_storage(self, test: Callable[[Storage, Wall], Awaitable[None]]) -> None:
        """Run *test* with a new storage."""

        async def main(folder: Path) -> None:
            wall = Wall()
            wall.enter()
            await test(Storage(self.make, folder), wall)

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)
