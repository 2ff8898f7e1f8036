"""A call that is ready to be enqueued: checked, with its id, and not sent yet."""

from __future__ import annotations

from typing import Any

import attrs

from actorq.message import TaskId, TaskMessage
from actorq.task import Task


@attrs.frozen(eq=False)
class Prepared:
    """One message, and what is to be known of its task."""

    message: TaskMessage
    task: Task[..., Any]  #: whose result it gives
    tasks: tuple[Task[..., Any], ...]  #: of each step
    news: tuple[
        Task[..., Any], ...
    ] = ()  #: of these, the ones that this system has not known before

    @property
    def task_ids(self) -> tuple[TaskId, ...]:
        """Of each step; the last one's is the whole call's."""
        terms = self.message.terms
        chain = () if terms is None else terms.chain
        return (self.message.task_id, *[step.task_id for step in chain])
