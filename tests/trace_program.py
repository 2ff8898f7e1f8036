"""A program with the whole queue in it, for tests of determinism: `python trace_program.py SEED ...`.

Retries with jitter, schedules, limits, unique keys, children, actors that crash and are watched, and a
process that is killed and succeeded by another on the same storage.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import attrs
import trio

import actorq
from actorq import Actor, ActorFailed, ActorRef, Concurrency, Context, Message, RetryPolicy, Unique
from actorq.testing import MemoryStorage, Tape, Trace, crash, recorded, simulate
from actorq.testing.process import open_processes


INJECTED: Context = actorq.Depends()


@actorq.task(retries=RetryPolicy.exponential(3, base=1))
async def flaky(n: int, ctx: Context = INJECTED) -> int:
    """Fails twice if *n* is odd."""
    await trio.sleep(n % 3)
    if ctx.attempt < 3 and n % 2:
        raise ValueError(n)
    return n


@actorq.task(concurrency=Concurrency(2), unique=Unique())
async def limited(key: int) -> None:
    """Two at a time, one of each key."""
    await trio.sleep(1)


@actorq.task
async def parent(ctx: Context = INJECTED) -> None:
    """Waits for others."""
    async with ctx.system.open_task_nursery() as jobs:
        for n in range(3):
            jobs.start_soon(flaky, n)


@attrs.frozen
class Tick(Message[None]):
    """What the actors here get."""


class PutsOff(Actor[Tick]):
    """Never answers."""

    async def receive(self, message: Tick) -> None:
        """Put it off."""
        self.defer()


class Watches(Actor[Tick]):
    """Watches others, and has a timer."""

    def __init__(self, others: list[ActorRef[Tick]]) -> None:
        self._others = others

    async def on_start(self) -> None:
        """Watch, and tick."""
        for other in self._others:
            self.watch(other)
        self.set_timer("tick", 1, Tick(), repeat=True)

    async def receive(self, message: Tick) -> None:
        """Tick."""


async def ask(ref: ActorRef[Tick]) -> None:
    """Be answered by a crash."""
    try:
        await ref.ask(Tick())
    except ActorFailed:
        await trio.sleep(0.1)


async def life(storage: MemoryStorage) -> None:
    """One process."""
    async with actorq.open_system(actorq.InMemoryBroker(storage=storage), concurrency=3) as system:
        for n in range(3):
            every = actorq.every(7)
            await system.schedules.add(flaky, every, n, schedule_id=f"slot-{n}", jitter=1)
        silent = [await system.spawn(PutsOff, name=f"silent-{n}") for n in range(3)]
        for n in range(3):
            await system.spawn(lambda: Watches(silent), name=f"watcher-{n}")
        handles: list[actorq.TaskHandle[Any]] = [
            *[await system.enqueue(flaky, n) for n in range(4)],
            *[await system.enqueue(limited.using(queue=f"q{n}"), n) for n in range(3)],
            await system.enqueue(parent),
        ]
        async with trio.open_nursery() as nursery:
            for ref in silent:
                for _ in range(3):
                    nursery.start_soon(ask, ref)
            await trio.sleep(2)
            for ref in silent[1:]:
                crash(ref)
            crash(system.actor("broker"))
            nursery.cancel_scope.deadline = trio.current_time() + 1
        for handle in handles:
            await handle.wait_result()
        await (await system.enqueue(flaky.using(delay=5), 1)).cancel()


async def main() -> None:
    """Two processes, one after the other."""
    storage = MemoryStorage()
    async with open_processes() as processes:
        first = processes.start(life, storage)
        await trio.sleep(3.3)
        first.kill()
        second = processes.start(life, storage)
        await second.ended()
        assert second.error is None, second.error


def run(tape: Tape, seed: int) -> Trace:
    """What happens under that schedule."""
    with recorded() as trace:
        simulate(main, tape=tape, seed=seed)
    return trace


if __name__ == "__main__":
    logging.disable()
    litter = [object() for _ in range(int(sys.argv[1]) * 7_919 % 5_000)]  # other addresses
    for argument in sys.argv[2:]:
        print(run(Tape.of_seed(int(argument)), int(argument)))  # noqa: T201
