"""Every error that actorq raises, as one tree under `ActorqError`.

A subclass inherits the nearest built-in error too, so that `except ValueError` means what it says.
Imports nothing of the package: everything else imports this.
"""

from __future__ import annotations

import math
import signal
from datetime import timedelta
from typing import Any


class ActorqError(Exception):
    """The root of every error that actorq raises on purpose."""


# --- the kernel ---------------------------------------------------------------------------------


class Reject(ActorqError):
    """A declared refusal: raised by a handler, it reaches the asker and the actor lives on.

    Anything else that a handler raises is a crash.  Subclass it for refusals of your own.
    """


class MailboxFull(ActorqError):
    """`tell_nowait` found the mailbox full; the message was not accepted and is in `.message`."""

    def __init__(self, actor: str, capacity: float, message: object) -> None:
        super().__init__(
            f"the mailbox of {actor!r} is full ({capacity} messages); "
            f"use `await ref.tell(...)` to wait for room, or spawn it with a larger capacity"
        )
        self.actor = actor
        self.message = message


class ActorStopped(ActorqError):
    """The actor has ended for good, or is ending and accepts no more messages."""

    def __init__(self, actor: str, reason: str = "stopped") -> None:
        super().__init__(f"actor {actor!r} has stopped ({reason}); it accepts no more messages")
        self.actor = actor
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.actor, self.reason)


class ActorFailed(ActorqError):
    """The actor's incarnation crashed before it answered; the crash is the `__cause__`.

    `handled` says whether sending again is a repetition: True if your message was in progress when
    the actor crashed, False if it had been put aside (a deferred reply) and the crash came from
    elsewhere.
    """

    def __init__(
        self, actor: str, *, handled: bool, detail: str = "crashed", ref: object = None
    ) -> None:
        what = "while handling this message" if handled else "before it answered this message"
        super().__init__(f"actor {actor!r} {detail} {what}")
        self.actor = actor
        self.handled = handled
        self.ref = ref  #: the actor's ref: names are unique under one supervisor only


class AskDeadlock(ActorqError, RuntimeError):
    """This ask would close a circle of actors that wait for one another; `.cycle` names it."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        super().__init__(
            f"asking would wait for ever: {' -> '.join(cycle)}; answer later instead "
            f"(`reply = self.defer()`), ask from a child task, or use `tell`"
        )
        self.cycle = cycle


class NameTaken(ActorqError, ValueError):
    """An actor of this name lives already under the same supervisor."""


class SupervisorFailed(ActorqError):
    """A supervisor gave up: more incidents than its intensity allows.  The cause is the last."""


class SystemFailed(ActorqError):
    """An actor's failure ended the system.  The cause is an exception group with every failure."""


class EngineUnavailable(ActorqError, OSError):
    """The storage cannot do it now, and has done nothing of it: a full disk, a lost connection.

    The broker tries again by itself what must not be lost; whoever enqueues is told, and may, too.
    """


class SystemClosed(ActorqError, RuntimeError):
    """The system is not open: `async with open_system(...)` was not entered, or has been left."""


# --- tasks and options --------------------------------------------------------------------------


class TaskDefinitionError(ActorqError, TypeError):
    """A function cannot be a task as it is written."""


class OptionError(ActorqError, ValueError):
    """An option's value is wrong, or two options contradict each other."""


class UnknownOption(OptionError, TypeError):
    """There is no such option."""


class UnsupportedOption(OptionError, NotImplementedError):
    """The option exists, but not here: not on this engine, or not yet."""


class ArgumentsError(ActorqError, TypeError):
    """The arguments do not fit the task's signature or annotations; nothing was enqueued."""


class NotSerializable(ActorqError, TypeError):
    """A value cannot be carried by JSON."""


class MiddlewareError(ActorqError, TypeError):
    """A middleware's hook returned something else than it should."""


class EnvelopeError(ActorqError, ValueError):
    """Bytes or a dictionary that should be a message, result, progress or schedule, and are not."""


class MessageTooLarge(EnvelopeError):
    """A message or a result has more bytes than the limit; `.size` and `.limit` say how many.

    Nothing was enqueued, or stored.
    """

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} has {size} bytes, and the limit is {limit}; store large data elsewhere and pass "
            f"its place (a path, a key), or raise the limit: broker.with_size_limit({size})"
        )
        self.what = what
        self.size = size
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.size, self.limit)


class TaskNotBound(ActorqError, RuntimeError):
    """`kiq` was called on a task that belongs to no broker."""


class EnqueueUncertain(ActorqError):
    """The broker failed while it was storing: the tasks may or may not have been accepted.

    Enqueueing again with the same `task_id` is harmless: an id is accepted once.
    """

    def __init__(self, task_ids: tuple[str, ...]) -> None:
        shown = ", ".join(task_ids[:3]) + (", ..." if len(task_ids) > 3 else "")
        super().__init__(
            f"the broker failed while storing {shown}: it may have been accepted or not; "
            f"enqueue again with the same task_id, which is harmless"
        )
        self.task_ids = task_ids


class LeaseLost(ActorqError):
    """The worker's session has ended; its jobs belong to others."""


class DuplicateTaskId(ActorqError, ValueError):
    """A different task with this id was accepted before."""


class DeadTaskNotFound(ActorqError, LookupError):
    """There is no dead letter of this id (any more)."""


class DuplicateTask(ActorqError):
    """A call with the same `unique` key is in the queue; `task_id` is that call's."""

    def __init__(self, message: str, task_id: str = "", key: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id
        self.key = key

    @classmethod
    def of(cls, task_id: str, key: str) -> DuplicateTask:
        """That *task_id* has *key*, and what to do."""
        return cls(
            f"task {task_id} has the unique key {key!r}: nothing was enqueued; wait "
            f"for that one, or choose another on_conflict",
            task_id,
            key,
        )


# --- schedules ----------------------------------------------------------------------------------


class SkipSlot(ActorqError):
    """Raised by a middleware's `pre_send`: the slot of a schedule is dropped, and not tried again."""


class ScheduleNotFound(ActorqError, LookupError):
    """There is no schedule of this id: never added here, removed, or a one-shot that was fired."""


# --- how a task ended ---------------------------------------------------------------------------


class TaskFailed(ActorqError):
    """The task raised an exception whose type is neither builtin nor declared with `raises=`.

    `type_name`, `message` and `remote_traceback` tell what happened in the worker.
    """

    def __init__(self, type_name: str, message: str, remote_traceback: str = "") -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.message = message
        self.remote_traceback = remote_traceback

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type_name, self.message, self.remote_traceback)


class TaskExpired(ActorqError):
    """The task's time to start (`expires=`, or its enqueuer's deadline) went by while it waited."""


class TaskTimeout(ActorqError, TimeoutError):
    """The attempt ran longer than the task's `timeout`."""


class TaskCancelled(ActorqError):
    """The task was cancelled before it could end by itself."""


class WorkerProcessDied(ActorqError):
    """The process in which the attempt ran (`executor="process"`) died under it.

    `exitcode` is what it ended with; less than 0: the number of the signal that killed it; None: it
    is not known.
    """

    def __init__(self, task_name: str, exitcode: int | None) -> None:
        super().__init__(f"the process that ran task {task_name} {_how_it_died(exitcode)}")
        self.task_name = task_name
        self.exitcode = exitcode

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_name, self.exitcode)


def _how_it_died(exitcode: int | None) -> str:
    if exitcode is None:
        return "died"
    if exitcode >= 0:
        return f"ended by itself, with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was killed by {name}{_SUSPECTS.get(name, '')}"


_SUSPECTS = {
    "SIGKILL": " (as the system does when memory runs out)",
    "SIGSEGV": " (a fault in native code)",
}


class WorkerLost(ActorqError):
    """The task was given to workers again and again and none of them lived to report its end."""


class ChainBroken(ActorqError):
    """A step of a chain did not succeed, so the later steps are never enqueued.

    `.task_id` and `.task_name` are the step's; its own error is the `__cause__`.
    """

    def __init__(self, message: str, task_id: str = "", task_name: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id
        self.task_name = task_name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.task_id, self.task_name)


class TaskLeftBehind(ActorqError):
    """A task nursery ended before it was sure that its task has ended: it may still run.

    The system went down meanwhile, or the nursery's *grace* was over; `.task_id` is the task's.
    """

    def __init__(self, message: str, task_id: str = "") -> None:
        super().__init__(message)
        self.task_id = task_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.task_id)


# --- what a task may raise to say what is to become of it ---------------------------------------


class Retry(ActorqError):
    """Raised by a task: this attempt failed; again after *delay* seconds, or by the policy's back-off.

    It counts as a failed attempt, and the task's `retries` bound it; filters are not asked.  Raise it
    `from` the error that is the reason: that is what is told when there is no further attempt.
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        if seconds is not None and (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not 0 <= seconds < math.inf
        ):
            raise OptionError(
                f"Retry(delay) expects a finite number of seconds >= 0, a timedelta, or None for the "
                f"policy's back-off; got {delay!r}"
            )
        when = "again" if seconds is None else f"again in {seconds:g} s"
        super().__init__(f"{when}: {reason}" if reason else when)
        self.delay = seconds
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.delay, self.reason)


class NoResult(ActorqError):
    """Raised by a task: it is done, and stores no result.

    Who waits for its result gets `ResultGetError` at once.
    """


class Requeued(ActorqError):
    """Raised in a task by `ctx.requeue()`, to end the attempt: let it pass."""


class RetriesExhausted(ActorqError):
    """The task raised `Retry`, and no further attempt is allowed; its cause is the reason."""


class NotAcknowledged(ActorqError):
    """A task with ack="manual" ended again and again without `await ctx.ack()`."""


# --- results ------------------------------------------------------------------------------------


class ResultBackendError(ActorqError):
    """The result backend could not do what it was asked."""


class ResultGetError(ResultBackendError, LookupError):
    """The result cannot be had: it was never stored, was evicted, or the backend failed."""


class ResultSetError(ResultBackendError):
    """The result could not be stored."""


class ResultIsReadyError(ResultBackendError):
    """The backend failed when it was asked whether a result is ready."""


class StaleResult(ResultBackendError):
    """The result comes from an attempt that lost its lease, or is older than the stored one."""
