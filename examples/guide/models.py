"""Arguments and return values: converted by their annotations, pydantic models among them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import pydantic
import trio

import actorq


class Item(pydantic.BaseModel):
    name: str
    price: Decimal = pydantic.Field(gt=0)


class Order(pydantic.BaseModel):
    placed: datetime
    items: list[Item]


@actorq.task
async def dearest(order: Order) -> Item:
    return max(order.items, key=lambda item: item.price)


@dataclass
class Card:
    number: str
    kind: Literal["card"] = "card"


@dataclass
class Invoice:
    due: date
    kind: Literal["invoice"] = "invoice"


@actorq.task
async def pay(amount: Decimal, by: Card | Invoice) -> str:
    return f"{amount} by {by.kind}"


class Login(pydantic.BaseModel):
    user: str
    password: pydantic.SecretStr


@actorq.task
async def sign_in(login: Login) -> None: ...


async def main() -> None:
    async with actorq.open_system() as sys:
        items = [Item(name="pen", price=Decimal("1.50")), Item(name="ink", price=Decimal(7))]
        order = Order(placed=datetime(2024, 5, 1, tzinfo=UTC), items=items)
        handle = await sys.enqueue(dearest, order)
        print(repr(await handle.result()))

        paid = await sys.enqueue(pay, Decimal("8.50"), by=Invoice(date(2024, 6, 1)))
        print(await paid.result())

        secret = Login(user="ada", password=pydantic.SecretStr("hush"))
        wrong: list[tuple[actorq.Task[..., Any], Any]]
        wrong = [(dearest, {"items": []}), (sign_in, secret)]
        for task, argument in wrong:
            try:
                await sys.enqueue(task, argument)
            except (actorq.ArgumentsError, actorq.NotSerializable) as error:
                print(type(error).__name__, error)


if __name__ == "__main__":
    trio.run(main)
