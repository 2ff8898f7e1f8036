"""The mirror: what a broker object last saw of its file, from which it answers at once.

Owned by the broker, in Trio's thread; each step of the storage ends with a view that goes in here.
"""

from __future__ import annotations

from collections import deque

import attrs

from actorq.engines.sqlite.queue.looking import Seen, View
from actorq.engines.sqlite.queue.outbox import MOST, Told
from actorq.message import Fence
from actorq.protocol import Notice


@attrs.define(eq=False)
class Mirror:
    """Nothing, until the first view is in."""

    view: View | None = None
    sessions: frozenset[int] = frozenset()  #: ours that are good
    parked: frozenset[str] = frozenset()  #: names of tasks that are parked
    numbers: deque[int] = attrs.field(factory=deque)  #: of the ends that are to be told, in order
    _last: int = 0  #: the number of the latest
    _notices: tuple[tuple[int, Fence], ...] = ()  #: for our sessions
    _taken: set[int] = attrs.field(factory=set)  #: tokens of those that were taken

    def forget(self) -> None:
        """All but which notices were taken: another life begins."""
        self.view = None
        self.numbers.clear()
        self._last = 0

    def seen(self) -> Seen:
        """What the next view need not tell again."""
        if self.view is None:
            return Seen()
        marks = self.view.marks
        room = max(0, MOST - len(self.numbers))
        notices = -1 if self._notices else marks.notices
        return Seen((marks.sessions, marks.lost), notices, marks.parked, self._last, room)

    def show(self, view: View) -> tuple[Told, ...]:
        """The latest view; what is new in the outbox."""
        self.view = view
        if view.good is not None:
            self.sessions = view.good
        if view.notices is not None:
            self._notices = view.notices
            self._taken &= {fence.token for _, fence in view.notices}
        if view.parked is not None:
            self.parked = view.parked
        for told in view.outbox:
            self.numbers.append(told.seq)
            self._last = told.seq
        return view.outbox

    @property
    def has_notices(self) -> bool:
        """Whether anything is to be told to a session of ours."""
        return any(fence.token not in self._taken for _, fence in self._notices)

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session; each once."""
        fences = [
            fence
            for holder, fence in self._notices
            if holder == session and fence.token not in self._taken
        ]
        self._taken.update([fence.token for fence in fences])
        return tuple([Notice(fence, "cancelled") for fence in fences])
