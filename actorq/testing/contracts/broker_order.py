"""Which task starts when: promises 37 to 39."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

from actorq.capability import Capability
from actorq.errors import DuplicateTask, TaskCancelled, TaskExpired
from actorq.protocol import Ending
from actorq.queue_choice import QueueChoice
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.host import Bench, EngineContract, Host, call, on_engine
from actorq.testing.promises import broken, expect
from actorq.unique import OnConflict, UniqueKey, Until


class OrdersTasks(EngineContract):
    """A part of `BrokerContract`."""

    # --- order ---

    @promised(37)
    @on_engine
    async def test_tasks_start_in_the_order_of_enqueueing(self, host: Host) -> None:
        """37: of one batch and of several, claimed one by one or together."""
        bench = host.first
        ids = [f"t{n}" for n in (5, 3, 8, 1, 9, 2, 7)]
        await bench.enqueue(*[call(task_id) for task_id in ids[:4]])
        for task_id in ids[4:]:
            await bench.enqueue(call(task_id))
        session = await bench.session()
        taken = [*await bench.take(session, 1), *await bench.take(session, 3)]
        expect(37, len(taken) == 4, f"at most 4 were asked for, and there came {taken}")
        taken += await bench.take(session)
        expect(37, taken == ids, f"enqueued: {ids}; started: {taken}")

    @promised(37)
    @on_engine
    async def test_what_comes_back_keeps_its_place(self, host: Host) -> None:
        """37: given back, or taken from a lost worker: before what was enqueued after it."""
        bench = host.first
        ids = ["a", "b", "c", "d"]
        await bench.enqueue(*[call(task_id) for task_id in ids[:3]])
        session = await bench.session()
        batch = await bench.claim(session)
        await bench.enqueue(call("d"))
        for each in reversed(batch):
            await bench.settle(session, Ending.GIVE_BACK, each)
        taken = await bench.take(session, 3)
        expect(37, taken == ids[:3], f"a, b, c were given back; started: {taken}")
        taken = await bench.take(await bench.session())
        expect(37, taken == ids, f"a, b, c came back from a lost session; started: {taken}")

    @promised(37)
    @on_engine
    async def test_what_puts_itself_back_goes_to_the_end(self, host: Host) -> None:
        """37: or it would take its own turn again and again."""
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        await bench.settle(session, Ending.REQUEUE, *await bench.claim(session, 1))
        taken = await bench.take(session)
        expect(37, taken == ["b", "a"], f"a went to the back of the queue; started: {taken}")

    @promised(37, needs={Capability.PRIORITY})
    @on_engine
    async def test_a_higher_priority_starts_first(self, host: Host) -> None:
        """37: whenever it was enqueued; within one priority the order stays."""
        bench = host.first
        priorities = {"a": 0, "b": 5, "c": -1, "d": 5, "e": 0, "f": 100}
        await bench.enqueue(*[call(i, priority=priority) for i, priority in priorities.items()])
        session = await bench.session()
        first = await bench.claim(session, 2)
        await bench.settle(session, Ending.GIVE_BACK, *first)
        taken = await bench.take(session)
        expect(37, taken == ["f", "b", "d", "a", "e", "c"], f"of {priorities} started: {taken}")

    @promised(37, needs={Capability.PRIORITY})
    @on_engine
    async def test_priorities_that_differ_by_one_are_not_the_same(self, host: Host) -> None:
        """37: up to the 64 bits that they may have, where a float would tie."""
        bench, most = host.first, (1 << 63) - 1
        priorities = {
            "a": 1 << 60,
            "b": 1 + (1 << 60),
            "c": -most - 1,
            "d": most,
            "e": -most,
            "f": 0,
        }
        await bench.enqueue(*[call(i, priority=priority) for i, priority in priorities.items()])
        session = await bench.session()
        first = await bench.claim(session, 2)
        await bench.settle(session, Ending.GIVE_BACK, *first)
        taken = await bench.take(session)
        expect(37, taken == ["d", "b", "a", "f", "e", "c"], f"of {priorities} started: {taken}")

    @promised(37, needs={Capability.QUEUES})
    @on_engine
    async def test_a_worker_gets_tasks_of_its_queues_only(self, host: Host) -> None:
        """37: in strict order, those of the first queue first; who chose none gets all."""
        bench = host.first
        queues = {"a": "default", "b": "mail", "c": "video", "d": "mail", "e": "default"}
        await bench.enqueue(*[call(i, queue=queue) for i, queue in queues.items()])
        counted = (await bench.counts()).queues
        seen = {name: counted.get(name) for name in ("default", "mail", "video")}
        expect(30, seen == {"default": 2, "mail": 2, "video": 1}, f"by queue there are {seen}")
        strict = await bench.session("w1", QueueChoice(("mail", "default")))
        taken = await bench.take(strict)
        expect(37, taken == ["b", "d", "a", "e"], f"mail before default, no video; got {taken}")
        everything = await bench.session("w2")
        taken = await bench.take(everything)
        expect(37, taken == ["c"], f"who serves all queues finds video; got {taken}")

    @promised(37, needs={Capability.QUEUES})
    @on_engine
    async def test_no_queue_starves_among_those_with_weights(self, host: Host) -> None:
        """37: each gets its turn, in its own order."""
        bench = host.first
        await bench.enqueue(
            *[call(f"{queue}{n}", queue=queue) for queue in ("mail", "video") for n in range(10)]
        )
        session = await bench.session("w", QueueChoice(("mail", "video"), (3.0, 1.0)))
        taken = await bench.take(session, 12)
        videos = [each for each in taken if each.startswith("video")]
        expect(37, videos and len(videos) < 6, f"mail has 3 turns for each of video; got {taken}")
        for queue in ("mail", "video"):
            own = [each for each in taken if each.startswith(queue)]
            expect(37, own == sorted(own), f"of {queue} there started {own}")

    # --- time ---

    @promised(38, needs={Capability.DELAY})
    @on_engine
    async def test_a_delayed_task_is_not_early(self, host: Host) -> None:
        """38: from its time on it is ready, and not a moment before; in the order of their times."""
        bench = host.first
        now = host.now
        await bench.enqueue(
            call("20", eta=now + 20),
            call("10", eta=now + 10),
            call("now", eta=now),
            call("past", eta=1.0),
        )
        session = await bench.session()
        taken = await bench.take(session)
        expect(38, taken == ["now", "past"], f"two are due and two are not; started: {taken}")
        for task_id in ("10", "20"):
            due = bench.broker.next_due()
            expect(38, due is not None and due <= host.now + 10, f"due in 10 s; next_due(): {due}")
            for waited in (0.0, 9.0, 0.75):
                await host.wait(waited)
                await bench.extend(session)
                taken = await bench.take(session)
                expect(38, not taken, f"at {host.now - now:g} s there started {taken}")
            await host.wait(0.25)
            expect(38, bench.broker.claimable(), "a task is due, and claimable() does not say so")
            taken = await bench.take(session)
            expect(38, taken == [task_id], f"at {host.now - now:g} s there started {taken}")
        expect(
            38, bench.broker.next_due() is None, "nothing is due any more, and next_due() is set"
        )

    @promised(38, needs={Capability.EXPIRY})
    @on_engine
    async def test_an_expired_task_never_starts(self, host: Host) -> None:
        """38: its waiters get `TaskExpired`; the moment itself is too late, the one before is not."""
        bench = host.first
        soon = host.now + 10
        await bench.enqueue(call("late", expires_at=soon), call("right", expires_at=soon + 1))
        due = bench.broker.next_due()
        expect(38, due is not None and due <= soon, f"one expires in 10 s; next_due(): {due}")
        host.now += 10  # nobody has looked yet: a claim is to find out by itself
        session = await bench.session()
        taken = await bench.take(session)
        expect(38, taken == ["right"], f"late expired, right did not; started: {taken}")
        await bench.look()
        error = await bench.error_told("late")
        expect(38, isinstance(error, TaskExpired), f"who waits for an expired task gets {error!r}")
        await host.wait(20)
        expect(38, await bench.where("late") == ["done"], "an expired task has not ended")

    @promised(38, needs={Capability.EXPIRY})
    @on_engine
    async def test_a_task_that_comes_back_too_late_does_not_start(self, host: Host) -> None:
        """38: no attempt of it begins, the second as little as the first; running, it may end."""
        bench = host.first
        soon = host.now + 10
        names = ("back", "retried", "lost", "ends")
        await bench.enqueue(*[call(each, expires_at=soon) for each in names])
        mine, dies = await bench.session("mine"), await bench.session("dies")
        back, retried = await bench.claim(mine, 2)
        await bench.claim(dies, 1)
        (ends,) = await bench.claim(mine, 1)
        await host.wait(20)
        await bench.extend(mine)
        await bench.settle(mine, Ending.GIVE_BACK, back)
        await bench.settle(mine, Ending.RETRY, retried)
        expect(38, await bench.settle(mine, Ending.DONE, ends) == [True], "running, it may end")
        await host.wait(20)
        taken = await bench.take(await bench.session("next"))
        expect(38, not taken, f"these came back when they had expired: {taken}")
        told = set(await bench.told())
        expect(38, told == {"back", "retried", "lost"}, f"waiters of {told} were told")

    @promised(38, needs={Capability.EXPIRY, Capability.DELAY})
    @on_engine
    async def test_a_task_that_expires_before_its_time_never_starts(self, host: Host) -> None:
        """38: while it waits for its time, too."""
        bench = host.first
        await bench.enqueue(call("a", eta=host.now + 20, expires_at=host.now + 10))
        await host.wait(10)
        expect(38, await bench.where("a") == ["done"], "it expired before its time came")
        await host.wait(10)
        expect(38, not await bench.claim(await bench.session()), "an expired task starts")
        expect(38, "a" in await bench.told(), "who waits for an expired task is not told")

    # --- unique ---

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_of_two_calls_with_one_key_the_second_is_refused(self, host: Host) -> None:
        """39: `DuplicateTask` that names the first; all or none; free when that has ended."""
        bench = host.first
        unique = key()
        await bench.enqueue(call("a", unique=unique), call("other", unique=key(named="v")))
        await expect_duplicate("a", bench.enqueue(call("x"), call("b", unique=unique)))
        where = await bench.where("x", "b")
        expect(39, where == ["unknown"] * 2, f"of a batch that was refused x, b are {where}")
        await bench.enqueue(call("a", unique=unique))  # sent again: harmless
        session = await bench.session()
        a, *_ = await bench.claim(session)
        await expect_duplicate("a", bench.enqueue(call("b", unique=unique)))
        await bench.settle(session, Ending.GIVE_BACK, a)
        await expect_duplicate("a", bench.enqueue(call("b", unique=unique)))
        await host.crash_actor(bench)
        await expect_duplicate("a", bench.enqueue(call("b", unique=unique)))
        (a,) = await bench.claim(session)
        await bench.settle(session, Ending.DONE, a)
        await bench.enqueue(call("b", unique=unique))
        expect(39, await bench.where("b") == ["ready"], "the key's task has ended: it is free")

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_two_calls_with_one_key_in_one_batch(self, host: Host) -> None:
        """39: the first has it; the second is refused with the whole, or stands aside."""
        bench = host.first
        await expect_duplicate("a", bench.enqueue(call("a", unique=key()), call("b", unique=key())))
        expect(39, await bench.where("a", "b") == ["unknown"] * 2, "a refused batch was stored")
        returned = key(OnConflict.RETURN)
        ids = await bench.enqueue(call("a", unique=returned), call("x"), call("b", unique=returned))
        expect(39, ids == ["a", "x", "a"], f"a stands for b; the ids were {ids}")
        taken = await bench.take(await bench.session())
        expect(39, taken == ["a", "x"], f"of two calls with one key there started {taken}")

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_the_call_that_has_the_key_stands_for_another(self, host: Host) -> None:
        """39: `on_conflict="return"`: its id is the answer, waiting or running; nothing is stored."""
        bench = host.first
        unique = key(OnConflict.RETURN)
        await bench.enqueue(call("a", unique=unique))
        session = await bench.session()
        for n in range(2):
            ids = await bench.enqueue(call("x"), call(f"b{n}", unique=unique))
            expect(39, ids == ["x", "a"], f"a has the key of b: the ids were {ids}")
            expect(39, await bench.where(f"b{n}") == ["unknown"], "two have one key")
            await bench.claim(session)

    @promised(39, needs={Capability.UNIQUE, Capability.CANCELLATION})
    @on_engine
    async def test_a_later_call_takes_the_place_of_an_earlier(self, host: Host) -> None:
        """39: `on_conflict="replace"`: what waited never starts, what runs is cancelled."""
        bench = host.first
        unique = key(OnConflict.REPLACE)
        await bench.enqueue(call("a", unique=unique))
        ids = await bench.enqueue(call("b", unique=unique))
        expect(39, ids == ["b"], f"b takes the place of a: the ids were {ids}")
        error = await bench.error_told("a")
        replaced = isinstance(error, TaskCancelled)
        expect(39, replaced, f"a was replaced by b; who waits for it gets {error!r}")
        session = await bench.session()
        taken = await bench.claim(session)
        ids = [each.fence.task_id for each in taken]
        expect(39, ids == ["b"], f"b replaced a; there started {ids}")
        await bench.enqueue(call("c", unique=unique))
        notices = await bench.notices(session)
        fences = [notice.fence for notice in notices]
        expect(
            39, fences == [taken[0].fence], f"c replaced b, which runs: its worker hears {notices}"
        )
        await bench.settle(session, Ending.CANCELLED, *taken)
        await expect_taken("c", bench, session)

    @promised(39, needs={Capability.UNIQUE, Capability.DELAY})
    @on_engine
    async def test_a_debounced_call_takes_the_latest_arguments(self, host: Host) -> None:
        """39: under the first id, with its delay begun anew; free from the start on."""
        bench = host.first
        unique = UniqueKey("k", OnConflict.DEBOUNCE, Until.START, None)
        await bench.enqueue(call("a", 1, unique=unique, eta=host.now + 10))
        await host.wait(6)
        ids = await bench.enqueue(call("b", 2, unique=unique, eta=host.now + 10))
        expect(39, ids == ["a"], f"a takes the arguments of b: the ids were {ids}")
        session = await bench.session()
        await host.wait(6)
        expect(39, not await bench.claim(session), "a debounced call did not wait anew")
        await host.wait(4)
        (delivery,) = await bench.claim(session)
        got = (delivery.fence.task_id, delivery.message.args)
        expect(39, got == ("a", (2,)), f"of calls with 1, then 2 there started {got}")
        ids = await bench.enqueue(call("c", 3, unique=unique, eta=host.now + 10))
        expect(39, ids == ["c"], f"a has started, and c is a call of its own; the ids were {ids}")

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_a_key_may_be_free_from_the_start_on(self, host: Host) -> None:
        """39: `until="start"`: as soon as a worker has the task."""
        bench = host.first
        unique = key(until=Until.START)
        await bench.enqueue(call("a", unique=unique))
        await expect_duplicate("a", bench.enqueue(call("b", unique=unique)))
        session = await bench.session()
        await bench.claim(session)
        await bench.enqueue(call("b", unique=unique))
        await expect_taken("b", bench, session)

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_a_key_may_be_taken_for_a_time(self, host: Host) -> None:
        """39: `until=10`: whatever became of its task meanwhile; not longer."""
        bench = host.first
        unique = UniqueKey("k", OnConflict.REJECT, Until.TIME, 10.0)
        await bench.enqueue(call("a", unique=unique))
        session = await bench.session()
        await bench.settle(session, Ending.DONE, *await bench.claim(session))
        host.now += 9.75
        await expect_duplicate("a", bench.enqueue(call("b", unique=unique)))
        host.now += 0.25
        await bench.enqueue(call("b", unique=unique))
        await expect_taken("b", bench, session)

    @promised(39, needs={Capability.UNIQUE})
    @on_engine
    async def test_a_lost_tasks_key_is_free(self, host: Host) -> None:
        """39: given up or dead, it holds nobody up for ever."""
        bench = host.first
        await bench.enqueue(call("a", unique=key(), deliveries=1))
        await bench.claim(await bench.session())
        await host.wait(bench.lease)
        await bench.enqueue(call("b", unique=key()))
        session = await bench.session()
        await bench.settle(session, Ending.DEAD, *await bench.claim(session))
        await bench.enqueue(call("c", unique=key()))
        await expect_taken("c", bench, session)

    @promised(39, needs={Capability.UNIQUE, Capability.SHARING})
    @on_engine
    async def test_of_many_processes_with_one_key_one_wins(self, host: Host) -> None:
        """39: exactly one is stored, and the others learn which."""
        benches = [host.first, await host.open(), await host.open()]
        answers: list[str] = []

        async def enqueue(bench: Bench, n: int) -> None:
            answers.extend(await bench.enqueue(call(f"t{n}", unique=key(OnConflict.RETURN))))

        async with trio.open_nursery() as nursery:
            for n in range(9):
                nursery.start_soon(enqueue, benches[n % 3], n)
        expect(39, len(set(answers)) == 1, f"9 calls with one key: the ids were {answers}")
        taken = await host.first.take(await host.first.session())
        expect(39, taken == answers[:1], f"the one was {answers[:1]}; there started {taken}")


def key(
    on_conflict: OnConflict = OnConflict.REJECT, until: Until = Until.FINISH, named: str = "k"
) -> UniqueKey:
    """A unique key."""
    return UniqueKey(named, on_conflict, until, None)


async def expect_duplicate(holder: str, enqueueing: Awaitable[object]) -> None:
    """It is refused, and says who has the key."""
    try:
        answer = await enqueueing
    except DuplicateTask as refusal:
        expect(39, refusal.task_id == holder, f"{holder} has the key; the error says {refusal!r}")
    else:
        raise broken(39, f"{holder} has the key, and another call was accepted: {answer}")


async def expect_taken(task_id: str, bench: Bench, session: int) -> None:
    """It was accepted: it is there."""
    taken = await bench.take(session)
    expect(
        39, taken == [task_id], f"the key was free, {task_id} was accepted; there started {taken}"
    )
