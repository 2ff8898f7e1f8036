"""`Stuck`: a program that makes no progress is told who waits for whom."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings

import actorq
from actorq import Actor, ActorRef, Context, Message, open_kernel
from actorq.testing import Stuck, Tape, schedules, simulate
from actorq.testing.process import open_processes


INJECTED: Context = actorq.Depends()


def complaint(
    program: Callable[[], Awaitable[object]], tape: Tape | None = None, limit: float = 100.0
) -> str:
    """What `Stuck` says of *program*."""
    with pytest.raises(Stuck) as caught:
        simulate(program, tape=tape, limit=limit)
    return str(caught.value)


def lines_of(text: str) -> list[str]:
    """Without indentation and without places."""
    return [re.sub(r", in \S+ \(.*", "", line.strip()) for line in text.splitlines()]


# --- circles ------------------------------------------------------------------------------------


@attrs.frozen
class Deposit(Message[int]):
    """So much."""

    amount: int


class Ledger(Actor[Deposit]):
    """Wants a lock for each deposit."""

    def __init__(self, lock: trio.Lock) -> None:
        self._lock = lock

    async def receive(self, message: Deposit) -> int:
        """Deposit it."""
        async with self._lock:
            return message.amount


async def circle_by_a_lock() -> None:
    """The ledger wants what its asker holds."""
    lock = trio.Lock()
    async with open_kernel() as kernel:
        ref = await kernel.spawn(lambda: Ledger(lock), name="ledger")
        async with lock:
            await ref.ask(Deposit(5))


@given(tape=schedules())
@settings(max_examples=10)
def test_a_circle_is_named_first(tape: Tape) -> None:
    """Under any schedule, with what each link of it waits for."""
    lines = lines_of(complaint(circle_by_a_lock, tape))
    assert lines[1:4] == [
        "circle: main → ledger → main",
        "main waits for the answer of ledger to Deposit(5)",
        "ledger waits for a lock that main holds",
    ]


def test_the_line_is_the_users() -> None:
    """Neither Trio's nor actorq's."""
    text = complaint(circle_by_a_lock)
    assert re.search(
        r"  main    waits for the answer .*, in circle_by_a_lock \(\S*test_stuck\.py:\d+\)\n", text
    )
    assert re.search(
        r"  ledger  waits for a lock .*, in Ledger.receive \(\S*test_stuck\.py:\d+\)", text
    )
    assert "every task:\n<init>" in text


def test_a_circle_of_asks_from_child_tasks_is_found() -> None:
    """`AskDeadlock` does not see those."""

    class Asks(Actor[Deposit]):
        def __init__(self, others: list[ActorRef[Deposit]], place: int) -> None:
            self._others, self._place = others, place

        async def receive(self, message: Deposit) -> int:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._others[self._place].ask, message)
            return 1

    async def program() -> None:
        refs: list[ActorRef[Deposit]] = []
        async with open_kernel() as kernel:
            refs.append(await kernel.spawn(lambda: Asks(refs, 1), name="left"))
            refs.append(await kernel.spawn(lambda: Asks(refs, 0), name="right"))
            await refs[0].ask(Deposit(1))

    lines = lines_of(complaint(program))
    assert lines[1] == "circle: left → ask → right → ask (2) → left"
    assert "left waits for its nursery's tasks: ask" in lines
    assert "ask (2) waits for the answer of left to Deposit(1)" in lines


def test_two_tasks_that_hold_each_others_locks() -> None:
    """The oldest deadlock there is."""

    async def takes(first: trio.Lock, second: trio.Lock) -> None:
        async with first:
            await trio.sleep(1)
            async with second:
                pass

    async def program() -> None:
        one, two = trio.Lock(), trio.Lock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(takes, one, two, name="anne")
            nursery.start_soon(takes, two, one, name="bert")

    lines = lines_of(complaint(program))
    assert lines[1:4] == [
        "circle: anne → bert → anne",
        "anne waits for a lock that bert holds",
        "bert waits for a lock that anne holds",
    ]


# --- chains -------------------------------------------------------------------------------------


@actorq.task
async def inner() -> None:
    """Waits for nobody."""
    await trio.Event().wait()


@actorq.task
async def outer(ctx: Context = INJECTED) -> None:
    """Waits for `inner`."""
    await (await ctx.system.enqueue(inner)).result()


def test_a_chain_leads_to_who_waits_for_nobody() -> None:
    """Over results of jobs that run."""

    async def program() -> None:
        async with actorq.open_system() as system:
            await (await system.enqueue(outer)).result()

    lines = lines_of(complaint(program))
    assert lines[1] == "chain: main → outer #1 → inner #2, which waits for an event to be set"
    assert "main      waits for the result of outer #1, which runs" in lines
    assert "inner #2  waits for an event to be set" in lines
    (idle,) = [line for line in lines if line.startswith("idle: ")]
    for name in ("broker", "results", "pool", "scheduler"):
        assert name in idle


def test_a_result_that_nobody_works_on_is_told_with_where_its_task_is() -> None:
    """Scheduled, parked, held back by a limit."""

    async def later() -> None:
        async with actorq.open_system() as system:
            await (await system.enqueue(inner.using(delay=1_000))).result()

    assert "main waits for the result of #1 (scheduled)" in re.sub(" +", " ", complaint(later))

    async def unknown() -> None:
        async with actorq.open_system() as system:
            await (await system.send(actorq.TaskMessage("mine", "no:body"))).result()

    assert "main waits for the result of #mine (parked)" in re.sub(" +", " ", complaint(unknown))


def test_an_actor_that_put_the_answer_off_is_not_waited_for() -> None:
    """It could answer at any moment, and is idle."""

    class PutsOff(Actor[Deposit]):
        async def receive(self, message: Deposit) -> None:
            self.defer()

    async def program() -> None:
        async with open_kernel() as kernel:
            await (await kernel.spawn(PutsOff, name="lazy")).ask(Deposit(1))

    lines = lines_of(complaint(program))
    assert "main  waits for the answer of lazy to Deposit(1), which lazy put off" in lines
    assert not any(line.startswith(("circle", "chain")) for line in lines)


def test_room_in_a_mailbox_is_waited_for() -> None:
    """With how full it is, and what its actor waits for."""

    class Sleeps(Actor[Deposit]):
        async def receive(self, message: Deposit) -> None:
            await trio.sleep_forever()

    async def program() -> None:
        async with open_kernel() as kernel:
            ref = await kernel.spawn(Sleeps, name="slow", capacity=2)
            for n in range(9):
                await ref.tell(Deposit(n))

    lines = lines_of(complaint(program))
    assert lines[1] == "chain: main → slow, which waits for time to pass, for ever"
    assert "main  waits for room in the mailbox of slow (2 of 2)" in lines


def test_an_actor_that_does_not_end_is_named() -> None:
    """Whoever waits for its end, or for the system's."""

    class Shields(Actor[Deposit]):
        async def receive(self, message: Deposit) -> None:
            with trio.CancelScope(shield=True):
                await trio.Event().wait()

    async def program() -> None:
        async with open_kernel(shutdown_timeout=1) as kernel:
            ref = await kernel.spawn(Shields, name="stubborn")
            await ref.tell(Deposit(1))
            kernel_ref.append(ref)

    kernel_ref: list[ActorRef[Deposit]] = []
    lines = lines_of(complaint(program))
    assert any(
        line.startswith("chain: main")
        and line.endswith("stubborn, which waits for an event to be set")
        for line in lines
    ), lines


# --- what else may be waited for ----------------------------------------------------------------


async def _event() -> None:
    await trio.Event().wait()


async def _sleep() -> None:
    await trio.sleep(5_000)


async def _for_ever() -> None:
    await trio.sleep_forever()


async def _receive() -> None:
    send, receive = trio.open_memory_channel[int](0)
    with send, send.clone():
        await receive.receive()


async def _send() -> None:
    send, receive = trio.open_memory_channel[int](0)
    with receive:
        await send.send(1)


async def _condition() -> None:
    async with (condition := trio.Condition()):
        await condition.wait()


async def _semaphore() -> None:
    await trio.Semaphore(0).acquire()


async def _limiter() -> None:
    limiter = trio.CapacityLimiter(1)
    async with trio.open_nursery() as nursery:

        async def hog() -> None:
            async with limiter:
                await trio.Event().wait()

        nursery.start_soon(hog)
        await trio.sleep(1)
        async with limiter:
            pass


async def _timeout() -> None:
    with trio.fail_after(50_000):
        await trio.Event().wait()


async def _shielded() -> None:
    with trio.CancelScope(shield=True, deadline=7_000):
        await trio.Event().wait()


async def _custom() -> None:
    await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)


@pytest.mark.parametrize(
    ("waits", "told"),
    [
        (_event, "an event to be set"),
        (_sleep, "time to pass, for ever"),
        (_for_ever, "time to pass, for ever"),
        (_receive, "a channel to be sent to (2 open senders)"),
        (_send, "room in a channel (1 open receiver)"),
        (_condition, "a condition to be notified"),
        (_semaphore, "a semaphore"),
        (_limiter, "a capacity limiter that hog used up"),
        (_timeout, "an event to be set"),
        (_shielded, "an event to be set"),
        (_custom, "something"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_sort_of_waiting_has_its_words(
    waits: Callable[[], Awaitable[None]], told: str
) -> None:
    """Of Trio's own."""
    lines = lines_of(complaint(waits))
    assert f"main  waits for {told}" in lines


def test_a_dead_process_is_waited_for_in_vain() -> None:
    """What is frozen is said to be."""

    async def dies() -> None:
        async with lock:
            await trio.sleep_forever()

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(dies, name="victim")
            await trio.sleep(1)
            process.kill()
            await lock.acquire()

    lock = trio.Lock()
    lines = lines_of(complaint(program))
    assert lines[1].startswith(
        "chain: main → victim, which waits for nothing: its process was killed"
    )


def test_what_is_told_is_bounded() -> None:
    """A thousand tasks are not a thousand lines of waits."""

    async def program() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(1_000):
                nursery.start_soon(trio.Event().wait)

    head, _, _ = complaint(program).partition("every task:")
    assert len(head.splitlines()) < 90
    assert "and 996 more" in head


def test_a_program_that_swallows_its_cancellation_is_stuck_all_the_same() -> None:
    """Whatever it makes of it."""

    async def program() -> Any:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("instead")

    assert "main  waits for time to pass, for ever" in lines_of(complaint(program))
