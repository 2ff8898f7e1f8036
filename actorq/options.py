"""A task's options: what may be said in `@task(...)` and `task.using(...)`, checked when it is said.

Frozen, and shared by all messages of a task: a million queued tasks carry one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, TypedDict

import attrs

from actorq.errors import NotSerializable, OptionError, UnknownOption, UnsupportedOption
from actorq.retry import RetryPolicy
from actorq.schedule import At, Cron, Every
from actorq.serialization import dump


class AckMode(Enum):
    """When the queue forgets a task that a worker has taken.

    | mode          | acknowledged                | a crash may                               |
    |---------------|-----------------------------|-------------------------------------------|
    | WHEN_RECEIVED | before the function runs    | lose the task (at most once)              |
    | WHEN_EXECUTED | after the function returned | run it again, or lose its result          |
    | WHEN_SAVED    | after its result was stored | run it again, never lose it (the default) |
    """

    WHEN_RECEIVED = "when_received"
    WHEN_EXECUTED = "when_executed"
    WHEN_SAVED = "when_saved"


class Options(TypedDict, total=False):
    """The keyword arguments of `@task(...)` and `task.using(...)`."""

    timeout: float | timedelta | None  #: seconds that one attempt may run
    retries: int  #: attempts after the first
    delay: float | timedelta | None  #: seconds from enqueueing to the earliest start
    eta: datetime | None  #: the earliest start; an aware datetime
    ack: AckMode | Literal["when_received", "when_executed", "when_saved"]
    priority: int  #: higher starts first
    labels: Mapping[str, Any]  #: your own metadata; travels with the task and its result
    task_id: str | None  #: per call only: an id of your own; enqueueing it twice stores it once
    schedule: Sequence[Every | Cron | At]  #: in the decorator only
    raises: tuple[type[Exception], ...]  #: your exceptions that come back as themselves
    executor: Literal["trio", "thread"]  #: where it runs; by the kind of function unless told


#: Options that DESIGN names and that a later version brings.
_LATER = {
    "queue": "named queues",
    "expires": "expiry",
    "unique": "uniqueness",
    "concurrency": "concurrency limits per queue, task or key",
    "rate": "rate limits",
    "result_ttl": "time to live of results",
    "max_deliveries": "a limit of deliveries per task (now: retries + 10)",
}
_NO_LABELS: Mapping[str, Any] = {}


@attrs.frozen
class TaskOptions:
    """Checked options."""

    timeout: float | None = None
    retry: RetryPolicy = attrs.field(factory=RetryPolicy)
    delay: float | None = None
    eta: float | None = None  #: Unix seconds
    ack: AckMode = AckMode.WHEN_SAVED
    priority: int = 0
    labels: Mapping[str, Any] = attrs.field(default=_NO_LABELS)
    task_id: str | None = None
    schedule: tuple[Every | Cron | At, ...] = ()
    raises: tuple[type[Exception], ...] = ()
    executor: str | None = None

    @property
    def max_deliveries(self) -> int:
        """Deliveries after which a task whose workers die is dead-lettered (promise 29)."""
        return self.retry.retries + 10

    def updated(self, options: Mapping[str, Any], *, where: str) -> TaskOptions:
        """These options with *options* in their place; *where* names the call for errors."""
        changes: dict[str, Any] = {}
        for name, value in options.items():
            check = _CHECKS.get(name)
            if check is None:
                raise _unknown(name, where)
            field = "retry" if name == "retries" else name
            try:
                changes[field] = check(value)
            except OptionError as error:
                raise type(error)(f"{where}: {error}") from error.__cause__
        if "labels" in changes:
            changes["labels"] = {**self.labels, **changes["labels"]}
        if "delay" in changes and "eta" not in changes:
            changes["eta"] = None
        if "eta" in changes and changes["eta"] is not None and "delay" not in changes:
            changes["delay"] = None
        updated = attrs.evolve(self, **changes)
        if updated.delay is not None and updated.eta is not None:
            raise OptionError(f"{where}: give delay or eta, not both: each says when to start")
        if updated.ack is AckMode.WHEN_RECEIVED and updated.retry.retries:
            raise OptionError(
                f"{where}: ack='when_received' forgets the task before it runs, so it cannot be "
                f"retried; drop retries={updated.retry.retries} or the ack mode"
            )
        return updated


def _unknown(name: str, where: str) -> Exception:
    if name in _LATER:
        return UnsupportedOption(
            f"{where}: option {name!r} ({_LATER[name]}) is not available in this version; "
            f"leave it out"
        )
    close = difflib.get_close_matches(name, [*_CHECKS, *_LATER], n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(sorted(_CHECKS))}"
    return UnknownOption(f"{where}: unknown option {name!r}; {hint}")


def seconds(name: str, value: object) -> float:
    """*value* as seconds: a non-negative finite number or a timedelta; else `OptionError`."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{name} expects seconds (a number or a timedelta); got {value!r}")
    if not 0 <= value < math.inf:
        raise OptionError(f"{name} expects a finite number of seconds >= 0; got {value!r}")
    return float(value)


def _timeout(value: object) -> float | None:
    if value is None:
        return None
    timeout = seconds("timeout", value)
    if timeout == 0:
        raise OptionError("timeout must be greater than 0; leave it out for no limit")
    return timeout


def _retries(value: object) -> RetryPolicy:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OptionError(
            f"retries expects the number of attempts after the first (0, 1, 2, ...); got {value!r}"
        )
    return RetryPolicy(retries=value)


def _delay(value: object) -> float | None:
    return None if value is None else seconds("delay", value)


def _eta(value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise OptionError(
            f"eta expects a datetime with a time zone, such as datetime.now(UTC) + "
            f"timedelta(hours=1); got {value!r}"
        )
    return value.timestamp()


def _ack(value: object) -> AckMode:
    try:
        return AckMode(value)
    except ValueError:
        allowed = ", ".join(repr(mode.value) for mode in AckMode)
        raise OptionError(f"ack expects one of {allowed}; got {value!r}") from None


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"priority expects a whole number, higher first; got {value!r}")
    return value


def _labels(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OptionError(f"labels expects a mapping with string keys; got {value!r}")
    try:
        plain: dict[str, Any] = dump(dict(value))
    except NotSerializable as error:
        raise OptionError(f"labels travel as JSON: {error}") from error
    return plain


def _task_id(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= 255):
        raise OptionError(f"task_id expects a string of 1 to 255 characters; got {value!r}")
    return value


def _schedule(value: object) -> tuple[Every | Cron | At, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(trigger, Every | Cron | At) for trigger in value
    ):
        raise OptionError(
            f"schedule expects a list of triggers, such as [every(60), cron('0 3 * * *')]; "
            f"got {value!r}"
        )
    return tuple(value)


def _raises(value: object) -> tuple[type[Exception], ...]:
    classes: list[type[Exception]] = []
    for cls in value if isinstance(value, tuple | list) else (value,):
        if not (isinstance(cls, type) and issubclass(cls, Exception)):
            raise OptionError(f"raises expects exception classes; got {cls!r}")
        classes.append(cls)
    return tuple(classes)


def _executor(value: object) -> str:
    if value == "process":
        raise UnsupportedOption(
            "executor='process' is not available in this version; use 'trio' or 'thread'"
        )
    if value not in ("trio", "thread"):
        raise OptionError(f"executor expects 'trio' or 'thread'; got {value!r}")
    return str(value)


_CHECKS: dict[str, Any] = {
    "timeout": _timeout,
    "retries": _retries,
    "delay": _delay,
    "eta": _eta,
    "ack": _ack,
    "priority": _priority,
    "labels": _labels,
    "task_id": _task_id,
    "schedule": _schedule,
    "raises": _raises,
    "executor": _executor,
}
