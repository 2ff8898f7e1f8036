"""What commands write with `--json`: the fields of each kind of object, once for all commands.

`docs/cli.md` lists them; a test compares.  Fields are added, not renamed or removed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from actorq.cli.words import iso
from actorq.progress import TaskProgress
from actorq.protocol import DeadTask, QueueStatistics, RunningJob, WorkerInfo
from actorq.remote_error import dump_error
from actorq.result import TaskResult
from actorq.schedule_source import ScheduleInfo


def of_statistics(counts: QueueStatistics) -> dict[str, Any]:
    """How many tasks are where."""
    return {
        "scheduled": counts.scheduled,
        "ready": counts.ready,
        "parked": counts.parked,
        "limited": counts.limited,
        "running": counts.leased,
        "done": counts.done,
        "dead": counts.dead,
        "refused": counts.refused,
    }


def of_job(job: RunningJob) -> dict[str, Any]:
    """A task in a worker's hands."""
    return {
        "task_id": job.task_id,
        "task_name": job.task_name,
        "queue": job.queue,
        "attempt": job.attempt,
        "since": iso(job.since),
        "line": job.line or None,
        "progress": None if job.progress is None else of_progress(job.progress),
    }


def of_worker(worker: WorkerInfo) -> dict[str, Any]:
    """A worker, with its jobs."""
    choice = worker.queues
    return {
        "name": worker.name,
        "session": worker.session,
        "pid": worker.pid,
        "host": worker.host,
        "queues": None if choice is None else list(choice.names),
        "weights": None if choice is None or choice.weights is None else list(choice.weights),
        "since": iso(worker.since),
        "seen": iso(worker.seen),
        "jobs": [of_job(job) for job in worker.jobs],
    }


def of_progress(progress: TaskProgress) -> dict[str, Any]:
    """How far a task is."""
    return progress.to_dict()


def of_result(task_id: str, result: TaskResult[Any], *, with_log: bool) -> dict[str, Any]:
    """How a task ended."""
    return {
        "task_id": task_id,
        "state": "failed" if result.is_err else "done",
        "return_value": result.return_value,
        "error": None if result.error is None else dump_error(result.error),
        "execution_time": result.execution_time,
        "attempts": result.attempts,
        "labels": dict(result.labels),
        "log": result.log if with_log else None,
    }


def of_pending(task_id: str, state: str) -> dict[str, Any]:
    """A task that has no result, or none yet."""
    return {"task_id": task_id, "state": state}


def of_dead(dead: DeadTask) -> dict[str, Any]:
    """A dead letter."""
    message = dead.message
    return {
        "task_id": dead.task_id,
        "task_name": message.task_name,
        "queue": message.options.queue,
        "args": [plain(value) for value in message.args],
        "kwargs": {key: plain(value) for key, value in message.kwargs.items()},
        "labels": dict(message.labels),
        "reason": dead.reason,
        "attempts": dead.attempts,
        "died_at": iso(dead.died_at),
        "error": dead.error,
    }


def of_schedule(schedule: ScheduleInfo) -> dict[str, Any]:
    """A schedule."""
    return {
        "schedule_id": schedule.schedule_id,
        "task_name": schedule.task_name,
        "description": schedule.description,
        "args": list(schedule.args),
        "kwargs": dict(schedule.kwargs),
        "next_time": iso(schedule.next_time),
        "last_time": iso(schedule.last_time),
        "last_task_id": schedule.last_task_id,
        "owed": schedule.owed,
        "paused": schedule.paused,
        "declared": schedule.declared,
    }


def of_engine(broker: object, information: Any) -> dict[str, Any]:
    """The engine: its class, and what it says of itself."""
    said = plain(information)
    return {"broker": type(broker).__name__, **(said if isinstance(said, dict) else {})}


def plain(value: Any) -> Any:
    """As JSON can carry it; what it cannot, as text."""
    if attrs.has(type(value)):
        return {
            field.name: plain(getattr(value, field.name))
            for field in attrs.fields(type(value))
            if not field.name.startswith("_")
        }
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        return iso(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
