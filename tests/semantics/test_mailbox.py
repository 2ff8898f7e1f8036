"""Promises 1 to 8: what happens to a message between `tell` and its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from actorq.actor import Actor
from actorq.dead_letters import LetterReason
from actorq.errors import ActorqError, ActorStopped, MailboxFull
from actorq.kernel import open_kernel
from actorq.ref import ActorRef, Message
from actorq.restart import Restart
from actorq.signals import Signal
from actorq.testing import Tape, crash, crash_at, simulate
from strategies import SOON, crashing_kernel, tapes


@attrs.frozen
class Job(Message[Any]):
    """Number *n* of *sender*: takes *work* seconds (None: no checkpoint at all), then may crash."""

    sender: int
    n: int
    work: float | None = None
    crashes: bool = False
    spawns: bool = False


jobs = st.builds(Job, st.just(0), st.just(0), st.sampled_from([None, 0.0, 0.3, 2.0]), st.booleans())
plans = st.lists(st.lists(jobs, max_size=6), min_size=1, max_size=4)


class Log:
    """What happened, outside of any incarnation."""

    def __init__(self) -> None:
        self.begun: list[Job] = []
        self.ended: list[Job] = []
        self.inside = 0
        self.most_inside = 0
        self.lives = 0


class Worker(Actor[Job]):
    def __init__(self, log: Log) -> None:
        self.log = log
        log.lives += 1

    async def receive(self, message: Job) -> int:
        log = self.log
        log.begun.append(message)
        log.inside += 1
        log.most_inside = max(log.most_inside, log.inside)
        try:
            if message.spawns:
                self.start_soon(trio.sleep, 1)
            if message.work is not None:
                await trio.sleep(message.work)
            if message.crashes:
                raise ValueError(message)
        finally:
            log.inside -= 1
        log.ended.append(message)
        return message.n


def numbered(plan: list[list[Job]]) -> list[list[Job]]:
    """Each sender's jobs, with the sender's number and their own."""
    return [
        [attrs.evolve(job, sender=sender, n=n) for n, job in enumerate(mine)]
        for sender, mine in enumerate(plan)
    ]


@given(tape=tapes, plan=plans)
def test_01_one_handler_of_an_actor_runs_at_a_time(tape: Tape, plan: list[list[Job]]) -> None:
    """1. One handler of an actor runs at a time, for any senders, asks, crashes and child tasks."""
    log = Log()

    async def send(ref: ActorRef[Job], mine: list[Job]) -> None:
        for job in mine:
            try:
                await (ref.ask(job) if job.n % 2 else ref.tell(job))
            except ActorqError:
                assert job.crashes

    async def program() -> None:
        async with crashing_kernel(shutdown_timeout=1_000) as kernel:
            ref = await kernel.spawn(lambda: Worker(log), name="w", drain=math.inf)
            async with trio.open_nursery() as nursery:
                for mine in numbered(plan):
                    nursery.start_soon(
                        send, ref, [attrs.evolve(job, spawns=job.n % 3 == 0) for job in mine]
                    )
            await trio.sleep(500)

    simulate(program, tape=tape)
    assert log.most_inside <= 1
    assert len(log.begun) == sum(map(len, plan))


@given(tape=tapes, plan=plans, capacity=st.integers(0, 3), faults=st.lists(SOON, max_size=3))
def test_02_messages_of_a_sender_are_handled_in_send_order(
    tape: Tape, plan: list[list[Job]], capacity: int, faults: list[float]
) -> None:
    """2. Per sender, accepted messages are handled in send order, across restarts too."""
    log = Log()

    async def send(ref: ActorRef[Job], mine: list[Job]) -> None:
        for job in mine:
            await ref.tell(job)

    async def break_it(ref: ActorRef[Job], when: float) -> None:
        await trio.sleep(when)
        crash(ref)

    async def program() -> None:
        async with crashing_kernel(shutdown_timeout=1_000) as kernel:
            ref = await kernel.spawn(
                lambda: Worker(log), name="w", capacity=capacity, drain=math.inf
            )
            async with trio.open_nursery() as nursery:
                for mine in numbered(plan):
                    nursery.start_soon(send, ref, mine)
                for when in faults:
                    nursery.start_soon(break_it, ref, when)
            await trio.sleep(500)

    simulate(program, tape=tape)
    for sender, mine in enumerate(numbered(plan)):
        assert [job for job in log.begun if job.sender == sender] == mine


@given(tape=tapes, capacity=st.integers(0, 4), extra=st.integers(0, 4))
def test_03_tell_waits_for_room_and_tell_nowait_refuses(
    tape: Tape, capacity: int, extra: int
) -> None:
    """3. `tell`/`ask` wait while the mailbox is full; `tell_nowait` raises; nothing is dropped."""
    log = Log()
    returned: list[float] = []

    async def program() -> None:
        async def late(n: int) -> None:
            job = Job(1, n)
            if n % 2:
                await ref.tell(job)
            else:
                assert await ref.ask(job) == n
            returned.append(trio.current_time())

        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Worker(log), name="w", capacity=capacity, drain=99)
            await ref.tell(Job(0, 0, work=10))
            await trio.testing.wait_all_tasks_blocked()
            for n in range(capacity):
                ref.tell_nowait(Job(0, n + 1))
            with pytest.raises(MailboxFull) as caught:
                ref.tell_nowait(Job(0, 99))
            assert caught.value.message == Job(0, 99)
            assert ref.statistics().queued == capacity
            async with trio.open_nursery() as nursery:
                for n in range(extra):
                    nursery.start_soon(late, n)
        assert returned == [10.0] * extra

    simulate(program, tape=tape)
    assert [job.n for job in log.ended if job.sender == 0] == list(range(capacity + 1))
    assert sorted(job.n for job in log.ended if job.sender == 1) == list(range(extra))


@given(
    tape=tapes,
    patience=st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=8),
    capacity=st.integers(0, 2),
)
def test_04_a_send_that_was_cancelled_was_not_accepted(
    tape: Tape, patience: list[float], capacity: int
) -> None:
    """4. A send that raises `Cancelled` was not accepted; a send that returned was."""
    log = Log()
    accepted: list[int] = []

    async def send(ref: ActorRef[Job], n: int, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await ref.tell(Job(0, n, work=1.0))
            accepted.append(n)

    async def program() -> None:
        async with open_kernel(shutdown_timeout=1_000) as kernel:
            ref = await kernel.spawn(
                lambda: Worker(log), name="w", capacity=capacity, drain=math.inf
            )
            async with trio.open_nursery() as nursery:
                for n, seconds in enumerate(patience):
                    nursery.start_soon(send, ref, n, seconds)
        assert ref.statistics().accepted == len(accepted)

    simulate(program, tape=tape)
    assert sorted(job.n for job in log.ended) == sorted(accepted)


def test_04_a_send_in_a_cancelled_scope_raises_even_if_there_is_room() -> None:
    """4. The cancellation that is due already is seen, by `tell` and by `ask`."""

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(partial(Worker, Log()), name="w")
            for send in (ref.tell, ref.ask):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await send(Job(0, 0))
                assert scope.cancelled_caught
            assert ref.statistics().accepted == 0

    simulate(program)


@attrs.frozen
class Life:
    """A drawn life of an actor and those who send to it."""

    plan: list[list[Job]]
    pauses: list[float]
    patience: list[float]
    faults: list[float]
    capacity: int
    restart: Restart
    drain: float
    body: float
    shutdown_timeout: float


lives = st.builds(
    Life,
    plan=plans,
    pauses=st.lists(st.sampled_from([0.0, 0.2, 1.0]), min_size=4, max_size=4),
    patience=st.lists(st.sampled_from([0.1, 1.0, math.inf]), min_size=4, max_size=4),
    faults=st.lists(SOON, max_size=3),
    capacity=st.integers(0, 4),
    restart=st.sampled_from(Restart),
    drain=st.sampled_from([0.0, 1.0, 30.0]),
    body=st.sampled_from([0.0, 0.5, 3.0, 50.0]),
    shutdown_timeout=st.sampled_from([0.0, 1.0, 100.0]),
)


async def live(life: Life, log: Log) -> tuple[list[Job], list[Job], Any, list[Any]]:
    """Tells accepted, asks accepted, final statistics, dead letters."""
    told: list[Job] = []
    asked: list[Job] = []

    async def send(ref: ActorRef[Job], mine: list[Job], pause: float, patience: float) -> None:
        for job in mine:
            await trio.sleep(pause)
            with trio.move_on_after(patience):
                try:
                    if job.n % 3 == 2:
                        ref.tell_nowait(job)
                    else:
                        await ref.tell(job)
                except (MailboxFull, ActorStopped):
                    continue
                told.append(job)

    async def break_it(ref: ActorRef[Job], when: float) -> None:
        await trio.sleep(when)
        if when > 1:
            crash(ref)
        else:
            crash_at(ref, 2)

    async with crashing_kernel(shutdown_timeout=life.shutdown_timeout) as kernel:
        ref = await kernel.spawn(
            lambda: Worker(log),
            name="w",
            capacity=life.capacity,
            restart=life.restart,
            drain=life.drain,
        )
        with trio.move_on_after(life.body):
            async with trio.open_nursery() as nursery:
                for sender, mine in enumerate(numbered(life.plan)):
                    nursery.start_soon(send, ref, mine, life.pauses[sender], life.patience[sender])
                for when in life.faults:
                    nursery.start_soon(break_it, ref, when)
    return told, asked, ref.statistics(), list(kernel.dead_letters)


@given(tape=tapes, life=lives)
def test_05_an_accepted_message_is_handled_at_most_once(tape: Tape, life: Life) -> None:
    """5. An accepted message is handled at most once, whatever crashes, stops and restarts."""
    log = Log()
    simulate(live, life, log, tape=tape)
    assert all(n == 1 for n in Counter((job.sender, job.n) for job in log.begun).values())


@given(tape=tapes, life=lives)
def test_06_every_accepted_tell_ends_in_exactly_one_way(tape: Tape, life: Life) -> None:
    """6. Conservation: each accepted tell is handled, crashed, interrupted or undelivered."""
    log = Log()
    told, _, statistics, letters = simulate(live, life, log, tape=tape)
    key = partial(attrs.astuple)
    ends: Counter[Any] = Counter(key(job) for job in log.ended)
    ends.update(key(letter.message) for letter in letters)
    assert ends == Counter(key(job) for job in told)
    of: Callable[[LetterReason], list[Job]] = lambda reason: [  # noqa: E731 - a short name
        letter.message for letter in letters if letter.reason is reason
    ]
    assert all(job not in log.begun for job in of(LetterReason.UNDELIVERED))
    # a fault that `crash_at` injects crashes a message before its handler begins
    assert all(job.crashes or job not in log.begun for job in of(LetterReason.CRASHED))
    assert all(job in log.begun and job.work is not None for job in of(LetterReason.INTERRUPTED))
    assert statistics.accepted == len(told)
    assert statistics.handled == len(log.ended)
    assert statistics.crashed == len(of(LetterReason.CRASHED))
    assert statistics.interrupted == len(of(LetterReason.INTERRUPTED))
    assert statistics.undelivered == len(of(LetterReason.UNDELIVERED))


def test_06_a_message_whose_handler_a_child_task_took_down_was_interrupted() -> None:
    """6. The handler did not raise: its message is interrupted, not crashed.  None is a message."""

    class Fragile(Actor[Any]):
        async def receive(self, message: object) -> None:
            self.start_soon(self.fail)
            await trio.sleep(1)

        async def fail(self) -> None:
            raise ValueError("in a child task")

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Fragile)
            await ref.tell(None)
            await trio.sleep(1)
            (letter,) = kernel.dead_letters
            assert (letter.message, letter.reason) == (None, LetterReason.INTERRUPTED)

    simulate(program)


class Watcher(Actor[Any]):
    """Writes down everything; the first message keeps it busy for ten seconds."""

    def __init__(self, log: list[object], target: ActorRef[Any]) -> None:
        self.log = log
        self.target = target

    async def on_start(self) -> None:
        self.watch(self.target)
        self.set_timer("t", 2, "timer")

    async def receive(self, message: object) -> None:
        self.log.append(message)
        if message == "busy":
            await trio.sleep(10)

    async def signal(self, signal: Signal) -> None:
        self.log.append(type(signal).__name__)


class Mortal(Actor[Any]):
    async def receive(self, message: object) -> None:
        self.stop()


@given(tape=tapes, capacity=st.integers(0, 3), blocked=st.integers(0, 2))
def test_07_signals_go_before_messages_and_are_never_refused(
    tape: Tape, capacity: int, blocked: int
) -> None:
    """7. Signals are never refused by a full mailbox and go before the next user message."""
    log: list[object] = []

    async def program() -> None:
        async with open_kernel() as kernel:
            mortal = await kernel.spawn(Mortal, restart=Restart.TEMPORARY)
            ref = await kernel.spawn(
                lambda: Watcher(log, mortal), name="watcher", capacity=capacity, drain=99
            )
            async with trio.open_nursery() as nursery:
                await ref.tell("busy")
                await trio.testing.wait_all_tasks_blocked()
                for n in range(capacity + blocked):
                    nursery.start_soon(ref.tell, n)
                await mortal.tell("die")

    simulate(program, tape=tape)
    assert log[0] == "busy"
    assert set(log[1:3]) == {"Terminated", "timer"}
    assert sorted(map(str, log[3:])) == [str(n) for n in range(capacity + blocked)]


@given(tape=tapes, capacity=st.integers(0, 2))
def test_07_an_idle_actor_without_capacity_is_woken_by_signals(tape: Tape, capacity: int) -> None:
    """7. ... capacity 0 included: signals in the same step, timers and the stop arrive."""
    log: list[object] = []

    async def program() -> float:
        async with open_kernel() as kernel:
            one = await kernel.spawn(Mortal, name="one", restart=Restart.TEMPORARY)
            ref = await kernel.spawn(lambda: Watcher(log, one), name="w", capacity=capacity)
            one.tell_nowait("die")
            await one.stopped()
            await trio.sleep(3)
            assert log == ["Terminated", "timer"]
            crash(ref)
            await trio.sleep(10)
            assert log == ["Terminated", "timer", "Terminated", "timer"]
        return trio.current_time()

    assert simulate(program, tape=tape) == pytest.approx(13)


@given(tape=tapes, n=st.integers(65, 400))
def test_08_other_tasks_run_after_at_most_64_messages(tape: Tape, n: int) -> None:
    """8. With n messages queued, other tasks run after at most 64 of them."""
    log = Log()
    seen: list[int] = []

    async def look() -> None:
        while len(log.ended) < n:
            seen.append(len(log.ended))
            await trio.lowlevel.checkpoint()
        seen.append(n)

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(lambda: Worker(log), name="w")
            async with trio.open_nursery() as nursery:
                for k in range(n):
                    ref.tell_nowait(Job(0, k))
                nursery.start_soon(look)

    simulate(program, tape=tape)
    # one step of the other task for each step of the actor, in either order
    assert max(after - before for before, after in pairwise(seen)) <= 128
    assert len(seen) > n // 128


@given(tape=tapes, k=st.integers(0, 100))
def test_08_cancellation_takes_effect_within_64_messages(tape: Tape, k: int) -> None:
    """8. ... and cancellation takes effect within as many."""
    begun: list[int] = []
    at: list[int] = []

    class Breaks(Actor[int]):
        async def receive(self, message: int) -> None:
            begun.append(message)
            if message == k:
                self.start_soon(self.fail)

        async def fail(self) -> None:
            at.append(len(begun))
            raise ValueError("cancels the loop")

        async def on_stop(self) -> None:
            at.append(len(begun))

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Breaks, restart=Restart.TEMPORARY)
            for n in range(500):
                ref.tell_nowait(n)
            await ref.stopped()

    simulate(program, tape=tape)
    assert at[1] - at[0] <= 64
