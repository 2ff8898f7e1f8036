"""The trace: what happened in a simulation, readable, and the same in every run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
import trace_program
from actorq import Actor, Message, Reject, open_kernel
from actorq.message import TaskMessage
from actorq.protocol import Allow, Enqueue, WaitResult
from actorq.testing import Event, Kind, Tape, Trace, crash, recorded, schedules, simulate
from actorq.testing.brief import brief, brief_error, brief_id, cut
from actorq.testing.faults import Crash, delay, hang_call, inject
from actorq.testing.process import open_processes
from actorq.testing.simulation import current_simulation
from actorq.testing.trace import KEEP


@actorq.task(retries=1)
async def greet(name: str) -> str:
    """Fails for Bob."""
    await trio.sleep(1)
    if name == "Bob":
        raise ValueError("no Bob")
    return f"hello {name}"


async def greet_two() -> None:
    """A success, a crash of the broker, a failure."""
    async with actorq.open_system(concurrency=2) as system:
        ann = await system.enqueue(greet, "Ann")
        bob = await system.enqueue(greet, "Bob")
        assert await ann.result() == "hello Ann"
        crash(system.actor("broker"))
        await bob.wait_result()


def lines_of(trace: Trace) -> list[str]:
    """The listing, each line without its columns."""
    return [" ".join(line.split()) for line in str(trace).splitlines()]


def check_order(trace: Trace, story: list[str]) -> None:
    """Each line of *story* is in the listing, in that order."""
    lines = lines_of(trace)
    at = -1
    for line in story:
        assert line in lines[at + 1 :], f"{line!r} is not after line {at} of\n{trace}"
        at = lines.index(line, at + 1)


# --- what it tells ------------------------------------------------------------------------------


def test_the_trace_tells_the_story_of_a_task() -> None:
    """Who sent what to whom, what jobs did, who crashed and came back, in virtual time."""
    with recorded() as trace:
        simulate(greet_two)
    check_order(
        trace,
        [
            "0.000 broker ● starts",
            "0.000 main → broker Enqueue(greet('Ann') #1)",
            "0.000 broker ⇢ main Enqueue ok",
            "0.000 broker → pool greet('Ann') #1, attempt 1; greet('Bob') #2, attempt 1",
            "0.000 greet #1 ● begins, attempt 1",
            "1.000 greet #1 ○ returned 'hello Ann'",
            "1.000 greet #2 ✗ raised ValueError: no Bob",
            "1.000 pool → broker Settle(#2 retry in 0.844 s)",
            "1.000 pool → results SetResults(#1 result 'hello Ann')",
            "1.000 results ⇢ main WaitResult = result 'hello Ann'",
            "1.000 pool → broker Settle(#1 done)",
            "1.000 broker ✗ crashed: RuntimeError: a crash of 'broker' injected by actorq.testing",
            "1.115 broker ● starts again, life 2",
            "1.844 greet #2 ● begins, attempt 2",
            "2.844 results ⇢ main WaitResult = ValueError: no Bob",
            "2.844 broker ○ stopped",
        ],
    )


@attrs.frozen
class Add(Message[int]):
    """Add *n*."""

    n: int


class Sum(Actor[Add]):
    """Adds; rejects 13, crashes on 0, puts off what is negative, sleeps a second for the rest."""

    def __init__(self) -> None:
        self.total = 0

    async def on_start(self) -> None:
        """Set a timer."""
        self.set_timer("later", 10, Add(100))

    async def receive(self, message: Add) -> int | None:
        """Add."""
        if message.n == 0:
            raise ZeroDivisionError("nothing to add")
        if message.n == 13:
            raise Reject("unlucky")
        if message.n < 0:
            self.defer()
            return None
        await trio.sleep(1)
        self.total += message.n
        return self.total


async def sums() -> None:
    """Everything that can become of a message."""
    async with open_kernel() as kernel:
        ref = await kernel.spawn(Sum, name="sum", capacity=1)
        await ref.tell(Add(1))
        await ref.tell(Add(0))
        with pytest.raises(Reject):
            await ref.ask(Add(13))
        with trio.move_on_after(1):
            await ref.ask(Add(-1))
        await trio.sleep(20)
        await ref.tell(Add(2))
        await trio.lowlevel.checkpoint()


def test_the_trace_tells_what_became_of_each_message() -> None:
    """Handled, crashed, rejected, given up; dead letters, timers, lives."""
    with recorded() as trace:
        simulate(sums)
    check_order(
        trace,
        [
            "0.000 sum ● starts",
            "0.000 main → sum Add(1)",
            "0.000 main → sum Add(0)",
            "1.000 sum · handles Add(0)",
            "1.000 sum ✗ crashed: ZeroDivisionError: nothing to add",
            "1.000 sum ✗ dead letter (crashed): Add(0)",
        ],
    )
    lines = lines_of(trace)
    assert any(line.endswith("sum ● starts again, life 2") for line in lines)
    assert any(line.endswith("sum ⇢ main Add ✗ Reject: unlucky") for line in lines)
    assert any("main ✗ is cancelled, and no longer waits for sum (Add)" in line for line in lines)
    assert any(line.endswith("sum · timer: Add(100)") for line in lines)
    assert lines[-1].endswith("sum ○ stopped")


def test_a_sender_is_called_what_it_is() -> None:
    """An actor, a job with its id, a task by its function and, of several, its number."""

    async def asks(ref: actorq.ActorRef[Add]) -> None:
        await ref.ask(Add(1))

    target: actorq.ActorRef[Add]

    class Relay(Actor[Add]):
        async def receive(self, message: Add) -> int:
            return await target.ask(message)

    @actorq.task
    async def from_a_job() -> int:
        return await target.ask(Add(1))

    async def program() -> None:
        nonlocal target
        async with actorq.open_system() as system:
            target = await system.spawn(Sum, name="sum")
            relay = await system.spawn(Relay, name="relay")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asks, target)
                nursery.start_soon(asks, target)
                nursery.start_soon(asks, relay)
            await (await system.enqueue(from_a_job)).result()

    with recorded() as trace:
        simulate(program)
    senders = {event.source for event in trace.events if event.target == "sum"}
    assert senders == {"asks", "asks (2)", "relay", "from_a_job #1"}


def test_processes_are_told_apart() -> None:
    """Their actors and tasks are called by the process; its start and its death are events."""

    async def life() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Sum, name="sum")
            while True:
                await ref.ask(Add(1))

    async def program() -> None:
        async with open_processes() as processes:
            one = processes.start(life, name="one")
            processes.start(life, name="two")
            await trio.sleep(0.5)
            one.stop()
            await trio.sleep(0.5)
            one.go_on()
            for each in processes.all:
                each.kill()

    with recorded() as trace:
        simulate(program)
    check_order(
        trace,
        [
            "0.000 one ! starts",
            "0.000 one/sum ● starts",
            "0.000 one → one/sum Add(1)",
            "0.500 one ! is stopped",
            "1.000 one ! goes on",
            "1.000 one ! is killed",
            "1.000 two ! is killed",
        ],
    )
    assert "two → two/sum Add(1)" in "\n".join(lines_of(trace))


def test_what_a_job_does_is_told() -> None:
    """Cancelled, unknown, put back: each in words."""

    @actorq.task
    async def sleeper() -> None:
        await trio.sleep(100)

    @actorq.task
    async def again(ctx: actorq.Context = trace_program.INJECTED) -> None:
        if ctx.attempt == 1 and trio.current_time() < 5:
            await ctx.requeue(9)

    async def program() -> None:
        async with actorq.open_system() as system:
            handle = await system.enqueue(sleeper)
            await system.enqueue(again)
            await system.send(TaskMessage("mine", "nobody:knows"))
            await trio.sleep(1)
            await handle.cancel()
            await trio.sleep(20)

    with recorded() as trace:
        simulate(program)
    text = "\n".join(lines_of(trace))
    assert "1.000 sleeper #1 ✗ cancelled" in text
    assert "again #2 ○ puts itself back for 9 s" in text
    assert "knows #mine ○ parked: no worker here knows this task" in text


def test_a_note_of_ones_own_is_in_its_place() -> None:
    """For tests and faults."""

    async def program() -> None:
        await trio.sleep(2)
        current_simulation().recorder.note("pulls the plug")
        current_simulation().recorder.note("has no current", "the lamp")

    with recorded() as trace:
        simulate(program)
    assert lines_of(trace) == ["2.000 main ! pulls the plug", "2.000 the lamp ! has no current"]


def test_faults_are_in_the_trace() -> None:
    """Each where it strikes; a crash tells of itself."""

    async def program() -> None:
        broker = actorq.InMemoryBroker()
        async with actorq.open_system(broker) as system, inject(system, [Crash("pool", at=0.5)]):
            delay(system.actor("broker"), 0.2, of=Enqueue)
            hang_call(broker, "settle", 0.3)
            handle = await system.enqueue(greet, "Ann")
            await handle.result()

    with recorded() as trace:
        simulate(program)
    text = "\n".join(lines_of(trace))
    assert "0.000 main ! fault: delays this message by 0.2 s" in text
    assert "0.500 inject ! fault: Crash('pool', at=0.5)" in text
    assert "broker ! fault: InMemoryBroker.settle() hangs for 0.3 s" in text
    assert "pool ✗ crashed: " in text


# --- the same in every run ----------------------------------------------------------------------


@given(tape=schedules(), seed=st.integers(0, 1_000))
@settings(max_examples=10)
def test_one_tape_and_seed_are_one_run_to_the_message(tape: Tape, seed: int) -> None:
    """Processes killed, retries with jitter, schedules, crashes: every event is the same."""
    first, second = trace_program.run(tape, seed), trace_program.run(tape, seed)
    assert first.total > 500
    assert str(first) == str(second)
    assert first.events == second.events


def test_other_tapes_and_other_seeds_are_other_runs() -> None:
    """The trace would show it if they were not."""
    runs = {
        str(trace_program.run(Tape.of_seed(tape), seed)) for tape in range(3) for seed in (0, 1)
    }
    assert len(runs) == 6


def test_neither_hashes_nor_addresses_decide_anything() -> None:
    """In interpreters with other hash seeds and other memory layouts: the same to the message."""
    printed = set()
    for hash_seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, trace_program.__file__, hash_seed, "5"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parent.parent,
            check=True,
            capture_output=True,
            text=True,
        )
        printed.add(ran.stdout)
    (trace,) = printed
    assert len(trace.splitlines()) > 500


def test_recording_changes_nothing() -> None:
    """A program finds the same with a second trace as without."""

    async def program() -> list[object]:
        seen: list[object] = []
        async with actorq.open_system() as system:
            handles = [await system.enqueue(greet, name) for name in ("Ann", "Bob", "Cleo")]
            for handle in handles:
                result = await handle.wait_result()
                seen.append((trio.current_time(), result.return_value, str(result.error)))
        return seen

    tape = Tape.of_seed(3)
    with recorded():
        listened = simulate(program, tape=tape)
    assert listened == simulate(program, tape=tape)


# --- looking at it ------------------------------------------------------------------------------


def test_events_are_values_and_messages_can_be_picked() -> None:
    """By type, by sender, by receiver."""
    with recorded() as trace:
        simulate(greet_two)
    assert [event.number for event in trace.events] == list(range(1, len(trace) + 1))
    enqueued = trace.messages(Enqueue)
    assert [each.messages[0].args for each in enqueued] == [("Ann",), ("Bob",)]
    assert trace.messages(Enqueue, source="main", target="broker") == enqueued
    assert trace.messages(Enqueue, source="pool") == ()
    assert [type(each) for each in trace.messages(source="main", target="results")] == [
        WaitResult
    ] * 2
    (answer,) = [each for each in trace.events if each.kind is Kind.ANSWERED][:1]
    assert str(answer).split()[:4] == ["0.000", "broker", "⇢", "pool"]
    assert answer == attrs.evolve(answer, message=None)
    assert isinstance(answer, Event)


def test_columns_are_aligned() -> None:
    """In every line the mark stands in one column."""
    with recorded() as trace:
        simulate(greet_two)
    lines = str(trace).splitlines()
    marks = {line.index(mark) for line in lines for mark in "→⇢·●○✗!" if mark in line[:24]}
    assert len(marks) == 1


def test_an_old_event_makes_room_and_is_counted() -> None:
    """What is kept is bounded."""
    with recorded(keep=10) as trace:
        simulate(greet_two)
    assert len(trace) == len(trace.events) == 10
    assert trace.dropped == trace.total - 10 > 50
    assert lines_of(trace)[0] == f"… ({trace.dropped} older events)"
    assert trace.events[-1].number == trace.total

    async def program() -> Trace:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Sum, name="sum")
            for _ in range(KEEP):
                await ref.ask(Add(13 - 1))
        return current_simulation().recorder.trace

    assert len(simulate(program)) == KEEP


def test_routine_is_left_out_where_room_is_scarce() -> None:
    """`latest` is what a failure shows: no demand, no renewal."""
    with recorded() as trace:
        simulate(greet_two)
    assert trace.messages(Allow)
    assert "Allow" in str(trace)
    short = trace.latest(12)
    assert "Allow" not in short
    assert len(short.splitlines()) == 14
    assert "older events" in short.splitlines()[0]
    assert "recorded()" in short.splitlines()[-1]
    assert trace.latest(12, until=20) != short


def test_nothing_happened_is_said() -> None:
    """Better than an empty screen."""
    with recorded() as trace:
        simulate(trio.lowlevel.checkpoint)
    assert str(trace) == "(no actor said anything)"
    assert not trace.dropped


def test_recorded_records_inside_a_simulation_from_there_to_there() -> None:
    """In a program: the part that the block is round."""

    async def program() -> Trace:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Sum, name="sum")
            await ref.ask(Add(1))
            with recorded() as trace:
                await ref.ask(Add(2))
            await ref.ask(Add(3))
        return trace

    assert simulate(program).messages() == (Add(2),)


async def test_recorded_records_in_a_program_that_is_no_simulation(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Such as a pytest-trio test."""
    with recorded() as trace:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Sum, name="sum")
            await ref.ask(Add(1))
    assert trace.messages() == (Add(1),)
    assert "sum ⇢ main Add = 1" in "\n".join(lines_of(trace))
    async with open_kernel() as kernel:
        await (await kernel.spawn(Sum)).ask(Add(2))
    assert trace.messages() == (Add(1),)


@pytest.mark.parametrize("keep", [0, -1, 1.5, "many", True])
def test_a_wrong_number_to_keep_is_refused(keep: Any) -> None:
    """With what was expected."""
    with (
        pytest.raises(ValueError, match="keep is how many events are kept, 1 or more; got"),
        recorded(keep),
    ):
        pass


# --- values in few words ------------------------------------------------------------------------


class Rude:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        raise OSError("no")


@attrs.frozen
class Point:
    """Two numbers, one of which has a default."""

    x: object
    y: object = 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, "5"),
        ("text", "'text'"),
        (object(), "<object>"),
        (Rude(), "<Rude>"),
        ([1, 2, 3, 4, 5, 6], "[1, 2, 3, 4, … 6 in all]"),
        ({"a": 1}, "{'a': 1}"),
        ({"b", "a", "c"}, "{'a', 'b', 'c'}"),
        (Point(1), "Point(1)"),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Point(Rude(), (1,)), "Point(x=<Rude>, y=(1))"),
        (len, "<built-in function len>"),
        (brief, "brief"),
        (Point, "Point"),
        (ValueError("no\nsecond line"), "ValueError: no"),
        (Kind.SENT, "SENT"),
        ([[[[[[1]]]]]], "[[[[…]]]]"),
    ],
)
def test_values_in_few_words(value: object, expected: str) -> None:
    """Short, without addresses, in no order of hashes."""
    assert brief(value) == expected


@given(value=st.recursive(st.text() | st.binary() | st.none(), st.lists, max_leaves=10))
@settings(max_examples=50)
def test_no_value_takes_more_than_a_line(value: object) -> None:
    """Nor more than the width."""
    assert len(brief(value, 50)) <= 50
    assert len(brief_error(ValueError(value), 50)) <= 50
    assert "\n" not in brief(value)


def test_ids_in_few_words() -> None:
    """Those of a simulation count; others show their end."""
    assert brief_id(f"{31:032x}") == "#31"
    assert brief_id("mine") == "#mine"
    assert brief_id(actorq.uuid7()).startswith("#…")
    assert cut("abcdefghij", 4) == "ab…j"
    assert cut("abc", 3) == "abc"
