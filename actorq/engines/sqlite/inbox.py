"""The inbox: what the committer is to do, as it comes from the event loop."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import outcome
import trio


Step: TypeAlias = Callable[[sqlite3.Connection], Any]

#: Steps in one transaction, at most.
MOST: Final = 512


@attrs.define(eq=False)
class Work:
    """One step, and who waits for it."""

    step: Step
    task: trio.lowlevel.Task
    writes: bool
    synced: bool  #: it has to survive a power cut, if commits do
    begun: bool = False  #: from then on its outcome is waited for, whatever happens
    given_up: bool = False  #: before it was begun
    result: outcome.Outcome[Any] | None = None


class Inbox:
    """Filled by the event loop, emptied by the committer's thread."""

    def __init__(self) -> None:
        self.closed = False  #: nothing more will come; known when it was taken out
        self._queue: queue.SimpleQueue[Work | _Word] = queue.SimpleQueue()
        self._lock = threading.Lock()  #: who gives up, or begins, has it

    def put(self, work: Work) -> None:
        """Have it done."""
        self._queue.put(work)

    def nudge(self) -> None:
        """Have the thread look what time it is."""
        self._queue.put(_LOOK)

    def close(self) -> None:
        """Nothing more will come."""
        self._queue.put(_END)

    def take(self, seconds: float | None) -> list[Work]:
        """All that is there; waits for something, for so long at most (None: without end)."""
        batch: list[Work] = []
        try:
            each = self._queue.get(timeout=seconds)
            while True:
                if each is _END:
                    self.closed = True
                    break
                if isinstance(each, Work):
                    batch.append(each)
                if len(batch) == MOST:
                    break
                each = self._queue.get_nowait()
        except queue.Empty:
            pass
        return batch

    def begin(self, batch: Sequence[Work]) -> list[Work]:
        """Those who have not given up; from now on they wait to the end."""
        with self._lock:
            begun = [work for work in batch if not work.given_up]
            for work in begun:
                work.begun = True
        return begun

    def give_up(self, work: Work) -> bool:
        """Not to do it, if it has not begun."""
        # for milliseconds at most: a step that is given up on its way would be half known
        with self._lock:
            work.given_up = not work.begun
        return work.given_up


class _Word:
    """What is no work."""


_LOOK: Final = _Word()
_END: Final = _Word()
