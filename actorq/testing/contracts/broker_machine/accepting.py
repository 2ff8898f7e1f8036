"""Rules: enqueueing, by one process or by two at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import trio
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actorq.capability import Capability
from actorq.engines.memory.chains import later_steps
from actorq.engines.memory.queue import Queue
from actorq.errors import ActorqError, DuplicateTask, DuplicateTaskId
from actorq.message import TaskMessage
from actorq.protocol import QueuedTask
from actorq.testing.contracts.broker_machine.calls import Sent
from actorq.testing.contracts.broker_machine.looks import Looks
from actorq.testing.contracts.broker_machine.seats import of
from actorq.testing.contracts.host import Bench
from actorq.testing.promises import broken


#: More than any program enqueues.
MANY = 10_000

#: What came of enqueueing: the ids, or the refusal.
Answer: TypeAlias = list[str] | ActorqError


class Accepting(Looks):
    """A part of `BrokerMachine`."""

    @rule(calls=of(lambda self: self.batches), by=st.integers(0, 1))
    def enqueue(self, calls: list[Sent], by: int) -> None:
        """Accepted by both, or refused by both."""

        async def program() -> None:
            messages = self.messages(calls)
            got = await self.engine_enqueues(self.bench(by), messages)
            check_answers(got, self.reference_enqueues(self.queue, messages))

        self.step(31, program)

    # which of two threads is the first would not be the same when the program is run again
    @precondition(lambda self: len(self.processes) > 1 and self.contract.simulated)
    @rule(
        one=of(lambda self: self.batches),
        other=of(lambda self: self.batches),
    )
    def enqueue_at_once(self, one: list[Sent], other: list[Sent]) -> None:
        """By two processes: as if one had come after the other."""

        async def program() -> None:
            sent = [self.messages(calls) for calls in (one, other)]
            got: list[Answer] = [[], []]

            async def enqueue(which: int) -> None:
                got[which] = await self.engine_enqueues(self.processes[which], sent[which])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(enqueue, 0)
                nursery.start_soon(enqueue, 1)
            where = await self.host.first.where(*self.ids)
            listed = await self.listed()
            for order in ((0, 1), (1, 0)):
                reference = copy.deepcopy(self.reference)
                expected: list[Answer] = [[], []]
                for which in order:
                    expected[which] = self.reference_enqueues(reference.queue, sent[which])
                if (
                    [reference.where(i) for i in self.ids] == where
                    and not any(differ(a, b) for a, b in zip(got, expected, strict=True))
                    and listed in (None, messages_of(reference.queue.tasks(None, MANY)))
                ):
                    self.reference = reference
                    return
            raise broken(39, f"two processes enqueued, and neither came first: they got {got}")

        self.step(39, program)

    async def listed(self) -> list[dict[str, Any]] | None:
        """What was accepted, in which order, if the engine can say."""
        if not self.has(Capability.LISTING):
            return None
        return messages_of(await self.host.first.broker.queued_tasks(None, MANY))

    def messages(self, calls: list[Sent]) -> list[TaskMessage]:
        """Whether two calls of an id differ when it has ended, an engine may see or not."""
        found: list[TaskMessage] = []
        for each in calls:
            names = self.drawn.setdefault(each.task_id, set())
            names.add(each.name)
            if len(names) == 1 or self.queue.ending(each.task_id) is None:
                found.append(each.message(self.now))
        return found

    async def engine_enqueues(self, bench: Bench, messages: Sequence[TaskMessage]) -> Answer:
        """What comes of it there."""
        for message in messages:
            for each in (message, *later_steps(message)):
                self.ids[each.task_id] = None
        try:
            return await bench.enqueue(*messages)
        except (DuplicateTask, DuplicateTaskId) as refusal:
            return refusal

    def reference_enqueues(self, queue: Queue, messages: Sequence[TaskMessage]) -> Answer:
        """What is to come of it."""
        try:
            answer = queue.enqueue(messages, self.now)
        except (DuplicateTask, DuplicateTaskId) as refusal:
            return refusal
        return [each.task_id for each in messages] if answer is None else list(answer)


def messages_of(tasks: Iterable[QueuedTask]) -> list[dict[str, Any]]:
    """As plain data."""
    return [each.message.to_dict() for each in tasks]


def differ(got: Answer, expected: Answer) -> bool:
    """Whether these are not the same answer; the reasons for a refusal may be several."""
    if isinstance(got, ActorqError) or isinstance(expected, ActorqError):
        return not (isinstance(got, ActorqError) and isinstance(expected, ActorqError))
    return got != expected


def check_answers(got: Answer, expected: Answer) -> None:
    """They must not differ."""
    if differ(got, expected):
        stake = 39 if isinstance(got, DuplicateTask) or isinstance(expected, DuplicateTask) else 31
        raise broken(stake, f"enqueueing gives {got!r}; it should give {expected!r}")
