"""Faults: what is broken on purpose breaks as it was ordered, once, and everything is accounted for."""

from __future__ import annotations

import math
import pickle
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import find, given, settings
from hypothesis import strategies as st

import actorq
from actorq import Actor, InMemoryBroker, open_kernel, open_system, protocol
from actorq.protocol import (
    BrokerMessage,
    Enqueue,
    Extend,
    MiddlewareMessage,
    NextNotices,
    OpenSession,
    ResultMessage,
    SetProgress,
    SetResults,
    Settle,
)
from actorq.ref import ActorRef, Message
from actorq.testing import Tape, schedules, simulate
from actorq.testing.faults import (
    Crash,
    CrashAt,
    Delay,
    Drop,
    Duplicate,
    FailCall,
    Fault,
    FaultForbidden,
    HangCall,
    Kill,
    Leap,
    LoseAnswer,
    Planned,
    Reorder,
    Stall,
    StallLoop,
    crash,
    crash_at,
    delay,
    drop,
    duplicate,
    fail_call,
    faults,
    hang_call,
    inject,
    leap,
    lose_answer,
    reorder,
    stall,
    stall_loop,
)
from actorq.testing.faults.allowed import TWICE
from actorq.testing.faults.strategies import KINDS
from actorq.testing.process import open_processes
from actorq.testing.simulation import EPOCH, current_simulation
from queue_strategies import QUICK, tapes


@attrs.frozen
class Note(Message[int]):
    """Something to be noted; answers with how many there are."""

    sender: str
    number: int = 0


@attrs.frozen
class Later(Message[int]):
    """Answered by a child task, a second later."""


@attrs.define
class Book:
    """What an actor did, over all its lives."""

    notes: list[tuple[str, int, float]] = attrs.field(factory=list)

    @property
    def names(self) -> str:
        return "".join(sender for sender, _, _ in self.notes)


class Scribe(Actor[Note | Later]):
    """Notes what it is sent, and when."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def receive(self, message: Note | Later) -> int:
        if isinstance(message, Later):
            reply = self.defer()

            async def answer() -> None:
                await trio.sleep(1)
                self._book.notes.append(("later", 0, trio.current_time()))
                reply.send(1)

            self.start_soon(answer)
            return 0
        self._book.notes.append((message.sender, message.number, trio.current_time()))
        await trio.lowlevel.checkpoint()
        return len(self._book.notes)


def balanced(ref: ActorRef[Any]) -> bool:
    """Promise 6: what was accepted is accounted for."""
    counts = ref.statistics()
    return counts.accepted == (
        counts.handled + counts.crashed + counts.interrupted + counts.undelivered
    )


# --- messages -----------------------------------------------------------------------------------


def test_a_delayed_message_is_overtaken_by_others_and_not_by_its_sender() -> None:
    """2"""
    book = Book()

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            planned = delay(ref, 5, k=2)

            async def other() -> None:
                await trio.sleep(1)
                await ref.ask(Note("b"))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                await ref.tell(Note("a", 1))
                await ref.tell(Note("a", 2))  # late
                await ref.tell(Note("a", 3))
                assert planned.struck
                assert planned.struck_at == 0
                await ref.ask(Note("a", 4))
            assert trio.current_time() == 5
            assert ref.statistics().accepted == ref.statistics().handled == 5

    simulate(program)
    assert book.notes == [("a", 1, 0), ("b", 0, 1), ("a", 2, 5), ("a", 3, 5), ("a", 4, 5)]


def test_all_that_speaks_for_an_actor_is_one_sender() -> None:
    """2: its loop and its child tasks."""
    book = Book()

    class Speaker(Actor[int]):
        def __init__(self, to: ActorRef[Note]) -> None:
            self._to = to

        async def receive(self, message: int) -> None:
            await self._to.tell(Note("loop", message))
            self.start_soon(self._to.tell, Note("child", message))

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            speaker = await kernel.spawn(lambda: Speaker(ref), name="speaker")
            delay(ref, 5)
            await speaker.tell(1)
            await trio.sleep(6)

    simulate(program)
    assert book.notes == [("loop", 1, 5), ("child", 1, 5)]


def test_what_is_delayed_arrives_before_the_mailbox_closes() -> None:
    """6, 45: on its way counts as queued."""
    book = Book()

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            delay(ref, 1_000)
            for n in range(3):
                await ref.tell(Note("a", n))
        assert trio.current_time() < 1
        assert ref.statistics().accepted == ref.statistics().handled == 3

    simulate(program)
    assert [number for _, number, _ in book.notes] == [0, 1, 2]


def test_what_is_on_its_way_to_an_actor_that_ends_for_good_is_a_dead_letter() -> None:
    """6"""

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(
                lambda: Scribe(Book()), name="scribe", restart=actorq.Restart.TEMPORARY
            )
            delay(ref, 10)
            await ref.tell(Note("a"))
            crash(ref)
            await ref.stopped()
            assert [letter.message for letter in kernel.dead_letters] == [Note("a")]
            assert balanced(ref)

    simulate(program)


@given(tape=schedules())
@settings(max_examples=30)
def test_reorder_lets_the_next_of_another_sender_pass(tape: Tape) -> None:
    """2: and nobody else of the same."""
    book = Book()

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            reorder(ref)
            await ref.tell(Note("a", 1))
            await ref.tell(Note("a", 2))
            await trio.sleep(0.5)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ref.tell, Note("b"))
            await ref.ask(Note("a", 3))
            assert trio.current_time() == 0.5
            reorder(ref, within=2)  # and nobody comes
            await ref.ask(Note("a", 4))
            assert trio.current_time() == 2.5

    simulate(program, tape=tape)
    assert book.names == "baaaa"
    assert [number for name, number, _ in book.notes if name == "a"] == [1, 2, 3, 4]


@pytest.mark.parametrize("ask", [False, True])
def test_a_duplicate_comes_right_after_and_is_a_message_of_its_own(ask: bool) -> None:
    """5, 6"""
    book = Book()

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            planned = duplicate(ref, of=Note, harmless=True)
            if ask:
                assert await ref.ask(Note("a")) == 1  # the first one's answer
            else:
                await ref.tell(Note("a"))
            await ref.tell(Note("b"))
            await trio.testing.wait_all_tasks_blocked()
            assert planned.struck
            assert ref.statistics().accepted == ref.statistics().handled == 3

    simulate(program)
    assert book.names == "aab"


def test_what_must_not_come_twice_is_refused_by_the_promise() -> None:
    """5, 9, 29"""

    async def program() -> None:
        async with open_system() as sys, open_kernel() as kernel:
            broker, results = sys.actor("broker"), sys.actor("results")
            for ref, kind, promise in [
                (broker, NextNotices, 9),
                (broker, OpenSession, 29),
                (results, SetProgress, 5),
                (broker, (Enqueue, OpenSession), 29),
            ]:
                with pytest.raises(FaultForbidden, match=f"promise {promise} ") as caught:
                    duplicate(ref, of=kind)  # type: ignore[arg-type]
                assert caught.value.promise == promise
                assert pickle.loads(pickle.dumps(caught.value)).promise == promise
            mine = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
            with pytest.raises(FaultForbidden, match="harmless=True"):
                duplicate(mine, of=Note)
            duplicate(broker, of=(Enqueue, Settle, Extend))

    simulate(program)


def test_the_table_knows_every_message_of_the_protocol() -> None:
    """A new message is given its row."""
    spoken: set[Any] = set()
    for union in (BrokerMessage, ResultMessage, MiddlewareMessage):
        spoken |= set(union.__args__)
    assert spoken <= TWICE.keys()


@pytest.mark.parametrize("answer", [False, True])
def test_a_dropped_ask_fails_as_a_crash_would_make_it(answer: bool) -> None:
    """11: with the answer, what was asked for is done."""
    book = Book()

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            planned = drop(ref, of=Note, answer=answer)
            with pytest.raises(actorq.ActorFailed) as caught:
                await ref.ask(Note("a"))
            assert caught.value.handled
            assert planned.struck
            assert await ref.ask(Note("b")) == (2 if answer else 1)
            assert ref.statistics().crashed == 1
            assert balanced(ref)

    simulate(program)
    assert book.names == ("ab" if answer else "b")


def test_the_answer_of_a_child_task_can_be_dropped() -> None:
    """13"""
    book = Book()

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe")
            drop(ref, of=Later, answer=True)
            with pytest.raises(actorq.ActorFailed) as caught:
                await ref.ask(Later())
            assert not caught.value.handled
            assert await ref.ask(Later()) == 1

    simulate(program)
    assert [moment for _, _, moment in book.notes] == [1, 2]


def test_dropping_an_enqueue_makes_it_uncertain() -> None:
    """31: stored or not, who asked cannot tell; the same id again is harmless."""

    @actorq.task
    async def work() -> None: ...

    async def program(*, answer: bool) -> int:
        async with open_system(backoff=QUICK) as sys:
            drop(sys.actor("broker"), of=Enqueue, answer=answer)
            with pytest.raises(actorq.EnqueueUncertain):
                await sys.enqueue(work.using(task_id="once"))
            await trio.sleep(10)
            stored = (await sys.queue_statistics()).done
            await (await sys.enqueue(work.using(task_id="once"))).result()
            assert (await sys.queue_statistics()).done == 1
            return stored

    async def lost() -> int:
        return await program(answer=False)

    async def unanswered() -> int:
        return await program(answer=True)

    assert simulate(lost) == 0
    assert simulate(unanswered) == 1


def test_a_cancelled_asker_s_answer_cannot_be_lost() -> None:
    """14: nobody waits for it, so nobody crashes."""

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
            planned = drop(ref, of=Later, answer=True)
            with trio.move_on_after(0.5):
                await ref.ask(Later())
            await trio.sleep(5)
            assert not planned.struck
            assert ref.statistics().restarts == 0

    simulate(program)


sends = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from([0.0, 0.0, 0.5])),
    min_size=1,
    max_size=12,
)
message_faults = st.lists(
    st.one_of(
        st.builds(Crash, st.just("scribe"), st.sampled_from([0.0, 0.5, 1.0])),
        st.builds(CrashAt, st.just("scribe"), st.integers(1, 4)),
        st.builds(Drop, st.just("scribe"), k=st.integers(1, 4), answer=st.booleans()),
        st.builds(
            Delay, st.just("scribe"), st.sampled_from([0.25, 1.0, 100.0]), k=st.integers(1, 6)
        ),
        st.builds(Reorder, st.just("scribe"), k=st.integers(1, 6)),
        st.builds(Stall, st.just("scribe"), st.sampled_from([0.5, 3.0])),
    ),
    max_size=3,
)


@given(sends, message_faults, st.booleans(), st.sampled_from([0, 1, 100]), tapes)
def test_2_6_faults_keep_order_and_account(
    planned: list[tuple[str, bool, float]],
    plan: list[Fault],
    twice: bool,
    capacity: int,
    tape: Tape,
) -> None:
    """2, 6: each sender's messages in order, and none unaccounted for, whatever happens to them."""
    book = Book()

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Scribe(book), name="scribe", capacity=capacity)
            doubled = duplicate(ref, of=Note, k=2, harmless=True) if twice else None

            async def send(name: str) -> None:
                for number, (sender, ask, pause) in enumerate(planned):
                    if sender == name:
                        await trio.sleep(pause)
                        with suppress(actorq.ActorFailed):
                            await (ref.ask if ask else ref.tell)(Note(sender, number))

            async with inject(None, plan, scribe=ref) as injection, trio.open_nursery() as nursery:
                for name in "abc":
                    nursery.start_soon(send, name)
            await trio.sleep(1)  # who crashed last begins anew, and handles what waits
        assert balanced(ref)
        second = doubled is not None and doubled.struck
        assert ref.statistics().accepted == len(planned) + second
        seen = Counter(number for _, number, _ in book.notes)
        assert all(count == 1 or (second and count == 2) for count in seen.values())
        lost = sum(fault.crashes for fault in injection.struck) + second
        assert len(seen) >= len(planned) - lost

    simulate(program, tape=tape)
    for name in "abc":
        numbers = [number for sender, number, _ in book.notes if sender == name]
        assert numbers == sorted(numbers)


def test_off_takes_a_fault_off() -> None:
    """And off again does nothing."""

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
            plans: list[Callable[[], Planned]] = [
                lambda: crash_at(ref, 1),
                lambda: delay(ref, 5),
                lambda: reorder(ref),
                lambda: duplicate(ref, harmless=True),
                lambda: drop(ref, answer=True),
            ]
            for plan in plans:
                planned = plan()
                planned.off()
                planned.off()
                assert await ref.ask(Note("a"))
                assert not planned.struck
            assert trio.current_time() == 0
            assert ref.statistics().handled == 5

    simulate(program)


def test_several_crashes_lie_in_wait_for_one_actor() -> None:
    """Each counts for itself."""

    async def program() -> None:
        async with open_kernel(backoff=QUICK) as kernel:
            ref = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
            first, third = crash_at(ref, 1), crash_at(ref, 3)
            later = crash_at(ref, 1, of=Later)
            for fails in (True, False, True, False):
                if fails:
                    with pytest.raises(actorq.ActorFailed):
                        await ref.ask(Note("a"))
                else:
                    await ref.ask(Note("a"))
            assert first.struck
            assert third.struck
            assert not later.struck

    simulate(program)


# --- engine calls -------------------------------------------------------------------------------


class Store:
    """A thing with methods."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    async def put(self, value: int) -> int:
        """Keep it."""
        await trio.lowlevel.checkpoint()
        self.kept.append(value)
        return value

    def size(self) -> int:
        """Not async."""
        return len(self.kept)


@pytest.mark.trio
async def test_calls_fail_hang_or_lose_their_answer(autojump_clock: trio.testing.MockClock) -> None:
    """On any object, in a simulation or not; afterwards the method is what it was."""
    store = Store()
    failing = fail_call(store, "put")
    losing = lose_answer(store, "put", k=2, error=OSError("gone"))
    hanging = hang_call(store, "put", 5, k=3)
    for_ever = hang_call(store, "put", k=4)
    with pytest.raises(ConnectionError, match="put"):
        await store.put(1)
    with pytest.raises(OSError, match="gone"):
        await store.put(2)
    assert await store.put(3) == 3
    assert trio.current_time() == 5
    assert store.kept == [2, 3]
    with trio.move_on_after(100) as scope:
        await store.put(4)
    assert scope.cancelled_caught
    assert all(each.struck for each in (failing, losing, hanging, for_ever))
    assert vars(store) == {"kept": [2, 3]}
    lose_answer(store, "size")
    with pytest.raises(ConnectionError):
        store.size()
    assert store.size() == 2


def test_what_cannot_be_struck_is_refused() -> None:
    """By type, value, name, and where it works."""
    store = Store()

    @attrs.frozen
    class Cold:
        async def put(self) -> None: ...

    with pytest.raises(TypeError, match="has no method 'pot'"):
        fail_call(store, "pot")
    with pytest.raises(TypeError, match="is not async"):
        hang_call(store, "size")
    with pytest.raises(TypeError, match="frozen"):
        fail_call(Cold(), "put")
    with pytest.raises(ValueError, match="1 is the next"):
        fail_call(store, "put", k=0)
    with pytest.raises(ValueError, match="> 0"):
        hang_call(store, "put", -1)
    with pytest.raises(TypeError, match=r"sys.actor\('broker'\)"):
        crash_at("broker", 1)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="in a simulation only"):
        leap(1)
    with pytest.raises(RuntimeError, match="in a simulation only"):
        stall_loop(1)

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
            with pytest.raises(TypeError, match="the class of a message"):
                delay(ref, 1, of=Note("a"))  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="finite number of seconds"):
                delay(ref, math.inf)
            with pytest.raises(TypeError, match="expects the ref"):
                stall(ref.name, 1)  # type: ignore[arg-type]

    simulate(program)


@pytest.mark.trio
async def test_messages_are_bent_in_a_simulation_only() -> None:
    """And the error says so."""
    async with open_kernel() as kernel:
        ref = await kernel.spawn(lambda: Scribe(Book()), name="scribe")
        for use in (
            lambda: delay(ref, 1),
            lambda: reorder(ref),
            lambda: duplicate(ref, harmless=True),
            lambda: drop(ref, answer=True),
            lambda: stall(ref, 1),
        ):
            with pytest.raises(RuntimeError, match="in a simulation only"):
                use()
        drop(ref)  # a crash works anywhere
        with pytest.raises(actorq.ActorFailed):
            await ref.ask(Note("a"))


# --- clocks and stalls --------------------------------------------------------------------------


def test_a_leap_moves_the_wall_clock_alone() -> None:
    """Forward and back; an open queue's clock goes on."""

    async def program() -> None:
        wall = current_simulation().environment.wall
        async with open_system() as sys:
            before = sys.wiring.clock()
            leap(3600)
            assert wall() == EPOCH + 3600
            leap(-7200)
            assert wall() == EPOCH - 3600
            assert sys.wiring.clock() == before
            assert trio.current_time() == 0

    simulate(program)


def test_a_stalled_loop_runs_nothing_while_time_goes_by() -> None:
    """Then everything that is due is late."""
    woken: list[float] = []

    async def program() -> None:
        async def sleeper(seconds: float) -> None:
            await trio.sleep(seconds)
            woken.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for seconds in (1, 5, 20):
                nursery.start_soon(sleeper, seconds)
            await trio.sleep(0.5)
            stall_loop(10)

    simulate(program)
    assert woken == [10.5, 10.5, 20]


@given(tape=schedules())
@settings(max_examples=30)
def test_a_stalled_actor_and_its_children_do_nothing_and_then_go_on(tape: Tape) -> None:
    """Stalls that overlap add up to the longest."""
    ticks: list[float] = []

    class Ticker(Actor[Later]):
        async def on_start(self) -> None:
            self.start_soon(self._tick)

        async def _tick(self) -> None:
            while True:
                await trio.sleep(1)
                ticks.append(trio.current_time())

        async def receive(self, message: Later) -> int:
            return 1

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Ticker, name="ticker")
            await trio.sleep(2.5)
            assert stall(ref, 5)
            assert stall(ref, 3)
            with trio.move_on_after(0):
                await trio.lowlevel.checkpoint()
            assert await ref.ask(Later()) == 1
            assert trio.current_time() == 7.5
            await trio.sleep(1)
        assert not stall(ref, 1)

    simulate(program, tape=tape)
    assert ticks == [1, 2, 7.5, 8.5][: len(ticks)]
    assert len(ticks) >= 3


def test_a_stalled_pool_runs_no_job_and_its_lease_lapses() -> None:
    """29, 34: it finds that out when it goes on, and what it had run counts for nothing."""
    runs: list[tuple[int, float]] = []

    @actorq.task
    async def work(ctx: actorq.Context = actorq.Depends()) -> int:
        runs.append((ctx.attempt, trio.current_time()))
        await trio.sleep(5)
        return ctx.attempt

    async def program() -> None:
        async with open_system() as sys:
            handle = await sys.enqueue(work)
            await trio.sleep(1)
            assert stall(sys.actor("pool"), 60)
            assert await handle.result() == 2

    simulate(program)
    assert runs == [(1, 0), (2, 61)]


def test_a_stalled_process_goes_on() -> None:
    """As `stop` and `go_on` would."""
    ticks: list[float] = []

    async def main() -> None:
        for _ in range(3):
            await trio.sleep(1)
            ticks.append(trio.current_time())

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(main)
            await trio.sleep(1.5)
            assert stall(process, 10)
            await process.ended()
            assert not stall(process, 10)

    simulate(program)
    assert ticks == [1, 11.5, 12.5]


# --- plans --------------------------------------------------------------------------------------

EXAMPLES: list[Fault] = [
    Crash("pool", at=1.5),
    CrashAt("broker", k=2, of=Enqueue),
    Drop("broker", of=(Enqueue, Settle)),
    Drop("broker", answer=True),
    Delay("broker", 2.0, of=Extend, k=3),
    Reorder("results"),
    Duplicate("results", of=SetResults),
    FailCall("broker", "store", k=2),
    LoseAnswer("results", "set_result"),
    HangCall("broker", "claim", 1.0),
    Leap(-60.0, at=0.5),
    Stall("pool", 40.0, at=1.0),
    StallLoop(3.0),
    Kill("first", at=2.0),
]


@pytest.mark.parametrize("fault", EXAMPLES, ids=lambda each: type(each).__name__)
def test_a_fault_s_repr_can_be_pasted(fault: Fault) -> None:
    """With the names imported, it is the fault."""
    assert eval(repr(fault)) == fault
    assert hash(fault) == hash(eval(repr(fault)))


def test_reprs_are_short() -> None:
    """What is as usual is not said."""
    assert repr(Crash("pool")) == "Crash('pool')"
    assert repr(EXAMPLES[1]) == "CrashAt('broker', k=2, of=Enqueue)"
    assert repr(EXAMPLES[4]) == "Delay('broker', 2.0, of=Extend, k=3)"


@given(faults(horizon=20.0))
def test_drawn_plans_can_be_borne_and_pasted(plan: list[Fault]) -> None:
    """No more crashes than a supervisor puts up with."""
    assert sum(fault.crashes for fault in plan) <= 3
    names = {**vars(protocol), **globals()}
    assert eval(repr(plan), names) == plan
    for fault in plan:
        assert getattr(fault, "at", 0.0) <= 20
        assert getattr(fault, "seconds", 0.0) <= 3600


def test_drawn_plans_shrink_to_the_simplest() -> None:
    """Fewer, simpler, earlier."""
    assert find(faults(), lambda _: True) == []
    assert find(faults(), lambda plan: len(plan) > 0) == [Crash("results")]
    assert find(faults(Delay), lambda plan: len(plan) > 0) == [Delay("results", 0.25)]
    only = find(faults(Crash, actors=["pool"]), lambda plan: any(f.at > 2 for f in plan))
    assert only == [Crash("pool", at=2.25)]


def test_faults_says_what_it_does_not_understand() -> None:
    """By type and value."""
    with pytest.raises(TypeError, match="kinds of faults"):
        faults(Kill)
    with pytest.raises(TypeError, match="kinds of faults"):
        faults(Crash("pool"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="names in a list"):
        faults(actors="broker")
    with pytest.raises(ValueError, match="horizon"):
        faults(horizon=0)
    with pytest.raises(ValueError, match="none of these kinds"):
        faults(FailCall, actors=["pool"])
    for wrong in (
        lambda: Crash("pool", at=-1),
        lambda: CrashAt("pool", k=0),
        lambda: Delay("pool", 0),
    ):
        with pytest.raises(ValueError, match=r"expects|expected|counts"):
            wrong()
    with pytest.raises(TypeError, match="under which inject"):
        Crash(3)  # type: ignore[arg-type]


def test_inject_carries_a_plan_out_and_says_what_came_of_it() -> None:
    """In the system's own names and in others."""
    book = Book()

    @actorq.task
    async def work() -> int:
        await trio.sleep(1)
        return 1

    async def program() -> None:
        async with open_system(backoff=QUICK) as sys:
            mine = await sys.spawn(lambda: Scribe(book), name="scribe")
            plan: list[Fault] = [
                Crash("pool", at=0.5),
                Delay("scribe", 3.0),
                CrashAt("scheduler", k=1),
                FailCall("results", "delete_result"),
                Crash("broker", at=50.0),
            ]
            async with inject(sys, plan, scribe=mine) as injection:
                handle = await sys.enqueue(work)
                await mine.ask(Note("a"))
                assert await handle.result() == 1
                assert repr(injection) == "<Injection: 2 of 5 struck>"
            assert injection.struck == plan[:2]
            assert injection.missed == plan[2:]
            assert injection.report().splitlines()[:3] == [
                "Crash('pool', at=0.5): struck at 0.5 s",
                "Delay('scribe', 3.0): struck at 0 s",
                "CrashAt('scheduler'): never came to it",
            ]
            await trio.sleep(100)  # what had not struck is taken off
            assert (await handle.get_result()).return_value == 1
            assert sys.actor("broker").statistics().restarts == 0

    simulate(program)


def test_what_the_body_raises_tells_of_the_faults() -> None:
    """As a note; the exception is what it was."""

    async def program() -> None:
        async with open_system() as sys, inject(sys, [Crash("pool"), Leap(60.0, at=100.0)]):
            await trio.sleep(1)
            raise ValueError("the body's own")

    with pytest.raises(ValueError, match="the body's own") as caught:
        simulate(program)
    assert (
        "the faults of this run:\n"
        "Crash('pool'): struck at 0 s\n"
        "Leap(60.0, at=100.0): never came to it"
    ) in caught.value.__notes__


def test_a_plan_that_cannot_be_carried_out_is_refused_at_once() -> None:
    """Before anything of it strikes."""

    async def program() -> None:
        async with open_system() as sys:
            for plan, error, match in [
                ([Crash("worker")], ValueError, "here there are: results, broker"),
                ([FailCall("schedule", "load")], ValueError, "names 'schedule'"),
                ([FailCall("broker", "stare")], TypeError, "no method 'stare'"),
                ([Duplicate("broker", of=OpenSession)], FaultForbidden, "promise 29"),
                ([Kill("pool")], TypeError, "is no process"),
                (["crash"], TypeError, "a list of faults"),
            ]:
                with pytest.raises(error, match=match):
                    async with inject(sys, plan):  # type: ignore[arg-type]
                        raise AssertionError("begun")
            for part, method in [("schedules", "swap"), ("results", "set_result")]:
                async with inject(sys, [FailCall(part, method)]):
                    pass

    simulate(program)


@pytest.mark.trio
async def test_a_plan_of_crashes_and_calls_works_outside_of_a_simulation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """And one that needs a simulation says so."""
    broker = InMemoryBroker()
    async with open_system(broker, backoff=QUICK) as sys:
        async with inject(sys, [Crash("pool", at=1.0), FailCall("broker", "locate")]) as injection:
            await trio.sleep(2)
        assert injection.struck == [Crash("pool", at=1.0)]
        for fault in (Leap(1.0), Stall("pool", 1.0), StallLoop(1.0), Delay("pool", 1.0)):
            with pytest.raises(RuntimeError, match="in a simulation only"):
                async with inject(sys, [fault]):
                    raise AssertionError("begun")


def test_kill_ends_a_process() -> None:
    """At its moment."""

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(trio.sleep_forever)
            plan = [Kill("first", at=2.0), Stall("first", 1.0, at=0.5)]
            async with inject(None, plan, first=process) as injection:
                await process.ended()
            assert trio.current_time() == 2
            assert injection.missed == []

    simulate(program)


# --- the page -----------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "faults.md").read_text(encoding="utf-8")


def test_the_table_in_the_page_is_the_one_in_the_code() -> None:
    """Every message, with the promise."""
    for kind, row in TWICE.items():
        said = "yes" if row.harmless else "no"
        assert f"| `{kind.__name__}` | {said} | {row.promise}: {row.why} |" in PAGE


def test_every_value_in_the_page_can_be_pasted() -> None:
    """And there is one for each kind of fault."""
    rows = re.findall(r"^\| `[^|]+` \| `([^|]+)` \|", PAGE, re.MULTILINE)
    values = [eval(value) for value in rows]
    assert all(isinstance(value, Fault) for value in values)
    assert {type(value) for value in values} == {*KINDS, Kill}
