"""Results as storages keep them: the row, how long it is kept, and what is said when it is gone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import attrs

from actorq.errors import WorkerLost
from actorq.protocol import Outcome
from actorq.wire import Wire


#: Seconds that results are kept unless told.
A_WEEK: Final = 7 * 24 * 3600.0
#: Whose result is gone is remembered for so many.
GONE_KEPT: Final = 100_000
#: Tasks whose progress is not told twice.
TOLD_KEPT: Final = 10_000


def check_keeping(ttl: object, max_stored_results: object) -> None:
    """Raise `ValueError` for what cannot be meant."""
    if ttl is not None and (
        isinstance(ttl, bool) or not isinstance(ttl, int | float) or not ttl > 0
    ):
        raise ValueError(f"ttl expects seconds > 0, or None to keep results for ever; got {ttl!r}")
    if max_stored_results is not None and (
        isinstance(max_stored_results, bool)
        or not isinstance(max_stored_results, int)
        or max_stored_results < 1
    ):
        raise ValueError(
            f"max_stored_results expects a whole number >= 1, or None for no limit; got "
            f"{max_stored_results!r}"
        )


@attrs.frozen
class Keeping:
    """How long results are kept, and how many."""

    ttl: float | None = A_WEEK
    limit: int | None = None


class Eviction:
    """When to look for results that are too many: at every hundredth part of the limit."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._unchecked = 0  #: results stored since the last look

    def after(self, stored: int) -> int | None:
        """The limit, if it is to be looked after now that *stored* more are stored."""
        if self._limit is None:
            return None
        self._unchecked += stored
        if self._unchecked * 100 < self._limit:
            return None
        self._unchecked = 0
        return self._limit


class Row(NamedTuple):
    """A result on its way into the table."""

    task_id: str
    attempt: int
    ttl: float | None
    data: bytes
    lost: bool  #: its worker died: what that had stored stands


def row_of(outcome: Outcome, wire: Wire) -> Row:
    """In Trio's thread, before the step.  Raises if the result cannot be encoded."""
    task_id, result, _, ttl, _ = outcome
    data = wire.encode_result(task_id, result)
    return Row(task_id, result.attempts, ttl, data, type(result.error) is WorkerLost)


def why(task_id: str, noted: str) -> str:
    """What who asks is told."""
    kind, _, rest = noted.partition(" ")
    if kind in ("expired", "deleted"):
        return (
            f"the result of task {task_id!r} was deleted: its result_ttl is over, or somebody "
            f"called delete_result(); wait for it earlier, or allow it more time"
        )
    if kind == "evicted":
        return (
            f"the result of task {task_id!r} was evicted: the backend keeps the latest {rest}; wait "
            f"for it earlier, or raise max_stored_results"
        )
    return rest


class Told:
    """Whose progress was told here last, by its number."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[str, int] = OrderedDict()

    def is_new(self, task_id: str, number: int) -> bool:
        """Whether this update is newer than what readers here were told; it is told now."""
        newer = number > self._numbers.get(task_id, 0)
        if newer:
            self._numbers[task_id] = number
            self._numbers.move_to_end(task_id)
            if len(self._numbers) > TOLD_KEPT:
                self._numbers.popitem(last=False)
        return newer

    def forget(self, task_id: str) -> None:
        """It is told anew."""
        self._numbers.pop(task_id, None)
