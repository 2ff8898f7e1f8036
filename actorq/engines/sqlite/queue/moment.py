"""The moment: what one step of the law works with, and what it leaves to be known.

Made in the storage's thread for each step, and gone with it; all that lasts is in the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, Final

import attrs

from actorq.engines.sqlite.gates import Gates
from actorq.engines.sqlite.keys import UniqueKeys
from actorq.engines.sqlite.storage import Topic
from actorq.wire import Wire


@attrs.frozen
class Law:
    """What holds for every step that one broker object does."""

    peer: str  #: the storage object that does it
    touch: Callable[[Topic], object]  #: says that others may want to know
    wire: Wire
    boot: str = ""  #: of this machine
    steady_offset: float = 0.0  #: from Unix seconds to those of the machine's steady clock
    lease: float = 30.0  #: seconds
    remember: int = 10_000  #: ended ids that are remembered, so that sending again is harmless
    keep_dead: int = 10_000  #: dead letters that are kept


@attrs.define
class Marks:
    """The row of `actorq_marks`."""

    numbers: int
    tokens: int
    sessions: int
    lost: int
    notices: int
    parked: int
    ends: int
    done: int
    dead: int
    refused: int


_FIELDS: Final = [field.name for field in attrs.fields(Marks)]
_READ: Final = f"select {', '.join(_FIELDS)} from actorq_marks"
_WRITE: Final = f"update actorq_marks set {', '.join(f'{name} = ?' for name in _FIELDS)}"


class Moment:
    """One step: a connection, in a transaction; the law; the time."""

    __slots__ = ("_before", "connection", "execute", "gates", "keys", "law", "marks", "now")

    def __init__(self, connection: sqlite3.Connection, law: Law, now: float) -> None:
        self.connection = connection
        self.execute = connection.execute
        self.law = law
        self.now = now  #: Unix seconds
        self._before: tuple[int, ...] = connection.execute(_READ).fetchone()
        self.marks = Marks(*self._before)
        self.keys = UniqueKeys(connection)
        self.gates = Gates(connection)

    def save(self) -> None:
        """Write what was counted."""
        marks = attrs.astuple(self.marks)
        if marks != self._before:
            self._before = marks
            self.connection.execute(_WRITE, marks)

    def next_number(self) -> int:
        """The age of what becomes ready now: younger than all that is."""
        self.marks.numbers += 1
        return self.marks.numbers


_SIZES: Final = (1, 8, 64, 512)


def rows_of(
    connection: sqlite3.Connection, query: str, ids: Iterable[object]
) -> Iterator[tuple[Any, ...]]:
    """The rows of *query* for all *ids*, which it names as `in ({})`, once for each time."""
    wanted = ids if isinstance(ids, list) else list(ids)
    times = query.count("{}")
    for at in range(0, len(wanted), _SIZES[-1]):
        some = wanted[at : at + _SIZES[-1]]
        size = next(size for size in _SIZES if size >= len(some))
        padded = some + some[-1:] * (size - len(some))
        yield from connection.execute(_filled(query, size), padded * times)


@cache
def _filled(query: str, size: int) -> str:
    """Few sizes, so that each statement is prepared once."""
    return query.replace("{}", ", ".join("?" * size))
