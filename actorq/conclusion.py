"""The conclusion: what follows from how an attempt ended, as the task's result and its settlement.

Pure but for the log.  Reads what the attempt left in the job, and writes `job.result` and
`job.settlement`.
"""

from __future__ import annotations

import logging
import random

from actorq.errors import TaskCancelled, TaskFailed
from actorq.job import Job
from actorq.protocol import Ending, Settlement
from actorq.remote_error import dump_error, load_error
from actorq.result import TaskResult


log = logging.getLogger("actorq.worker")


def conclude(job: Job, now: float, dice: random.Random) -> None:
    """Decide; never raises, whatever the task's exception does when it is looked at."""
    try:
        _decide(job, now, dice)
    except Exception:
        # an exception's own methods are its author's code: none of it may harm other tasks
        name = type(job.error).__qualname__
        log.exception("the error of task %s, a %s, cannot be read", job.fence.task_id, name)
        error = TaskFailed(name, "(it cannot be told: its own methods raise)")
        job.error = error
        job.result = TaskResult(
            is_err=True,
            error=error,
            labels=dict(job.message.labels),
            attempts=job.fence.attempt,
        )
        job.settlement = Settlement(
            job.fence, Ending.DEAD, reason=str(error), error=dump_error(error)
        )


def _decide(job: Job, now: float, dice: random.Random) -> None:
    task, fence, message = job.task, job.fence, job.message
    assert task is not None
    error = job.error
    if job.cancelled:
        error = TaskCancelled(f"task {fence.task_id} was cancelled while it ran")
    job.result = TaskResult(
        is_err=error is not None,
        return_value=job.value if error is None else None,
        # rebuilt from plain data: an exception that is kept keeps all its frames alive
        error=None
        if error is None
        else load_error(dump_error(error), (*task.options.raises, *message.options.raises)),
        execution_time=now - job.began,
        labels=dict(message.options.labels),
        attempts=fence.attempt,
        log=None if job.captured is None else job.captured.text(),
    )
    if job.cancelled:
        job.error = None  # for the hooks, it did not fail
        job.settlement = Settlement(fence, Ending.CANCELLED)
    elif error is None:
        job.settlement = Settlement(fence, Ending.DONE)
    else:
        job.settlement = _after_failure(job, error, dice)


def _after_failure(job: Job, error: Exception, dice: random.Random) -> Settlement:
    message, fence = job.message, job.fence
    failures = job.failures + 1
    task = job.task
    assert task is not None
    # a message that says nothing of retries is as its task declares; filters never travel
    policy = message.options.retry or task.options.retry_policy
    delay = None
    if not job.final:
        delay = policy.decide(error, failures, dice.random(), task.options.retry)
    if delay is not None:
        log.info(
            "task %s (%s) failed, attempt %d; again in %.2f s: %r",
            message.task_name,
            message.task_id,
            fence.attempt,
            delay,
            error,
        )
        return Settlement(fence, Ending.RETRY, delay=delay)
    log.warning(
        "task %s (%s) failed for good, attempt %d: %r",
        message.task_name,
        message.task_id,
        fence.attempt,
        error,
    )
    dumped = dump_error(error)
    reason = f"{type(error).__name__}: {dumped['message']}"
    return Settlement(fence, Ending.DEAD, reason=reason, error=dumped)
