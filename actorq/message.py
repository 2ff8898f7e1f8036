"""The task message: one call of a task on its way, and the delivery that a worker gets of it.

Values.  The message never changes after it was accepted; attempts and fences are the queue's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import attrs

from actorq.errors import EnvelopeError, OptionError
from actorq.ids import is_text
from actorq.limits import Concurrency, Pace, Permit, Rate
from actorq.options import AckMode, TaskOptions, check_options
from actorq.retry import RetryPolicy
from actorq.serialization import dump
from actorq.unique import OnConflict, Unique, UniqueKey, Until


TaskId: TypeAlias = str

#: The version of the envelope that `TaskMessage.to_dict` writes.
ENVELOPE_VERSION = 1


@attrs.frozen
class Terms:
    """What holds for one call besides its task's options; most calls have none."""

    expires_at: float | None = None  #: Unix seconds: from then on no attempt of it starts
    deadline: float | None = None  #: Unix seconds: its enqueuer waits no longer than this
    unique: UniqueKey | None = None
    permits: tuple[Permit, ...] = ()  #: all are needed to run
    paces: tuple[Pace, ...] = ()  #: its turn in each is needed to start
    chain: tuple[TaskMessage, ...] = ()  #: what is enqueued when it has succeeded, one by one
    delay: float | None = (
        None  #: of a step in a chain: seconds from when it is enqueued to its start
    )
    expires: float | None = None  #: of a step in a chain: seconds after that, and it is too late


@attrs.frozen(eq=False)
class TaskMessage:
    """One call of a task: its name, its arguments as plain data, and what was said about it."""

    task_id: TaskId
    task_name: str
    args: tuple[Any, ...] = ()  #: plain data: what JSON can carry
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    options: TaskOptions = attrs.field(factory=TaskOptions)
    eta: float | None = None  #: the earliest start, Unix seconds
    enqueued_at: float = 0.0  #: Unix seconds
    terms: Terms | None = None

    @property
    def labels(self) -> Mapping[str, Any]:
        """The caller's own metadata."""
        return self.options.labels

    def is_same_call(self, other: TaskMessage) -> bool:
        """Whether both call the same task with the same arguments."""
        return (
            self.task_name == other.task_name
            and self.args == other.args
            and self.kwargs == other.kwargs
        )

    def with_labels(self, **labels: Any) -> TaskMessage:
        """A copy with *labels* added: for middlewares."""
        options = self.options.updated({"labels": labels}, where="with_labels()")
        return attrs.evolve(self, options=options)

    def to_dict(self) -> dict[str, Any]:
        """The envelope: plain data that JSON can carry."""
        options = self.options
        return {
            "version": ENVELOPE_VERSION,
            "task_id": self.task_id,
            "task_name": self.task_name,
            "args": list(self.args),
            "kwargs": dict(self.kwargs),
            "labels": dict(options.labels),
            "timeout": options.timeout,
            "retries": _retries_to_plain(options.retry),
            "ack": options.ack.value,
            "queue": options.queue,
            "priority": options.priority,
            "max_deliveries": options.deliveries,
            "result_ttl": options.result_ttl,
            "capture_logs": options.capture_logs,
            "eta": self.eta,
            "enqueued_at": self.enqueued_at,
            "terms": None if self.terms is None else _terms_to_plain(self.terms),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskMessage:
        """The inverse of `to_dict`; raises `EnvelopeError` that names what is wrong.

        Only `task_id` and `task_name` are needed.
        """
        if not isinstance(data, Mapping):
            raise EnvelopeError(f"a task message is a dictionary; got {data!r}")
        version = data.get("version", ENVELOPE_VERSION)
        if version != ENVELOPE_VERSION:
            raise EnvelopeError(
                f"this version of actorq reads envelope version {ENVELOPE_VERSION}; got {version!r}"
            )
        unknown = set(data) - _FIELDS
        if unknown:
            raise EnvelopeError(f"unknown fields in a task message: {sorted(map(str, unknown))}")
        for name in ("task_id", "task_name"):
            if not isinstance(data.get(name), str) or not data[name]:
                raise EnvelopeError(f"a task message needs a {name}; got {data.get(name)!r}")
        args, kwargs = data.get("args", []), data.get("kwargs", {})
        if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
            raise EnvelopeError("args must be a list and kwargs an object")
        for name in ("eta", "enqueued_at"):
            _check_moment(data, name)
        said = {name: data[name] for name in _OPTIONS if data.get(name) is not None}
        try:
            options = TaskOptions().updated(said, where="task message")
            plain_args, plain_kwargs = dump(list(args)), dump(dict(kwargs))
        except (OptionError, TypeError) as error:
            raise EnvelopeError(f"not a task message: {error}") from error
        return cls(
            task_id=data["task_id"],
            task_name=data["task_name"],
            args=tuple(plain_args),
            kwargs=plain_kwargs,
            options=options,
            eta=data.get("eta"),
            enqueued_at=data.get("enqueued_at") or 0.0,
            terms=None if data.get("terms") is None else _terms_from_plain(data["terms"]),
        )


def check_fields(message: TaskMessage) -> None:
    """Raise `EnvelopeError` if a message that was put together by hand has a field of a wrong type.

    A queue that is given such a one would crash on it.
    """
    fields: tuple[tuple[str, Any, str], ...] = (
        ("task_id", str, "a str"),
        ("task_name", str, "a str"),
        ("args", tuple, "a tuple"),
        ("kwargs", Mapping, "a mapping"),
        ("options", TaskOptions, "TaskOptions"),
        ("terms", Terms | None, "Terms or None"),
    )
    for name, kind, expected in fields:
        value = getattr(message, name)
        if not isinstance(value, kind):
            raise EnvelopeError(f"a task message's {name} must be {expected}; got {value!r}")
    for name in ("task_id", "task_name"):
        if not getattr(message, name):
            raise EnvelopeError(f"a task message needs a {name}; got ''")
        if not is_text(getattr(message, name)):
            raise EnvelopeError(
                f"a task message's {name} must be what UTF-8 can write; got "
                f"{getattr(message, name)!r}"
            )
    _check_moment({"eta": message.eta}, "eta")
    _check_moment({"enqueued_at": message.enqueued_at}, "enqueued_at")
    options = message.options
    try:
        check_options(
            {
                "queue": options.queue,
                "priority": options.priority,
                "max_deliveries": options.deliveries,
                "result_ttl": options.result_ttl,
            }
        )
    except OptionError as error:
        raise EnvelopeError(f"not a task message: {error}") from error
    if message.terms is not None:
        _check_terms(message.terms)


def _check_terms(terms: Terms) -> None:
    _check_moment({"expires_at": terms.expires_at}, "expires_at")
    _check_moment({"deadline": terms.deadline}, "deadline")
    if terms.unique is not None and not isinstance(terms.unique, UniqueKey):
        raise EnvelopeError(f"terms.unique must be a UniqueKey or None; got {terms.unique!r}")
    for name, kind in (("permits", Permit), ("paces", Pace), ("chain", TaskMessage)):
        given = getattr(terms, name)
        if not isinstance(given, tuple) or not all(isinstance(each, kind) for each in given):
            raise EnvelopeError(f"terms.{name} must be a tuple of {kind.__name__}; got {given!r}")
    for step in terms.chain:
        check_fields(step)


def _check_moment(data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not -_FAR < value < _FAR
    ):
        raise EnvelopeError(f"{name} must be Unix seconds; got {value!r}")
    return value


def _retries_to_plain(policy: RetryPolicy | None) -> Any:
    return None if policy is None else policy.to_plain()


def _terms_to_plain(terms: Terms) -> dict[str, Any]:
    return {
        "expires_at": terms.expires_at,
        "deadline": terms.deadline,
        "unique": None if terms.unique is None else _unique_to_plain(terms.unique),
        "permits": [list(permit) for permit in terms.permits],
        "paces": [list(pace) for pace in terms.paces],
        "chain": [message.to_dict() for message in terms.chain],
        "delay": terms.delay,
        "expires": terms.expires,
    }


def _unique_to_plain(unique: UniqueKey) -> list[Any]:
    return [unique.key, unique.on_conflict.value, unique.until.value, unique.seconds]


def _terms_from_plain(data: Any) -> Terms:
    if not isinstance(data, Mapping) or set(data) - _TERMS:
        raise EnvelopeError(f"terms must be an object with {sorted(_TERMS)}; got {data!r}")
    unique = data.get("unique")
    try:
        return Terms(
            expires_at=_check_moment(data, "expires_at"),
            deadline=_check_moment(data, "deadline"),
            unique=None if unique is None else _unique_from_plain(*unique),
            permits=tuple([_permit_from_plain(*each) for each in data.get("permits") or ()]),
            paces=tuple([_pace_from_plain(*each) for each in data.get("paces") or ()]),
            chain=tuple([TaskMessage.from_dict(each) for each in data.get("chain") or ()]),
            delay=_check_moment(data, "delay"),
            expires=_check_moment(data, "expires"),
        )
    except (TypeError, ValueError, OptionError) as error:
        raise EnvelopeError(f"not the terms of a task message: {error}") from error


def _unique_from_plain(key: object, on_conflict: Any, until: Any, seconds: Any) -> UniqueKey:
    if not isinstance(key, str):
        raise EnvelopeError(f"a unique key is a text; got {key!r}")
    if seconds is None:
        return UniqueKey(key, OnConflict(on_conflict), Until(until), None)
    checked = Unique(on_conflict=OnConflict(on_conflict), until=seconds)
    return UniqueKey(key, checked.on_conflict, Until(until), float(checked.until))


def _permit_from_plain(key: object, limit: Any) -> Permit:
    if not isinstance(key, str):
        raise EnvelopeError(f"a concurrency key is a text; got {key!r}")
    return Permit(key, Concurrency(limit).limit)


def _pace_from_plain(key: object, starts: Any, period: Any, smooth: object) -> Pace:
    if not isinstance(key, str) or not isinstance(smooth, bool):
        raise EnvelopeError(f"a rate is [key, count, period, smooth]; got {[key, smooth]!r}")
    rate = Rate(starts, period)
    return Pace(key, rate.count, rate.period, smooth)


#: No moment is further away, and floats still tell seconds apart there.
_FAR = 1e15

_OPTIONS = (
    *("labels", "timeout", "retries", "ack", "queue", "priority", "max_deliveries", "result_ttl"),
    "capture_logs",
)
_TERMS = {"expires_at", "deadline", "unique", "permits", "paces", "chain", "delay", "expires"}
_FIELDS = {
    *_OPTIONS,
    "version",
    "task_id",
    "task_name",
    "args",
    "kwargs",
    "eta",
    "enqueued_at",
    "terms",
}

__all__ = [
    "ENVELOPE_VERSION",
    "AckMode",
    "Delivery",
    "Fence",
    "RetryPolicy",
    "TaskId",
    "TaskMessage",
    "Terms",
]


class Fence(NamedTuple):
    """Which delivery of which task: what an ack, a result or a progress must carry to be taken."""

    task_id: TaskId
    attempt: int  #: from 1
    token: int  #: never used twice by one queue


class Delivery(NamedTuple):
    """A task in a worker's hands."""

    message: TaskMessage
    fence: Fence
    failures: int  #: attempts of this task that failed before
