"""Programs in simulation: run it with `pytest examples/guide/test_simulated.py`."""

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq.testing import Stuck, Tape, open_processes, recorded, schedules, simulate


@actorq.task
async def charge(account: str, amount: int) -> int:
    await trio.sleep(3600)
    return amount


async def pay() -> float:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(charge, "Ann", 5)
        await handle.result()
    return trio.current_time()


def test_an_hour_takes_no_time() -> None:
    assert simulate(pay) == 3600


@given(tape=schedules(), seed=st.integers(0, 9))
@settings(max_examples=10)
def test_one_tape_and_one_seed_are_one_run(tape: Tape, seed: int) -> None:
    with recorded() as first:
        simulate(pay, tape=tape, seed=seed)
    with recorded() as again:
        simulate(pay, tape=tape, seed=seed)
    assert str(first) == str(again)


async def pay_too_little() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(charge, "Ann", 5)
        assert await handle.result() == 50


def test_a_failure_tells_how_it_came_to_that() -> None:
    with pytest.raises(AssertionError) as caught:
        simulate(pay_too_little, tape=Tape.of_seed(1), seed=7)
    (note,) = caught.value.__notes__
    assert "charge('Ann', 5) #1, attempt 1" in note
    assert "main       ! raises AssertionError" in note
    assert "simulate(pay_too_little, tape=Tape.of_seed(1), seed=7)" in note


@attrs.frozen
class Deposit(actorq.Message[None]):
    amount: int


class Ledger(actorq.Actor[Deposit]):
    def __init__(self, book: trio.Lock) -> None:
        self._book = book

    async def receive(self, message: Deposit) -> None:
        async with self._book:
            await trio.sleep(1)


async def deposit() -> None:
    book = trio.Lock()
    async with actorq.open_kernel() as kernel:
        ledger = await kernel.spawn(lambda: Ledger(book), name="ledger")
        async with book:  # which the ledger wants too
            await ledger.ask(Deposit(5))


def test_a_deadlock_names_its_circle() -> None:
    with pytest.raises(Stuck, match="circle: main → ledger → main"):
        simulate(deposit)


def test_a_process_that_is_killed_leaves_its_lock() -> None:
    taken: list[str] = []

    async def takes_the_lock() -> None:
        taken.append(f"by {trio.current_time():g} s")
        try:
            await trio.sleep_forever()
        finally:
            taken.clear()

    async def program() -> None:
        async with open_processes() as processes:
            process = processes.start(takes_the_lock)
            await trio.sleep(1)
            process.kill()
            await trio.sleep(100)
            assert taken == ["by 0 s"]

    simulate(program)
