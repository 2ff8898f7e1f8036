"""Chains: the ids of steps that are not enqueued yet, and of those that never will be (pure).

Owned by the queue core.  A step's id is known from when its chain is enqueued: who waits for it, or
cancels it, must hear what becomes of it at any time before the step itself is accepted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from actorq.message import TaskMessage
from actorq.protocol import Ending, Outcome
from actorq.result import TaskResult
from actorq.succession import why_broken


if TYPE_CHECKING:
    from actorq.engines.memory.entry import Entry


@attrs.define(eq=False)
class Chains:
    """What comes after the live tasks."""

    remember: int
    pending: dict[str, Entry] = attrs.field(
        factory=dict
    )  #: by a later step's id: whom it waits for
    broken: OrderedDict[str, Ending] = attrs.field(factory=OrderedDict)  #: and how that one ended
    severed: set[str] = attrs.field(factory=set)  #: live tasks after which nothing is to come

    def begin(self, entry: Entry) -> None:
        """A task is accepted: what comes after it waits for it."""
        self.broken.pop(entry.message.task_id, None)  # a dead letter was replayed
        for step in later_steps(entry.message):
            self.pending[step.task_id] = entry
            self.broken.pop(step.task_id, None)

    def sever(self, entry: Entry) -> None:
        """Whatever *entry* comes to, nothing is to come after it."""
        self.severed.add(entry.message.task_id)

    def go_on(self, entry: Entry) -> bool:
        """*entry* has succeeded: whether what comes after it may be enqueued."""
        for step in later_steps(entry.message):
            self.pending.pop(step.task_id, None)
        if entry.message.task_id in self.severed:
            self.severed.discard(entry.message.task_id)
            return False
        return True

    def give_way(self, message: TaskMessage, other: TaskMessage) -> Iterator[Outcome]:
        """*other* takes the place of *message*: what is told of steps that are not its own."""
        kept = [step.task_id for step in later_steps(other)]
        return self.break_off(message, Ending.CANCELLED, None, kept)

    def break_off(
        self,
        message: TaskMessage,
        ending: Ending,
        error: Exception | None,
        kept: Collection[str] = (),
    ) -> Iterator[Outcome]:
        """*message* did not succeed, or was not to go on: what its later steps' waiters are told."""
        self.severed.discard(message.task_id)
        for step in later_steps(message):
            if step.task_id in kept:
                continue
            self.pending.pop(step.task_id, None)
            self.broken[step.task_id] = ending
            if len(self.broken) > self.remember:
                self.broken.popitem(last=False)
            cancelled = ending is Ending.CANCELLED
            why = why_broken(message.task_name, message.task_id, error, cancelled=cancelled)
            result: TaskResult[Any] = TaskResult(is_err=True, error=why, labels=dict(step.labels))
            yield Outcome(step.task_id, result, ttl=step.options.result_ttl)

    def locate(self, task_id: str) -> str:
        """Where a step is that was never accepted."""
        if task_id in self.pending:
            return "pending"
        ending = self.broken.get(task_id)
        if ending is None:
            return "unknown"
        return "dead" if ending is Ending.DEAD else "done"


def later_steps(message: TaskMessage) -> tuple[TaskMessage, ...]:
    """The steps after *message*."""
    return () if message.terms is None else message.terms.chain
