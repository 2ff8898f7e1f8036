"""What a result backend should know: the model that drawn operations are compared with."""

from __future__ import annotations

from typing import Any

import attrs

from actorq.progress import TaskProgress
from actorq.result import TaskResult


@attrs.define
class Model:
    """A backend in tables.  `None` as an attempt: it may have forgotten which."""

    results: dict[str, TaskResult[Any]] = attrs.field(factory=dict)
    attempts: dict[str, int | None] = attrs.field(factory=dict)
    latest: dict[str, TaskProgress] = attrs.field(factory=dict)
    reported: dict[str, int] = attrs.field(factory=dict)  #: by which attempt; a backend may know
    logs: dict[str, list[TaskProgress]] = attrs.field(factory=dict)  #: of this life
    over: set[str] = attrs.field(factory=set)  #: logs that have ended
    deleted: set[str] = attrs.field(factory=set)  #: a backend may remember that, or not
    ends: dict[str, float] = attrs.field(factory=dict)  #: of those with a time to live

    def put(self, task_id: str, result: TaskResult[Any], end: float | None) -> None:
        """A result was taken."""
        self.results[task_id] = result
        self.attempts[task_id] = result.attempts
        self.deleted.discard(task_id)
        self.ends.pop(task_id, None)
        if end is not None:
            self.ends[task_id] = end
        if task_id in self.logs:
            self.over.add(task_id)

    def delete(self, task_id: str) -> None:
        """Forget it."""
        if self.results.pop(task_id, None) is not None:
            self.deleted.add(task_id)
        for table in (self.attempts, self.latest, self.reported, self.logs, self.ends):
            table.pop(task_id, None)
        self.over.discard(task_id)

    def new_life(self) -> None:
        """The actor has restarted: who reads from now on, reads what comes from now on."""
        self.logs.clear()
        self.over.clear()
