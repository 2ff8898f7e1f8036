"""Rules: sessions that open, claim and settle, with good fences and others."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actorq.capability import Capability
from actorq.message import Fence
from actorq.protocol import Ending, Settlement
from actorq.queue_choice import QueueChoice
from actorq.testing.contracts.broker_machine.looks import Looks
from actorq.testing.contracts.broker_machine.seats import WORKERS, Held, Seat, busy, of, seldom
from actorq.testing.contracts.broker_requests import following
from actorq.testing.contracts.host import Bench
from actorq.testing.promises import expect


#: What a worker may say; the queue alone knows that a task has expired.
ENDINGS = tuple([ending for ending in Ending if ending is not Ending.EXPIRED])


class Working(Looks):
    """A part of `BrokerMachine`."""

    @precondition(seldom(1))
    @rule(worker=WORKERS, queues=of(lambda self: self.choices), by=st.integers(0, 1))
    def open_session(self, worker: str, queues: QueueChoice | None, by: int) -> None:
        """The one before of the same worker ends."""

        async def program() -> None:
            await self.engine_opens(worker, queues, self.bench(by))

        self.step(29, program)

    async def engine_opens(self, worker: str, queues: QueueChoice | None, bench: Bench) -> Seat:
        """And so does the reference."""
        got = await bench.session(worker, queues)
        expected = self.queue.open_session(worker, self.now, queues).id
        seat = Seat(next(self.numbers), worker, bench, got, expected)
        if worker in self.seats:
            self.past.append(self.seats[worker])
        self.seats[worker] = seat
        return seat

    @busy
    @precondition(lambda self: self.seats)
    @rule(seat=of(lambda self: st.sampled_from([*self.seats.values(), *self.past])))
    def extend(self, seat: Seat) -> None:
        """Until when."""

        self.step(35, lambda: self.both_extend(seat))

    async def both_extend(self, seat: Seat) -> None:
        """The engine first."""
        got = await seat.bench.extend(seat.session)
        self.may_have_ended(seat)
        expected = self.queue.extend(seat.reference, self.now)
        expect(35, got == expected, f"{seat} is extended until {got}; it should be {expected}")

    @busy
    @rule(worker=WORKERS, limit=st.integers(1, 4))
    def claim(self, worker: str, limit: int) -> None:
        """What may come next, and all of it.  A worker without a session opens one."""

        async def program() -> None:
            seat = self.seats.get(worker) or await self.engine_opens(worker, None, self.bench(0))
            await self.both_claim(seat, limit)
            if seat.reference not in self.queue.sessions:
                self.past.append(self.seats.pop(worker))  # that it was lost is known to it now

        self.step(37, program)

    async def both_claim(self, seat: Seat, limit: int) -> None:
        """The engine first."""
        await seat.bench.broker.promote(self.now)
        self.queue.promote(self.now)
        claimable = seat.bench.broker.claimable()
        got = await seat.bench.claim(seat.session, limit)
        self.may_have_ended(seat)
        expect(37, len(got) <= limit, f"{limit} were asked for, and {len(got)} came")
        self.reference.claim(seat.reference, got, limit, self.now)
        for each in got:
            chain = each.message.terms.chain if each.message.terms else ()
            self.held.append(Held(seat, each.fence, chain))
        if len(self.processes) == 1:
            expect(37, claimable or not got, f"claimable() was False, and there came {len(got)}")
            due, expected = seat.bench.broker.next_due(), self.reference.next_wake()
            in_time = expected is None or (due is not None and due <= expected)
            expect(41, in_time, f"next_due() is {due}; it is time at {expected}")

    # --- settling ---

    @precondition(lambda self: self.held)
    @rule(
        jobs=of(
            lambda self: st.lists(st.sampled_from(self.held), min_size=1, max_size=3, unique=True)
        ),
        ending=st.sampled_from(ENDINGS),
        delay=st.sampled_from([0.0, 2.0, 20.0]),
    )
    def settle_jobs(self, jobs: list[Held], ending: Ending, delay: float) -> None:
        """By who got them, who may have lost them meanwhile."""
        for job in jobs:
            self.held.remove(job)
            self.settled.append(job)
        self.say([(job, job.seat, job.fence) for job in jobs], ending, delay)

    @precondition(lambda self: self.settled)
    @rule(job=of(lambda self: st.sampled_from(self.settled)), ending=st.sampled_from(ENDINGS))
    def settle_again(self, job: Held, ending: Ending) -> None:
        """As after an answer that was lost."""
        self.say([(job, job.seat, job.fence)], ending, 0.0)

    @precondition(lambda self: self.held and self.seats)
    @rule(
        job=of(lambda self: st.sampled_from(self.held)),
        worker=WORKERS,
        other=of(lambda self: st.sampled_from([*self.held, *self.settled])),
        ending=st.sampled_from(ENDINGS),
    )
    def settle_with_a_forged_fence(
        self, job: Held, worker: str, other: Held, ending: Ending
    ) -> None:
        """By another worker, or put together from two deliveries."""
        seat = self.seats.get(worker, job.seat)
        self.say([(job, seat, job.fence)] * (seat is not job.seat), ending, 0.0)
        fence = job.fence._replace(token=other.fence.token, attempt=other.fence.attempt)
        self.say([(job, job.seat, fence)] * (fence != job.fence), ending, 0.0)

    def say(self, words: list[tuple[Held, Seat, Fence]], ending: Ending, delay: float) -> None:
        """A worker's words, in one call."""
        words = [
            word for word in words if word[1] is words[0][1] and word[1].bench in self.processes
        ]
        if not words:
            return
        seat = words[0][1]
        if not self.has(Capability.DELAY):
            delay = 0.0
        if ending is Ending.PARK and not self.has(Capability.PARKING):
            ending = Ending.GIVE_BACK
        if ending is Ending.CANCELLED and not self.has(Capability.CANCELLATION):
            ending = Ending.DONE

        async def program() -> None:
            said = []
            for job, _, fence in words:
                goes_on = job.chain and ending is Ending.DONE
                then = (following(job.chain),) if goes_on else ()
                said.append(Settlement(fence, ending, delay, "because", None, then))
            got = await seat.bench.broker.settle(seat.session, said, self.now)
            own = [each._replace(fence=self.reference.fence(each.fence)) for each in said]
            expected = self.queue.settle(seat.reference, own, self.now)
            expect(
                34,
                tuple(got) == expected,
                f"{ending.value} by {seat} of {[each.fence for each in said]} is answered with "
                f"{tuple(got)}; it should be {expected}",
            )

        stakes = {Ending.DONE: 32, Ending.DEAD: 32, Ending.CANCELLED: 36, Ending.PARK: 42}
        self.step(stakes.get(ending, 33), program)
