"""The conclusion: what follows from how an attempt ended, as the task's result and its settlement.

Pure but for the log.  Reads what the attempt left in the job, and writes `job.result` and
`job.settlement`.
"""

from __future__ import annotations

import logging
import random

import attrs

from actorq.errors import (
    NoResult,
    NotAcknowledged,
    Reject,
    Requeued,
    ResultGetError,
    RetriesExhausted,
    Retry,
    TaskCancelled,
    TaskFailed,
)
from actorq.job import Job
from actorq.options import AckMode
from actorq.protocol import Ending, Settlement
from actorq.remote_error import dump_error, is_from_elsewhere, load_error
from actorq.result import TaskResult
from actorq.retry import RetryPolicy
from actorq.succession import following


log = logging.getLogger("actorq.worker")

#: Seconds before a deadline in which nothing is begun any more; clocks do not tell less apart.
_CLOSE = 1e-3

_MANUAL = AckMode.MANUAL


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


def give_up(job: Job, error: Exception) -> None:
    """There is no further attempt after all: *error* is the task's, and its own error the cause."""
    error.__cause__ = job.error
    job.error = error
    job.settlement = _dead(job, error)
    again = load_error(dump_error(error))
    if job.result is None:
        labels = dict(job.message.labels)
        job.result = TaskResult(is_err=True, error=again, labels=labels, attempts=job.fence.attempt)
    else:
        job.result = attrs.evolve(job.result, is_err=True, return_value=None, error=again)


def _decide(job: Job, now: float, dice: random.Random) -> None:
    task, fence, message = job.task, job.fence, job.message
    assert task is not None
    error = job.error
    if job.cancelled:
        error = TaskCancelled(f"task {fence.task_id} was cancelled while it ran")
        job.error = None  # for the hooks, it did not fail
        job.settlement = Settlement(fence, Ending.CANCELLED)
    elif job.requeue is not None and not job.acked:
        error = Requeued(f"task {fence.task_id} goes back to its queue")
        job.error = None
        job.settlement = Settlement(fence, Ending.REQUEUE, delay=job.requeue)
    elif error is not None:
        error, job.settlement = _after_error(job, error, now, dice.random())
    elif message.options.ack is _MANUAL and not job.acked:
        error, job.settlement = _not_acknowledged(job, dice.random())
        job.error = error
    else:
        job.settlement = Settlement(fence, Ending.DONE)
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
    if message.terms is not None and job.settlement.ending is Ending.DONE:
        job.settlement = job.settlement._replace(then=following(message, job.value, now))


def _after_error(
    job: Job, error: Exception, now: float, u: float
) -> tuple[Exception | None, Settlement]:
    """The function raised, perhaps to say what is to become of the task: its error, and its end."""
    said = _alone(error)
    if isinstance(said, NoResult):
        job.error = None
        job.unstored = ResultGetError(
            f"task {job.message.task_name!r} stores no result: it raised NoResult"
            + (f" ({said})" if str(said) else "")
        )
        return None, Settlement(job.fence, Ending.DONE)
    if isinstance(said, Reject):
        return said, _dead(job, said)
    delay = _delay(job, error, said, u)
    deadline = None if job.message.terms is None else job.message.terms.deadline
    if delay is not None and (deadline is None or now + delay < deadline - _CLOSE):
        log.info(
            "task %s (%s) failed, attempt %d; again in %.2f s: %r",
            job.message.task_name,
            job.message.task_id,
            job.fence.attempt,
            delay,
            error,
        )
        return error, Settlement(job.fence, Ending.RETRY, delay=delay)
    if isinstance(said, Retry):
        why = _why_no_more(job, _policy(job)) if delay is None else "its enqueuer's deadline passes"
        error = RetriesExhausted(
            f"task {job.message.task_name!r} raised Retry in attempt {job.fence.attempt}"
            + (f" ({said.reason})" if said.reason else "")
            + f", and there is no further one: {why}"
        )
        causes = (said.__cause__, said.__context__, said)
        error.__cause__ = next(each for each in causes if each is not None)
    return error, _dead(job, error)


def _delay(job: Job, error: Exception, said: Exception | None, u: float) -> float | None:
    """Seconds until the next attempt; None if there is none."""
    if job.acked or job.final:
        return None
    policy, failures = _policy(job), job.failures + 1
    if not isinstance(said, Retry):
        assert job.task is not None
        return policy.decide(error, failures, u, job.task.options.retry)
    delay = policy.delay(failures, u)
    # checked once more: it may have been set since, and the queue takes it as it is
    return delay if delay is None or said.delay is None else Retry(said.delay).delay


def _policy(job: Job) -> RetryPolicy:
    """A message that says nothing of retries is as its task declares; filters never travel."""
    assert job.task is not None
    return job.message.options.retry or job.task.options.retry_policy


def _why_no_more(job: Job, policy: RetryPolicy) -> str:
    if job.acked:
        mode = job.message.options.ack.value
        return f"with ack={mode!r} the queue has forgotten the task before it ended"
    if not policy.retries:
        return "it has no retries; allow some with @task(retries=3)"
    return f"retries={policy.retries} were all it had; allow more with @task(retries=...)"


def _not_acknowledged(job: Job, u: float) -> tuple[Exception, Settlement]:
    """It ended without `ctx.ack()`: given back as an attempt that counts, a bounded number of times."""
    error = NotAcknowledged(
        f"task {job.message.task_name!r} returned without `await ctx.ack()`, which ack='manual' asks "
        f"for, in attempt {job.fence.attempt}"
    )
    if job.failures + 1 >= job.message.options.max_deliveries:  # requeues are none
        return error, _dead(job, error)
    delay = _policy(job).pause(job.failures + 1, u)
    log.warning("%s; given back for %.2f s", error, delay)
    return error, Settlement(job.fence, Ending.RETRY, delay=delay)


def _dead(job: Job, error: Exception) -> Settlement:
    log.warning(
        "task %s (%s) failed for good, attempt %d: %r",
        job.message.task_name,
        job.message.task_id,
        job.fence.attempt,
        error,
    )
    dumped = dump_error(error)
    reason = f"{type(error).__name__}: {dumped['message']}"
    return Settlement(job.fence, Ending.DEAD, reason=reason, error=dumped)


def _alone(error: Exception) -> Exception | None:
    """The task's own word, if it is one: the error, or the only member of a nursery's group.

    A child's `Reject`, raised where its parent waits for it, says nothing of the parent.
    """
    inner = error
    while isinstance(inner, ExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    said = isinstance(inner, Retry | Reject | NoResult) and not is_from_elsewhere(inner)
    return inner if said else None
