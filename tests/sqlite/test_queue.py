"""What the contract does not ask of a queue in a file: early ends, parked names, many ends."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import actorq
from actorq.engine import Claim
from actorq.message import Fence, TaskMessage
from actorq.protocol import Ending, Outcome, Settle, Settlement
from actorq.result import TaskResult
from actorq.testing.contracts.host import Bench, Host, call, hosted


pytestmark = pytest.mark.engine


@asynccontextmanager
async def queue(path: Path) -> AsyncIterator[Host]:
    """A file, with one broker object open on it."""

    def make() -> actorq.SQLiteBroker:
        return actorq.SQLiteBroker(path, synchronous="off")

    def kill(broker: object) -> None:
        assert isinstance(broker, actorq.SQLiteBroker)
        broker.storage.die()

    async with hosted(Host(make, kill)) as host:
        yield host


async def early(bench: Bench, session: int, *fences: Fence) -> None:
    """Acknowledge before there is a result."""
    words = [Settlement(fence, Ending.DONE, early=True) for fence in fences]
    verdicts = await bench.broker.perform([Settle(session, tuple(words))], bench.host.now)
    assert verdicts == [(True,) * len(fences)]


def result_of(bench: Bench, task_id: str) -> Outcome:
    """A success."""
    return Outcome(task_id, TaskResult(is_err=False, return_value=1))


async def store(bench: Bench, *outcomes: Outcome) -> None:
    """In the file's results."""
    backend = bench.broker.result_backend
    backend._wiring = bench.broker._wiring
    assert list(await backend.set_results(outcomes)) == [None] * len(outcomes)


@pytest.mark.promise(43)
async def test_what_was_acknowledged_early_is_ending_in_every_process(path: Path) -> None:
    """43: until its result is there, who waits elsewhere knows that it is to come."""
    async with queue(path) as host:
        here, there = host.first, await host.open()
        await here.enqueue(call("a"), call("b"))
        session = await here.session()
        fences = [each.fence for each in await here.claim(session)]
        assert not await there.broker.is_ending("a")
        await early(here, session, *fences)
        assert await there.broker.is_ending("a")
        assert await there.where("a") == ["done"]
        await store(here, result_of(here, "a"))
        assert not await there.broker.is_ending("a")
        assert await there.broker.is_ending("b")


@pytest.mark.promise(29)
async def test_what_was_acknowledged_early_is_lost_with_its_worker(path: Path) -> None:
    """29: who waits hears of it, and only of that which was not stored."""
    async with queue(path) as host:
        other = await host.open()
        bench = host.first
        await bench.enqueue(call("a", labels={"tenant": "acme"}), call("b"))
        session = await bench.session()
        fences = [each.fence for each in await bench.claim(session)]
        await early(bench, session, *fences)
        await store(bench, result_of(bench, "b"))
        await host.crash_process(bench)
        await other.look()
        told = {**await other.told(), **await host.benches[-1].told()}
        assert [*told] == ["a"]
        assert isinstance(told["a"].error, actorq.WorkerLost)
        assert told["a"].labels == {"tenant": "acme"}


@pytest.mark.promise(31)
async def test_a_result_and_its_settlement_are_one_step(path: Path) -> None:
    """31: the task has ended and its result is there, or neither; a stale word stores nothing."""
    async with queue(path) as host:
        bench = host.first
        await bench.enqueue(call("a"), call("b"))
        session = await bench.session()
        a, b = [each.fence for each in await bench.claim(session)]
        unwritable = Outcome("b", TaskResult(is_err=False, return_value="x" * 5_000_000))
        words = (
            Settlement(a._replace(token=99), Ending.DONE, outcome=result_of(bench, "a")),
            Settlement(b, Ending.DONE, outcome=unwritable),
        )
        ((stale, unsaved),) = await bench.broker.perform([Settle(session, words)], host.now)
        assert stale is False
        assert isinstance(unsaved, actorq.MessageTooLarge)
        assert await bench.where("a", "b") == ["leased", "leased"]
        assert results_in(path) == []
        word = Settlement(a, Ending.DONE, outcome=result_of(bench, "a"))
        assert await bench.broker.perform([Settle(session, (word,))], host.now) == [(True,)]
        assert await bench.where("a") == ["done"]
        assert results_in(path) == ["a"]


def results_in(path: Path) -> list[str]:
    """The ids of the results that another connection sees."""
    connection = sqlite3.connect(path)
    try:
        return [task_id for (task_id,) in connection.execute("select task_id from actorq_results")]
    finally:
        connection.close()


@pytest.mark.promise(42)
async def test_what_one_worker_does_not_know_another_takes(path: Path) -> None:
    """42: in the step in which it is released, so that the ignorant one is not the first again."""

    @actorq.task(name="known")
    async def known() -> None: ...

    async with queue(path) as host:
        ignorant, knowing = host.first, await host.open()
        knowing.broker._wiring.tasks.add(known)
        await ignorant.enqueue(call("a", name="known"), call("b", name="unknown"))
        session = await ignorant.session("w1")
        await ignorant.settle(session, Ending.PARK, *await ignorant.claim(session))
        assert not ignorant.broker.claimable()
        await knowing.broker.refresh(host.now)
        assert knowing.broker.claimable()
        assert await knowing.take(await knowing.session("w2")) == ["a"]
        assert not knowing.broker.claimable()
        assert await ignorant.where("b") == ["parked"]


@pytest.mark.promise(39)
async def test_of_two_processes_that_enqueue_one_key_at_once_one_stores(path: Path) -> None:
    """39: whichever thread comes first, the other learns which."""
    key = actorq.Unique(on_conflict="return").resolved("k")
    async with queue(path) as host:
        benches = [host.first, await host.open(), await host.open()]
        answers: list[str] = []

        async def enqueue(number: int) -> None:
            answers.extend(await benches[number].enqueue(call(f"t{number}", unique=key)))

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(enqueue, number)
        assert len(set(answers)) == 1
        assert (await host.first.counts()).ready == 1


async def test_a_message_under_another_id_is_read_under_it(path: Path) -> None:
    """39: a debounced call keeps the first one's id, and its arguments are the last one's."""
    key = actorq.Unique(on_conflict="debounce").resolved("k")

    def debounced(task_id: str, n: int) -> TaskMessage:
        return call(task_id, n, unique=key, eta=1.0)

    async with queue(path) as host:
        bench = host.first
        for number, task_id in enumerate(["a", "b", "c"]):
            assert await bench.enqueue(debounced(task_id, number)) == ["a"]
        (delivery,) = await bench.claim(await bench.session())
        assert (delivery.message.task_id, delivery.message.args) == ("a", (2,))


async def test_more_ends_than_are_kept_in_memory_are_told(path: Path) -> None:
    """28: a queue that is purged may have a million tasks."""
    async with queue(path) as host:
        bench = host.first
        await bench.enqueue(*[call(f"t{n}") for n in range(2_500)])
        assert await bench.broker.purge("default", host.now) == 2_500
        told: set[str] = set()
        while some := await bench.told():
            told |= some.keys()
        assert len(told) == 2_500


@pytest.mark.promise(42)
async def test_what_cannot_be_read_is_buried_when_the_engine_can_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """42: the file fails just after a claim was committed: what can be read is delivered once."""
    async with queue(path) as host:
        bench = host.first
        broker = bench.broker
        assert isinstance(broker, actorq.SQLiteBroker)
        await bench.enqueue(call("a"), call("damaged"), call("b"))

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("update actorq_tasks set message = x'00' where task_id = 'damaged'")

        await broker.storage.write(damage)
        session = await bench.session()
        bury = broker._bury

        async def fails(now: float) -> None:
            raise actorq.EngineUnavailable("for a moment")

        monkeypatch.setattr(broker, "_bury", fails)
        (taken,) = await broker.perform([Claim(session, 10)], host.now)
        assert [each.fence.task_id for each in taken] == ["a", "b"]
        monkeypatch.setattr(broker, "_bury", bury)
        await broker.refresh(host.now)
        assert await bench.where("damaged") == ["dead"]
        assert [*await bench.told()] == ["damaged"]


@pytest.mark.promise(35)
async def test_a_wall_clock_that_is_ahead_takes_no_lease(path: Path) -> None:
    """35: leases are kept on the machine's steady clock, which its processes have in common."""
    async with queue(path) as host:
        here, there = host.first, await host.open()

        class Ahead:
            """Of ours by an hour, and knows nothing of it."""

            steady_offset = -3600.0

            def __call__(self) -> float:
                return host.now + 3600.0

        there.broker._wiring.clock = Ahead()  # type: ignore[assignment]
        await here.enqueue(call("a"))
        session = await here.session()
        await here.claim(session)
        await there.broker.lapse(host.now + 3600.0, 0.0)
        assert await here.where("a") == ["leased"]
        host.now += here.lease
        await there.broker.lapse(host.now + 3600.0, 0.0)
        assert await here.where("a") == ["ready"]


@pytest.mark.promise(29)
async def test_a_session_of_another_boot_is_over(path: Path) -> None:
    """29: the steady clock began anew with the machine, and says nothing of it."""
    async with queue(path) as host:
        bench = host.first
        assert isinstance(bench.broker, actorq.SQLiteBroker)
        await bench.enqueue(call("a"))
        await bench.claim(await bench.session())

        def boot(connection: sqlite3.Connection) -> None:
            connection.execute("update actorq_sessions set boot = 'the last one'")

        await bench.broker.storage.write(boot)
        await bench.look()
        assert await bench.where("a") == ["ready"]


@pytest.mark.promise(28)
async def test_a_broker_that_is_restarted_while_others_look_keeps_its_leases(path: Path) -> None:
    """28: it has closed the file for a moment, and is not dead."""
    async with queue(path) as host:
        bench, other = host.first, await host.open()
        await bench.enqueue(call("a"))
        session = await bench.session()
        (delivery,) = await bench.claim(session)
        await bench.broker.shutdown()
        await other.look()
        assert await other.where("a") == ["leased"]
        await bench.broker.startup()
        await other.look()
        assert bench.broker.has_session(session)
        assert await bench.settle(session, Ending.DONE, delivery) == [True]
