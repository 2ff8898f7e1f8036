"""Laws that are broken on purpose, of any engine: each is to be caught by the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actorq.actors.broker import Broker
from actorq.engines.remote.broker import RemoteBroker
from actorq.testing import BrokerContract
from actorq.testing.contracts.contract import Contract, run_contract


class Mutant(NamedTuple):
    """A change of one place in one file of the law."""

    promise: int
    breaks: str
    file: str
    before: str
    after: str


class Quick(BrokerContract):
    """As little as shows it."""

    max_examples = 5
    limit = 10.0

    def kill(self, broker: Broker) -> None:
        """Its connections are gone."""
        assert isinstance(broker, RemoteBroker)
        broker.storage.die()


def check_caught(
    mutant: Mutant,
    contract: type[Contract],
    factory: Callable[[Path], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the promise that it breaks, in a test that the law as it is passes."""
    failure = next(run_contract(contract, factory, promise=mutant.promise), None)
    assert failure is not None, f"nothing noticed: {mutant.breaks}"
    assert mutant.promise in failure.promises
    monkeypatch.undo()
    right = type("Right", (contract,), {"factory": staticmethod(factory)})
    getattr(right(), failure.test)()  # or the mutant might be caught by anything
