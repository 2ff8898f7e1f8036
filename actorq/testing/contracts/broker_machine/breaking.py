"""Rules: time that passes, stalls, and crashes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actorq.capability import Capability
from actorq.testing.contracts.broker_machine.seats import busy, seldom
from actorq.testing.contracts.broker_machine.working import Working
from actorq.testing.promises import expect


#: Pauses on both sides of everything that is timed here, boundaries included.
PAUSES = st.sampled_from([0.5, 1.0, 4.0, 10.0, 20.0])


class Breaking(Working):
    """A part of `BrokerMachine`."""

    @busy
    @rule(seconds=PAUSES)
    def time_passes(self, seconds: float) -> None:
        """And everybody looks at it; workers that live renew their leases."""

        async def program() -> None:
            await self.both_wait(seconds)
            for seat in self.seats.values():
                await self.both_extend(seat)

        self.step(38, program)

    @precondition(seldom(4))
    @rule(seconds=st.sampled_from([29.0, 30.0, 31.0]))
    def nobody_is_heard_of(self, seconds: float) -> None:
        """Leases lapse, perhaps."""
        self.step(29, lambda: self.both_wait(seconds))

    async def both_wait(self, seconds: float) -> None:
        """The engine first."""
        await self.host.wait(seconds)
        self.queue.promote(self.now)
        self.queue.lapse(self.now)
        for bench in self.processes:
            due = bench.broker.next_due()
            expect(38, due is None or due > self.now, "time was looked at, and next_due() is over")

    @precondition(lambda self: len(self.processes) == 1 and seldom(0)(self))
    @rule(seconds=st.sampled_from([1.0, 29.0, 30.0, 31.0]))
    def the_loop_stalls(self, seconds: float) -> None:
        """While it stood still no lease could be renewed."""

        async def program() -> None:
            self.host.now += seconds
            await self.host.first.broker.lapse(self.now, seconds)
            for number, session in self.queue.sessions.items():
                if number not in self.orphaned:  # who is dead did not stand still
                    session.expires += seconds
            self.queue.lapse(self.now)

        self.step(35, program)

    # --- crashes ---

    @precondition(seldom(3))
    @rule(by=st.integers(0, 1))
    def the_broker_actor_crashes(self, by: int) -> None:
        """Another life of the same object: nothing changes."""

        async def program() -> None:
            await self.host.crash_actor(self.bench(by))

        self.step(28, program)

    @precondition(lambda self: self.has(Capability.SURVIVAL) and seldom(4)(self))
    @rule(by=st.integers(0, 1))
    def the_process_dies(self, by: int) -> None:
        """Another object in its place; its sessions end with their leases, at the latest.

        What it was to tell another tells, at once or when its lease is over, too.
        """

        async def program() -> None:
            dead = self.bench(by)
            self.processes[self.processes.index(dead)] = await self.host.crash_process(dead)
            orphans = [seat for seat in self.seats.values() if seat.bench is dead]
            self.orphaned |= {
                seat.reference for seat in [*orphans, *self.past] if seat.bench is dead
            }
            self.past = [seat for seat in self.past if seat.bench is not dead]
            for seat in orphans:
                del self.seats[seat.worker]
                session = self.queue.sessions.get(seat.reference)
                if session is not None and session.held:
                    where = await self.host.first.where(*session.held)
                    if "leased" not in where:
                        self.queue.close_session(seat.reference, self.now)
            told = {end.task_id for bench in self.processes for end in bench.broker.outbox()}
            if not told.issuperset([end.task_id for end in self.queue.outbox]):
                await self.both_wait(self.host.first.lease)  # then it must be seen that it has died

        self.step(31, program)

    @precondition(lambda self: self.has(Capability.SHARING) and len(self.processes) < 2)
    @rule()
    def another_process_comes(self) -> None:
        """On the same storage."""

        async def program() -> None:
            self.processes.append(await self.host.open())

        self.step(31, program)
