"""Every broken result backend and schedule source is caught, by the promise that it breaks."""

from __future__ import annotations

import pytest

from actorq import InMemoryScheduleSource
from actorq.testing.contracts.contract import run_contract
from actorq.testing.contracts.results import ResultBackendContract
from actorq.testing.contracts.schedules import ScheduleSourceContract
from actorq.testing.mutants import MUTANTS
from actorq.testing.mutants.brokers import BROKERS
from actorq.testing.mutants.mutant import Mutant
from actorq.testing.mutants.results import RESULTS, OnDisk
from actorq.testing.mutants.schedules import SCHEDULES


@pytest.mark.parametrize("mutant", [*RESULTS, *SCHEDULES], ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught_by_the_promise_that_it_breaks(mutant: Mutant) -> None:
    """And not by the test that plays everything only: that one's answer is hard to read."""
    failure = mutant.caught()
    assert failure is not None, f"{mutant.name}: {mutant.breaks}, and nobody notices"
    assert mutant.promise in failure.promises
    assert failure.test != "test_it_does_what_a_dictionary_does"


@pytest.mark.parametrize(
    ("contract", "factory"),
    [
        (ResultBackendContract, OnDisk),
        (ScheduleSourceContract, InMemoryScheduleSource),
    ],
    ids=lambda each: each.__name__,
)
def test_what_is_right_passes_without_pytest_too(contract: type, factory: type) -> None:
    """`run_contract` has nothing to say."""
    assert [str(failure.error) for failure in run_contract(contract, factory)] == []


def test_no_mutant_is_left_out() -> None:
    """Brokers have their tests beside this file, everything else is caught here."""
    assert set(MUTANTS) == {*BROKERS, *RESULTS, *SCHEDULES}
