"""What can be seen of an engine, compared with the reference after each step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from actorq.capability import Capability
from actorq.testing.contracts.broker_machine.pair import Pair
from actorq.testing.contracts.broker_machine.seats import Seat
from actorq.testing.contracts.host import Bench
from actorq.testing.promises import broken, expect


class Looks(Pair):
    """Each rule is one `step`, which ends with a look at everything."""

    def step(self, stake: int, program: Callable[[], Awaitable[Any]]) -> Any:
        """One step of the engine and the reference; then both must look the same."""
        self.stake = stake
        self.taken += 1

        async def both() -> Any:
            value = await program()
            await self.compare()
            return value

        return self.call(both)

    @property
    def has_notices(self) -> bool:
        """Somebody is to be told, who lives."""
        living = {seat.reference for seat in self.seats.values()}
        return any(
            session in living and self.queue.is_leased(notice.fence)
            for session, notices in self.queue.notices.items()
            for notice in notices
        )

    async def compare(self) -> None:
        """All that can be seen."""
        for bench in self.processes:
            where = await bench.where(*self.ids)
            for task_id, seen in zip(self.ids, where, strict=True):
                expected = self.reference.where(task_id)
                if seen != expected and not self.may_be(seen, expected):
                    raise broken(self.stake, f"{task_id} is {seen}; it should be {expected}")
            await self.compare_counts(bench)
        await self.compare_outbox()
        for seat in self.seats.values():
            self.may_have_ended(seat)
            got = seat.bench.broker.has_session(seat.session)
            good = seat.reference in self.queue.sessions
            expect(29, got == good, f"{seat} is good: {got}; it should be: {good}")
        if len(self.processes) == 1:
            due, expected_due = self.host.first.broker.next_due(), self.reference.due()
            in_time = expected_due is None or (due is not None and due <= expected_due)
            expect(38, in_time, f"next_due() is {due}; it is time at {expected_due}")
            told = self.host.first.broker.has_notices()
            expect(
                36, told or not self.has_notices, "a job is to be cancelled, and no worker hears it"
            )

    def may_have_ended(self, seat: Seat) -> None:
        """A session without jobs may end when its lease is over, or go on."""
        session = self.queue.sessions.get(seat.reference)
        if session is None or session.held or self.now < session.expires:
            return
        if not seat.bench.broker.has_session(seat.session):
            self.queue.close_session(seat.reference, self.now)

    def may_be(self, seen: str, expected: str) -> bool:
        """Where an engine without dead letters may have another word."""
        return expected == "dead" and seen == "done" and not self.has(Capability.DEAD_LETTERS)

    async def compare_counts(self, bench: Bench) -> None:
        """What is counted."""
        got, expected = await bench.counts(), self.queue.statistics()
        names = ["scheduled", "ready", "parked", "leased"]
        if self.has(Capability.DEAD_LETTERS):
            names.append("dead")
        if self.has(Capability.PAUSE):
            names.append("paused")
        for name in names:
            seen, right = getattr(got, name), getattr(expected, name)
            expect(30, seen == right, f"counted as {name}: {seen}; it should be {right}")
        if self.has(Capability.QUEUES):
            by_queue = {name: n for name, n in got.queues.items() if n}
            right = {name: n for name, n in expected.queues.items() if n}
            expect(30, by_queue == right, f"ready by queue: {by_queue}; it should be {right}")
        leases = bench.broker.has_leases()
        expect(30, leases or not expected.leased, f"has_leases() is False, with {expected.leased}")

    async def compare_outbox(self) -> None:
        """Ends that nobody but the queue tells, each once; they stay there until they are stored."""
        got = Counter(
            (each.task_id, type(each.result.error).__name__)
            for bench in self.processes
            for each in bench.broker.outbox()
        )
        expected = Counter(
            (each.task_id, type(each.result.error).__name__) for each in self.queue.outbox
        )
        if self.taken % 4 == 0:
            for bench in self.processes:
                await bench.told()
            self.queue.outbox.clear()
        if len(self.processes) > 1:  # each may tell all that there is: told twice is told
            got, expected = Counter(set(got)), Counter(set(expected))
        stakes = {"WorkerLost": 29, "TaskCancelled": 36, "TaskExpired": 38}
        for (task_id, error), n in (expected - got).items():
            stake = stakes.get(error, self.stake)
            raise broken(stake, f"who waits for {task_id} is to be told {error}: {n} times too few")
        for (task_id, error), n in (got - expected).items():
            stake = stakes.get(error, self.stake)
            raise broken(stake, f"who waits for {task_id} is told {error}: {n} times too often")
