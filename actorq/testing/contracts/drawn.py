"""How a contract's state machine is run: as often as the profile of Hypothesis says."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from actorq.testing.contracts.contract import Contract
from actorq.testing.machine import TrioMachine


def run_drawn(
    machine: type[TrioMachine],
    contract: Contract | type[Contract],
    *,
    steps: int,
    examples: int | None = None,
) -> None:
    """Run *machine* on *contract*'s subject: *examples* programs of *steps* steps.

    Unless told, a tenth of the profile's examples.  The smallest that breaks a promise is raised, and
    printed.
    """
    kind = contract if isinstance(contract, type) else type(contract)
    factory = kind.factory
    name = f"{kind.__qualname__} of {getattr(factory, '__qualname__', factory)!s}"
    run_state_machine_as_test(
        type(name, (machine,), {"contract": contract}),
        settings=settings(
            max_examples=examples or max(10, settings().max_examples // 10),
            stateful_step_count=steps,
            # not explain: it traces every line, and then shrinking takes minutes
            phases=[phase for phase in settings().phases if phase is not Phase.explain],
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
