"""The contract of brokers, on `RedisBroker`."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.actors.broker import Broker
from actorq.engines.redis.broker import RedisBroker
from actorq.engines.redis.storage import RedisStorage
from actorq.testing import BrokerContract

from .here import storage_of


pytestmark = pytest.mark.engine


class TestRedis(BrokerContract):
    """In a namespace of each test's own."""

    max_examples = 10

    @staticmethod
    def factory(folder: Path) -> RedisBroker:
        """What every process makes."""
        return RedisBroker(storage=storage_of(folder))

    def kill(self, broker: Broker) -> None:
        """Its connections are gone; what the server has done stays."""
        assert isinstance(broker, RedisBroker)
        broker.storage.die()


def test_it_shows_its_server_and_no_password() -> None:
    """In a log, and at a prompt."""
    broker = RedisBroker("redis://me:secret@localhost:7000/3", namespace="album")
    assert repr(broker) == "<RedisBroker: Redis at localhost:7000/3 (namespace 'album')>"
    assert "secret" not in repr(RedisStorage("redis://me:secret@localhost").where)


def test_a_storage_that_is_shared_says_all() -> None:
    """Two places are one too many."""
    storage = RedisStorage()
    assert RedisBroker(storage=storage).storage is storage
    with pytest.raises(TypeError, match="not both"):
        RedisBroker("redis://localhost", storage=storage)
    with pytest.raises(TypeError, match="expects a RedisStorage"):
        RedisBroker(storage="redis://localhost")  # type: ignore[arg-type]
