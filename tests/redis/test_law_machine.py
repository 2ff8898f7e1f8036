"""The reference's programs again: after each step, what is kept on the server agrees with itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from actorq.actors.broker import Broker
from actorq.engines.redis.broker import RedisBroker
from actorq.protocol import QueueStatistics
from actorq.testing.contracts.broker_machine.machine import run_broker_machine
from actorq.testing.contracts.host import EngineContract

from .here import storage_of


pytestmark = pytest.mark.engine


class Checked(RedisBroker):
    """Whoever asks how many tasks there are has them counted anew."""

    async def statistics_of_queue(self) -> QueueStatistics:
        remarks = await self._look(["check"])
        assert remarks == [], remarks
        return await super().statistics_of_queue()


class TestChecked(EngineContract):
    @staticmethod
    def factory(folder: Path) -> RedisBroker:
        """What every process makes."""
        return Checked(storage=storage_of(folder))

    def kill(self, broker: Broker) -> None:
        """Its connections are gone; what the server has done stays."""
        assert isinstance(broker, RedisBroker)
        broker.storage.die()

    def test_what_is_kept_agrees_with_itself(self) -> None:
        """30: each task is in one place, is counted there, and nothing else is."""
        run_broker_machine(self, 20, 40)
