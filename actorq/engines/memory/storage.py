"""What the in-memory engine keeps, apart from the objects that keep it.

One value may be given to one broker after the other: each goes on where the last one stopped.  That is
how a simulation lets a whole program die and start again on what has survived.
"""

from __future__ import annotations

import attrs

from actorq.engines.memory.queue import Queue
from actorq.engines.memory.results import ResultTable
from actorq.schedule_state import Schedule


#: Results that a broker without a backend of its own keeps.
DEFAULT_RESULTS = 10_000


@attrs.define(eq=False)
class MemoryStorage:
    """The queue, the results and the schedules of one engine in memory."""

    queue: Queue = attrs.field(factory=Queue)
    results: ResultTable = attrs.field(factory=lambda: ResultTable(DEFAULT_RESULTS))
    schedules: dict[str, Schedule] = attrs.field(factory=dict)
