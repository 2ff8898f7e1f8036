"""Ends that the law reports itself: what it says of each, and the error that those are told who wait.

The texts stand here and not in the laws, which know kinds and arguments only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actorq.errors import ActorqError, DuplicateTask, TaskCancelled, TaskExpired, WorkerLost
from actorq.remote_error import load_error
from actorq.succession import why_broken


def error_of(task_id: str, end: Sequence[Any], error: str | None = None) -> Exception:
    """What *end*, a kind and its arguments, means for *task_id*.

    expired []; cancelled []: between two attempts, by its worker's last word; waiting [failures]:
    cancelled while it waited; purged [queue]; replaced [successor]; lost [deliveries]; early []: its
    worker died after the early acknowledgement; refused [task_id, key]: a step of a chain, whose unique
    key was taken; unsaid []: its worker did not say what comes after it; died [reason]: buried, with no
    error; given []: *error*, as JSON;
    broken [name, task_id, cancelled, end|None, error|None]: the step of a chain, by what became of
    an earlier one.
    """
    kind, arguments = end
    match kind:
        case "expired":
            return TaskExpired(f"task {task_id} had not begun when its time to start went by")
        case "cancelled":
            return TaskCancelled("the task was cancelled")
        case "waiting":
            when = "between two attempts" if arguments[0] else "before it began"
            return TaskCancelled(f"task {task_id} was cancelled {when}")
        case "purged":
            return TaskCancelled(f"queue {arguments[0]!r} was purged before the task began")
        case "replaced":
            return TaskCancelled(
                f"task {task_id} was replaced by {arguments[0]}, which has its unique key"
            )
        case "lost":
            return WorkerLost(
                f"task {task_id} was delivered {int(arguments[0])} times and no worker lived to "
                f"report its end"
            )
        case "early":
            return WorkerLost(
                f"the worker ended while task {task_id} ran, which had been acknowledged: there is "
                f"no other attempt"
            )
        case "refused":
            return DuplicateTask.of(*arguments)
        case "unsaid":
            return ActorqError("its worker did not say what comes after it")
        case "died":
            return ActorqError(arguments[0])
        case "broken":
            name, before, cancelled, its_end, its_error = arguments
            cause = None
            if its_end is not None:
                cause = error_of(before, its_end, its_error)
            return why_broken(name, before, cause, cancelled=bool(cancelled))
        case _:
            return load_error(json.loads(error)) if error else ActorqError(f"{kind} {arguments}")


def reason_of(task_id: str, end: Sequence[Any]) -> str:
    """What stands in the dead letter of a task that the law buried itself."""
    why = error_of(task_id, end)
    return f"it could not be enqueued: {why}" if end[0] == "refused" else str(why)
