"""How a contract's state machine is run: as often as the profile of Hypothesis says."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from actorq.testing.contracts.contract import Contract
from actorq.testing.machine import TrioMachine


def run_drawn(machine: type[TrioMachine], contract: type[Contract], *, steps: int) -> None:
    """Run *machine* on *contract*'s subject: a tenth of the profile's examples, of so many steps."""
    factory = contract.factory
    name = f"{contract.__qualname__} of {getattr(factory, '__qualname__', factory)!s}"
    run_state_machine_as_test(
        type(name, (machine,), {"contract": contract}),
        settings=settings(
            max_examples=max(10, settings().max_examples // 10),
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
        ),
    )
