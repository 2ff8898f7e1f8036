"""The users of a result backend: what the pool, the jobs and the handles say to it, and hear.

Around the backend that is tested stands a real system; the messages go to its actor directly, so
that an attempt, a lease or a time to live can be anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from actorq.actors.result_backend import ResultBackend
from actorq.engines.memory.broker import InMemoryBroker
from actorq.errors import ActorFailed, ActorStopped
from actorq.message import TaskId
from actorq.progress import TaskProgress
from actorq.protocol import (
    DeleteResult,
    Doubt,
    GetProgress,
    GetResult,
    IsResultReady,
    Lease,
    NextProgress,
    Outcome,
    SetProgress,
    SetResults,
    WaitResult,
)
from actorq.ref import ActorRef
from actorq.restart import Backoff
from actorq.result import TaskResult
from actorq.system import System, open_system
from actorq.testing.faults import crash


#: Nobody's task: asked about to learn that everything before was handled.
_NOBODY = "nobody-s"


def held() -> Lease:
    """A lease that holds."""
    return Lease(float("inf"))


def lost() -> Lease:
    """A lease that was taken away."""
    lease = Lease(float("inf"))
    lease.lost = True
    return lease


class Waiter:
    """Somebody who waits for a result, over all lives of the actor."""

    def __init__(self, task_id: TaskId) -> None:
        self.task_id = task_id
        self.result: TaskResult[Any] | None = None
        self.error: Exception | None = None  #: that it got instead
        self.scope = trio.CancelScope()

    @property
    def waits(self) -> bool:
        """It got nothing yet."""
        return self.result is None and self.error is None

    async def wait(self, ref: ActorRef[Any]) -> None:
        """Ask, and again if the actor crashed meanwhile, as a handle does."""
        with self.scope:
            while self.waits:
                try:
                    self.result = await ref.ask(WaitResult(self.task_id))
                except ActorFailed:
                    continue
                except ActorStopped:
                    return
                except Exception as error:  # noqa: BLE001 - it is looked at
                    self.error = error


class Reader:
    """Somebody who reads a task's progress, over all lives of the actor."""

    def __init__(self, task_id: TaskId) -> None:
        self.task_id = task_id
        self.seen: list[TaskProgress] = []
        self.ended = False
        self.error: Exception | None = None
        self.scope = trio.CancelScope()

    async def read(self, ref: ActorRef[Any]) -> None:
        """Ask for the update after the last one, until there is none."""
        after = -1
        with self.scope:
            while not self.ended and self.error is None:
                try:
                    update = await ref.ask(NextProgress(self.task_id, after, True))
                except ActorFailed:
                    continue
                except ActorStopped:
                    return
                except Exception as error:  # noqa: BLE001 - it is looked at
                    self.error = error
                    continue
                if update is None:
                    self.ended = True
                elif not isinstance(update, Doubt):
                    after, progress = update
                    self.seen.append(progress)


class ResultUsers:
    """Made by `open_results`."""

    def __init__(self, system: System, nursery: trio.Nursery) -> None:
        self.system = system
        self.ref: ActorRef[Any] = system.actor("results")
        self.backend = system._broker.result_backend
        self.waiters: list[Waiter] = []
        self.readers: list[Reader] = []
        self._nursery = nursery

    async def put(
        self,
        task_id: TaskId,
        result: TaskResult[Any],
        lease: Lease | None = None,
        ttl: float | None = None,
    ) -> Exception | None:
        """What the pool does when an attempt has ended; why it was not stored, None: it was."""
        (verdict,) = await self.put_all([Outcome(task_id, result, lease, ttl)])
        return verdict

    async def put_all(self, outcomes: list[Outcome]) -> tuple[Exception | None, ...]:
        """Several at once."""
        verdicts: tuple[Exception | None, ...] = await self.ref.ask(SetResults(tuple(outcomes)))
        assert len(verdicts) == len(outcomes)
        return verdicts

    async def get(self, task_id: TaskId, *, with_logs: bool = True) -> TaskResult[Any]:
        """The stored result; `ResultGetError`."""
        result: TaskResult[Any] = await self.ref.ask(GetResult(task_id, with_logs))
        return result

    async def is_ready(self, task_id: TaskId) -> bool:
        """Whether a result is stored."""
        ready: bool = await self.ref.ask(IsResultReady(task_id))
        return ready

    async def delete(self, task_id: TaskId) -> None:
        """Forget result and progress."""
        await self.ref.ask(DeleteResult(task_id))

    async def report(
        self, task_id: TaskId, progress: TaskProgress, attempt: int = 1, lease: Lease | None = None
    ) -> None:
        """What a job does; `StaleResult`."""
        await self.ref.ask(SetProgress(task_id, progress, attempt, lease or held()))

    async def progress(self, task_id: TaskId) -> TaskProgress | None:
        """The latest."""
        latest: TaskProgress | None = await self.ref.ask(GetProgress(task_id))
        return latest

    async def waiter(self, task_id: TaskId) -> Waiter:
        """Somebody who waits from now on."""
        waiter = Waiter(task_id)
        self.waiters.append(waiter)
        self._nursery.start_soon(waiter.wait, self.ref, name=f"waits for {task_id!r}")
        await self.quiet()
        return waiter

    async def reader(self, task_id: TaskId) -> Reader:
        """Somebody who reads progress from now on."""
        reader = Reader(task_id)
        self.readers.append(reader)
        self._nursery.start_soon(reader.read, self.ref, name=f"reads progress of {task_id!r}")
        await self.quiet()
        return reader

    async def crash(self) -> None:
        """Crash the actor, and wait for its next life."""
        crash(self.ref)
        while True:
            try:
                await self.progress(_NOBODY)
            except ActorFailed:
                continue
            break
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until whoever can be told something has been told."""
        before: object = None
        while (now := self._heard()) != before:
            before = now
            await trio.testing.wait_all_tasks_blocked()  # what they ask is sent,
            await self.progress(_NOBODY)  # and handled,
            await trio.testing.wait_all_tasks_blocked()  # and the answers are taken

    def _heard(self) -> list[object]:
        heard: list[object] = [waiter.waits for waiter in self.waiters]
        return heard + [(len(reader.seen), reader.ended) for reader in self.readers]


@asynccontextmanager
async def open_results(backend: ResultBackend) -> AsyncIterator[ResultUsers]:
    """A system with *backend*; who still waits at the end gives up."""
    broker = InMemoryBroker().with_result_backend(backend)
    failed: Exception | None = None
    async with open_system(broker, backoff=Backoff(base=0, jitter=0)) as system:
        async with trio.open_nursery() as nursery:
            try:
                yield ResultUsers(system, nursery)
            except Exception as error:  # noqa: BLE001 - raised again, out of the nursery
                failed = error
            nursery.cancel_scope.cancel("the users give up")
        if failed is not None:
            raise failed
