"""Systems that share a queue and are there for one thing each: client, worker, scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

import actorq
from actorq import open_system
from actorq.capability import Capability
from actorq.engines.memory.storage import MemoryStorage
from actorq.schedule import every
from actorq.state import State
from actorq.testing import simulate


class Shared(actorq.InMemoryBroker):
    """Several objects on one storage of this process; each hears of what another one does."""

    heard: dict[int, list[Callable[[], None]]] = {}  # noqa: RUF012 - by storage

    def __init__(self, storage: MemoryStorage) -> None:
        super().__init__(storage=storage)
        self.lacks -= {Capability.SHARING}

    async def listen(self, changed: Callable[[], None]) -> None:
        listeners = self.heard.setdefault(id(self.storage), [])
        listeners.append(changed)
        try:
            await trio.sleep_forever()
        finally:
            listeners.remove(changed)

    async def refresh(self, now: float) -> None:
        await trio.lowlevel.checkpoint()

    async def store(self, messages: Any, now: float) -> Any:
        stored = await super().store(messages, now)
        for changed in self.heard.get(id(self.storage), []):
            changed()
        return stored


@actorq.task
async def double(n: int) -> int:
    """Cannot fail."""
    return 2 * n


def test_a_client_enqueues_what_a_worker_runs() -> None:
    """43: the word of it is pushed: no time goes by."""
    storage = MemoryStorage()

    async def main() -> None:
        async with (
            open_system(Shared(storage), role="worker", tasks=[double]) as worker,
            open_system(Shared(storage), role="client") as client,
        ):
            handle = await client.enqueue(double, 21)
            await worker.wait_idle()
            assert trio.current_time() == 0
            assert await worker.handle(handle.task_id, double).result() == 42
            assert (await client.pool_statistics()).concurrency == 0
            assert (await worker.pool_statistics()).concurrency == 100

    simulate(main)


def test_a_client_runs_nothing_and_releases_nothing() -> None:
    """42: what waits for a worker that knows it waits on when somebody else only knows its name."""
    storage = MemoryStorage()

    async def main() -> None:
        async with open_system(Shared(storage), role="worker") as worker:
            async with open_system(Shared(storage), role="client") as client:
                handle = await client.enqueue(double, 1)
                await trio.sleep(1)
                assert (await client.queue_statistics()).parked == 1
            async with open_system(Shared(storage), role="client", tasks=[double]) as client:
                await trio.sleep(1)
                assert (await client.queue_statistics()).parked == 1
            await worker.register(double)
            await worker.wait_idle()
            assert await worker.handle(handle.task_id, double).result() == 2

    simulate(main)


def test_only_a_scheduler_fires_slots() -> None:
    """40: and a client that declares a schedule plans none."""
    storage = MemoryStorage()
    ran: list[float] = []

    @actorq.task(schedule=[every(10)])
    async def tick() -> None:
        ran.append(trio.current_time())

    async def main() -> None:
        async with (
            open_system(Shared(storage), role="worker", tasks=[tick]),
            open_system(Shared(storage), role="client", tasks=[tick]),
        ):
            await trio.sleep(35)
            assert ran == []
            async with open_system(Shared(storage), role="scheduler", tasks=[tick]):
                await trio.sleep(35)
            assert len(ran) == 3

    simulate(main)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (None, ["any", "client", "worker"]),
        ("client", ["any", "client"]),
        ("worker", ["any", "worker"]),
        ("scheduler", ["any"]),
    ],
)
def test_the_lifespan_is_that_of_the_role(role: Any, expected: list[str]) -> None:
    """A worker's handlers do not run in a web server, nor the other way round."""
    broker = Shared(MemoryStorage())
    ran: list[str] = []

    def note(name: str) -> Callable[[State], None]:
        return lambda state: ran.append(name)

    broker.on_startup(note("any"))
    broker.on_startup(role="client")(note("client"))
    broker.on_startup(role="worker")(note("worker"))

    async def main() -> None:
        async with open_system(broker, role=role):
            pass

    simulate(main)
    assert ran == expected


def test_roles_that_cannot_be() -> None:
    """What is wrong, and what to write."""

    async def opened(broker: actorq.Broker, role: Any) -> None:
        async with open_system(broker, role=role):
            pass

    with pytest.raises(ValueError, match=r"'client', 'worker', 'scheduler'.*got 'boss'"):
        simulate(opened, Shared(MemoryStorage()), "boss")
    with pytest.raises(
        actorq.UnsupportedOption, match=r"InMemoryBroker.*several processes at once"
    ):
        simulate(opened, actorq.InMemoryBroker(), "client")
