"""A task's options: what may be said in `@task(...)` and `task.using(...)`, checked when it is said.

Frozen, and shared by all messages of a task: a million queued tasks carry one.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, TypedDict

import attrs

from actorq.errors import NotSerializable, OptionError, UnknownOption
from actorq.ids import is_text
from actorq.limits import Concurrency, Rate
from actorq.retry import RetryPolicy
from actorq.schedule import At, Cron, Every
from actorq.serialization import dump
from actorq.unique import OnConflict, Unique


class AckMode(Enum):
    """When the queue forgets a task that a worker has taken.

    | mode          | acknowledged                | a crash may                               |
    |---------------|-----------------------------|-------------------------------------------|
    | WHEN_RECEIVED | before the function runs    | lose the task (at most once)              |
    | WHEN_EXECUTED | after the function returned | run it again, or lose its result          |
    | WHEN_SAVED    | after its result was stored | run it again, never lose it (the default) |
    | MANUAL        | when it calls `ctx.ack()`   | before: run it again; after: lose it      |
    """

    WHEN_RECEIVED = "when_received"
    WHEN_EXECUTED = "when_executed"
    WHEN_SAVED = "when_saved"
    MANUAL = "manual"


class Options(TypedDict, total=False):
    """The keyword arguments of `@task(...)` and `task.using(...)`."""

    timeout: float | timedelta | None  #: seconds that one attempt may run
    retries: int | RetryPolicy | None  #: attempts after the first, or a whole policy
    delay: float | timedelta | None  #: seconds from enqueueing to the earliest start
    eta: datetime | None  #: the earliest start; an aware datetime
    expires: float | timedelta | datetime | None  #: seconds after enqueueing, or a moment: too late
    ack: AckMode | Literal["when_received", "when_executed", "when_saved", "manual"]
    queue: str  #: the queue it waits in; "default" unless told
    priority: int  #: higher starts first
    unique: bool | Unique  #: one call with one key at a time
    concurrency: int | Concurrency | Sequence[Concurrency]  #: how many at a time, over all workers
    rate: str | Rate | Sequence[Rate]  #: how many starts in a time: "10/s"
    max_deliveries: int | None  #: deliveries without an end, after which it is a dead letter
    result_ttl: (
        float | timedelta | None
    )  #: seconds that its result is kept; None: the backend decides
    propagate_deadline: bool  #: the enqueuer's Trio deadline is the task's as well
    capture_logs: bool  #: what it logs comes back in `TaskResult.log`
    labels: Mapping[str, Any]  #: your own metadata; travels with the task and its result
    task_id: str | None  #: per call only: an id of your own; enqueueing it twice stores it once
    schedule: Sequence[Every | Cron | At]  #: in the decorator only
    raises: tuple[type[Exception], ...]  #: your exceptions that come back as themselves
    executor: Literal[
        "trio", "thread", "process"
    ]  #: where it runs; by the kind of function unless told


DEFAULT_QUEUE = "default"
#: What a database's integer holds.
MOST_DELIVERIES = (1 << 63) - 1
NO_RETRIES = RetryPolicy()
_NO_LABELS: Mapping[str, Any] = {}


@attrs.frozen
class TaskOptions:
    """Checked options."""

    timeout: float | None = None
    retry: RetryPolicy | None = None  #: None: nothing was said, so a middleware may
    delay: float | None = None
    eta: float | None = None  #: Unix seconds
    ack: AckMode = AckMode.WHEN_SAVED
    priority: int = 0
    labels: Mapping[str, Any] = attrs.field(default=_NO_LABELS)
    task_id: str | None = None
    schedule: tuple[Every | Cron | At, ...] = ()
    raises: tuple[type[Exception], ...] = ()
    executor: str | None = None
    queue: str = DEFAULT_QUEUE
    expires: float | None = None  #: seconds after enqueueing
    expires_at: float | None = None  #: Unix seconds
    unique: Unique | None = None
    concurrency: tuple[Concurrency, ...] = ()
    rate: tuple[Rate, ...] = ()
    deliveries: int | None = None
    result_ttl: float | None = None
    propagate_deadline: bool = False
    capture_logs: bool = False
    #: one of the options is set that say something of each call's own
    has_terms: bool = attrs.field(init=False, repr=False, eq=False)
    #: nothing is asked of a worker but to run the function
    is_bare: bool = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        terms = (
            self.expires is not None
            or self.expires_at is not None
            or self.unique is not None
            or bool(self.concurrency)
            or bool(self.rate)
            or self.propagate_deadline
        )
        object.__setattr__(self, "has_terms", terms)
        object.__setattr__(self, "is_bare", self.timeout is None and not self.capture_logs)

    @property
    def retry_policy(self) -> RetryPolicy:
        """What holds: the policy said, or no retries."""
        return self.retry or NO_RETRIES

    @property
    def max_deliveries(self) -> int:
        """Deliveries after which a task whose workers die is dead-lettered (promise 29)."""
        if self.deliveries is not None:
            return self.deliveries
        return min(self.retry_policy.retries + 10, MOST_DELIVERIES)

    def updated(self, options: Mapping[str, Any], *, where: str) -> TaskOptions:
        """These options with *options* in their place; *where* names the call for errors."""
        changes: dict[str, Any] = {}
        for name, value in options.items():
            check = _CHECKS.get(name)
            if check is None:
                raise _unknown(name, where)
            try:
                changes[_FIELDS.get(name, name)] = check(value)
            except OptionError as error:
                raise type(error)(f"{where}: {error}") from error.__cause__
        if "labels" in changes:
            changes["labels"] = {**self.labels, **changes["labels"]}
        if "delay" in changes and "eta" not in changes:
            changes["eta"] = None
        if "eta" in changes and changes["eta"] is not None and "delay" not in changes:
            changes["delay"] = None
        if "expires" in changes:
            said = changes["expires"]
            changes["expires_at"] = said.timestamp() if isinstance(said, datetime) else None
            changes["expires"] = None if isinstance(said, datetime) else said
        updated = attrs.evolve(self, **changes)
        if updated.delay is not None and updated.eta is not None:
            raise OptionError(f"{where}: give delay or eta, not both: each says when to start")
        if updated.ack is AckMode.WHEN_RECEIVED and updated.retry_policy.retries:
            raise OptionError(
                f"{where}: ack='when_received' forgets the task before it runs, so it cannot be "
                f"retried; drop retries={updated.retry_policy.retries} or the ack mode"
            )
        _check_debounce(updated, where)
        return updated


def _check_debounce(options: TaskOptions, where: str) -> None:
    unique = options.unique
    if unique is not None and unique.on_conflict is OnConflict.DEBOUNCE and options.delay is None:
        raise OptionError(
            f"{where}: on_conflict='debounce' starts a call when no other has come for a while; "
            f"say for how long: delay=5"
        )


def _unknown(name: str, where: str) -> Exception:
    close = difflib.get_close_matches(name, _CHECKS, n=1)
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


def _retries(value: object) -> RetryPolicy | None:
    if value is None or isinstance(value, RetryPolicy):
        return value
    if isinstance(value, Mapping):
        return RetryPolicy.from_plain(value)  # as it travels
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise OptionError(
            f"retries expects the number of attempts after the first (0, 1, 2, ...) or a "
            f"RetryPolicy; got {value!r}"
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
    if not -(1 << 63) <= value < 1 << 63:  # what a database's integer holds
        raise OptionError(f"priority expects a whole number of at most 64 bits; got {value!r}")
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
    if value is not None and not is_text(value):
        raise OptionError(f"task_id expects characters that UTF-8 can write; got {value!r}")
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
    if value not in ("trio", "thread", "process"):
        raise OptionError(f"executor expects 'trio', 'thread' or 'process'; got {value!r}")
    return str(value)


def _queue(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255:
        raise OptionError(f"queue expects a name of 1 to 255 characters; got {value!r}")
    if not is_text(value):
        raise OptionError(f"queue expects characters that UTF-8 can write; got {value!r}")
    return value


def _expires(value: object) -> float | datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise OptionError(f"expires expects a datetime with a time zone; got {value!r}")
        return value
    after = seconds("expires", value)
    if after == 0:
        raise OptionError("expires must be greater than 0; leave it out for never")
    return after


def _unique(value: object) -> Unique | None:
    if value is None or value is False:
        return None
    if value is True:
        return Unique()
    if isinstance(value, Unique):
        return value
    raise OptionError(
        f"unique expects True or Unique(key=..., on_conflict=..., until=...); got {value!r}"
    )


def _concurrency(value: object) -> tuple[Concurrency, ...]:
    if value is None:
        return ()
    if isinstance(value, Concurrency):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(one, Concurrency) for one in value):
        return tuple(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return (Concurrency(value),)
    raise OptionError(
        f"concurrency expects a whole number >= 1, Concurrency(limit, per=..., key=...), or a list "
        f"of these; got {value!r}"
    )


def _rate(value: object) -> tuple[Rate, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (Rate.read(value),)
    if isinstance(value, Rate):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(one, Rate) for one in value):
        return tuple(value)
    raise OptionError(
        f"rate expects a text such as '10/s', Rate(count, period, per=..., key=...), or a list of "
        f"rates; got {value!r}"
    )


def _max_deliveries(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"max_deliveries expects a whole number >= 1; got {value!r}")
    if value > MOST_DELIVERIES:  # as with priority
        raise OptionError(
            f"max_deliveries expects a whole number of at most 64 bits; got {value!r}"
        )
    return value


def _result_ttl(value: object) -> float | None:
    if value is None:
        return None
    kept = seconds("result_ttl", value)
    if kept == 0:
        raise OptionError("result_ttl must be greater than 0; to store none, `raise NoResult`")
    return kept


def _flag(name: str) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if not isinstance(value, bool):
            raise OptionError(f"{name} expects True or False; got {value!r}")
        return value

    return check


#: Where an option is kept, if not under its own name.
_FIELDS = {"retries": "retry", "max_deliveries": "deliveries"}

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
    "queue": _queue,
    "expires": _expires,
    "unique": _unique,
    "concurrency": _concurrency,
    "rate": _rate,
    "max_deliveries": _max_deliveries,
    "result_ttl": _result_ttl,
    "propagate_deadline": _flag("propagate_deadline"),
    "capture_logs": _flag("capture_logs"),
}


def check_options(said: Mapping[str, Any]) -> None:
    """Raise `OptionError` unless these values, by name, are such as they are kept; None: not said."""
    for name, value in said.items():
        if value is not None or name in ("queue", "priority"):
            kept = _CHECKS[name](value)
            if kept != value:
                raise OptionError(f"{name} is kept as {kept!r} in a message; got {value!r}")
