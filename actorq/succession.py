"""The succession: how one step of a chain follows another (pure).

A message carries the steps after it in `terms.chain`, each without its first argument.  Who completes
a step makes the message of the next, and the queue accepts it in the step in which it learns of the
completion.
"""

from __future__ import annotations

from typing import Any

import attrs

from actorq.errors import ChainBroken, TaskCancelled
from actorq.message import TaskMessage, Terms


_NONE = Terms()


def following(message: TaskMessage, value: Any, now: float) -> tuple[TaskMessage, ...]:
    """What is to be enqueued when *message* has succeeded with *value*, plain data, at *now*."""
    if message.terms is None or not message.terms.chain:
        return ()
    step, *rest = message.terms.chain
    own = step.terms or _NONE
    eta = step.eta if own.delay is None else now + own.delay
    expires_at = own.expires_at
    if own.expires is not None:
        too_late = max(now, eta or now) + own.expires
        expires_at = too_late if expires_at is None else min(expires_at, too_late)
    terms = attrs.evolve(own, expires_at=expires_at, chain=tuple(rest), delay=None, expires=None)
    # what middlewares and the enqueuer said of the first step goes on to the last
    labels = {**message.options.labels, **step.options.labels}
    return (
        attrs.evolve(
            step,
            args=(value, *step.args),
            options=attrs.evolve(step.options, labels=labels),
            eta=eta,
            enqueued_at=now,
            terms=None if terms == _NONE else terms,
        ),
    )


def why_broken(
    task_name: str, task_id: str, error: Exception | None, *, cancelled: bool
) -> Exception:
    """What who waits for a later step is told, if this one did not succeed, or was *cancelled*."""
    step = f"step {task_name} ({task_id})"
    if cancelled:
        return TaskCancelled(f"cancelled with its chain, before it began: at {step}")
    why = "" if error is None else f": {type(error).__name__}: {error}"
    broken = ChainBroken(f"{step} did not succeed{why}", task_id, task_name)
    broken.__cause__ = error
    return broken
