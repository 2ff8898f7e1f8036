"""`BrokerMachine`: all the rules, and how they are run."""

from __future__ import annotations

from hypothesis import settings

from actorq.testing.contracts.broker_machine.accepting import Accepting
from actorq.testing.contracts.broker_machine.breaking import Breaking
from actorq.testing.contracts.broker_machine.requests import Requests
from actorq.testing.contracts.drawn import run_drawn
from actorq.testing.contracts.host import EngineContract


class BrokerMachine(Accepting, Breaking, Requests):
    """Of one engine; which, says its subclass."""


def run_broker_machine(contract: EngineContract, examples: int | None, steps: int) -> None:
    """Run it on *contract*'s subject; by default with all the examples of Hypothesis's profile."""
    examples = examples or settings().max_examples
    run_drawn(BrokerMachine, contract, steps=steps, examples=examples)
