"""The reference: the queue core, led along the way that the engine under test has taken.

Where the promises leave an engine a choice (whose turn it is among queues, how many tasks a claim
gives), the reference does not choose: it is told what the engine gave, and says whether that was one
of the tasks that could come next.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from actorq.engines.memory.entry import Entry, State
from actorq.engines.memory.queue import Queue, Verdict
from actorq.message import Delivery, Fence
from actorq.testing.promises import broken


_VERDICTS: Final = {
    Verdict.DONE: True,
    Verdict.ASKED: None,
    Verdict.ENDED: False,
    Verdict.UNKNOWN: False,
}


@attrs.define
class Reference:
    """One queue core; it has its own fences, by those of the engine."""

    queue: Queue
    fences: dict[Fence, Fence] = attrs.field(factory=dict)

    def claim(self, session: int, got: list[Delivery], limit: int, now: float) -> None:
        """The engine gave *got* to *session*: raise `PromiseBroken` unless it could."""
        for delivery in got:
            if session not in self.queue.sessions:
                raise broken(34, f"{delivery.fence.task_id} is given to a session that has ended")
            self._follow(session, delivery, now)
        if len(got) < limit and session in self.queue.sessions:
            for name in self._served(session):
                rest = self._next(name, session, now)
                if rest is not None:
                    task_id = rest.fence.task_id
                    raise broken(
                        31, f"{task_id} is ready, a worker asks for it, and it is not given"
                    )

    def _follow(self, session: int, delivery: Delivery, now: float) -> None:
        fence = delivery.fence
        task_id = fence.task_id
        entry = self.queue.live.get(task_id)
        if entry is None or entry.state is not State.READY:
            raise broken(self._why_not(entry), f"{task_id} starts, and it is {self.where(task_id)}")
        name = entry.line.name
        choice = self.queue.sessions[session].turns.choice
        if choice is not None and name not in choice.names:
            raise broken(
                37, f"{task_id}, which is in queue {name!r}, is given to who serves {choice}"
            )
        if choice is not None and choice.weights is None:
            for earlier in choice.names[: choice.names.index(name)]:
                first = self._next(earlier, session, now)
                if first is not None:
                    raise broken(
                        37, f"{task_id} starts before {first.fence.task_id} of {earlier!r}"
                    )
        expected = self._next(name, session, now)
        if expected is None:
            where = self.queue.locate(task_id)
            raise broken(
                30 if self.queue.lines[name].paused else 41,
                f"{task_id} starts, and what is in queue {name!r} may not; it is {where}",
            )
        if expected.fence.task_id != task_id:
            raise broken(37, f"{task_id} starts before {expected.fence.task_id}")
        if fence.attempt != expected.fence.attempt or delivery.failures != expected.failures:
            raise broken(
                33,
                f"{task_id} starts with attempt {fence.attempt} after {delivery.failures} failures; "
                f"it is attempt {expected.fence.attempt} after {expected.failures}",
            )
        if any(fence.token == known.token for known in self.fences):
            raise broken(34, f"the token of {fence} was used before")
        sent, got = expected.message.to_dict(), delivery.message.to_dict()
        if sent != got:
            raise broken(31, f"{sent} was enqueued, and {got} starts")
        self.fences[fence] = expected.fence

    def _why_not(self, entry: Entry | None) -> int:
        if entry is None:
            return 36
        return 38 if entry.state is State.SCHEDULED else 30

    def _next(self, name: str, session: int, now: float) -> Delivery | None:
        """What of this queue starts next, if anything may; it has started then."""
        line = self.queue.lines.get(name)
        found: list[Delivery] = []
        if line is not None and not line.paused:
            holder = self.queue.sessions[session]
            self.queue._claim_from(line, holder, 1, now, found)
            if found:
                holder.expires = now + self.queue.lease
        return found[0] if found else None

    def _served(self, session: int) -> Iterable[str]:
        choice = self.queue.sessions[session].turns.choice
        return tuple(self.queue.lines) if choice is None else choice.names

    def fence(self, fence: Fence) -> Fence:
        """The reference's own for one of the engine's; a forged one is nobody's."""
        return self.fences.get(fence, fence._replace(token=-1))

    def revoke(self, task_id: str, now: float) -> bool | None:
        """As `Engine.revoke` answers."""
        return _VERDICTS[self.queue.cancel(task_id, now)]

    def where(self, task_id: str) -> str:
        """As `Bench.where` says."""
        where = self.queue.locate(task_id)
        return "ready" if where in ("limited", "paced") else where

    def due(self) -> float | None:
        """When time has something to do, whatever was claimed."""
        waiting = [entry for entry in self.queue.live.values() if entry.state is not State.LEASED]
        dues = [due for due, _, entry in self.queue.scheduled if entry.state is State.SCHEDULED]
        for entry in waiting:
            terms = entry.message.terms
            if terms is not None and terms.expires_at is not None:
                dues.append(terms.expires_at)
        return min(dues, default=None)

    def next_wake(self) -> float | None:
        """The same, with the turns that time gives.

        Not the queue's own word, which is early: it has those that run and may expire when they fail.
        """
        dues = (self.due(), self.queue.admission.next_wake())
        return min([due for due in dues if due is not None], default=None)
