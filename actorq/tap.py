"""The tap: where a simulation hears what actors say to one another, and may bend it.

Part of the environment that a system is opened in; nobody listens in production, and then it costs
nothing: the mailbox of a cell without a tap has its channel's own methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.cell import Cell


class Tap:
    """Hears everything, bends nothing.  Subclass it."""

    def born(self, cell: Cell, actor: Actor[Any]) -> None:
        """A life begins: before its `on_start`."""

    def takes(self, cell: Cell, item: Any) -> bool:
        """*item*, a bare message or an `Envelope`, is sent to *cell*, from the current task.

        True: it counts as accepted, and the tap will see to it that it is delivered (`Mailbox.put`) or
        buried (`Cell.bury`).
        """
        return False

    def closing(self, cell: Cell) -> None:
        """The mailbox is about to close: the last moment for what was taken (promise 45)."""

    def handling(self, cell: Cell, message: Any) -> None:
        """The handler is about to begin; what this raises crashes the life."""

    def died(self, cell: Cell, error: BaseException | None) -> None:
        """A life has ended; with *error* if it crashed."""
