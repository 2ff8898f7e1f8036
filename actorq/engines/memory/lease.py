"""The lease: a worker session's claim on its jobs, renewed as one (pure).

Owned by the queue core.  Times are whatever clock the caller passes, always the same one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from actorq.engines.memory.queue import Entry


@attrs.define(eq=False)
class WorkerSession:
    """One worker's standing: its lease covers every job that it holds."""

    id: int
    worker: str
    expires: float
    held: dict[str, Entry] = attrs.field(factory=dict)  #: by task id

    def lapsed(self, now: float) -> bool:
        """The lease has run out while jobs depended on it."""
        return bool(self.held) and now >= self.expires
