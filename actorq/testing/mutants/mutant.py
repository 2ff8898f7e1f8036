"""A mutant: something deliberately broken, and the promise that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from actorq.testing.contracts.contract import Contract, Failure, run_contract
from actorq.testing.tally import TALLY, Trial


@attrs.frozen
class Mutant:
    """One broken thing."""

    name: str
    promise: int  #: the one that it breaks
    breaks: str  #: what it does wrong, in a few words
    contract: type[Contract]  #: that must notice
    factory: Callable[..., Any]

    def caught(self) -> Failure | None:
        """The first failure that names the promise; None if the contract did not notice.

        Noted in the report, a survivor too.
        """
        failure = self._first_failure()
        by = None if failure is None else f"{self.contract.__name__}.{failure.test}"
        TALLY.mutants.append(Trial(self.name, self.promise, self.breaks, by))
        return failure

    def _first_failure(self) -> Failure | None:
        with TALLY.aside():
            for failure in run_contract(self.contract, self.factory, promise=self.promise):
                if self.promise in failure.promises:
                    return failure
        return None
