"""What a broker does with the tasks that workers have: promises 29 and 32 to 35."""

from __future__ import annotations

from actorq.capability import Capability
from actorq.errors import WorkerLost
from actorq.message import Fence
from actorq.protocol import Ending
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.host import EngineContract, Host, call, on_engine
from actorq.testing.promises import expect


class LeasesTasks(EngineContract):
    """A part of `BrokerContract`."""

    # --- a worker dies ---

    @promised(29)
    @on_engine
    async def test_a_lease_that_lapses_gives_its_jobs_to_others(self, host: Host) -> None:
        """29: at the lease's end and not before, with attempt + 1; the session has ended."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        lost = await bench.session("dies")
        await bench.claim(lost)
        ended = bench.broker.sessions_ended()
        await host.wait(bench.lease * 0.9)
        expect(35, bench.broker.has_session(lost), "a lease ended before its time")
        other = await bench.session("lives")
        expect(35, not await bench.claim(other), "jobs were taken away before the lease's end")
        await host.wait(bench.lease * 0.1)
        expect(29, not bench.broker.has_session(lost), "a session outlived its lease")
        expect(29, bench.broker.sessions_ended() != ended, "nobody hears that a session ended")
        expect(29, bench.broker.claimable(), "jobs came back, and claimable() does not say so")
        found = [tuple(each.fence)[:2] for each in await bench.claim(other)]
        expect(29, found == [("a", 2), ("b", 2)], f"of a and b, whose worker died, come {found}")
        expect(29, not await bench.told(), "a task that goes on is said to have ended")

    @promised(29)
    @on_engine
    async def test_a_claim_that_finds_nothing_is_no_sign_of_life(self, host: Host) -> None:
        """29: the broker claims for dead workers too; they would keep their jobs while others work."""
        bench = host.first
        await bench.enqueue(call("a"))
        lost = await bench.session("dies")
        await bench.claim(lost, 1)
        await host.wait(bench.lease / 2)
        expect(30, not await bench.claim(lost), "a task was given twice")
        await host.wait(bench.lease / 2)
        expect(29, not bench.broker.has_session(lost), "a claim that found nothing renewed a lease")
        found = await bench.take(await bench.session("lives"))
        expect(29, found == ["a"], f"a worker that had a has died; another one gets {found}")

    @promised(29)
    @on_engine
    async def test_a_new_session_of_a_worker_ends_its_older_one(self, host: Host) -> None:
        """29: a worker that comes back takes its jobs over at once; others keep theirs."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        old, other = await bench.session("w"), await bench.session("other")
        await bench.claim(old, 1)
        await bench.claim(other, 1)
        new = await bench.session("w")
        expect(29, new not in (old, other), f"the number of a session came again: {new}")
        expect(29, not bench.broker.has_session(old), "two sessions of one worker are good")
        expect(35, bench.broker.has_session(other), "a worker's new session ended another's")
        expect(29, await bench.extend(old) is None, "a session that ended was extended")
        found = [tuple(each.fence)[:2] for each in await bench.claim(new)]
        expect(29, found == [("a", 2)], f"the worker had a; it gets {found}")
        expect(34, not await bench.claim(old), "a session that ended gets tasks")

    @promised(29)
    @on_engine
    async def test_a_task_whose_workers_all_die_is_dead_and_its_waiters_are_told(
        self, host: Host
    ) -> None:
        """29: after `max_deliveries` of them, with `WorkerLost`; not sooner."""
        bench = host.first
        await bench.enqueue(call("a", deliveries=3))
        for attempt in (1, 2, 3):
            (delivery,) = await bench.claim(await bench.session(f"w{attempt}"))
            expect(33, delivery.fence.attempt == attempt, f"attempt {attempt} is {delivery.fence}")
            expect(29, not await bench.told(), f"given up after {attempt - 1} of 3 deliveries")
            await host.wait(bench.lease)
        error = await bench.error_told("a")
        expect(29, isinstance(error, WorkerLost), f"who waits for a lost task is told {error!r}")
        where = await bench.where("a")
        expect(29, where[0] in ("dead", "done"), f"a task that was given up is {where[0]}")
        expect(29, not await bench.claim(await bench.session()), "a task that was given up starts")

    @promised(29, needs={Capability.DEAD_LETTERS})
    @on_engine
    async def test_a_task_whose_workers_all_die_is_kept_with_its_reason(self, host: Host) -> None:
        """29: a dead letter that says how often it was delivered."""
        bench = host.first
        await bench.enqueue(call("a", deliveries=2))
        for _ in range(2):
            await bench.claim(await bench.session())
            await host.wait(bench.lease)
        dead = await bench.broker.dead_task("a")
        expect(29, dead is not None, "a task that was given up is not in the dead letters")
        assert dead is not None
        expect(29, dead.attempts == 2 and dead.reason, f"its dead letter says {dead}")
        expect(30, (await bench.counts()).dead == 1, "a dead letter is not counted")

    # --- a worker's word ---

    @promised(32)
    @on_engine
    async def test_what_a_worker_has_not_settled_is_not_forgotten(self, host: Host) -> None:
        """32: at least once: taken is not done, however often it is taken."""
        bench = host.first
        await bench.enqueue(call("a"))
        for _ in range(3):
            taken = await bench.take(await bench.session())
            expect(32, taken == ["a"], "a task that was taken and never settled is gone")
        session = await bench.session()
        await bench.settle(session, Ending.DONE, *await bench.claim(session))
        expect(32, await bench.where("a") == ["done"], "a task that was acknowledged is not done")
        expect(32, not await bench.claim(await bench.session()), "an acknowledged task comes again")

    @promised(32)
    @on_engine
    async def test_many_are_settled_at_once(self, host: Host) -> None:
        """32: each of them is; a worker of many slots says it of all in one call."""
        bench = host.first
        ids = [f"t{n}" for n in range(50)]
        await bench.enqueue(*[call(task_id) for task_id in ids])
        session = await bench.session()
        await bench.settle(session, Ending.DONE, *await bench.claim(session))
        where = dict(zip(ids, await bench.where(*ids), strict=True))
        left = {task_id: place for task_id, place in where.items() if place != "done"}
        expect(
            32, not left, f"of 50 that were acknowledged in one call, these are not done: {left}"
        )

    @promised(33)
    @on_engine
    async def test_attempts_and_failures_are_counted(self, host: Host) -> None:
        """33: a retry is the next attempt and one failure more; a requeue is no failure."""
        bench = host.first
        await bench.enqueue(call("a"))
        session = await bench.session()
        counted = []
        for ending in (Ending.RETRY, Ending.REQUEUE, Ending.RETRY, Ending.GIVE_BACK, Ending.RETRY):
            (delivery,) = await bench.claim(session)
            counted.append((delivery.fence.attempt, delivery.failures))
            await bench.settle(session, ending, delivery)
        expected = [(1, 0), (2, 1), (3, 1), (4, 2), (4, 2)]
        said = "retried, requeued, retried, given back, retried"
        expect(
            33, counted == expected, f"{said}: (attempt, failures) were {counted}, not {expected}"
        )

    @promised(33)
    @on_engine
    async def test_what_is_given_back_burns_no_attempt(self, host: Host) -> None:
        """33: however often; and brings the task no nearer to its limit of deliveries."""
        bench = host.first
        await bench.enqueue(call("a", deliveries=2))
        session = await bench.session()
        for _ in range(5):
            (delivery,) = await bench.claim(session)
            expect(33, delivery.fence.attempt == 1, f"given back, and then {delivery.fence}")
            await bench.settle(session, Ending.GIVE_BACK, delivery)
        await bench.claim(session)
        again = await bench.session()
        expect(33, await bench.take(again) == ["a"], "what was given back counts as deliveries")

    @promised(29, 33)
    @on_engine
    async def test_what_puts_itself_back_has_lost_no_worker(self, host: Host) -> None:
        """29: a requeue is an attempt, and brings the task no nearer to its limit of deliveries."""
        bench = host.first
        await bench.enqueue(call("a", deliveries=2))
        session = await bench.session()
        for _ in range(5):
            await bench.settle(session, Ending.REQUEUE, *await bench.claim(session))
        await bench.claim(session)
        again = await bench.session()
        expect(29, await bench.take(again) == ["a"], "5 requeues and 1 lost worker were too many")

    @promised(33, needs={Capability.DELAY})
    @on_engine
    async def test_a_retry_is_not_early(self, host: Host) -> None:
        """33: not before its back-off is over, and then at once; the same for a requeue."""
        bench = host.first
        await bench.enqueue(call("a"))
        for ending, delay in ((Ending.RETRY, 10.0), (Ending.REQUEUE, 100.0)):
            session = await bench.session()
            (delivery,) = await bench.claim(session)
            await bench.settle(session, ending, delivery, delay=delay)
            where = await bench.where("a")
            expect(33, where == ["scheduled"], f"between two attempts a task is {where[0]}")
            for waited in (0.0, delay - 1, 0.75):
                await host.wait(waited)
                early = f"after {ending.value} with a delay of {delay:g} s, it came back sooner"
                expect(33, not await bench.claim(await bench.session()), early)
            due = bench.broker.next_due()
            expect(
                33, due is not None and due <= host.now + 0.25, f"due in 0.25 s; next_due(): {due}"
            )
            await host.wait(0.25)
            expect(33, await bench.where("a") == ["ready"], f"{ending.value} never comes back")

    # --- fences ---

    @promised(34)
    @on_engine
    async def test_each_delivery_has_a_fence_of_its_own(self, host: Host) -> None:
        """34: also the next one to the same worker, in the same session, with the same attempt."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        tokens = []
        for ending in (Ending.GIVE_BACK, Ending.RETRY, Ending.GIVE_BACK, Ending.REQUEUE):
            deliveries = await bench.claim(session)
            tokens += [each.fence.token for each in deliveries]
            await bench.settle(session, ending, *deliveries)
        expect(34, len(set(tokens)) == 8, f"of 8 deliveries some had the same token: {tokens}")

    @promised(34)
    @on_engine
    async def test_a_stale_fence_is_refused(self, host: Host) -> None:
        """34: of an earlier delivery, another session, an ended one, or forged: nothing happens."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        mine, others = await bench.session("mine"), await bench.session("others")
        (old,) = await bench.claim(mine, 1)
        await bench.settle(mine, Ending.GIVE_BACK, old)
        (now,) = await bench.claim(mine, 1)
        (theirs,) = await bench.claim(others, 1)
        refused = (await bench.counts()).refused
        fence = now.fence
        stale: list[tuple[str, int, Fence]] = [
            ("of the delivery before", mine, old.fence),
            ("of another session", others, fence),
            ("of another's job", mine, theirs.fence),
            ("of a session that never was", mine + others + 1_000, fence),
            ("with another token", mine, fence._replace(token=fence.token + 1_000)),
            ("with another job's token", mine, fence._replace(token=theirs.fence.token)),
            ("of another task", mine, fence._replace(task_id="nobody's")),
        ]
        for what, session, forged in stale:
            for ending in (Ending.DONE, Ending.RETRY, Ending.GIVE_BACK, Ending.DEAD):
                answer = await bench.settle(session, ending, forged)
                expect(34, answer == [False], f"{ending.value} with a fence {what} was accepted")
                where = await bench.where("a", "b")
                expect(34, where == ["leased"] * 2, f"refused, but a and b are {where}: {what}")
        counts = await bench.counts()
        expect(
            34,
            counts.refused == refused + 4 * len(stale),
            f"{4 * len(stale)} were refused and {counts.refused - refused} counted",
        )
        expect(34, await bench.settle(mine, Ending.DONE, now) == [True], "the good one is refused")
        expect(34, await bench.settle(mine, Ending.DONE, now) == [False], "a job ends twice")

    @promised(34)
    @on_engine
    async def test_a_worker_that_lost_its_session_is_not_heard(self, host: Host) -> None:
        """34: neither while the task waits again, nor while another has it, nor when it has ended."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        lost = await bench.session("slow")
        a, b = await bench.claim(lost)
        await host.wait(bench.lease)
        expect(34, await bench.settle(lost, Ending.DONE, a) == [False], "a lost lease still counts")
        expect(34, await bench.where("a") == ["ready"], "a task ends by the word of a lost session")
        session = await bench.session("next")
        again = await bench.claim(session)
        answers = await bench.settle(lost, Ending.DONE, a, b)
        expect(34, answers == [False, False], "who lost a task settles it for who has it now")
        expect(34, await bench.extend(lost) is None, "a lost lease was renewed")
        await bench.settle(session, Ending.DONE, *again)
        answers = await bench.settle(lost, Ending.RETRY, a, b)
        expect(34, answers == [False, False], "an ended task is retried by who had lost it")
        expect(34, await bench.where("a", "b") == ["done"] * 2, "an ended task has not ended")

    @promised(34)
    @on_engine
    async def test_one_stale_word_spoils_no_other(self, host: Host) -> None:
        """34: each settlement has its own answer."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        a, b = await bench.claim(session)
        forged = a.fence._replace(token=a.fence.token + 1_000)
        answers = await bench.settle(session, Ending.DONE, forged, b, a, b)
        expect(34, answers == [False, True, True, False], f"of forged, b, a, b: {answers}")

    # --- renewal ---

    @promised(35)
    @on_engine
    async def test_a_lease_that_is_renewed_is_not_taken_away(self, host: Host) -> None:
        """35: for as long as its worker lives."""
        bench = host.first
        await bench.enqueue(call("a"))
        session = await bench.session()
        (delivery,) = await bench.claim(session)
        for _ in range(10):
            await host.wait(bench.lease * 0.75)
            until = await bench.extend(session)
            expect(35, until == host.now + bench.lease, f"renewed at {host.now}: until {until}")
        expect(
            35, await bench.settle(session, Ending.DONE, delivery) == [True], "it was taken away"
        )

    @promised(35)
    @on_engine
    async def test_a_claim_renews_the_lease(self, host: Host) -> None:
        """35: a new job does not begin under a lease that is nearly over."""
        bench = host.first
        await bench.enqueue(call("a"))
        session = await bench.session()
        await host.wait(bench.lease * 0.75)
        (delivery,) = await bench.claim(session)
        await host.wait(bench.lease * 0.75)
        expect(
            35, await bench.settle(session, Ending.DONE, delivery) == [True], "it was taken away"
        )

    @promised(35)
    @on_engine
    async def test_a_stall_of_the_loop_takes_no_lease(self, host: Host) -> None:
        """35: while it stood still no renewal could come in; the time is forgiven, once."""
        bench = host.first
        await bench.enqueue(call("a"))
        session = await bench.session()
        await bench.claim(session)
        host.now += 3 * bench.lease
        await bench.broker.lapse(host.now, 3 * bench.lease)
        expect(35, await bench.where("a") == ["leased"], "a stall of the loop cost a lease")
        host.now += bench.lease
        await bench.broker.lapse(host.now, 0.0)
        expect(29, await bench.where("a") == ["ready"], "a lease that was forgiven never ends")

    @promised(35, needs={Capability.SURVIVAL})
    @on_engine
    async def test_a_stall_forgives_nothing_to_the_dead(self, host: Host) -> None:
        """35: who died with an earlier process did not stand still with this one."""
        bench = host.first
        await bench.enqueue(call("a"))
        await bench.claim(await bench.session("dies"))
        bench = await host.crash_process(bench)
        host.now += bench.lease / 2
        await bench.broker.lapse(host.now, bench.lease / 2)
        await host.wait(bench.lease / 2)
        found = await bench.take(await bench.session("lives"))
        expect(29, found == ["a"], f"a's worker died a lease ago; another worker gets {found}")
