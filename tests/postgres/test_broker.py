"""The broker in PostgreSQL: the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actorq.actors.broker import Broker
from actorq.engines.postgres.broker import PostgresBroker
from actorq.testing.contracts.broker import BrokerContract

from .here import storage_in


pytestmark = pytest.mark.engine


def in_folder(folder: Path) -> Broker:
    """In the schema that stands for the folder."""
    return PostgresBroker(storage=storage_in(folder))


class TestPostgres(BrokerContract):
    max_examples = 10
    factory = in_folder

    def kill(self, broker: Any) -> None:
        """Its connections are gone without a word."""
        broker.storage.die()
