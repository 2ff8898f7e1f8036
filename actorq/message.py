"""The task message: one call of a task on its way, and the delivery that a worker gets of it.

Values.  The message never changes after it was accepted; attempts and fences are the queue's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import attrs

from actorq.errors import EnvelopeError, OptionError
from actorq.options import AckMode, TaskOptions
from actorq.retry import RetryPolicy
from actorq.serialization import dump


TaskId: TypeAlias = str

#: The version of the envelope that `TaskMessage.to_dict` writes.
ENVELOPE_VERSION = 1


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

    @property
    def labels(self) -> Mapping[str, Any]:
        """The caller's own metadata."""
        return self.options.labels

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
            "retries": options.retry.retries,
            "ack": options.ack.value,
            "priority": options.priority,
            "eta": self.eta,
            "enqueued_at": self.enqueued_at,
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
            value = data.get(name)
            if value is not None and (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not -_FAR < value < _FAR
            ):
                raise EnvelopeError(f"{name} must be Unix seconds; got {value!r}")
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
        )


#: No moment is further away, and floats still tell seconds apart there.
_FAR = 1e15

_OPTIONS = ("labels", "timeout", "retries", "ack", "priority")
_FIELDS = {
    *_OPTIONS,
    "version",
    "task_id",
    "task_name",
    "args",
    "kwargs",
    "eta",
    "enqueued_at",
}

__all__ = [
    "ENVELOPE_VERSION",
    "AckMode",
    "Delivery",
    "Fence",
    "RetryPolicy",
    "TaskId",
    "TaskMessage",
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
