"""Every broken broker is caught, by the promise that it breaks; what is right is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import actorq
from actorq.testing import BrokerContract, ResultBackendContract, ScheduleSourceContract
from actorq.testing.contracts.contract import Contract, run_contract
from actorq.testing.mutants import MUTANTS, Mutant
from actorq.testing.mutants.brokers import BROKERS


@pytest.mark.parametrize("mutant", BROKERS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_caught_by_the_promise_that_it_breaks(mutant: Mutant) -> None:
    """A contract that lets one pass would let your engine's bug pass."""
    failure = mutant.caught()
    assert failure is not None, f"nothing noticed: {mutant.breaks}"
    assert mutant.promise in failure.promises


@pytest.mark.parametrize(
    "factory", [actorq.InMemoryBroker, lambda: actorq.InMemoryBroker(encoded=True)]
)
def test_what_is_right_passes(factory: Callable[[], actorq.InMemoryBroker]) -> None:
    """Or every mutant would be caught by anything."""

    class Simulated(BrokerContract):
        simulated = True
        max_examples = 10  # tests/test_broker_contract.py has more

    assert not list(run_contract(Simulated, factory))


def test_there_is_a_broken_broker_for_each_promise_of_the_queue() -> None:
    """All but the schedules' and the waiters', which are not the broker's."""
    assert {mutant.promise for mutant in BROKERS} >= {*range(28, 40), 41, 42}
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(mutant.breaks for mutant in MUTANTS)


@pytest.mark.parametrize(
    "contract", [BrokerContract, ResultBackendContract, ScheduleSourceContract]
)
def test_a_factory_of_something_else_is_told(contract: type[Contract]) -> None:
    """What was expected, what came, and what to write."""
    failures = list(run_contract(contract, dict))
    assert failures
    said = {str(failure.error) for failure in failures}
    assert all("and its factory made {}: write `factory = MyClass`" in each for each in said), said
