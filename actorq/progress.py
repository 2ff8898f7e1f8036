"""Task progress: what a running task says of how far it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Generic, Self, TypeVar

import attrs

from actorq.errors import EnvelopeError


T = TypeVar("T")


def _fraction(_instance: object, _attribute: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"progress must be a number from 0.0 to 1.0; got {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(
            f"progress must be from 0.0 to 1.0; got {value!r}: pass done / total, not per cent"
        )


def _meta(value: Mapping[str, Any] | None) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"meta must be a dictionary, such as {{'last': ...}}; got {value!r}")
    return dict(value)


@attrs.frozen
class TaskProgress:
    """How far a task is."""

    progress: float = attrs.field(default=0.0, validator=_fraction)  #: 0.0 to 1.0
    status: str = attrs.field(default="PENDING", validator=attrs.validators.instance_of(str))
    current: int | None = None  #: the item being processed
    total: int | None = None  #: how many items there are
    meta: dict[str, Any] = attrs.field(default=None, converter=_meta)  #: what JSON can carry

    def to_dict(self) -> dict[str, Any]:
        """The fields, by name."""
        return {
            "progress": self.progress,
            "status": self.status,
            "current": self.current,
            "total": self.total,
            "meta": dict(self.meta),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TaskProgress:
        """The inverse of `to_dict`; missing fields take their defaults, unknown ones are refused.

        Raises `EnvelopeError`.
        """
        if not isinstance(data, Mapping):
            raise EnvelopeError(f"a progress is a dictionary; got {data!r}")
        unknown = set(data) - {field.name for field in attrs.fields(cls)}
        if unknown:
            raise EnvelopeError(
                f"unknown fields in a progress: {', '.join(sorted(map(str, unknown)))}"
            )
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise EnvelopeError(f"not a progress: {error}; got {dict(data)!r}") from error


class Progress:
    """Says how far its task is: `progress: Progress = Depends()`, `await progress.set(3, 10)`."""

    __slots__ = ("_report", "last")

    def __init__(self, report: Callable[[TaskProgress], Awaitable[None]]) -> None:
        self._report = report
        self.last = TaskProgress()  #: what was said last, in this attempt

    async def set(
        self,
        done: int,
        total: int | None = None,
        *,
        status: str = "RUNNING",
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """*done* of *total* items are dealt with; who iterates over `handle.progress()` sees it at once.

        Always a checkpoint.  Raises `ValueError` if the numbers cannot be, and as
        `Context.set_progress` does.
        """
        for name, number in (("done", done), ("total", 0 if total is None else total)):
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{name} expects a whole number; got {number!r}")
        if done < 0 or (total is not None and done > total):
            raise ValueError(f"done expects 0 to total ({total}); got {done}")
        fraction = 0.0 if total is None else 1.0 if total == 0 else done / total
        said = TaskProgress(fraction, status, done, total, meta)
        await self._report(said)
        self.last = said

    def track(
        self, items: Iterable[T], *, total: int | None = None, status: str = "RUNNING"
    ) -> Tracked[T]:
        """The *items*, to be iterated over with `async for`; each that is dealt with is reported.

        *total* is their number, unless `len(items)` tells it.  Each step is a checkpoint.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        return Tracked(self, iter(items), total, status)


class Tracked(Generic[T]):
    """What `Progress.track` returns: an iterator that says how far it is."""

    __slots__ = ("_done", "_items", "_progress", "_status", "_total")

    def __init__(
        self, progress: Progress, items: Iterator[T], total: int | None, status: str
    ) -> None:
        self._progress = progress
        self._items = items
        self._total = total
        self._status = status
        self._done = -1  #: the first step deals with none yet

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self._done += 1
        await self._progress.set(self._done, self._total, status=self._status)
        for item in self._items:
            return item
        raise StopAsyncIteration
