"""Statistics, out of what an engine has counted by queue and place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from actorq.protocol import QueueStatistics


def statistics_of(
    counts: Iterable[tuple[str | None, str, int]],
    *,
    known: Iterable[str] = (),
    done: int,
    dead: int,
    refused: int,
    paused: Iterable[str],
) -> QueueStatistics:
    """*counts*: queue, place, how many; no queue: of all together.  *known*: queues, empty or not.

    The places: scheduled, ready, parked, limited, paced, leased.
    """
    places: Counter[str] = Counter()
    queues = dict.fromkeys(known, 0)
    for queue, place, n in counts:
        places[place] += n
        if queue is not None:
            ready = 0 if place in ("scheduled", "leased") else n
            queues[queue] = queues.get(queue, 0) + ready
    limited = places["limited"] + places["paced"]
    return QueueStatistics(
        scheduled=places["scheduled"],
        ready=places["ready"] + places["parked"] + limited,
        parked=places["parked"],
        limited=limited,
        leased=places["leased"],
        done=done,
        dead=dead,
        refused=refused,
        queues=queues,
        paused=frozenset(paused),
    )
