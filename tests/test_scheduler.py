"""The scheduler in a running system: when it fires, with what, and that it sleeps in between."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import Context, InMemoryBroker, at, cron, every
from actorq.testing import Tape, crash, simulate
from actorq.testing.simulation import EPOCH
from queue_strategies import INJECTED, QUICK, accepted, tapes


def test_slots_are_fired_at_their_time_with_their_arguments() -> None:
    """T40, T41, T44, A26: intervals, cron and one-shots side by side."""

    async def main() -> None:
        ran: list[tuple[str, float]] = []
        noon = datetime.fromtimestamp(EPOCH, UTC).replace(second=30)

        @actorq.task(
            schedule=[
                every(25, args=("every",), name="e"),
                cron("* * * * *", kwargs={"what": "cron"}),
                at(noon, args=("at",)),
            ],
            priority=3,
            labels={"own": 1},
        )
        async def work(what: str, ctx: Context = INJECTED) -> None:
            ran.append((what, round(trio.current_time(), 3)))
            assert ctx.labels["own"] == 1
            number = {"every": "e", "cron": "1", "at": "2"}[what]
            assert ctx.labels["schedule_id"] == f"{work.name}/{number}"
            assert ctx.message.options.priority == 3

        async with actorq.open_system(tasks=[work]):
            await trio.sleep(121)
        assert ran == [
            ("every", 25),
            ("at", 30),
            ("every", 50),
            ("cron", 60),
            ("every", 75),
            ("every", 100),
            ("cron", 120),
        ]

    simulate(main)


def test_a_scheduled_task_that_becomes_known_later_is_scheduled_too() -> None:
    """By `register`, or by being enqueued."""

    async def main() -> None:
        ran: list[float] = []

        @actorq.task(schedule=[every(10)])
        async def work() -> None:
            ran.append(round(trio.current_time(), 3))

        async with actorq.open_system() as sys:
            await trio.sleep(5)
            await sys.register(work)
            await sys.register(work)
            await trio.sleep(21)
        assert ran == [15, 25]

    simulate(main)


def test_without_a_schedule_there_is_no_timer() -> None:
    """DESIGN 5: an idle system wakes for nothing; with one, for the next slot only."""

    async def main() -> None:
        @actorq.task(schedule=[at(datetime.fromtimestamp(EPOCH + 50, UTC))])
        async def once() -> None: ...

        async with actorq.open_system() as sys:
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
            await sys.register(once)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 50
            await trio.sleep(100)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf

    simulate(main, limit=math.inf)


@given(st.integers(0, 40), tapes)
def test_a_crash_between_enqueueing_and_noting_it_fires_the_slot_once(
    step: int, tape: Tape
) -> None:
    """40: the slot's own id makes sending it again harmless."""

    class Bomb(trio.abc.Instrument):
        """Crashes the scheduler so many steps after its slot was due."""

        left = step
        sys: actorq.System | None = None

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if self.sys is not None and trio.current_time() >= 10:
                self.left -= 1
                if self.left < 0:
                    crash(self.sys.actor("scheduler"))
                    self.sys = None

    bomb = Bomb()

    async def main() -> None:
        ran: list[Any] = []
        broker = InMemoryBroker()

        @broker.task(schedule=[every(10, args=(n,), name=f"s{n}") for n in range(3)])
        async def work(n: int) -> None:
            ran.append(n)

        async with actorq.open_system(broker, backoff=QUICK) as sys:
            bomb.sys = sys
            await trio.sleep(15)
            assert sorted(ran) == [0, 1, 2]
            assert len(accepted(broker.queue)) == 3
            await trio.sleep(10)
            assert sorted(ran) == [0, 0, 1, 1, 2, 2]

    simulate(main, tape=tape, instruments=[bomb])
