"""The reporter, where the broker's mailbox is full."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from actorq.errors import MailboxFull
from actorq.job import Job
from actorq.message import Delivery, Fence, TaskMessage
from actorq.protocol import Ending, Lease, Settle, Settlement
from actorq.reporter import Reporter


class FullAtFirst:
    """A broker's ref that has no room for `tell_nowait`, and lets words pass one another."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.pauses = iter([2.0, 1.0])

    def tell_nowait(self, message: Any) -> None:
        """No room."""
        raise MailboxFull("broker", 1, message)

    async def tell(self, message: Any) -> None:
        """The second is heard first."""
        await trio.sleep(next(self.pauses))
        self.heard.append(message)


class HalfAPool:
    """As much of a pool as a reporter needs."""

    session = 1
    lease = Lease(1e9)

    def __init__(self, nursery: trio.Nursery, broker: FullAtFirst) -> None:
        self.broker = broker
        self.nursery = nursery
        self.free = 0

    def is_ending(self) -> bool:
        """No."""
        return False

    def allowance(self) -> int:
        """One more for each that is forgotten."""
        return self.free

    def allow(self) -> None:
        """Tell it."""
        self.broker.heard.append(self.free)

    def forget(self, job: Job) -> None:
        """Its slot is free."""
        self.free += 1

    async def lose_session(self, session: int | None) -> None:
        """It does not happen."""
        raise AssertionError

    def start_soon(self, async_fn: Any, *args: Any, name: str | None = None) -> None:
        """As the actor's."""
        self.nursery.start_soon(async_fn, *args)


async def test_words_that_pass_one_another_do_not_lower_our_demand(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The broker hears every settlement, and last of all what we can take now."""
    broker = FullAtFirst()

    class Wired:
        """Only the broker is needed."""

    wiring: Any = Wired()
    wiring.broker = broker
    async with trio.open_nursery() as nursery:
        pool: Any = HalfAPool(nursery, broker)
        reporter = Reporter(pool, wiring)
        for token in (1, 2):
            fence = Fence(f"t{token}", 1, token)
            job = Job(Delivery(TaskMessage(fence.task_id, "t"), fence, 0))
            job.task = wiring  # known, and nobody asks what it is
            job.settlement = Settlement(fence, Ending.DONE)
            reporter.ended = [job]
            reporter.report()
    settled = [word for word in broker.heard if isinstance(word, Settle)]
    assert sorted(word.settlements[0].fence.token for word in settled) == [1, 2]
    assert [word.allowance for word in settled] == [None, None]
    assert broker.heard[-1] == 2
