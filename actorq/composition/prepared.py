"""A call that is ready to be enqueued: checked, with its id, and not sent yet."""

from __future__ import annotations

from typing import Any

import attrs

from actorq.message import TaskMessage
from actorq.task import Task


@attrs.frozen(eq=False)
class Prepared:
    """One message, and what is to be known of its task."""

    message: TaskMessage
    task: Task[..., Any]  #: whose result it gives
    news: tuple[Task[..., Any], ...] = ()  #: tasks that this system has not known before
