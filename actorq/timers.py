"""Timers: keyed, one per key, and dead with their incarnation (promise 25).

Owned by one incarnation.  One task and one cancel scope serve all timers of an actor, and neither
exists while none is set: an idle actor has no timers.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from actorq.signals import TimerFired


#: Counts over all actors and lives: a firing that a dead life has left queued matches no timer.
_generations = itertools.count(1)

#: What `take` answers for a firing that is void.
VOID: Final = object()

_SLACK = 64  #: entries of replaced timers that may stay in the heap besides as many as are alive


@attrs.define(order=True)
class _Entry:
    due: float
    generation: int
    key: object = attrs.field(order=False)
    message: Any = attrs.field(order=False)
    period: float | None = attrs.field(order=False)


class Timers:
    """The timers of one incarnation."""

    def __init__(
        self, push: Callable[[TimerFired], None], start_soon: Callable[[Callable[[], Any]], None]
    ) -> None:
        self._push = push
        self._start_soon = start_soon
        self._heap: list[_Entry] = []
        self._current: dict[object, _Entry] = {}
        self._scope: trio.CancelScope | None = None
        self._running = False

    def set(self, key: object, delay: float, message: Any, period: float | None = None) -> None:
        """Deliver *message* after *delay* seconds, replacing the timer that *key* has."""
        entry = _Entry(trio.current_time() + delay, next(_generations), key, message, period)
        self._current[key] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = [each for each in self._heap if self._current.get(each.key) is each]
            heapq.heapify(self._heap)
        if not self._running:
            self._running = True
            self._start_soon(self._run)
        elif self._scope is not None and entry.due < self._scope.deadline:
            self._scope.deadline = entry.due

    def cancel(self, key: object) -> bool:
        """Forget the timer of *key*; False if it had none."""
        return self._current.pop(key, None) is not None

    def take(self, fired: TimerFired) -> Any:
        """The message of *fired*, or `VOID` if it was replaced or cancelled since.

        The generation decides: a firing that is queued already when its timer is replaced is void.
        """
        entry = self._current.get(fired.key)
        if entry is None or entry.generation != fired.generation:
            return VOID
        if entry.period is None:
            del self._current[fired.key]
        else:  # from when it is handled: a slow actor is not sent a burst
            self.set(fired.key, entry.period, entry.message, entry.period)
        return entry.message

    async def _run(self) -> None:
        while self._heap:
            first = self._heap[0]
            if self._current.get(first.key) is not first:
                heapq.heappop(self._heap)  # replaced or cancelled
                continue
            if first.due > trio.current_time():
                with trio.CancelScope(deadline=first.due) as self._scope:
                    await trio.sleep_forever()
                self._scope = None
                continue
            heapq.heappop(self._heap)
            self._push(TimerFired(first.key, first.generation))
        self._running = False
