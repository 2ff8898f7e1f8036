"""A mutant: something deliberately broken, and the promise that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from actorq.testing.contracts.contract import Contract, Failure, run_contract
from actorq.testing.tally import TALLY


@attrs.frozen
class Mutant:
    """One broken thing."""

    name: str
    promise: int  #: the one that it breaks
    breaks: str  #: what it does wrong, in a few words
    contract: type[Contract]  #: that must notice
    factory: Callable[..., Any]

    def caught(self) -> Failure | None:
        """The first failure that names the promise; None if the contract did not notice."""
        for failure in run_contract(self.contract, self.factory, promise=self.promise):
            if self.promise in failure.promises:
                TALLY.mutants[self.name] = self.promise
                return failure
        return None
