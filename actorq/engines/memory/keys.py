"""Unique keys: which task has which (pure).  Owned by the queue core.

A key with a time is free when that has passed, whatever became of its task; the others are given free by
the queue, at the task's start or end.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from actorq.unique import UniqueKey, Until


class Holding(NamedTuple):
    """A key that is taken."""

    task_id: str
    until: float | None  #: None: until it is given free


@attrs.define
class UniqueKeys:
    """Every key that is taken."""

    holdings: dict[str, Holding] = attrs.field(factory=dict)
    _sweep_at: int = 1024

    def holder(self, key: str, now: float) -> str | None:
        """The id of the task that has *key*."""
        holding = self.holdings.get(key)
        if holding is None:
            return None
        if holding.until is not None and holding.until <= now:
            del self.holdings[key]
            return None
        return holding.task_id

    def take(self, unique: UniqueKey, task_id: str, now: float) -> None:
        """*task_id* has the key from now on."""
        if len(self.holdings) >= self._sweep_at:
            self.holdings = {
                key: holding
                for key, holding in self.holdings.items()
                if holding.until is None or holding.until > now
            }
            self._sweep_at = max(1024, 2 * len(self.holdings))
        until = None if unique.seconds is None else now + unique.seconds
        self.holdings[unique.key] = Holding(task_id, until)

    def started(self, unique: UniqueKey, task_id: str) -> None:
        """A worker has taken the task."""
        if unique.until is Until.START:
            self._free(unique.key, task_id)

    def ended(self, unique: UniqueKey, task_id: str) -> None:
        """The task has ended."""
        if unique.until is not Until.TIME:
            self._free(unique.key, task_id)

    def _free(self, key: str, task_id: str) -> None:
        holding = self.holdings.get(key)
        if holding is not None and holding.task_id == task_id and holding.until is None:
            del self.holdings[key]
