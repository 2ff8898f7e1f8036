"""Rules: cancelling, releasing, pausing, purging, replaying."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actorq.capability import Capability
from actorq.testing.contracts.broker_machine.calls import NAMES, QUEUES
from actorq.testing.contracts.broker_machine.looks import Looks
from actorq.testing.contracts.broker_machine.seats import Seat, busy, of, seldom
from actorq.testing.contracts.host import call
from actorq.testing.promises import expect


class Requests(Looks):
    """A part of `BrokerMachine`."""

    @precondition(lambda self: self.has(Capability.CANCELLATION) and self.taken % 3 == 0)
    @busy
    @rule(task_id=of(lambda self: st.sampled_from(self.interesting)), by=st.integers(0, 1))
    def cancel(self, task_id: str, by: int) -> None:
        """The verdict."""

        async def program() -> None:
            got = await self.bench(by).cancel(task_id)
            expected = self.reference.revoke(task_id, self.now)
            expect(
                36, got is expected, f"cancel({task_id!r}) answers {got}; it should be {expected}"
            )
            ending = await self.bench(by).broker.ending(task_id)
            known = self.queue.ending(task_id)
            expect(36, ending is known, f"{task_id} has ended as {ending}; it should be {known}")

        self.step(36, program)

    @precondition(lambda self: self.seats and self.has(Capability.CANCELLATION))
    @precondition(lambda self: self.queue.notices or seldom(0)(self))
    @rule(seat=of(lambda self: st.sampled_from([*self.seats.values()])))
    def read_notices(self, seat: Seat) -> None:
        """Each once."""

        async def program() -> None:
            said = self.queue.notices.pop(seat.reference, [])
            expected = {each.fence.task_id for each in said if self.queue.is_leased(each.fence)}
            got = [each.fence.task_id for each in await seat.bench.notices(seat.session)]
            self.queue.promote(self.now)
            self.queue.lapse(self.now)
            expect(36, sorted(got) == sorted(expected), f"{seat} is told of {got}, not {expected}")

        self.step(36, program)

    @precondition(lambda self: self.has(Capability.PARKING) and self.queue.n_parked)
    @rule(name=st.sampled_from(NAMES))
    def release(self, name: str) -> None:
        """Somebody knows this task."""

        async def program() -> None:
            await self.host.first.broker.release(name)
            self.queue.unpark(name)

        self.step(42, program)

    @precondition(lambda self: self.has(Capability.PAUSE) and seldom(1)(self))
    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        """Or resume."""

        async def program() -> None:
            await self.host.first.broker.set_paused(queue, paused=paused)
            self.queue.set_paused(queue, paused=paused)

        self.step(30, program)

    @precondition(lambda self: self.has(Capability.PURGE) and seldom(2)(self))
    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        """All that waits there."""

        async def program() -> None:
            got = await self.host.first.broker.purge(queue, self.now)
            expected = self.queue.purge(queue, self.now)
            expect(36, got == expected, f"purge({queue!r}) answers {got}; it should be {expected}")

        self.step(36, program)

    @precondition(lambda self: self.has(Capability.DEAD_LETTERS) and self.queue.dead)
    @rule(
        ids=of(
            lambda self: st.lists(st.sampled_from([*self.queue.dead, "x"]), max_size=3, unique=True)
        ),
        replay=st.booleans(),
    )
    def empty_the_dead_letters(self, ids: list[str], replay: bool) -> None:
        """Or replay them, under ids that are new or not."""

        async def program() -> None:
            broker = self.host.first.broker
            got: Any
            expected: Any
            if replay:
                pairs = [(i, call(i.upper(), i)) for i in ids]
                self.ids.update(dict.fromkeys(i.upper() for i in ids))
                got = list(await broker.replay(pairs, self.now))
                expected = list(self.queue.replay(pairs, self.now))
            else:
                got, expected = await broker.purge_dead(ids), self.queue.purge_dead(ids)
            expect(30, got == expected, f"the answer is {got}; it should be {expected}")

        self.step(30, program)
