"""What a broker keeps, and for how long: promises 28, 30 and 31."""

from __future__ import annotations

from collections import Counter

import trio

from actorq.capability import Capability
from actorq.engine import Claim, Step, Store
from actorq.errors import DuplicateTaskId
from actorq.protocol import Ending, Settle, Settlement
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.host import Bench, EngineContract, Host, call, on_engine
from actorq.testing.promises import broken, expect
from actorq.unique import OnConflict, UniqueKey, Until


class KeepsTasks(EngineContract):
    """A part of `BrokerContract`."""

    # --- what is accepted ---

    @promised(31)
    @on_engine
    async def test_a_task_comes_to_the_worker_as_it_was_sent(self, host: Host) -> None:
        """31: name, arguments, labels and options are what was enqueued."""
        bench = host.first
        sent = [
            call(
                "a", 1, 2.5, "žluťoučký 🐎", None, [True, {"deep": [[]]}], labels={"tenant": "acme"}
            ),
            call("with/slash .. \n", name="other.task", deliveries=3),
            call("A", "another task than a"),
        ]
        expect(31, await bench.enqueue(*sent) == [each.task_id for each in sent], "other ids")
        session = await bench.session()
        found = await bench.claim(session)
        for message, delivery in zip(sent, found, strict=True):
            got = delivery.message
            expect(
                31,
                got.to_dict() == message.to_dict(),
                f"{message.to_dict()} was enqueued and {got.to_dict()} delivered",
            )
            expect(33, delivery.fence.attempt == 1, f"the first attempt has {delivery.fence}")
        await bench.settle(session, Ending.RETRY, *found)
        for delivery in await bench.claim(session):
            message = next(each for each in sent if each.task_id == delivery.fence.task_id)
            got = delivery.message
            expect(
                31,
                got.to_dict() == message.to_dict(),
                f"{message.to_dict()} was enqueued and, when retried, {got.to_dict()} delivered",
            )

    @promised(31)
    @on_engine
    async def test_a_message_sent_again_is_stored_once(self, host: Host) -> None:
        """31: while it waits, while it runs, and after it ended; twice in one batch as well."""
        bench = host.first
        session = await bench.session()
        await bench.enqueue(call("a"), call("a"))
        await sent_again(bench, "ready")
        deliveries = await bench.claim(session)
        expect(31, len(deliveries) == 1, f"one task was stored {len(deliveries)} times")
        await sent_again(bench, "leased")
        await bench.settle(session, Ending.DONE, *deliveries)
        await sent_again(bench, "done")
        expect(31, not await bench.claim(session), "a task that ended starts again")

    @promised(31)
    @on_engine
    async def test_an_id_of_another_call_is_refused(self, host: Host) -> None:
        """31: `DuplicateTaskId`, and nothing of the batch is stored: all or none."""
        bench = host.first
        await bench.enqueue(call("a", 1))
        for batch in (
            [call("b"), call("a", 2)],
            [call("b"), call("a", 1, name="other")],
            [call("b"), call("c", 1), call("c", 2)],
        ):
            try:
                await bench.enqueue(*batch)
            except DuplicateTaskId:
                pass
            else:
                raise broken(31, "an id that belongs to another call was accepted")
            where = await bench.where("a", "b", "c")
            expect(
                31,
                where == ["ready", "unknown", "unknown"],
                f"of a refused batch a, b, c are {where}",
            )

    @promised(31)
    @on_engine
    async def test_a_batch_is_stored_whole(self, host: Host) -> None:
        """31: of many messages none is left out, the known among them."""
        bench = host.first
        await bench.enqueue(call("t7"))
        ids = [f"t{n}" for n in range(50)]
        await bench.enqueue(*[call(task_id) for task_id in ids])
        taken = await bench.take(await bench.session())
        expect(31, sorted(taken) == sorted(ids), f"of 50 tasks there are {sorted(taken)}")

    # --- exactly one place ---

    @promised(30)
    @on_engine
    async def test_each_task_is_in_one_place_at_every_step(self, host: Host) -> None:
        """30: ready, leased, ended: the counts are those of the tasks, after each step."""
        bench = host.first
        ids = ["a", "b", "c", "d"]
        await in_one_place(bench, *ids)
        await bench.enqueue(*[call(task_id) for task_id in ids])
        await in_one_place(bench, *ids)
        session = await bench.session()
        first, second, third = await bench.claim(session, 3)
        await in_one_place(bench, *ids)
        await bench.settle(session, Ending.DONE, first)
        await in_one_place(bench, *ids)
        await bench.settle(session, Ending.GIVE_BACK, second)
        await in_one_place(bench, *ids)
        await bench.settle(session, Ending.RETRY, third)
        await in_one_place(bench, *ids)
        await bench.claim(session, 1)
        await bench.session()  # of the same worker: the one before ends
        await in_one_place(bench, *ids)
        (last, *_) = await bench.claim(await bench.session("other"))
        await in_one_place(bench, *ids)
        counts = await bench.counts()
        expect(30, counts.leased == 3, f"3 are leased, {last.fence} among them; counted: {counts}")

    # --- a restart ---

    @promised(28)
    @on_engine
    async def test_a_crash_of_the_broker_actor_loses_nothing(self, host: Host) -> None:
        """28: what waits, what runs and what has ended are where they were; the lease is good."""
        bench = host.first
        await bench.enqueue(call("runs"), call("ends"), call("back"), call("waits"))
        session = await bench.session()
        runs, ends, back = await bench.claim(session, 3)
        await bench.settle(session, Ending.DONE, ends)
        await bench.settle(session, Ending.RETRY, back)
        names = ("runs", "ends", "back", "waits")
        before = await bench.where(*names)
        await host.crash_actor(bench)
        after = await bench.where(*names)
        expect(28, before == after, f"{names} were {before}, and after a restart {after}")
        expect(28, await bench.extend(session) is not None, "a restart took a running job's lease")
        accepted = await bench.settle(session, Ending.DONE, runs)
        expect(28, accepted == [True], "a restart made a running job's fence stale")
        again = await bench.claim(session)
        found = {each.fence.task_id: (each.fence.attempt, each.failures) for each in again}
        expect(28, found == {"back": (2, 1), "waits": (1, 0)}, f"after a restart there are {found}")
        tokens = {each.fence.token for each in (runs, ends, back, *again)}
        expect(34, len(tokens) == 5, f"after a restart a token came again: {tokens}")
        await bench.enqueue(call("ends"))
        expect(31, await bench.where("ends") == ["done"], "after a restart, what ended runs again")

    @promised(28, needs={Capability.DELAY})
    @on_engine
    async def test_a_delayed_task_waits_through_a_crash_of_the_broker_actor(
        self, host: Host
    ) -> None:
        """28: its time is kept, and the timer is known."""
        bench = host.first
        await bench.enqueue(call("later", eta=host.now + 60))
        await host.crash_actor(bench)
        expect(28, await bench.where("later") == ["scheduled"], "a restart loses a delayed task")
        due = bench.broker.next_due()
        expect(
            28, due is not None and due <= host.now + 60, f"it is due in 60 s; next_due(): {due}"
        )
        await host.wait(60)
        session = await bench.session()
        expect(28, await bench.take(session) == ["later"], "a restart loses a delayed task")

    @promised(28)
    @on_engine
    async def test_an_end_that_nobody_was_told_outlives_the_broker_actor(self, host: Host) -> None:
        """28: the outbox is the storage's; who waits for a lost task is told after a restart."""
        bench = host.first
        await bench.enqueue(call("a", deliveries=1))
        await bench.claim(await bench.session())
        await host.wait(bench.lease)
        await host.crash_actor(bench)
        told = await bench.told()
        expect(
            28, "a" in told, "the end of a lost task was forgotten in a restart: its waiter hangs"
        )

    @promised(28)
    @on_engine
    async def test_an_end_stays_in_the_outbox_until_it_was_told(self, host: Host) -> None:
        """28: `published` takes out as many as were stored, the oldest, and leaves the others."""
        bench = host.first
        session = await bench.session()
        for task_id in ("a", "b", "c"):
            await bench.enqueue(call(task_id, deliveries=1))
            await bench.claim(session)
            session = await bench.session()
        await bench.broker.published(1)
        told = list(await bench.told())
        expect(28, told == ["b", "c"], f"a, b, c ended, and a was told; to be told are {told}")

    @promised(31, needs={Capability.SURVIVAL})
    @on_engine
    async def test_an_end_that_nobody_was_told_outlives_the_process(self, host: Host) -> None:
        """31: it was accepted, so who waits in the next process hears how it ended."""
        bench = host.first
        await bench.enqueue(call("told", deliveries=1), call("untold", deliveries=1))
        session = await bench.session()
        await bench.claim(session, 1)
        await host.wait(bench.lease)
        await bench.told()
        await bench.claim(await bench.session(), 1)
        await host.wait(bench.lease)
        bench = await host.crash_process(bench)
        told = set(await bench.told())
        if not told:  # who cannot see that a process has died waits for its lease
            await host.wait(bench.lease)
            told = set(await bench.told())
        expect(
            31, told == {"untold"}, f"one end was told and one not; the next process tells {told}"
        )

    @promised(31, needs={Capability.SURVIVAL, Capability.DEAD_LETTERS})
    @on_engine
    async def test_dead_letters_survive_the_process(self, host: Host) -> None:
        """31: with all that is known of them."""
        bench = host.first
        await bench.enqueue(call("a", "x"))
        session = await bench.session()
        error = {"type": "ValueError", "message": "boom"}
        await bench.settle(
            session, Ending.DEAD, *await bench.claim(session), reason="boom", error=error
        )
        known = await dead_letters(bench)
        expect(29, known == [("a", ("x",), "boom", error)], f"the dead letters are {known}")
        after = await dead_letters(await host.crash_process(bench))
        expect(31, after == known, f"dead letters: {known}, and in the next process {after}")

    @promised(39, needs={Capability.SURVIVAL, Capability.UNIQUE})
    @on_engine
    async def test_unique_keys_survive_the_process(self, host: Host) -> None:
        """39: what waits holds its key in the next process too."""
        bench = host.first
        key = UniqueKey("k", OnConflict.RETURN, Until.FINISH, None)
        await bench.enqueue(call("a", unique=key))
        bench = await host.crash_process(bench)
        ids = await bench.enqueue(call("b", unique=key))
        expect(39, ids == ["a"], f"a holds the key, after a crash too; for b stands {ids}")

    @promised(31, needs={Capability.SURVIVAL})
    @on_engine
    async def test_what_was_accepted_survives_the_process(self, host: Host) -> None:
        """31: waiting, running, ended: the next process knows it all."""
        bench = host.first
        await bench.enqueue(call("runs"), call("ends"), call("back"), call("waits"))
        session = await bench.session("w1")
        runs, ends, back = await bench.claim(session, 3)
        await bench.settle(session, Ending.DONE, ends)
        await bench.settle(session, Ending.RETRY, back)
        bench = await host.crash_process(bench)
        await bench.enqueue(call("ends"), call("waits"))
        where = await bench.where("ends", "back", "waits")
        expect(31, where == ["done", "ready", "ready"], f"ends, back and waits are {where}")
        await host.wait(bench.lease)
        found = {
            each.fence.task_id: (each.fence.attempt, each.failures)
            for each in await bench.claim(await bench.session("w2"))
        }
        expected = {"runs": (2, 0), "back": (2, 1), "waits": (1, 0)}
        expect(31, found == expected, f"the next process finds {found} instead of {expected}")
        expect(34, runs.fence.token != back.fence.token, "two deliveries had one token")

    @promised(31, needs={Capability.SURVIVAL})
    @on_engine
    async def test_each_call_is_kept_when_it_has_returned(self, host: Host) -> None:
        """31: the process dies right after it, with no call in between that might have stored it too."""
        bench = host.first
        await bench.enqueue(call("a"))
        bench = await host.crash_process(bench)
        where = await bench.where("a")
        expect(31, where == ["ready"], f"a was accepted, the process died, and a is {where[0]}")
        await bench.claim(await bench.session("w1"))
        bench = await host.crash_process(bench)
        await host.wait(bench.lease)
        session = await bench.session("w2")
        found = [each.fence.attempt for each in await bench.claim(session)]
        bench = await host.crash_process(bench)
        expect(31, found == [2], f"attempt 1 was claimed, the process died, and then came {found}")
        await host.wait(bench.lease)
        session = await bench.session("w3")
        await bench.settle(session, Ending.DONE, *await bench.claim(session))
        bench = await host.crash_process(bench)
        where = await bench.where("a")
        expect(
            31, where == ["done"], f"a was settled as done, the process died, and a is {where[0]}"
        )

    @promised(34, needs={Capability.SURVIVAL})
    @on_engine
    async def test_tokens_do_not_begin_anew_in_the_next_process(self, host: Host) -> None:
        """34: or a word of the last process would count for the next one's delivery."""
        bench = host.first
        await bench.enqueue(call("a"))
        tokens: list[int] = []
        for _ in range(3):
            (delivery,) = await bench.claim(await bench.session())
            tokens.append(delivery.fence.token)
            bench = await host.crash_process(bench)
        expect(
            34, len(tokens) == len(set(tokens)), f"over three processes the tokens were {tokens}"
        )

    @promised(31, needs={Capability.SURVIVAL, Capability.DELAY})
    @on_engine
    async def test_a_delayed_task_survives_the_process(self, host: Host) -> None:
        """31: and it is not early in the next one."""
        bench = host.first
        await bench.enqueue(call("later", eta=host.now + 60))
        bench = await host.crash_process(bench)
        session = await bench.session()
        expect(38, not await bench.take(session), "a delayed task is early after a crash")
        due = bench.broker.next_due()
        expect(
            31, due is not None and due <= host.now + 60, f"it is due in 60 s; next_due(): {due}"
        )
        await host.wait(60)
        expect(
            31, await bench.take(session) == ["later"], "a delayed task was lost with the process"
        )

    # --- what is done together ---

    @promised(30, 31, 37)
    @on_engine
    async def test_what_is_done_together_is_what_each_would_do(self, host: Host) -> None:
        """31: in this order; a call that is refused spoils no other."""
        bench, now = host.first, host.now
        session = await bench.session()
        await bench.enqueue(call("a"), call("b"))
        a, b = await bench.claim(session)
        steps: list[Step] = [
            Store((call("c"), call("d"))),
            Store((call("c", 2),)),
            Settle(session, (Settlement(a.fence, Ending.DONE), Settlement(a.fence, Ending.DONE))),
            Store((call("e"),)),
            Settle(session, (Settlement(b.fence, Ending.GIVE_BACK),)),
            Claim(session, 3),
            Claim(session, 3),
        ]
        answers = list(await bench.broker.perform(steps, now))
        kinds = [type(each) for each in answers]
        expect(
            31, kinds[1] is DuplicateTaskId, f"another call of an id that is live: {answers[1]!r}"
        )
        expect(30, tuple(answers[2]) == (True, False), f"a task was ended twice: {answers[2]}")
        expect(30, tuple(answers[4]) == (True,), f"a task was given back: {answers[4]}")
        taken = [each.fence.task_id for answer in answers[5:] for each in answer]
        taken += await bench.take(session)  # an engine may give less than it was asked for
        expect(37, taken == ["b", "c", "d", "e"], f"claimed in one step, in this order: {taken}")
        await in_one_place(bench, "a", "b", "c", "d", "e")

    # --- several processes ---

    @promised(30, 31, needs={Capability.SHARING})
    @on_engine
    async def test_several_processes_share_one_queue(self, host: Host) -> None:
        """30: what one enqueues another works on, and no two get the same task."""
        benches = [host.first, await host.open(), await host.open()]
        for n, bench in enumerate(benches):
            await bench.enqueue(call(f"t{n}"))
        for bench in benches:
            where = await bench.where("t0", "t1", "t2")
            expect(31, where == ["ready"] * 3, f"of the tasks of three processes one sees {where}")
        first = await benches[0].session("w0")
        taken = await benches[0].claim(first, 2)
        rest = await benches[1].take(await benches[1].session("w1"))
        ids = [each.fence.task_id for each in taken]
        expect(
            30, sorted(ids + rest) == ["t0", "t1", "t2"], f"one process has {ids}, another {rest}"
        )
        await benches[0].settle(first, Ending.DONE, taken[0])
        seen = await benches[2].where(ids[0])
        expect(30, seen == ["done"], f"what one process has ended is {seen} for another")

    @promised(30, 31, needs={Capability.SHARING})
    @on_engine
    async def test_processes_that_claim_at_once_get_different_tasks(self, host: Host) -> None:
        """30: each task is delivered once, however the calls interleave."""
        benches = [host.first, await host.open(), await host.open()]
        ids = [f"t{n}" for n in range(30)]
        got: Counter[str] = Counter()

        async def enqueue(bench: Bench, some: list[str]) -> None:
            for task_id in some:
                await bench.enqueue(call(task_id), call("everybody's"))

        async def work(bench: Bench, worker: str) -> None:
            session = await bench.session(worker)
            for _ in range(6):
                taken = await bench.claim(session, 3)
                got.update(each.fence.task_id for each in taken)
                await bench.settle(session, Ending.DONE, *taken)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for n, bench in enumerate(benches):
                nursery.start_soon(enqueue, bench, ids[n::3])
                nursery.start_soon(work, bench, f"w{n}")
        got.update(await host.first.take(await host.first.session("the last")))
        expected = Counter([*ids, "everybody's"])
        expect(
            30,
            got == expected,
            f"delivered more than once, or never: {got - expected or expected - got}",
        )


async def in_one_place(bench: Bench, *task_ids: str) -> None:
    """Promise 30: the counts say the same as a look at each task."""
    where = Counter(await bench.where(*task_ids))
    counts = await bench.counts()
    counted = {
        "scheduled": counts.scheduled,
        "ready": counts.ready - counts.parked,
        "parked": counts.parked,
        "leased": counts.leased,
    }
    for place, number in counted.items():
        expect(
            30,
            where[place] == number,
            f"{number} tasks are counted as {place}; they are {dict(where)}",
        )
    expect(
        30, bench.broker.has_leases() or not counts.leased, "there are leases; has_leases(): False"
    )


async def dead_letters(bench: Bench) -> list[tuple[object, ...]]:
    """What is known of each."""
    dead = await bench.broker.dead_tasks()
    return [(each.task_id, each.message.args, each.reason, each.error) for each in dead]


async def sent_again(bench: Bench, where: str) -> None:
    """Task a, which is there already: nothing comes of it."""
    await bench.enqueue(call("a"))
    seen = await bench.where("a")
    expect(31, seen == [where], f"a task that was {where} was sent again, and is {seen[0]}")
