"""The in-memory engine keeps the broker's contract: as objects, as bytes, with storage that survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio
from hypothesis import settings

import actorq
from actorq.capability import Capability
from actorq.engines.memory.storage import MemoryStorage
from actorq.message import Delivery, TaskMessage
from actorq.testing import BrokerContract


#: Drawn programs: half of what the profile says, for much is tried four times here.
SOME = settings().max_examples // 2


class Shared(actorq.InMemoryBroker):
    """As if others used the storage between two calls; each call is a transaction of it."""

    def __init__(self, storage: MemoryStorage) -> None:
        super().__init__(storage=storage)
        self.lacks -= {Capability.SHARING}

    async def listen(self, changed: Callable[[], None]) -> None:
        await trio.sleep_forever()

    async def refresh(self, now: float) -> None:
        await trio.lowlevel.checkpoint()

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        await trio.lowlevel.checkpoint()
        return await super().store(messages, now)

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        await trio.lowlevel.checkpoint()
        return await super().claim(session, limit, now)


@attrs.frozen
class Storages:
    """One for each folder."""

    kind: Callable[..., actorq.InMemoryBroker]
    by_folder: dict[Path, MemoryStorage] = attrs.field(factory=dict)

    def broker(self, folder: Path) -> actorq.InMemoryBroker:
        """On the storage of *folder*."""
        return self.kind(storage=self.by_folder.setdefault(folder, MemoryStorage()))


class TestInMemory(BrokerContract):
    factory = actorq.InMemoryBroker
    simulated = True


class TestEncoded(BrokerContract):
    simulated = True
    max_examples = SOME

    @staticmethod
    def factory() -> actorq.InMemoryBroker:
        """With bytes in it."""
        return actorq.InMemoryBroker(encoded=True)


class TestWithStorage(BrokerContract):
    factory = Storages(actorq.InMemoryBroker).broker
    simulated = True
    max_examples = SOME


class TestShared(BrokerContract):
    """Of the contract itself: what it says of several processes can be kept."""

    factory = Storages(Shared).broker
    simulated = True
    max_examples = SOME
