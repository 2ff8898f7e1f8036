"""Tests that put something else in the place of a dependency."""

import pytest

import actorq
from actorq import Depends


class Database:
    """Stands for the one in production."""

    def __init__(self, url: str = "db://production") -> None:
        self.url = url


async def get_database() -> Database:
    return Database()


broker = actorq.InMemoryBroker()


@broker.task
async def which(db: Database = Depends(get_database)) -> str:
    return db.url


@pytest.mark.trio
async def test_with_a_fake() -> None:
    async with actorq.open_system(broker):
        with broker.override(get_database, lambda: Database("db://fake")):
            assert await (await which.kiq()).result() == "db://fake"
        assert await (await which.kiq()).result() == "db://production"


@pytest.mark.trio
async def test_as_fastapi_has_it() -> None:
    broker.dependency_overrides[get_database] = lambda: Database("db://other")
    async with actorq.open_system(broker):
        assert await (await which.kiq()).result() == "db://other"
    broker.dependency_overrides = {}


@pytest.mark.trio
async def test_without_a_queue() -> None:
    assert await which(Database("db://mine")) == "db://mine"
