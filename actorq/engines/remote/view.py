"""The view: what a broker object last saw of its server, from which it answers at once.

Owned by the broker; each call that asks for one ends with a view that goes in here.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from actorq.message import Fence
from actorq.protocol import Notice


#: Ends that are kept in memory at a time.
MOST = 1_000


@attrs.define(eq=False)
class View:
    """Nothing, until the first is in."""

    claimable: bool = False
    leased: bool = False
    over: bool = False  #: somebody's jobs are to be taken back now
    due: float | None = None  #: on our clock
    sessions: frozenset[int] = frozenset()  #: ours that are good
    parked: frozenset[str] = frozenset()  #: names of tasks that are parked
    ended: int = 0  #: of our sessions, in all
    numbers: deque[int] = attrs.field(factory=deque)  #: of the ends that are to be told, in order
    last: int = 0  #: the number of the latest of them
    _notices: tuple[tuple[int, Fence], ...] = ()  #: for our sessions
    _taken: set[Fence] = attrs.field(factory=set)

    def forget(self) -> None:
        """All but which notices were taken: another life begins, or other data."""
        self.claimable = self.leased = False
        self.due = None
        self.numbers.clear()
        self.last = 0

    @property
    def room(self) -> int:
        """For ends that are not known yet."""
        return max(0, MOST - len(self.numbers))

    def show(self, view: dict[str, Any], offset: float) -> list[list[Any]]:
        """The latest; what is new in the outbox.  *offset*: from our clock to the server's."""
        self.claimable, self.leased = bool(view["claimable"]), bool(view["leased"])
        self.over = bool(view.get("over"))
        due = view["due"]
        self.due = None if due is None else due - offset
        good = frozenset(view["good"])
        self.ended += len(self.sessions - good)
        self.sessions = good
        self.parked = frozenset(view["parked"])
        self._notices = tuple(
            [
                (session, Fence(task_id, int(attempt), int(token)))  # Lua knows no whole numbers
                for session, task_id, attempt, token in view["notices"]
            ]
        )
        self._taken &= {fence for _, fence in self._notices}
        fresh = [row for row in view["outbox"] if row[0] > self.last]
        for row in fresh:
            self.numbers.append(row[0])
            self.last = row[0]
        return fresh

    @property
    def has_notices(self) -> bool:
        """Whether anything is to be told to a session of ours."""
        return any(fence not in self._taken for _, fence in self._notices)

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session; each once."""
        fences = [
            fence
            for holder, fence in self._notices
            if holder == session and fence not in self._taken
        ]
        self._taken.update(fences)
        return tuple([Notice(fence, "cancelled") for fence in fences])
