"""The task result: how a task ended.  Made by the worker, kept by the result backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from actorq.errors import EnvelopeError
from actorq.remote_error import dump_error, load_error


R = TypeVar("R")

_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "is_err": bool,
    "execution_time": (int, float),
    "labels": dict,
}
_OPTIONAL = {"return_value", "error", "attempts", "log"}


@attrs.define(kw_only=True)
class TaskResult(Generic[R]):
    """How a task ended."""

    is_err: bool = False
    return_value: R | None = None
    error: Exception | None = None
    execution_time: float = 0.0  #: seconds that the last attempt ran, by the monotonic clock
    labels: dict[str, Any] = attrs.field(factory=dict)  #: the message's
    attempts: int = 1  #: which attempt this is, from 1
    log: str | None = None  #: what the attempt logged, if it was captured

    def raise_for_error(self) -> TaskResult[R]:
        """Raise `error` if the task failed; else return this result."""
        if self.error is not None:
            raise self.error
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can carry; the error as type, message and traceback."""
        return {
            "is_err": self.is_err,
            "return_value": self.return_value,
            "error": None if self.error is None else dump_error(self.error),
            "execution_time": self.execution_time,
            "labels": dict(self.labels),
            "attempts": self.attempts,
            "log": self.log,
        }

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], declared: tuple[type[Exception], ...] = ()
    ) -> TaskResult[Any]:
        """The inverse of `to_dict`.

        The error is rebuilt as its own type if that is a builtin, one of actorq's or one of
        *declared*; else it is a `TaskFailed`.  Raises `EnvelopeError` if *data* is no result.
        """
        if not isinstance(data, Mapping):
            raise EnvelopeError(f"a result is a dictionary; got {data!r}")
        for name, kind in _REQUIRED.items():
            if not isinstance(data.get(name), kind):
                raise EnvelopeError(f"a result needs {name!r}; got {data.get(name)!r}")
        unknown = set(data) - set(_REQUIRED) - _OPTIONAL
        if unknown:
            raise EnvelopeError(
                f"unknown fields in a result: {', '.join(sorted(map(str, unknown)))}"
            )
        attempts, log = data.get("attempts", 1), data.get("log")
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise EnvelopeError(f"a result's attempts are counted from 1; got {attempts!r}")
        if log is not None and not isinstance(log, str):
            raise EnvelopeError(f"a result's log is a text or None; got {log!r}")
        error = data.get("error")
        return TaskResult(
            is_err=data["is_err"],
            return_value=data.get("return_value"),
            error=None if error is None else load_error(error, declared),
            execution_time=data["execution_time"],
            labels=dict(data["labels"]),
            attempts=attempts,
            log=log,
        )
