"""The slots: who runs, who has given its slot back, who wants one again, which slot tasks are free.

Pure: the worker pool keeps one for each of its lives, tells it what happens, and does what
`reconcile` says.  A job takes a slot when it is begun and keeps it until it is settled, but for the
time in which it waits for another job.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import attrs


T = TypeVar("T", bound=Hashable)

#: Slot tasks that are on their way to look for work at any moment: each that finds some has more woken,
#: so that a hundred are up in seven passes of the scheduler, and two at most in vain.
WAKING = 2


@attrs.define(eq=False)
class Slots(Generic[T]):
    """The slots of one pool; a *T* is a task that waits to be woken.

    Never more than `concurrency` jobs have a slot, unless one had to go on without.
    """

    concurrency: int
    running: int = 0  #: jobs that were begun and are not settled
    suspended: int = 0  #: of these, wait for other jobs and have given their slots back
    started: int = 0  #: slot tasks that exist
    waking: int = 0  #: of these, were started or woken and have not run yet
    parked: dict[T, None] = attrs.field(factory=dict)  #: free slot tasks; the last is woken first
    resuming: dict[T, None] = attrs.field(factory=dict)  #: want their slots again; oldest first

    def has_room(self) -> bool:
        """Whether a slot is free."""
        return self.running - self.suspended < self.concurrency

    def free(self, held: int) -> int:
        """How many more jobs may come, if *held* are here."""
        return self.concurrency + self.suspended - held

    def resume(self) -> bool:
        """A suspended job takes a slot again; False if none is free: it waits in `resuming`."""
        if not self.has_room():
            return False
        self.suspended -= 1
        return True

    def give_up(self, task: T) -> None:
        """*task* waits no longer for its slot, and its job goes on, or ends, without."""
        del self.resuming[task]
        self.suspended -= 1

    def reconcile(self, waiting: int) -> tuple[list[T], int]:
        """What follows from how things are, with *waiting* jobs not begun.

        The tasks to wake, and how many slot tasks to start; both are counted as done.  Whoever wants
        a slot again goes before new jobs.
        """
        wake: list[T] = []
        start = 0
        room = self.concurrency - self.running + self.suspended
        while self.resuming and room > 0:
            task = next(iter(self.resuming))
            self.give_up(task)
            wake.append(task)
            room -= 1
        wanted = min(WAKING, waiting, room)
        while self.waking < wanted:
            if self.parked:
                wake.append(self.parked.popitem()[0])
            elif self.started < self.concurrency + self.suspended:
                self.started += 1
                start += 1
            else:
                break  # all are busy, and look for work when they have ended theirs
            self.waking += 1
        return wake, start
