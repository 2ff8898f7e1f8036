"""The lease: a worker session's claim on its jobs, renewed as one; and which queues it serves (pure).

Owned by the queue core.  Times are whatever clock the caller passes, always the same one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from actorq.queue_choice import QueueChoice


if TYPE_CHECKING:
    from actorq.engines.memory.entry import Entry


@attrs.define(eq=False)
class Turns:
    """Whose turn it is among the queues that a worker serves.

    Strict: the first that has work.  By weight: stride scheduling, so that queues with work get their
    share exactly and in turn, and one that had none does not save up for later (C. Waldspurger,
    "Stride Scheduling", MIT 1995).  Without a choice, all queues weigh the same.
    """

    choice: QueueChoice | None = None
    passes: dict[str, float] = attrs.field(factory=dict)
    now: float = 0.0  #: the pass of the queue that had its turn last
    _before: tuple[float, float] = (0.0, 0.0)  #: what that queue's pass, and `now`, were before

    def serves(self, name: str) -> bool:
        """Whether this worker takes tasks of the queue called *name*."""
        return self.choice is None or name in self.choice.names

    def next(self, names: Iterable[str]) -> str | None:
        """Of the queues that have work, the one whose turn it is; it has had it then."""
        choice = self.choice
        if choice is not None and choice.weights is None:
            with_work = set(names)
            return next((name for name in choice.names if name in with_work), None)
        best, its_pass = None, 0.0
        for name in names:
            if self.serves(name):
                passed = max(self.passes.get(name, 0.0), self.now)
                if best is None or passed < its_pass:
                    best, its_pass = name, passed
        if best is not None:
            self._before = self.passes.get(best, 0.0), self.now
            self.now = its_pass
            self.passes[best] = its_pass + 1.0 / self._weight(best)
        return best

    def unused(self, name: str) -> None:
        """The last turn gave *name* nothing, for limits held back all it has: it is still to come."""
        if name in self.passes:
            self.passes[name], self.now = self._before

    def _weight(self, name: str) -> float:
        choice = self.choice
        if choice is None or choice.weights is None:
            return 1.0
        return choice.weights[choice.names.index(name)]


@attrs.define(eq=False)
class WorkerSession:
    """One worker's standing: its lease covers every job that it holds."""

    id: int
    worker: str
    expires: float
    since: float = 0.0  #: when it began
    turns: Turns = attrs.field(factory=Turns)
    held: dict[str, Entry] = attrs.field(factory=dict)  #: by task id

    def lapsed(self, now: float) -> bool:
        """The lease has run out while jobs depended on it."""
        return bool(self.held) and now >= self.expires
