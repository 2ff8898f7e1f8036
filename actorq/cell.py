"""The cell: what of an actor outlives its incarnations: name, mailbox, watchers, counts.

Made and ended by the supervisor; borrowed by one incarnation at a time; refs point here.
"""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from actorq.dead_letters import DeadLetter, DeadLetters, LetterReason
from actorq.errors import ActorStopped, AskDeadlock
from actorq.mailbox import Envelope, Mailbox
from actorq.signals import Terminated
from actorq.statistics import MailboxStatistics


if TYPE_CHECKING:
    from collections.abc import Callable

    from actorq.ref import ActorRef
    from actorq.tap import Tap

#: The actor on whose behalf this code runs: its loop, or a child task of it.
running_cell: ContextVar[Cell | None] = ContextVar("actorq_running_cell", default=None)


class Cell:
    """One actor's identity."""

    __slots__ = (
        "__weakref__",
        "accepted",
        "before",
        "crashed",
        "dead_letters",
        "end_reason",
        "ended",
        "grace",
        "handled",
        "interrupted",
        "loop_task",
        "mailbox",
        "name",
        "ref",
        "restarts",
        "state",
        "tap",
        "undelivered",
        "waiting_for_room",
        "waiting_on",
        "watchers",
        "when_waiting",
    )

    def __init__(
        self,
        name: str,
        *,
        capacity: float,
        grace: float,
        dead_letters: DeadLetters,
        tap: Tap | None = None,
    ) -> None:
        self.name = name
        self.tap = tap  #: a simulation's ear
        self.mailbox = (
            Mailbox(capacity)
            if tap is None
            else Mailbox(capacity, partial(tap.takes, self), partial(tap.closing, self))
        )
        self.grace = grace  #: seconds that an incarnation's clean-up may take
        self.dead_letters = dead_letters
        self.state = "starting"
        self.end_reason: str | None = None  #: set once it has ended for good
        self.ended = trio.Event()
        #: In the order in which they came; the dead ones fall out.
        self.watchers: weakref.WeakKeyDictionary[Cell, None] = weakref.WeakKeyDictionary()
        self.loop_task: trio.lowlevel.Task | None = None
        self.when_waiting: Callable[[], None] | None = None  #: called when its loop begins to wait
        self.waiting_on: Cell | None = None  #: the actor that this one's loop waits for
        self.waiting_for_room = False  #: ... only until the message is accepted
        #: A test's hook before each message.
        self.before: Callable[[Any], None] | None = (
            None if tap is None else partial(tap.handling, self)
        )
        self.accepted = self.handled = self.crashed = 0
        self.interrupted = self.undelivered = self.restarts = 0
        self.ref: ActorRef[Any]

    def waits_in_vain(self) -> bool:
        """Its loop waits, perhaps through others, for an actor that is down at present."""
        step = self.waiting_on
        while step is not None:
            if step.state == "down":
                return True
            step = step.waiting_on
        return False

    def check_cycle(self, target: Cell) -> None:
        """Raise if this cell's loop, waiting for *target*, would wait for itself (promise 17)."""
        chain = [self.name]
        step: Cell | None = target
        while step is not None:
            chain.append(step.name)
            if step is self:
                raise AskDeadlock(tuple(chain))
            step = step.waiting_on if step.is_waiting else None

    @property
    def is_waiting(self) -> bool:
        """The loop is blocked by `waiting_on`.

        A send for which there is room now is over, though its task has not run yet: Trio forgets a
        task's sleep data when it wakes it.
        """
        return not (
            self.waiting_for_room
            and self.loop_task is not None
            and self.loop_task.custom_sleep_data is None
        )

    def bury(self, item: Any, reason: LetterReason, error: Exception | None = None) -> None:
        """Account for an accepted *item* that will not be handled; its asker, if any, is told."""
        match reason:
            case LetterReason.CRASHED:
                self.crashed += 1
            case LetterReason.INTERRUPTED:
                self.interrupted += 1
            case LetterReason.UNDELIVERED:
                self.undelivered += 1
        if type(item) is Envelope:
            item.reply.fail(error or ActorStopped(self.name, self.end_reason or "stopped"))
        else:
            self.dead_letters.record(DeadLetter(self.name, item, reason))

    def watch(self, watcher: Cell) -> None:
        """Tell *watcher* when this ends; at once if it has ended already (promise 26)."""
        if self.end_reason is not None:
            watcher.mailbox.push_signal(Terminated(self.ref, self.end_reason))
        else:
            self.watchers[watcher] = None

    @trio.lowlevel.enable_ki_protection
    def unwatch(self, watcher: Cell) -> None:
        """Undo `watch`, even if the signal is queued already."""
        self.watchers.pop(watcher, None)
        signals = watcher.mailbox.signals
        for signal in [each for each in signals if type(each) is Terminated]:
            if signal.ref is self.ref:
                signals.remove(signal)

    @trio.lowlevel.enable_ki_protection
    def terminate(self, reason: str) -> None:
        """End for good: refuse sends, settle what is queued, tell the watchers.  Idempotent."""
        if self.end_reason is not None:
            return
        self.end_reason = reason
        self.state = "stopped"
        for item in self.mailbox.empty():
            self.bury(item, LetterReason.UNDELIVERED)
        for watcher in tuple(self.watchers):
            watcher.mailbox.push_signal(Terminated(self.ref, reason))
        self.watchers.clear()
        self.ended.set()

    def statistics(self) -> MailboxStatistics:
        """This actor now."""
        alive = self.end_reason is None
        return MailboxStatistics(
            name=self.name,
            state=self.state,
            capacity=self.mailbox.capacity,
            queued=self.mailbox.queued if alive else 0,
            peak_queued=self.mailbox.peak_queued,
            accepted=self.accepted,
            handled=self.handled,
            crashed=self.crashed,
            interrupted=self.interrupted,
            undelivered=self.undelivered,
            restarts=self.restarts,
        )
