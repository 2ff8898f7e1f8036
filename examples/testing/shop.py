"""A shop's tasks; the tests beside it test them."""

from datetime import timedelta
from decimal import Decimal
from typing import Literal

import attrs

import actorq
from actorq import Context, Depends, RetryPolicy, TaskProgress


broker = actorq.InMemoryBroker()  # or whichever engine the shop has


@attrs.frozen
class Order:
    number: int
    total: Decimal
    currency: Literal["EUR", "USD"] = "EUR"
    note: str | None = None


class Declined(Exception):
    """The card was declined."""


class Bank:
    """The one in production, which a test must not call."""

    async def debit(self, order: Order) -> str:
        raise NotImplementedError


async def get_bank() -> Bank:
    return Bank()


@broker.task(retries=RetryPolicy.exponential(3, base=60), timeout=30, raises=(Declined,))
async def charge(order: Order, bank: Bank = Depends(get_bank)) -> str:
    return await bank.debit(order)


@broker.task
async def remind(number: int, by: Literal["mail", "phone"] = "mail") -> str:
    return f"{by} about {number}"


@broker.task
async def checkout(orders: list[Order], ctx: Context = Depends()) -> int:
    for done, order in enumerate(orders, start=1):
        await charge.kiq(order)
        await remind.using(delay=timedelta(days=3)).kiq(order.number)
        await ctx.set_progress(TaskProgress(done / len(orders)))
    return len(orders)


@broker.task(schedule=[actorq.cron("0 3 * * *")])
async def close_the_books() -> None: ...
