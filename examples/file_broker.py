"""A broker of your own: a queue in one file, for one process at a time, which it outlives."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import attrs

import actorq
from actorq.engine import Capability, Delivery, Ending, Fence, QueueStatistics, Settlement


@attrs.define
class Entry:
    name: str
    data: str  # the message, a character for each byte; empty once its end is told
    most: int  # the attempts in which it may lose its worker
    state: str = "ready"  # or parked, leased, done
    attempt: int = 0
    failures: int = 0
    session: int = 0
    token: int = 0


class FileBroker(actorq.Broker):
    lacks = frozenset(Capability) - {Capability.PARKING, Capability.BYTES, Capability.SURVIVAL}

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(folder) / "queue.json"
        self.refused = 0

    async def startup(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.entries = {i: Entry(**plain) for i, plain in kept.get("entries", {}).items()}
        self.tokens: int = kept.get("tokens", 0)
        self.outbox().clear()
        for entry in [each for _, each in self.having("done") if each.data]:
            entry.state, entry.session = "leased", 0  # it was given up, and nobody was told
        await self.take_back()  # the jobs of a process that died

    def save(self) -> None:
        """Write all anew. It blocks, a moment: nothing comes between, nothing cuts a step in two."""
        for task_id in [i for i, entry in self.having("done") if not entry.data][:-1000]:
            del self.entries[task_id]
        beside = self.path.with_suffix(".new")
        with beside.open("w") as file:
            json.dump({"tokens": self.tokens, "entries": self.entries}, file, default=attrs.asdict)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)  # who reads finds the old file or the new one

    async def store(self, messages: Sequence[actorq.TaskMessage], now: float) -> None:
        new: dict[str, Entry] = {}
        for each in messages:
            known = new.get(each.task_id) or self.entries.get(each.task_id)
            if known is None:
                data = self.wire.encode_message(each).decode("latin-1")
                new[each.task_id] = Entry(each.task_name, data, each.options.max_deliveries)
            elif known.data and not self.read(each.task_id, known).is_same_call(each):
                raise actorq.DuplicateTaskId(f"task id {each.task_id!r} belongs to another call")
        self.entries |= new
        self.save()

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        deliveries: list[Delivery] = []
        for task_id, entry in self.having("ready") if self.has_session(session) else ():
            if len(deliveries) < limit:
                try:
                    message = self.read(task_id, entry)
                except actorq.EnvelopeError as error:
                    entry.state = "done"
                    self.report_end(task_id, error, attempts=entry.attempt)
                    continue
                self.tokens += 1
                entry.attempt += 1
                entry.state, entry.session, entry.token = "leased", session, self.tokens
                fence = Fence(task_id, entry.attempt, entry.token)
                deliveries.append(Delivery(message, fence, entry.failures))
                await self.extend(session, now)
        self.save()
        return tuple(deliveries)

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        answers = [self.settle_one(session, each.fence, each.ending) for each in settlements]
        self.refused += answers.count(False)
        self.save()
        return tuple(answers)

    def settle_one(self, session: int, fence: Fence, ending: Ending) -> bool:
        entry, mine = self.entries.get(fence.task_id), ("leased", session, fence.token)
        if entry is None or (entry.state, entry.session, entry.token) != mine:
            return False
        entry.state = "parked" if ending is Ending.PARK else "ready"
        if ending in (Ending.GIVE_BACK, Ending.PARK):
            entry.attempt -= 1
        elif ending is Ending.RETRY:
            entry.failures += 1
        elif ending is Ending.REQUEUE:
            entry.most += 1
            self.entries[fence.task_id] = self.entries.pop(fence.task_id)  # behind the others
        else:
            entry.state, entry.data = "done", ""
        return True

    async def take_back(self) -> None:
        for task_id, entry in self.having("leased"):
            if not self.has_session(entry.session):
                entry.state = "ready" if entry.attempt < entry.most else "done"
                if entry.state == "done":
                    error = actorq.WorkerLost(f"task {task_id} was lost {entry.attempt} times")
                    self.report_end(task_id, error, attempts=entry.attempt)
        self.save()

    async def published(self, count: int) -> None:
        for _ in range(count):
            self.entries[self.outbox().popleft().task_id].data = ""
        self.save()

    async def release(self, task_name: str) -> None:
        for _, entry in self.having("parked"):
            entry.state = "ready" if entry.name == task_name else "parked"
        self.save()

    async def locate(self, task_id: str) -> str:
        return self.entries[task_id].state if task_id in self.entries else "unknown"

    async def statistics_of_queue(self) -> QueueStatistics:
        states = ("ready", "parked", "leased", "done")
        ready, parked, leased, done = [len(self.having(state)) for state in states]
        return QueueStatistics(0, ready + parked, parked, 0, leased, done, 0, self.refused)

    def claimable(self) -> bool:
        return bool(self.having("ready"))

    def has_leases(self) -> bool:
        return bool(self.having("leased"))

    def having(self, state: str) -> list[tuple[str, Entry]]:
        return [item for item in self.entries.items() if item[1].state == state]

    def read(self, task_id: str, entry: Entry) -> actorq.TaskMessage:
        return self.wire.decode_message(entry.data.encode("latin-1"), task_id)
