"""The state machine of `BrokerContract`: what is broken it notices by itself, and tells by a program."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from actorq.testing.contracts.broker import BrokerContract
from actorq.testing.contracts.broker_machine.machine import BrokerMachine
from actorq.testing.mutants import Mutant
from actorq.testing.mutants.brokers import BROKERS
from actorq.testing.promises import PromiseBroken


#: Of each kind of question one: crashes, deaths, writing, attempts, fences, leases, order, keys.
SOME = (
    *("ForgetsSessions", "NeverLetsGo", "WritesAtTheEnd", "RetriesAtOnce"),
    *("TakesOldWords", "IgnoresRenewals", "LastInFirstOut", "TrustsABatch"),
)
UNSHRUNK = settings(
    max_examples=100,
    stateful_step_count=40,
    phases=[Phase.generate],
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(settings().suppress_health_check),
)


@pytest.mark.parametrize(
    "mutant", [each for each in BROKERS if each.name in SOME], ids=lambda mutant: mutant.name
)
def test_drawn_programs_notice_what_is_broken(mutant: Mutant) -> None:
    """Without any test that was written for it; the program is told, and no actor, as there is none."""

    class Broken(BrokerContract):
        factory = staticmethod(mutant.factory)

    machine = type("Broken", (BrokerMachine,), {"contract": Broken()})
    with pytest.raises(PromiseBroken) as caught:  # of that promise, or of one that hangs on it
        run_state_machine_as_test(machine, settings=UNSHRUNK)
    notes = "\n".join(caught.value.__notes__)
    assert "state.enqueue(" in notes
    assert "actor" not in notes.replace("the_broker_actor_crashes", "")


def test_they_are_all_there() -> None:
    """A mutant of another name would be tried no more."""
    assert {*SOME} <= {mutant.name for mutant in BROKERS}
