"""A worked bug: a task that charges and then emails.  With `python`, it tells its story."""

import attrs
import pytest
import trio

import actorq
from actorq import Depends
from actorq.testing import MemoryStorage, NotIdempotent, assert_crash_safe, assert_idempotent


@attrs.define
class Shop:
    """Stands for the services outside: whatever becomes of our process, they keep what they got."""

    charges: list[str] = attrs.Factory(list)
    emails: list[str] = attrs.Factory(list)
    known: set[str] = attrs.Factory(set)

    async def charge(self, order: str, key: str | None = None) -> None:
        await trio.sleep(0.1)  # the request is on its way
        if key not in self.known:
            self.charges.append(order)
        if key is not None:
            self.known.add(key)
        await trio.sleep(0.1)  # the answer is on its way

    async def email(self, order: str, key: str | None = None) -> None:
        await trio.sleep(0.1)
        if key not in self.known:
            self.emails.append(order)
        if key is not None:
            self.known.add(key)
        await trio.sleep(0.1)


@actorq.task
async def charge_then_email(order: str, shop: Shop = Depends()) -> None:
    await shop.charge(order)
    await shop.email(order)


def effect(shop: Shop) -> dict[str, list[str]]:
    return {"charges": shop.charges, "emails": shop.emails}


def show() -> None:
    assert_idempotent(charge_then_email, "order-1", observe=effect, world=Shop)


def test_the_bug() -> None:
    with pytest.raises(NotIdempotent, match="a crash made its effect happen twice"):
        show()


@actorq.task
async def charge_then_email_once(order: str, shop: Shop = Depends()) -> None:
    await shop.charge(order, key=f"charge {order}")  # the same in each attempt
    await shop.email(order, key=f"email {order}")


def test_the_mended_task() -> None:
    assert_idempotent(charge_then_email_once, "order-1", observe=effect, world=Shop)


@actorq.task
async def thumbnail(photo: str) -> str:
    await trio.sleep(60)
    return f"{photo}, small"


async def make_thumbnails(storage: MemoryStorage) -> None:
    broker = actorq.InMemoryBroker(storage=storage)
    async with actorq.open_system(broker, tasks=[thumbnail]) as sys:
        for photo in ("cat.jpg", "dog.jpg"):
            await sys.enqueue(thumbnail.using(task_id=photo), photo)  # again: harmless
        await sys.wait_idle()


async def all_are_there(storage: MemoryStorage) -> None:
    async with actorq.open_system(actorq.InMemoryBroker(storage=storage)) as sys:
        for photo in ("cat.jpg", "dog.jpg"):
            assert await sys.handle(photo).result() == f"{photo}, small"


def test_no_thumbnail_is_lost() -> None:
    report = assert_crash_safe(make_thumbnails, all_are_there)
    assert report.points > 100


if __name__ == "__main__":
    show()
