"""How many tasks a broker lets run at once, and how often they start: promise 41."""

from __future__ import annotations

from actorq.capability import Capability
from actorq.limits import Pace, Permit
from actorq.protocol import Ending
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.host import EngineContract, Host, call, on_engine
from actorq.testing.promises import expect


class LimitsTasks(EngineContract):
    """A part of `BrokerContract`."""

    @promised(41, needs={Capability.CONCURRENCY})
    @on_engine
    async def test_no_more_run_than_there_are_permits(self, host: Host) -> None:
        """41: over all sessions; the next starts when one ends, is retried or is given back."""
        bench = host.first
        limited = (Permit("p", 2),)
        await bench.enqueue(*[call(f"t{n}", permits=limited) for n in range(5)], call("free"))
        sessions = [await bench.session("w1"), await bench.session("w2")]
        first = await bench.claim(sessions[0])
        ids = [each.fence.task_id for each in first]
        expect(41, ids == ["t0", "t1", "free"], f"with 2 permits for t0 to t4 there start {ids}")
        taken = await bench.take(sessions[1])
        expect(41, not taken, f"with 2 permits in use, another session gets {taken}")
        await bench.settle(sessions[0], Ending.DONE, first[0])
        taken = await bench.take(sessions[1])
        expect(41, taken == ["t2"], f"when one of two has ended there start {taken}")
        await bench.settle(sessions[0], Ending.GIVE_BACK, first[1])
        taken = await bench.take(sessions[1])
        expect(41, taken == ["t1"], f"when one of two was given back there start {taken}")

    @promised(41, needs={Capability.CONCURRENCY})
    @on_engine
    async def test_a_crashed_holders_permit_returns_with_its_lease(self, host: Host) -> None:
        """41: not before, and not never."""
        bench = host.first
        await bench.enqueue(*[call(f"t{n}", permits=(Permit("p", 1),)) for n in range(2)])
        await bench.claim(await bench.session("dies"))
        other = await bench.session("lives")
        expect(41, not await bench.take(other), "1 permit, 2 run")
        await host.crash_actor(bench)
        expect(41, not await bench.take(other), "1 permit, and after a restart 2 run")
        await host.wait(bench.lease)
        taken = await bench.take(other)
        expect(41, taken == ["t0"], f"the permit's holder died, and there start {taken}")

    @promised(41, needs={Capability.CONCURRENCY})
    @on_engine
    async def test_a_task_that_needs_two_permits_takes_both_or_none(self, host: Host) -> None:
        """41: what it waits for holds up nobody who does not need it."""
        bench = host.first
        p, q = Permit("p", 1), Permit("q", 1)
        await bench.enqueue(
            call("has p", permits=(p,)),
            call("needs both", permits=(p, q)),
            call("has q", permits=(q,)),
        )
        session = await bench.session()
        first = await bench.claim(session)
        ids = [each.fence.task_id for each in first]
        expect(41, ids == ["has p", "has q"], f"p and q are free, and there start {ids}")
        await bench.settle(session, Ending.DONE, *first)
        taken = await bench.take(session)
        expect(41, taken == ["needs both"], f"both are free again, and there start {taken}")

    @promised(41, needs={Capability.RATE})
    @on_engine
    async def test_no_more_start_than_the_rate_allows(self, host: Host) -> None:
        """41: two in ten seconds, in any ten seconds; then the next, without being asked for."""
        bench = host.first
        paces = (Pace("p", 2, 10.0, False),)
        await bench.enqueue(*[call(f"t{n}", paces=paces) for n in range(5)])
        session = await bench.session()
        starts: list[float] = []
        for _ in range(24):
            starts += [host.now for _ in await bench.claim(session)]
            await host.wait(1.0)
            await bench.extend(session)
        began = starts[0] if starts else 0.0
        after = [start - began for start in starts]
        expect(41, after == [0, 0, 10, 10, 20], f"2 in 10 s: five tasks started after {after} s")

    @promised(41, needs={Capability.RATE})
    @on_engine
    async def test_a_smooth_rate_keeps_starts_apart(self, host: Host) -> None:
        """41: two in ten seconds are five seconds apart, and the broker knows when it is time."""
        bench = host.first
        paces = (Pace("p", 2, 10.0, True),)
        await bench.enqueue(*[call(f"t{n}", paces=paces) for n in range(3)])
        session = await bench.session()
        for n in range(3):
            taken = await bench.take(session)
            expect(41, taken == [f"t{n}"], f"5 s after the last start there start {taken}")
            due = bench.broker.next_due()
            if n < 2:
                expect(
                    41, due is not None and due <= host.now + 5, f"due in 5 s; next_due(): {due}"
                )
            await host.wait(4.0)
            await bench.extend(session)
            expect(41, not await bench.take(session), "two starts were less than 5 s apart")
            await host.wait(1.0)
