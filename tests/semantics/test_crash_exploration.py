"""Promises 28 to 34, 36, 38 to 40: the whole process dies at every crash point, and another goes on.

Exhaustive: each test runs its program once for every step of the run loop and for both sides of every
call of the engine.  What survives is `MemoryStorage`; the workers of the next process go by another
name, and get the jobs of the dead one when its lease, 30 virtual seconds, has run out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio

import actorq
from actorq import Context, InMemoryBroker, OnConflict, RetryPolicy, Unique, every
from actorq.engines.memory.queue import State
from actorq.engines.memory.storage import MemoryStorage
from actorq.errors import ResultGetError, TaskCancelled
from actorq.protocol import Ending
from actorq.testing import CrashReport, Tape, assert_crash_safe
from actorq.testing.crash_safety import CrashSafety
from actorq.testing.promises import broken
from queue_strategies import INJECTED


#: Each scenario is explored under these schedules: under more of them at night.
TAPES = [Tape()]
PAIRS = 30
NIGHT = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
by_night = pytest.mark.skipif(not NIGHT, reason="explored at night: HYPOTHESIS_PROFILE=thorough")
if NIGHT:
    TAPES += [Tape.of_seed(seed) for seed in range(1, 6)]
    PAIRS = 5_000


@attrs.define
class World:
    """What survives a process: the storage, and what the tests have seen."""

    encoded: bool = False
    stalls: bool = False  #: processes are not killed, but stopped for a while
    storage: MemoryStorage = attrs.field(factory=MemoryStorage)
    accepted: set[str] = attrs.field(factory=set)  #: `enqueue` has returned
    begun: list[tuple[str, int, float]] = attrs.field(factory=list)  #: id, attempt, when
    effects: list[str] = attrs.field(factory=list)  #: ids of runs that came to their end
    answers: dict[str, Any] = attrs.field(factory=dict)  #: what a process was told
    lives: int = 0
    _attempts: dict[str, int] = attrs.field(factory=dict)  #: of the results seen so far

    def broker(self) -> InMemoryBroker:
        """A new process's own."""
        self.lives += 1
        return InMemoryBroker(storage=self.storage, encoded=self.encoded)

    @property
    def crashes(self) -> int:
        return self.lives - 1

    def runs(self, task_id: str) -> int:
        return Counter(each for each, _, _ in self.begun)[task_id]

    def begin(self, ctx: Context) -> None:
        """A function has begun."""
        self.begun.append((ctx.task_id, ctx.attempt, trio.current_time()))

    # --- what holds at every moment ---

    def check(self) -> None:
        """After each step of a process."""
        self.each_task_is_in_one_place()
        self.results_only_get_newer()
        if self.storage.queue.n_refused and not self.stalls:
            raise broken(34, "somebody was refused, and the dead say nothing")

    def each_task_is_in_one_place(self) -> None:
        queue = self.storage.queue
        states = Counter(entry.state for entry in queue.live.values())
        counted = {
            State.SCHEDULED: queue.n_scheduled,
            State.READY: queue.n_ready,
            State.LEASED: queue.n_leased,
        }
        for state, count in counted.items():
            if states[state] != count:
                raise broken(30, f"{count} are counted as {state.value}, and {states[state]} are")
        held = Counter(task_id for each in queue.sessions.values() for task_id in each.held)
        leased = {i for i, entry in queue.live.items() if entry.state is State.LEASED}
        if set(held) != leased or any(count > 1 for count in held.values()):
            raise broken(30, f"leased: {leased}; held by sessions: {held}")
        for task_id in self.accepted:
            places = [task_id in live for live in (queue.live, queue.done, queue.dead)]
            if sum(places) != 1:
                raise broken(30, f"{task_id} is in {sum(places)} places")

    def results_only_get_newer(self) -> None:
        for task_id, result in self.storage.results.results.items():
            if result.attempts < self._attempts.get(task_id, 0):
                raise broken(34, f"{task_id} has a result of attempt {result.attempts} again")
            self._attempts[task_id] = result.attempts

    # --- what holds in the end ---

    def ended(self, task_id: str) -> Ending:
        """How; everything has, when the last process is done."""
        ending = self.storage.queue.ending(task_id)
        if ending is None:
            raise broken(31, f"{task_id} is {self.storage.queue.locate(task_id)} in the end")
        return ending

    def result(self, task_id: str) -> Any:
        """The stored result; None if there is none."""
        found: Any = self.storage.results.results.get(task_id)
        if found is None or not self.encoded:
            return found
        return InMemoryBroker(storage=self.storage).wire.decode_result(found.return_value, task_id)

    def duplicates(self) -> int:
        """Runs of a function beyond the first of each task."""
        return len(self.begun) - len({task_id for task_id, _, _ in self.begun})


Main = Callable[[World], Awaitable[None]]


def explore(
    main: Main,
    invariant: Callable[[World], None],
    *,
    encoded: bool = False,
    tapes: list[Tape] = TAPES,
    **options: Any,
) -> CrashReport:
    """All crash points of *main*, each in a world of its own."""

    def in_the_end(world: World) -> None:
        if world.storage.queue.live:
            raise broken(28, f"{set(world.storage.queue.live)} have not ended")
        if world.storage.queue.outbox:
            raise broken(28, "an end was not published")
        invariant(world)

    return assert_crash_safe(
        main,
        in_the_end,
        world=lambda: World(encoded),
        always=World.check,
        duplicates=World.duplicates,
        tapes=tapes,
        limit=300,
        **options,
    )


async def enqueue_once(
    world: World, sys: actorq.System, task: actorq.Task[..., Any], *args: Any
) -> actorq.TaskHandle[Any]:
    """As a program does that may have been here before: the same call under the same id."""
    handle = await sys.enqueue(task, *args)
    world.accepted.add(handle.task_id)
    return handle


def one_task(ack: Any, *, retries: int = 0) -> Main:
    """Enqueue, run, result, ack; an attempt fails for each retry."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task(ack=ack, retries=RetryPolicy.constant(retries, base=2))
        async def work(value: int, ctx: Context = INJECTED) -> int:
            world.begin(ctx)
            await trio.sleep(1)
            if ctx.attempt <= retries:
                raise ValueError("not yet")
            world.effects.append(ctx.task_id)
            if ack == "manual":
                await ctx.ack()
                await trio.sleep(1)
            return value + 1

        async with actorq.open_system(broker, concurrency=2) as sys:
            handle = await enqueue_once(world, sys, work.using(task_id="once"), 1)
            try:
                world.answers["value"] = await handle.result()
            except ResultGetError:  # acknowledged, and died with its result
                world.answers["value"] = None
            await sys.wait_idle(scheduled=True)

    return main


@pytest.mark.parametrize(
    ("ack", "encoded"),
    [
        ("when_saved", False),
        ("when_executed", True),
        ("manual", False),
        *[pytest.param(ack, True, marks=by_night) for ack in ("when_saved", "manual")],
    ],
)
def test_no_crash_of_the_process_loses_a_task(ack: str, encoded: bool) -> None:
    """28, 29, 30, 31, 32, 33. At least once, and at most once more for each crash."""

    def kept(world: World) -> None:
        assert world.ended("once") is Ending.DONE
        if not world.effects:
            raise broken(32, "it was acknowledged and never ran to its end")
        if world.runs("once") > 1 + world.crashes:
            raise broken(33, f"{world.runs('once')} runs, and {world.crashes} crashes")
        result = world.result("once")
        if ack == "when_saved" and result is None:
            raise broken(28, "its result is lost")
        if result is not None:
            assert world.answers["value"] == 2
            assert result.attempts == world.begun[-1][1]
        else:
            assert world.answers["value"] is None

    report = explore(one_task(ack), kept, encoded=encoded)
    assert report.points > 100 * len(TAPES)
    assert report.duplicates is not None
    assert 0 < report.duplicates < report.points


def test_no_crash_of_the_process_runs_a_task_twice_that_is_acknowledged_first() -> None:
    """32. ack=when_received: at most once; without a crash at the wrong moment, once."""

    def kept(world: World) -> None:
        assert world.ended("once") is Ending.DONE
        if world.runs("once") > 1:
            raise broken(32, f"{world.runs('once')} runs")
        if world.answers["value"] is None:
            assert world.crashes == 1  # lost with its process
        else:
            assert world.runs("once") == 1

    assert explore(one_task("when_received"), kept).duplicates == 0


@pytest.mark.parametrize(
    "ack",
    ["when_saved", *[pytest.param(ack, marks=by_night) for ack in ("when_executed", "manual")]],
)
def test_no_crash_of_the_process_takes_a_retry_away(ack: str) -> None:
    """33. Attempts ≤ max attempts + crashes; none is earlier than its back-off says."""

    def kept(world: World) -> None:
        assert world.ended("once") is Ending.DONE
        assert world.effects
        if world.runs("once") > 3 + world.crashes:
            raise broken(33, f"{world.runs('once')} runs, and {world.crashes} crashes")
        for (_, before, then), (_, after, now) in zip(world.begun, world.begun[1:], strict=False):
            if now < then + 2:
                raise broken(33, f"attempt {after} began {now - then} s after attempt {before}")

    explore(one_task(ack, retries=2), kept)


def test_no_second_crash_loses_a_task_either() -> None:
    """28 to 33. A sample of all pairs, for the shortest scenario."""

    def kept(world: World) -> None:
        assert world.ended("once") is Ending.DONE
        assert world.effects
        assert world.answers["value"] == 2
        if world.runs("once") > 1 + world.crashes:
            raise broken(33, f"{world.runs('once')} runs, and {world.crashes} crashes")

    report = explore(one_task("when_saved"), kept, pairs=PAIRS)
    assert report.pairs == PAIRS


def test_an_enqueue_that_was_cut_off_can_be_sent_again() -> None:
    """31. Under its old id nothing comes twice, whatever had become of it."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task
        async def work(n: int, ctx: Context = INJECTED) -> int:
            world.begin(ctx)
            return n

        async with actorq.open_system(broker) as sys:
            for n in range(3):
                await enqueue_once(world, sys, work.using(task_id=f"task {n}"), n)
            await sys.wait_idle()

    def kept(world: World) -> None:
        for n in range(3):
            assert world.ended(f"task {n}") is Ending.DONE
            assert world.result(f"task {n}").return_value == n
            assert world.runs(f"task {n}") <= 1 + world.crashes
        assert world.storage.queue.n_done == 3

    explore(main, kept)


@pytest.mark.parametrize("until", ["start", "finish"])
def test_no_crash_of_the_process_lets_a_second_call_through_with_a_unique_key(until: str) -> None:
    """39. One is stored until its key is free, and no crash keeps the key for ever."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task(unique=Unique(key="album", on_conflict=OnConflict.RETURN, until=until))
        async def work(ctx: Context = INJECTED) -> None:
            world.begin(ctx)
            await trio.sleep(1)

        async with actorq.open_system(broker) as sys:
            handles = await sys.enqueue_many(work, [()] * 2)
            world.accepted.update(handle.task_id for handle in handles)
            if until == "finish" and len({handle.task_id for handle in handles}) > 1:
                raise broken(39, f"both were stored: {handles}")
            await sys.wait_idle()

    def kept(world: World) -> None:
        assert world.accepted
        for task_id in world.accepted:
            assert world.ended(task_id) is Ending.DONE
            assert 1 <= world.runs(task_id) <= 1 + world.crashes
        if world.storage.queue.keys.holdings:
            raise broken(39, "the key is taken for ever")

    explore(main, kept)


def test_no_crash_of_the_process_breaks_a_chain() -> None:
    """28, 31. Each step runs, with what the one before it returned, and none is begun too soon."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task
        async def first(n: int, ctx: Context = INJECTED) -> int:
            world.begin(ctx)
            await trio.sleep(1)
            return n + 1

        @broker.task
        async def second(n: int, ctx: Context = INJECTED) -> int:
            assert world.result("chain.1") is not None
            world.begin(ctx)
            await trio.sleep(1)
            return n * 10

        async with actorq.open_system(broker) as sys:
            chain = first | second.using(task_id="chain")
            handle = await sys.enqueue(chain, 1)  # again and again: its steps have ids of their own
            world.accepted.add("chain.1")
            assert await handle.result() == 20
            await sys.wait_idle()

    def kept(world: World) -> None:
        for task_id in ("chain.1", "chain"):
            assert world.ended(task_id) is Ending.DONE
            assert 1 <= world.runs(task_id) <= 1 + world.crashes
        assert world.storage.queue.n_done == 2
        assert not world.storage.queue.chains.pending
        assert world.result("chain").return_value == 20
        assert len(world.begun) <= 2 + world.crashes

    explore(main, kept)


def test_no_crash_of_the_process_starts_a_delayed_task_early_or_never() -> None:
    """38. Its time is that of its first acceptance."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task
        async def work(ctx: Context = INJECTED) -> None:
            world.begin(ctx)
            await trio.sleep(1)

        async with actorq.open_system(broker) as sys:
            await enqueue_once(world, sys, work.using(task_id="later", delay=5))
            await sys.wait_idle(scheduled=True)

    def kept(world: World) -> None:
        assert world.ended("later") is Ending.DONE
        for _, _, when in world.begun:
            if when < 5:
                raise broken(38, f"it began after {when} s")
        assert 1 <= len(world.begun) <= 1 + world.crashes

    explore(main, kept)


def test_each_slot_of_a_schedule_is_enqueued_once_whenever_the_process_dies() -> None:
    """40. The next scheduler goes on where the dead one was."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task(schedule=[every(10)])
        async def tick(ctx: Context = INJECTED) -> None:
            world.begin(ctx)

        async with actorq.open_system(broker) as sys:
            await trio.sleep_until(28)
            await sys.schedules.pause(f"{tick.name}/0")
            await sys.wait_idle()

    def kept(world: World) -> None:
        ids = list(world.storage.queue.done)
        slots = sorted(world.storage.queue.done)
        assert len(ids) == 2, slots
        assert slots[0].endswith("@2024-01-01T00:00:10+00:00"), slots
        assert slots[1].endswith("@2024-01-01T00:00:20+00:00"), slots
        for task_id in ids:
            assert 1 <= world.runs(task_id) <= 1 + world.crashes

    explore(main, kept)


@pytest.mark.parametrize("retries", [0, 1])
def test_what_failed_for_good_is_in_the_dead_letters_whenever_the_process_dies(
    retries: int,
) -> None:
    """29, 30. Once, with its error, and who waits for it is told."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task(retries=retries)
        async def fail(ctx: Context = INJECTED) -> None:
            world.begin(ctx)
            await trio.sleep(1)
            raise KeyError("for good")

        async with actorq.open_system(broker) as sys:
            handle = await enqueue_once(world, sys, fail.using(task_id="bad"))
            outcome = await handle.wait_result()
            world.answers["error"] = outcome.error
            await sys.wait_idle(scheduled=True)

    def kept(world: World) -> None:
        assert world.ended("bad") is Ending.DEAD
        assert isinstance(world.answers["error"], KeyError)
        dead = world.storage.queue.dead["bad"]
        assert "for good" in dead.reason
        assert world.runs("bad") <= 1 + retries + world.crashes

    explore(main, kept)


def test_a_task_that_kills_its_process_each_time_is_dead_in_the_end() -> None:
    """29. Above `max_deliveries`, whatever kills a further process on the way there."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task(max_deliveries=1)
        async def work(ctx: Context = INJECTED) -> str:
            world.begin(ctx)
            await trio.sleep(1)
            return "done"

        async with actorq.open_system(broker) as sys:
            handle = await enqueue_once(world, sys, work.using(task_id="once"))
            outcome = await handle.wait_result()
            world.answers["outcome"] = outcome
            await sys.wait_idle()

    def kept(world: World) -> None:
        ending = world.ended("once")
        assert world.runs("once") <= 1
        outcome = world.answers["outcome"]
        stored = world.result("once")
        assert (outcome.is_err, outcome.return_value) == (stored.is_err, stored.return_value)
        if outcome.is_err:
            assert ending is Ending.DEAD
            assert isinstance(outcome.error, actorq.WorkerLost)
        else:  # its last worker may have died between the result and the acknowledgement
            assert outcome.return_value == "done"

    explore(main, kept, pairs=PAIRS)


@pytest.mark.parametrize("after", [0.0, 0.5])
def test_a_cancellation_that_took_effect_stands_whenever_the_process_dies(after: float) -> None:
    """36. Of a task that waits, and of one that runs."""

    async def main(world: World) -> None:
        broker = world.broker()

        @broker.task
        async def work(ctx: Context = INJECTED) -> str:
            world.begin(ctx)
            await trio.sleep(1)
            return "done"

        async with actorq.open_system(broker) as sys:
            delay = 0.25 if after else 5.0
            handle = await enqueue_once(world, sys, work.using(task_id="once", delay=delay))
            await trio.sleep(after)
            took_effect = await handle.cancel()
            world.answers.setdefault("took effect", []).append(took_effect)
            outcome = await handle.wait_result()
            world.answers["outcome"] = outcome
            await sys.wait_idle(scheduled=True)

    def kept(world: World) -> None:
        ending = world.ended("once")
        outcome = world.answers["outcome"]
        answers = world.answers["took effect"]
        if any(answers) and not isinstance(outcome.error, TaskCancelled):
            raise broken(36, f"it was cancelled, and ended as {outcome}")
        assert (ending is Ending.CANCELLED) == isinstance(outcome.error, TaskCancelled)
        assert answers[-1] == (ending is Ending.CANCELLED)
        stored = world.result("once")
        assert stored.is_err == (ending is Ending.CANCELLED)

    explore(main, kept)


@pytest.mark.parametrize(
    "ack",
    [
        *("when_saved", "when_received"),
        *[pytest.param(ack, marks=by_night) for ack in ("when_executed", "manual")],
    ],
)
def test_a_process_that_stalled_and_was_given_up_does_no_harm(ack: Any) -> None:
    """34. Stopped at every point for longer than its lease, it is refused when it goes on."""
    refused: list[int] = []

    def kept(world: World) -> None:
        if world.storage.queue.live:
            raise broken(28, f"{set(world.storage.queue.live)} have not ended")
        assert world.ended("once") is Ending.DONE
        if ack == "when_received" and world.runs("once") > 1:
            raise broken(32, f"{world.runs('once')} runs")
        if ack != "when_received" and not world.effects:
            raise broken(32, "it was acknowledged and never ran to its end")
        result = world.result("once")
        if result is not None and result.attempts < world.begun[-1][1]:
            raise broken(34, f"attempt {world.begun[-1][1]} began, and {result.attempts} is stored")
        refused.append(world.storage.queue.n_refused)

    exploration = CrashSafety(
        one_task(ack), kept, lambda: World(stalls=True), World.check, limit=300
    )
    for tape in TAPES:
        exploration.under(tape)
        exploration.visit_all(stall=True)
    assert sum(refused) > 0
