"""The message of a call, with the steps that follow it."""

from __future__ import annotations

from typing import Any

import attrs

from actorq.call import Call, Step
from actorq.errors import ArgumentsError, NotSerializable, OptionError
from actorq.message import TaskId, TaskMessage, Terms
from actorq.options import AckMode
from actorq.task import Task
from actorq.terms import terms_of


def message_of(call: Call[Any], new_id: TaskId, now: float) -> TaskMessage:
    """The message of a call, with the steps that follow it.

    *new_id* is the id of the last step, unless the call says one.  Raises `ArgumentsError`,
    `NotSerializable`, or `OptionError` for an option that a step of a chain cannot have.
    """
    task_id = call.last.options.task_id or new_id
    if not call.following:
        return call.task.message(call.args, call.kwargs, task_id=task_id, now=now)
    steps = call.following
    _check_step(call.task, 1, is_last=False)
    ids = [f"{task_id}.{number}" for number in range(1, len(steps) + 1)] + [task_id]
    first = call.task.message(call.args, call.kwargs, task_id=ids[0], now=now)
    chain = []
    for number, (step, its_id) in enumerate(zip(steps, ids[1:], strict=True), start=2):
        _check_step(step.task, number, is_last=step is steps[-1])
        chain.append(_message_of_step(step, number, its_id, now))
    return attrs.evolve(first, terms=attrs.evolve(first.terms or Terms(), chain=tuple(chain)))


def _message_of_step(step: Step[Any, Any], number: int, task_id: TaskId, now: float) -> TaskMessage:
    task, options = step.task, step.task.options
    try:
        args, kwargs = task.signature.bind_rest(step.args, step.kwargs, name=task.name)
    except (ArgumentsError, NotSerializable) as error:
        raise type(error)(
            f"step {number} of a chain, after the result before it: {error}"
        ) from None
    terms = Terms()
    if options.has_terms:
        # seconds count from when the step is enqueued; a moment is a moment
        absolute = attrs.evolve(options, expires=None)
        terms = terms_of(task.name, absolute, task.signature, (), {}, now, None)
    terms = attrs.evolve(terms, delay=options.delay, expires=options.expires)
    return TaskMessage(
        task_id,
        task.name,
        args,
        kwargs,
        options,
        options.eta,
        0.0,
        None if terms == Terms() else terms,
    )


def _check_step(task: Task[..., Any], number: int, *, is_last: bool) -> None:
    options, name = task.options, f"step {number} of a chain ({task.name})"
    if options.unique is not None:
        raise OptionError(f"{name} cannot be unique: another task would stand for it")
    if not is_last and options.task_id is not None:
        raise OptionError(f"{name} gets its id from the last step: say task_id there")
    if not is_last and options.ack not in (AckMode.WHEN_SAVED, AckMode.WHEN_EXECUTED):
        raise OptionError(
            f"{name} has ack={options.ack.value!r}: the queue would forget it before there is a result "
            f"to go on with; only the last step can have that"
        )
    keys = [limit.key for limit in options.concurrency] + [limit.key for limit in options.rate]
    if number > 1 and any(key is not None for key in keys):
        raise OptionError(
            f"{name} has a limit with a key: that is made of the arguments, and the first one is not "
            f"known when the chain is enqueued; leave the key out, or enqueue the task from a task"
        )
