"""One engine and one reference, and what a program knows of both."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import trio.testing

from actorq.actors.broker import Broker
from actorq.capability import Capability
from actorq.engines.memory.queue import Queue
from actorq.testing.contracts.broker_machine.calls import batches, choices
from actorq.testing.contracts.broker_machine.reference import Reference
from actorq.testing.contracts.broker_machine.seats import Held, Seat
from actorq.testing.contracts.contract import new_folder
from actorq.testing.contracts.host import Bench, EngineContract, Host, hosted
from actorq.testing.machine import TrioMachine


class Pair(TrioMachine):
    """The engine of *contract*, on a new storage, beside a new reference."""

    contract: EngineContract
    limit = 30.0

    def __init__(self) -> None:
        self.lacks = frozenset(self.contract.lacks())
        self.batches = batches(self.lacks)
        self.choices = choices(self.lacks)
        self.processes: list[Bench] = []
        self.numbers = itertools.count(1)
        self.orphaned: set[int] = set()  #: the reference's sessions of processes that have died
        self.seats: dict[str, Seat] = {}  #: by worker: the session that it believes to have
        self.past: list[Seat] = []  #: sessions that it had before, while their processes live
        self.held: list[Held] = []  #: deliveries that their workers have not settled
        self.settled: list[Held] = []  #: those that they have
        self.ids: dict[str, None] = {}  #: of all that was ever enqueued
        self.drawn: dict[str, set[str]] = {}  #: what each id was to call
        self.taken = 0  #: steps
        self.stake = 30  #: the promise that the last step was about
        super().__init__()

    def new_clock(self) -> trio.testing.MockClock:
        """As fast as the real one: engines may use threads and sockets."""
        return trio.testing.MockClock(rate=1.0)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Host]:
        """One broker object on a new storage."""
        with new_folder() as folder:
            make = lambda: cast("Broker", self.contract.make(folder))  # noqa: E731
            async with hosted(Host(make, self.contract.kill)) as host:
                self.host = host
                self.processes = [host.first]
                self.reference = Reference(Queue(lease=host.first.lease))
                yield host

    def has(self, *capabilities: Capability) -> bool:
        """The engine has them all."""
        return self.lacks.isdisjoint(capabilities)

    @property
    def interesting(self) -> list[str]:
        """Tasks that live, steps that may come, and one that never was."""
        leased = [job.fence.task_id for job in self.held]
        found = [*self.queue.live, *self.queue.chains.pending, *self.ids]
        return [*leased[-3:], *dict.fromkeys(found), "nobody's"][:12]

    @property
    def queue(self) -> Queue:
        """The reference."""
        return self.reference.queue

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.host.now

    def bench(self, number: int) -> Bench:
        """One of the processes."""
        return self.processes[number % len(self.processes)]
