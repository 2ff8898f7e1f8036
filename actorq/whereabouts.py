"""Whereabouts: on which line the tasks below a task sit, for people who wait for their end.

Reads Trio's task tree; changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Final

import trio


_TRIO: Final = os.path.dirname(trio.__file__)


def tasks_below(
    task: trio.lowlevel.Task | None, depth: int = 0
) -> Iterator[tuple[int, trio.lowlevel.Task]]:
    """*task* and all below it, each with its depth."""
    if task is None:
        return
    yield depth, task
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda each: each.name):
            yield from tasks_below(child, depth + 1)


#: Tasks that wait for a thread to end, and the thread's ident; kept by who starts such a thread.
sits_in: dict[trio.lowlevel.Task, int] = {}


def sits_at(task: trio.lowlevel.Task) -> str:
    """The innermost line of *task*, or of its thread, that is not Trio's: `function (file:line)`."""
    frame = sys._current_frames().get(sits_in.get(task, -1))
    while frame is not None and frame.f_code.co_filename.startswith(_TRIO):
        frame = frame.f_back
    if frame is not None:
        return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    where = ""
    for frame, line in task.iter_await_frames():  # outermost first
        if not frame.f_code.co_filename.startswith(_TRIO):
            where = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return where
