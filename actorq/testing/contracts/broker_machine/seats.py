"""Who works in a drawn program, and the choosing among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import precondition

from actorq.message import Fence, TaskMessage
from actorq.testing.contracts.host import Bench


WORKERS = st.sampled_from(["w1", "w2"])


@attrs.frozen(eq=False, repr=False)
class Seat:
    """A session: of the engine, and of the reference."""

    number: int
    worker: str
    bench: Bench
    session: int
    reference: int

    def __repr__(self) -> str:
        return f"<session {self.number} of {self.worker}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """In a failing program."""
        printer.text(repr(self))


@attrs.frozen(eq=False, repr=False)
class Held:
    """A delivery."""

    seat: Seat
    fence: Fence
    chain: tuple[TaskMessage, ...]

    def __repr__(self) -> str:
        return f"<{self.fence.task_id}, attempt {self.fence.attempt}, in {self.seat}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """In a failing program."""
        printer.text(repr(self))


def of(choose: Callable[[Any], st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """What there is to choose from at that moment."""
    return st.runner().flatmap(choose)


def seldom(remainder: int) -> Callable[[Any], bool]:
    """For rules that undo what others did: every fifth step may be one of these."""
    return lambda self: self.taken % 5 == remainder and bool(self.queue.live)


#: There is something to be done; else programs would do nothing at length.
busy = precondition(lambda self: bool(self.queue.live))
