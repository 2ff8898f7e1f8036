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


#: What is Trio's or ours, where a job's own lines are looked for.
_MACHINERY: Final = (_TRIO, os.path.join(os.path.dirname(__file__), ""))

#: Tasks that wait for a thread to end, and the thread's ident; kept by who starts such a thread.
sits_in: dict[trio.lowlevel.Task, int] = {}


def sits_at(task: trio.lowlevel.Task, *, besides: str | tuple[str, ...] = _TRIO) -> str:
    """The innermost line of *task*, or of its thread, that is not Trio's: `function (file:line)`.

    *besides*: the folders whose lines are passed over.
    """
    frame = sys._current_frames().get(sits_in.get(task, -1))
    while frame is not None and frame.f_code.co_filename.startswith(besides):
        frame = frame.f_back
    if frame is not None:
        return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
    where = ""
    for frame, line in task.iter_await_frames():  # outermost first
        if not frame.f_code.co_filename.startswith(besides):
            where = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line})"
    return where


def line_of_job(task: trio.lowlevel.Task) -> str:
    """Where the function sits that *task* runs as a job; one that has no line of its own, ours."""
    return sits_at(task, besides=_MACHINERY) or sits_at(task)
