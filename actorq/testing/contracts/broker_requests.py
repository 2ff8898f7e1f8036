"""What is asked of a broker: promises 36 and 42, chains, dead letters, pausing, listing."""

from __future__ import annotations

import attrs

from actorq.capability import Capability
from actorq.errors import ChainBroken, TaskCancelled
from actorq.message import TaskMessage
from actorq.protocol import Ending
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.host import EngineContract, Host, call, on_engine
from actorq.testing.promises import expect
from actorq.wire import Wire


class AnswersRequests(EngineContract):
    """A part of `BrokerContract`."""

    # --- cancelling ---

    @promised(36, needs={Capability.CANCELLATION})
    @on_engine
    async def test_a_waiting_task_that_is_cancelled_never_starts(self, host: Host) -> None:
        """36: the answer is True, also when asked again; its waiters get `TaskCancelled`."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"), call("c"))
        for _ in range(2):
            expect(36, await bench.cancel("b") is True, "a waiting task was cancelled: not True")
        error = await bench.error_told("b")
        expect(
            36, isinstance(error, TaskCancelled), f"who waits for a cancelled task gets {error!r}"
        )
        ending = await bench.broker.ending("b")
        expect(36, ending is Ending.CANCELLED, f"a cancelled task's ending is {ending}")
        taken = await bench.take(await bench.session())
        expect(36, taken == ["a", "c"], f"b was cancelled, and there started {taken}")
        await bench.enqueue(call("b"))
        expect(36, await bench.where("b") == ["done"], "a cancelled task that is sent again starts")

    @promised(36, needs={Capability.CANCELLATION})
    @on_engine
    async def test_a_running_tasks_worker_hears_that_it_was_cancelled(self, host: Host) -> None:
        """36: once; the answer is None until it has settled the task, then True."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session, other = await bench.session("mine"), await bench.session("other")
        (delivery,) = await bench.claim(session, 1)
        await bench.claim(other, 1)
        expect(36, await bench.cancel("a") is None, "a running task was cancelled: not None")
        expect(36, await bench.cancel("a") is None, "a running task was cancelled again: not None")
        expect(36, bench.broker.has_notices(), "there is a notice, and has_notices() is False")
        expect(36, not await bench.notices(other), "another session hears of it")
        notices = await bench.notices(session)
        heard = [(notice.fence, notice.why) for notice in notices]
        expect(36, heard == [(delivery.fence, "cancelled")], f"its worker hears {notices}")
        expect(36, not await bench.notices(session), "its worker hears it twice")
        await bench.settle(session, Ending.CANCELLED, delivery)
        expect(36, await bench.cancel("a") is True, "it was cancelled: not True")
        expect(36, await bench.where("a") == ["done"], "a cancelled task has not ended")

    @promised(36, needs={Capability.CANCELLATION})
    @on_engine
    async def test_a_cancelled_task_does_not_come_back(self, host: Host) -> None:
        """36: retried, requeued, given back or lost with its worker: it is over, and told."""
        bench = host.first
        endings = (Ending.RETRY, Ending.REQUEUE, Ending.GIVE_BACK)
        ids = [each.value for each in endings] + ["lost"]
        await bench.enqueue(*[call(each) for each in ids])
        session = await bench.session()
        deliveries = await bench.claim(session)
        for delivery in deliveries:
            await bench.cancel(delivery.fence.task_id)
        for ending, delivery in zip(endings, deliveries, strict=False):
            expect(36, await bench.settle(session, ending, delivery) == [True], "it was refused")
        await host.wait(bench.lease)
        taken = await bench.take(await bench.session())
        expect(36, not taken, f"these were cancelled, and start again: {taken}")
        told = {each: type(result.error) for each, result in (await bench.told()).items()}
        expect(36, told == dict.fromkeys(ids, TaskCancelled), f"their waiters are told {told}")
        for task_id in ids:
            answer = await bench.cancel(task_id)
            expect(36, answer is True, f"{task_id} ended as cancelled; the answer is {answer}")

    @promised(36, needs={Capability.CANCELLATION})
    @on_engine
    async def test_what_has_ended_cannot_be_cancelled(self, host: Host) -> None:
        """36: its result stands, and the answer is False; also if it ended as it was cancelled."""
        bench = host.first
        await bench.enqueue(call("ended"), call("quick"), call("failed"))
        session = await bench.session()
        ended, quick, failed = await bench.claim(session)
        await bench.settle(session, Ending.DONE, ended)
        await bench.settle(session, Ending.DEAD, failed)
        await bench.cancel("quick")
        await bench.settle(session, Ending.DONE, quick)
        for task_id in ("ended", "failed", "quick", "nobody's"):
            answer = await bench.cancel(task_id)
            expect(36, answer is False, f"{task_id}: cancel() answers {answer}")
        told = await bench.told()
        expect(
            36, not told, f"their workers reported their ends, and the queue does so too: {told}"
        )

    @promised(36, needs={Capability.CANCELLATION, Capability.DELAY})
    @on_engine
    async def test_a_delayed_task_that_is_cancelled_never_starts(self, host: Host) -> None:
        """36: before its first attempt, and between two."""
        bench = host.first
        await bench.enqueue(call("a", eta=host.now + 10), call("b"))
        session = await bench.session()
        await bench.settle(session, Ending.RETRY, *await bench.claim(session), delay=10.0)
        answers = [await bench.cancel("a"), await bench.cancel("b")]
        expect(36, answers == [True, True], f"two waited for their time; the answers are {answers}")
        await host.wait(20)
        expect(36, not await bench.claim(session), "a cancelled task starts when its time comes")
        expect(36, set(await bench.told()) == {"a", "b"}, "who waits is not told")

    # --- what nobody can run ---

    @promised(42, needs={Capability.PARKING})
    @on_engine
    async def test_an_unknown_task_waits_for_a_worker_that_knows_it(self, host: Host) -> None:
        """42: it hurts nobody else meanwhile; its attempt does not count; restarts are survived."""
        bench = host.first
        await bench.enqueue(call("a", name="strange"), call("b"), call("c", name="strange"))
        session = await bench.session()
        a, b, c = await bench.claim(session)
        await bench.settle(session, Ending.PARK, a, c)
        where = await bench.where("a", "c")
        expect(42, where == ["parked"] * 2, f"nobody knows a and c, and they are {where}")
        counts = await bench.counts()
        seen = (counts.parked, counts.ready)
        expect(30, seen == (2, 2), f"2 are parked, which is ready; counted: {seen}")
        expect(42, not await bench.claim(session), "a task that nobody knows comes again and again")
        await host.crash_actor(bench)
        await bench.broker.release("add")
        expect(42, await bench.where("a") == ["parked"], "it was released for another's name")
        await bench.broker.release("strange")
        expect(42, bench.broker.claimable(), "two are known now, and claimable() does not say so")
        again = [tuple(each.fence)[:2] for each in await bench.claim(session)]
        expect(42, again == [("a", 1), ("c", 1)], f"a and c are known now; there start {again}")
        expect(42, await bench.settle(session, Ending.DONE, b) == [True], "others were disturbed")

    @promised(42, needs={Capability.BYTES})
    @on_engine
    async def test_a_message_that_cannot_be_read_hurts_nobody_else(self, host: Host) -> None:
        """42: it is given up with its reason, its waiters are told, and the next one starts."""
        bench = host.first
        bench.broker.wire = _Damaging(**attrs.asdict(bench.broker.wire, recurse=False))
        await bench.enqueue(call("a"), call("damaged"), call("b"))
        session = await bench.session()
        taken = await bench.take(session, 2)
        expect(42, taken == ["a", "b"], f"damaged cannot be read; there started {taken}")
        error = (await bench.told()).get("damaged")
        expect(
            42,
            error is not None and error.is_err,
            f"who waits for what cannot be read gets {error}",
        )
        where = await bench.where("damaged")
        expect(42, where[0] in ("dead", "done"), f"a message that cannot be read is {where[0]}")
        if Capability.DEAD_LETTERS not in self.lacks():
            dead = await bench.broker.dead_task("damaged")
            expect(42, dead is not None and dead.reason, f"its dead letter is {dead}")
            listed = [each.task_id for each in await bench.broker.dead_tasks()]
            expect(42, listed == ["damaged"], f"the dead letters are {listed}")
        await host.crash_actor(bench)
        expect(42, not await bench.claim(session), "it is tried again and again")

    # --- chains ---

    @promised(32, needs={Capability.CHAINS})
    @on_engine
    async def test_the_next_step_is_enqueued_with_the_end_of_the_one_before(
        self, host: Host
    ) -> None:
        """32: in one step, so that no crash comes between; known from the beginning."""
        bench = host.first
        steps = chained("a", "b", "c")
        await bench.enqueue(steps)
        where = await bench.where("a", "b", "c")
        expect(30, where == ["ready", "pending", "pending"], f"the steps are {where}")
        session = await bench.session()
        for at, name in enumerate(["a", "b", "c"]):
            (delivery,) = await bench.claim(session)
            expect(32, delivery.fence.task_id == name, f"step {name} is due; got {delivery.fence}")
            rest = delivery.message.terms.chain if delivery.message.terms else ()
            then = (following(rest),) if rest else ()
            await bench.settle(session, Ending.DONE, delivery, then=then)
            where = await bench.where("a", "b", "c")
            expected = ["done"] * (at + 1) + ["ready"] * (at < 2) + ["pending"] * max(0, 1 - at)
            expect(32, where == expected, f"after {name} the steps are {where}, not {expected}")

    @promised(34, needs={Capability.CHAINS})
    @on_engine
    async def test_a_stale_word_does_not_go_on_with_the_chain(self, host: Host) -> None:
        """34: the next step is not enqueued by who has lost the one before."""
        bench = host.first
        await bench.enqueue(chained("a", "b"))
        lost = await bench.session("lost")
        (delivery,) = await bench.claim(lost)
        await host.wait(bench.lease)
        answer = await bench.settle(lost, Ending.DONE, delivery, then=(call("b"),))
        expect(34, answer == [False], "a stale fence was accepted")
        expect(34, await bench.where("b") == ["pending"], "a stale word enqueued the next step")

    @promised(32, needs={Capability.CHAINS})
    @on_engine
    async def test_a_broken_chain_tells_the_waiters_of_all_later_steps(self, host: Host) -> None:
        """32: a step that fails for good ends those after it with `ChainBroken`."""
        bench = host.first
        await bench.enqueue(chained("a", "b", "c"))
        session = await bench.session()
        await bench.settle(session, Ending.DEAD, *await bench.claim(session))
        told = {each: type(result.error) for each, result in (await bench.told()).items()}
        expected = dict.fromkeys(["b", "c"], ChainBroken)
        expect(32, told == expected, f"step a failed; the waiters of the others are told {told}")
        expect(32, not await bench.claim(session), "a step starts after one that failed")

    @promised(36, needs={Capability.CHAINS, Capability.CANCELLATION})
    @on_engine
    async def test_a_later_step_that_is_cancelled_never_starts(self, host: Host) -> None:
        """36: its chain ends where it is."""
        bench = host.first
        await bench.enqueue(chained("a", "b"))
        expect(36, await bench.cancel("b") is True, "a later step was cancelled: not True")
        told = await bench.told()
        expect(36, set(told) == {"a", "b"}, f"who waits for the steps is told: {set(told)}")
        expect(36, not await bench.claim(await bench.session()), "a cancelled chain starts")

    # --- dead letters ---

    @promised(30, needs={Capability.DEAD_LETTERS})
    @on_engine
    async def test_dead_letters_are_kept_until_they_are_replayed_or_purged(
        self, host: Host
    ) -> None:
        """30: with their message and reason, oldest first; replayed in the step in which one goes."""
        bench = host.first
        ids = ["a", "b", "c"]
        await bench.enqueue(*[call(each, each) for each in ids])
        session = await bench.session()
        for delivery in await bench.claim(session):
            await bench.settle(session, Ending.DEAD, delivery, reason="boom")
        await host.crash_actor(bench)
        dead = await bench.broker.dead_tasks()
        seen = [(each.task_id, each.message.args, each.reason, each.attempts) for each in dead]
        expected = [(each, (each,), "boom", 1) for each in ids]
        expect(30, seen == expected, f"the dead letters are {seen}")
        expect(30, await bench.where(*ids) == ["dead"] * 3, "what failed for good is not dead")
        pairs = [("a", call("a2", "a")), ("nobody's", call("x"))]
        answer = await bench.broker.replay(pairs, host.now)
        expect(
            30, tuple(answer) == ("a2", None), f"a is replayed as a2, the other is not: {answer}"
        )
        where = await bench.where("a", "a2", "x")
        expect(30, where == ["done", "ready", "unknown"], f"a, a2, x are {where}")
        answer = await bench.broker.replay([("a", call("a3", "a"))], host.now)
        expect(30, tuple(answer) == (None,), f"replayed twice: {answer}")
        gone = await bench.broker.purge_dead(["b", "nobody's"])
        rest = [each.task_id for each in await bench.broker.dead_tasks()]
        expect(30, (gone, rest) == (1, ["c"]), f"b was purged: {gone} gone, {rest} left")
        gone = await bench.broker.purge_dead(None)
        counts = await bench.counts()
        expect(
            30, (gone, counts.dead) == (1, 0), f"all were purged: {gone} gone, {counts.dead} left"
        )
        await bench.enqueue(*[call(each, each) for each in ids])
        taken = await bench.take(session)
        expect(31, taken == ["a2"], f"a, b, c had been accepted and ended; there start {taken}")

    # --- queues as a whole ---

    @promised(30, needs={Capability.PAUSE})
    @on_engine
    async def test_a_paused_queue_gives_out_nothing(self, host: Host) -> None:
        """30: what waits there stays ready, what runs ends; after a restart it is still paused."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        (delivery,) = await bench.claim(session, 1)
        await bench.broker.set_paused("default", paused=True)
        await host.crash_actor(bench)
        expect(30, not await bench.claim(session), "a paused queue gives out tasks")
        expect(30, await bench.where("b") == ["ready"], "what waits in a paused queue is not ready")
        paused = (await bench.counts()).paused
        expect(30, paused == {"default"}, f"paused: {paused}")
        expect(30, await bench.settle(session, Ending.DONE, delivery) == [True], "it may not end")
        await bench.broker.set_paused("default", paused=False)
        expect(30, bench.broker.claimable(), "it was resumed, and claimable() does not say so")
        expect(30, await bench.take(session) == ["b"], "a queue that was resumed gives out nothing")

    @promised(36, needs={Capability.PURGE})
    @on_engine
    async def test_purging_cancels_what_waits_and_nothing_else(self, host: Host) -> None:
        """36: their waiters are told; what runs goes on."""
        bench = host.first
        await bench.enqueue(call("runs"), call("a"), call("b"))
        session = await bench.session()
        (delivery,) = await bench.claim(session, 1)
        count = await bench.broker.purge("default", host.now)
        expect(36, count == 2, f"2 waited and 1 ran; purge() says {count}")
        told = {each: type(result.error) for each, result in (await bench.told()).items()}
        expected = dict.fromkeys(["a", "b"], TaskCancelled)
        expect(36, told == expected, f"a and b were purged; their waiters are told {told}")
        expect(36, not await bench.claim(session), "what was purged starts")
        expect(36, await bench.settle(session, Ending.DONE, delivery) == [True], "it may not end")

    @promised(36, needs={Capability.PURGE, Capability.QUEUES})
    @on_engine
    async def test_purging_one_queue_leaves_the_others(self, host: Host) -> None:
        """36: whatever they are called."""
        bench = host.first
        await bench.enqueue(call("a"), call("b", queue="mail"), call("c", queue="video"))
        count = await bench.broker.purge("mail", host.now)
        expect(36, count == 1, f"one task was in the queue; purge() says {count}")
        taken = await bench.take(await bench.session())
        expect(36, taken == ["a", "c"], f"b was purged, a and c are of other queues; got {taken}")

    @promised(30, needs={Capability.LISTING})
    @on_engine
    async def test_queued_tasks_are_listed(self, host: Host) -> None:
        """30: all that have not ended, the first accepted first, with where they are."""
        bench = host.first
        await bench.enqueue(call("a", "x"), call("b"), call("c"), call("d"))
        session = await bench.session()
        _, b = await bench.claim(session, 2)
        await bench.settle(session, Ending.DONE, b)
        listed = await bench.broker.queued_tasks(None, 10)
        seen = [(each.message.task_id, each.state, each.attempts) for each in listed]
        expected = [("a", "leased", 1), ("c", "ready", 0), ("d", "ready", 0)]
        expect(30, seen == expected, f"listed: {seen}; there are {expected}")
        expect(30, listed[0].message.args == ("x",), f"a was called with 'x'; listed: {listed[0]}")
        few = await bench.broker.queued_tasks("default", 2)
        expect(30, [each.message.task_id for each in few] == ["a", "c"], f"the first two: {few}")
        expect(30, not await bench.broker.queued_tasks("mail", 2), "listed in another queue")

    @promised(29, needs={Capability.WORKERS})
    @on_engine
    async def test_workers_are_listed(self, host: Host) -> None:
        """29: those whose sessions are good, and what each of them has in its hands."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"), call("c"))
        idle = await bench.session("idle")
        busy = await bench.session("busy")
        a, b = await bench.claim(busy, 2)
        listed = await bench.broker.workers()
        seen = [(each.name, each.session, [job.task_id for job in each.jobs]) for each in listed]
        expected = [("idle", idle, []), ("busy", busy, ["a", "b"])]
        expect(29, seen == expected, f"listed: {seen}; there are {expected}")
        (job, _) = listed[1].jobs
        said = (job.task_name, job.queue, job.attempt)
        expected_job = (a.message.task_name, "default", 1)
        expect(29, said == expected_job, f"the first job is {expected_job}; listed: {said}")
        await bench.settle(busy, Ending.DONE, a)
        newer = await bench.session("idle")  # its older session ends
        again = await bench.broker.workers()
        sessions = [each.session for each in again]
        expect(29, sessions == [busy, newer], f"listed: {sessions}; good are {[busy, newer]}")
        held = [[job.task_id for job in each.jobs] for each in again]
        expect(29, held == [["b"], []], f"a is done, b is held; listed: {held}")
        await bench.settle(busy, Ending.GIVE_BACK, b)


@attrs.frozen
class _Damaging(Wire):
    """Loses the end of a message on its way to the storage."""

    def encode_message(self, message: TaskMessage) -> bytes:
        data = super().encode_message(message)
        return data[: len(data) // 2] if message.task_id == "damaged" else data


def chained(*task_ids: str) -> TaskMessage:
    """Steps, one after the other."""
    first, *rest = task_ids
    return call(first, chain=tuple([call(each) for each in rest]))


def following(chain: tuple[TaskMessage, ...]) -> TaskMessage:
    """What a worker enqueues after a step: the next one, which carries the rest."""
    return call(chain[0].task_id, chain=chain[1:])
