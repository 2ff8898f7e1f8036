"""The schedule source on a server, for any number of schedulers in any processes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from actorq.engines.remote.acts import Act, Topic
from actorq.engines.remote.storage import RemoteStorage
from actorq.engines.stored_schedule import decoded
from actorq.errors import EngineUnavailable
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Schedule


TOPICS: Final[tuple[Topic, ...]] = ("schedules",)


class RemoteScheduleSource(ScheduleSource):
    """What the schedule sources of servers have in common; an engine's own makes the storage.

    Without an open system each call connects for itself.  Other processes' changes are heard of as soon
    as they are stored; should that word be lost, within the storage's `recheck`.
    """

    def __init__(self, storage: RemoteStorage) -> None:
        self.storage = storage

    async def startup(self) -> None:
        """Connect, unless another part has."""
        await self.storage.open()

    async def shutdown(self) -> None:
        """Disconnect, unless another part uses it."""
        await self.storage.close()

    async def load(self) -> Sequence[Schedule]:
        """All of them that can be read: another holds up no schedule.  Always a checkpoint."""
        read = [
            decoded(schedule_id, state) for schedule_id, state in await self._ask(["schedules"])
        ]
        return tuple([each for each in read if each is not None])

    async def fetch(self, schedule_id: str) -> Schedule | None:
        """One of them.  Always a checkpoint."""
        state = await self._ask(["schedule", schedule_id])
        return None if state is None else decoded(schedule_id, state)

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        """See `ScheduleSource.swap`.  Always a checkpoint; cancelled, it has done nothing."""
        state = None if new is None else [new.version, json.dumps(new.to_dict())]
        async with self._open():
            if version is None and new is not None:
                await self._make_room(schedule_id)
            act = ["swap", schedule_id, version, state, announce]
            return bool(await self._do(act))

    async def _make_room(self, schedule_id: str) -> None:
        """Forget what stands where nothing seems to stand, for it cannot be read."""
        stored = await self._ask(["schedule", schedule_id])
        if stored is not None and decoded(schedule_id, stored) is None:
            await self._do(["clear", schedule_id, stored])

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Tell of each announcement, this process's own as well; until cancelled."""
        async with self._open():
            news = _News(self, changed)
            await news.begin()
            changed(None)  # what was announced before we came
            async with trio.open_nursery() as nursery:
                nursery.start_soon(news.tell, name="schedules: tell")
                await self.storage.listen(TOPICS, news.hear, own=True)

    async def _ask(self, act: Act) -> Any:
        async with self._open():
            request = self.storage.request([act], writes=False)
            return (await self.storage.call(request, "schedules")).answers[0]

    async def _do(self, act: Act) -> Any:
        request = self.storage.request([act])
        return (await self.storage.call(request, "schedules")).answers[0]

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        await self.storage.open()
        try:
            yield
        finally:
            await self.storage.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.storage}>"


class _News:
    """What somebody who watches has heard of."""

    def __init__(self, source: RemoteScheduleSource, changed: Callable[[str | None], None]) -> None:
        self._source = source
        self._changed = changed
        self._seen: int | None = None
        self._heard = trio.Event()

    async def begin(self) -> None:
        """All that comes from now on is news."""
        self._seen, _ = await self._source._ask(["changes", None])

    def hear(self, _topic: Topic | None, _ids: Collection[str] | None) -> None:
        """There may be some."""
        self._heard.set()

    async def tell(self) -> None:
        """Pass it on, until cancelled."""
        while True:
            await self._heard.wait()
            self._heard = trio.Event()
            try:
                newest, ids = await self._source._ask(["changes", self._seen])
            except EngineUnavailable:
                continue  # at the next recheck
            if self._seen is not None and newest < self._seen:
                ids = None  # the server has lost data
            self._seen = newest
            for schedule_id in (None,) if ids is None else ids:
                self._changed(schedule_id)
