"""Tests of the shop's tasks: run them with `pytest examples/testing`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import ANY

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from shop import Bank, Declined, Order, broker, charge, checkout, close_the_books, get_bank, remind

import actorq
from actorq.testing import (
    Arguments,
    TaskRun,
    arguments,
    assert_enqueued,
    assert_not_enqueued,
    drain,
    enqueued,
    hold,
    in_memory,
    run_task,
    simulate,
    time_travel,
)


LAMP = Order(7, Decimal("19.90"))


class FakeBank(Bank):
    """Declines as often as it is told to."""

    def __init__(self) -> None:
        self.debits: list[int] = []
        self.declines = 0

    async def debit(self, order: Order) -> str:
        if self.declines:
            self.declines -= 1
            raise Declined(order.number)
        self.debits.append(order.number)
        return f"receipt {order.number}"


@pytest.fixture
def actorq_broker() -> actorq.Broker:
    return broker


@pytest.fixture
def bank() -> Iterator[FakeBank]:
    fake = FakeBank()
    with broker.override(get_bank, lambda: fake):
        yield fake


# --- a queue for a test ---


@pytest.mark.trio
async def test_a_charge(actorq_system: actorq.System, bank: FakeBank) -> None:
    handle = await charge.kiq(LAMP)
    assert await handle.result() == "receipt 7"
    assert bank.debits == [7]


@pytest.mark.trio
async def test_a_card_that_is_declined_at_first(
    actorq_system: actorq.System, bank: FakeBank
) -> None:
    bank.declines = 2
    handle = await charge.kiq(LAMP)
    assert await handle.result() == "receipt 7"
    assert trio.current_time() == 60 + 120  # the pauses between three attempts took no time


# --- one task by itself ---


@pytest.mark.trio
async def test_charging(bank: FakeBank) -> None:
    assert await run_task(charge, LAMP) == "receipt 7"


@pytest.mark.trio
async def test_a_declined_card(bank: FakeBank) -> None:
    bank.declines = 1
    with pytest.raises(Declined):
        await run_task(charge, LAMP)


@pytest.mark.trio
async def test_when_it_is_charged_again(bank: FakeBank) -> None:
    bank.declines = 1
    run = TaskRun(charge, attempt=2)
    with pytest.raises(Declined):
        await run(LAMP)
    assert run.retry_in == 120


@pytest.mark.trio
async def test_the_progress_of_a_checkout(actorq_system: actorq.System, bank: FakeBank) -> None:
    run = TaskRun(checkout)
    assert await run([LAMP, LAMP]) == 2
    assert [each.progress for each in run.progress] == [0.5, 1.0]


# --- until nothing is left to do ---


@pytest.mark.trio
async def test_all_that_follows_from_a_checkout(
    actorq_system: actorq.System, bank: FakeBank
) -> None:
    bank.declines = 1
    await checkout.kiq([LAMP])
    ran = await drain(actorq_system)
    assert [str(each) for each in ran if each.task_name in (charge.name, remind.name)] == [
        "shop:charge attempt 1: retry",
        "shop:charge attempt 2: done",
        "shop:remind attempt 1: done",
    ]
    assert bank.debits == [7]


@pytest.mark.trio
async def test_the_books_are_closed_at_night(actorq_system: actorq.System) -> None:
    await time_travel(to=datetime(2024, 1, 1, 2, 59, tzinfo=UTC))
    assert_not_enqueued(actorq_system, close_the_books)
    await time_travel(seconds=60)
    assert_enqueued(actorq_system, close_the_books)
    await time_travel(seconds=timedelta(days=6))
    assert len(enqueued(actorq_system, close_the_books)) == 7


# --- what was enqueued ---


@pytest.mark.trio
async def test_what_a_checkout_enqueues(actorq_system: actorq.System, bank: FakeBank) -> None:
    await (await checkout.kiq([LAMP])).result()
    assert_enqueued(actorq_system, charge, LAMP)
    reminder = assert_enqueued(actorq_system, remind, 7)
    assert reminder.delay == 3 * 86_400
    assert_not_enqueued(actorq_system, remind, ANY, by="phone")


@pytest.mark.trio
async def test_before_anything_runs(actorq_system: actorq.System, bank: FakeBank) -> None:
    async with hold(actorq_system):
        await charge.kiq(LAMP)
        assert_enqueued(actorq_system, charge)
        assert bank.debits == []
    await drain(actorq_system)
    assert bank.debits == [7]


# --- arguments that nobody thought of ---


@given(call=arguments(charge, order=st.builds(Order, total=st.decimals(0, 10_000, places=2))))
@settings(max_examples=20)
def test_any_order_can_be_charged(call: Arguments) -> None:
    async def program() -> None:
        fake = FakeBank()
        with broker.override(get_bank, lambda: fake):
            assert (await run_task(charge, *call.args, **call.kwargs)).startswith("receipt")

    simulate(program)


@given(calls=st.lists(arguments(remind), max_size=5))
@settings(max_examples=20)
def test_every_reminder_is_sent(calls: list[Arguments]) -> None:
    async def program() -> None:
        async with actorq.open_system(in_memory(broker)) as sys:
            for args, kwargs in calls:
                await remind.using(delay=60).kiq(*args, **kwargs)
            assert len(await drain(sys)) == len(calls)

    simulate(program)


# --- without the fixture ---


async def in_a_program() -> None:
    async with actorq.open_system(in_memory(broker)) as sys:
        await remind.using(delay=timedelta(days=3)).kiq(7)
        await drain(sys)


def test_in_a_plain_function() -> None:
    simulate(in_a_program, limit=float("inf"))
