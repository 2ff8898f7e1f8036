"""The contract of brokers, on `SQLiteBroker`."""

from __future__ import annotations

from pathlib import Path

import pytest

import actorq
from actorq.actors.broker import Broker
from actorq.testing import BrokerContract


pytestmark = pytest.mark.engine


class TestSQLite(BrokerContract):
    """In a file of each test's own."""

    max_examples = 10

    @staticmethod
    def factory(folder: Path) -> actorq.SQLiteBroker:
        """What every process makes."""
        return actorq.SQLiteBroker(folder / "queue.db", synchronous="off")

    def kill(self, broker: Broker) -> None:
        """Its thread is gone; what it has committed stays."""
        assert isinstance(broker, actorq.SQLiteBroker)
        broker.storage.die()


def test_it_shows_its_file(tmp_path: Path) -> None:
    """In a log, and at a prompt."""
    assert (
        repr(actorq.SQLiteBroker(tmp_path / "album.db")) == f"<SQLiteBroker: {tmp_path}/album.db>"
    )
