"""Requirements: which capabilities of its engine a message needs, and the refusal where one is lacking.

Read by the broker before it stores, so that every way to enqueue is refused alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from actorq.capability import Capability
from actorq.errors import UnsupportedOption
from actorq.message import TaskMessage
from actorq.options import DEFAULT_QUEUE, AckMode
from actorq.retry import RetryPolicy


class Requirement(NamedTuple):
    """What a message needs, and why."""

    task: str  #: whose option it is: the message's task, or a later step's
    capability: Capability
    option: str  #: as it was written
    instead: str  #: what to write where the engine has it not


#: Only these can stand in a message: an engine that lacks none of them need not look.
IN_MESSAGES = frozenset(
    {
        Capability.DELAY,
        Capability.PRIORITY,
        Capability.QUEUES,
        Capability.EXPIRY,
        Capability.UNIQUE,
        Capability.CONCURRENCY,
        Capability.RATE,
        Capability.CHAINS,
    }
)

_LEAVE_OUT = "leave it out"


def requirements(message: TaskMessage) -> Iterator[Requirement]:
    """What *message* needs, the steps of its chain included."""
    name, options, terms = message.task_name, message.options, message.terms
    if terms is not None and terms.chain:
        instead = "enqueue each task from the one before it: await ctx.system.enqueue(...)"
        yield Requirement(name, Capability.CHAINS, "a chain", instead)
    if message.eta is not None or (terms is not None and terms.delay is not None):
        yield Requirement(name, Capability.DELAY, "delay= or eta=", _LEAVE_OUT)
    policy = options.retry
    if policy is not None and policy.retries and waits(policy):
        instead = f"write retries=RetryPolicy.constant({policy.retries}, base=0)"
        option = f"retries={policy.retries} with a back-off between them"
        yield Requirement(name, Capability.DELAY, option, instead)
    elif options.ack is AckMode.MANUAL and waits(options.retry_policy):
        instead = "choose another ack mode, or write retries=RetryPolicy(base=0)"
        option = "ack='manual', with a back-off after an attempt that did not acknowledge"
        yield Requirement(name, Capability.DELAY, option, instead)
    if options.priority:
        yield Requirement(name, Capability.PRIORITY, f"priority={options.priority}", _LEAVE_OUT)
    if options.queue != DEFAULT_QUEUE:
        instead = f"leave it out, which means {DEFAULT_QUEUE!r}"
        yield Requirement(name, Capability.QUEUES, f"queue={options.queue!r}", instead)
    if terms is None:
        return
    if terms.expires_at is not None or terms.expires is not None:
        late = "expires=" if terms.deadline is None else "propagate_deadline=True"
        yield Requirement(name, Capability.EXPIRY, late, _LEAVE_OUT)
    if terms.unique is not None:
        yield Requirement(name, Capability.UNIQUE, "unique=", _LEAVE_OUT)
    if terms.permits:
        yield Requirement(name, Capability.CONCURRENCY, "concurrency=", _LEAVE_OUT)
    if terms.paces:
        yield Requirement(name, Capability.RATE, "rate=", _LEAVE_OUT)
    for step in terms.chain:
        yield from requirements(step)


def waits(policy: RetryPolicy) -> bool:
    """Whether there is time between the attempts."""
    return policy.base > 0 and policy.cap > 0


def check_messages(
    messages: Sequence[TaskMessage], lacks: frozenset[Capability], engine: str
) -> None:
    """Raise `UnsupportedOption` if one of *messages* needs what *engine*, by its name, lacks."""
    for message in messages:
        for needed in requirements(message):
            if needed.capability in lacks:
                raise UnsupportedOption(
                    f"{engine} cannot honour {needed.option} of task {needed.task!r}: it lacks "
                    f"{named(needed.capability)}; nothing was enqueued; {needed.instead}, or choose "
                    f"an engine that has it, such as InMemoryBroker"
                )


def unsupported(engine: str, what: str, capability: Capability) -> UnsupportedOption:
    """The error for *what*, an operation that needs what *engine* lacks."""
    return UnsupportedOption(
        f"{engine} cannot do {what}: it lacks {named(capability)}; choose an engine that has it, such "
        f"as InMemoryBroker"
    )


def no_pause(engine: str, task: str, pause: float) -> UnsupportedOption:
    """The error of *task*, which asked for a pause between two attempts."""
    return UnsupportedOption(
        f"{engine} cannot wait {pause:g} s before the next attempt of task {task!r}: it lacks "
        f"{named(Capability.DELAY)}; ask for none, or choose an engine that has it, such as "
        f"InMemoryBroker"
    )


def unknown_task(engine: str, task: str) -> UnsupportedOption:
    """The error of *task*, which the worker that got it does not know."""
    return UnsupportedOption(
        f"task {task!r} is not known to the worker that got it, and {engine} cannot hold it for one "
        f"that knows it: it lacks {named(Capability.PARKING)}; let every worker know every task"
    )


def of_main(task: str) -> str:
    """What to add where *task* is not known, if its name is why."""
    if not task.startswith("__main__:"):
        return ""
    return (
        "; __main__ is the program that enqueued it: move the task into a module that both import, or "
        "name it, @broker.task(name=...)"
    )


def named(capability: Capability) -> str:
    """Both its names: the one in the docs, and the one to look for in the code."""
    return f"{capability.value!r} (Capability.{capability.name})"
