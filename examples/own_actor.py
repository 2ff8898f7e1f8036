"""Actors of your own, without a queue: a log that is written in batches.

`Disk` stores batches of lines.  `Batcher` collects lines and hands them over when there are five,
or a moment after the first; whoever asked hears of it when their line is stored (a deferred reply).
They stand under one supervisor, rest_for_one: if `Disk` crashes, `Batcher` begins anew as well.

Run it: python examples/own_actor.py
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import trio
import trio.testing

import actorq
from actorq import Message, Restart, Strategy


@attrs.frozen
class Store(Message[int]):
    """Store a batch; answers how many lines there are now."""

    lines: tuple[str, ...]


@attrs.frozen
class Write(Message[int]):
    """Write one line; answered when it is stored."""

    line: str


@attrs.frozen
class Flush(Message[None]):
    """The moment is over."""


class EmptyLine(actorq.Reject):
    """A refusal: it reaches the asker, and the actor lives on."""


class Disk(actorq.Actor[Store]):
    def __init__(self, stored: list[str]) -> None:
        self.stored = stored  # outlives this actor: the next life goes on with it

    async def receive(self, message: Store) -> int:
        if "poison" in message.lines:
            raise OSError("disk failure")  # no refusal but a crash: the supervisor decides
        self.stored.extend(message.lines)
        print(f"  disk: stored {', '.join(message.lines)}")
        return len(self.stored)


class Batcher(actorq.Actor[Write | Flush]):
    MOMENT = 0.05  # seconds
    FULL = 5

    def __init__(self, disk: actorq.ActorRef[Store], source: actorq.ActorRef[Any]) -> None:
        self.disk = disk
        self.source = source
        self.waiting: list[tuple[str, actorq.Reply[int]]] = []

    async def on_start(self) -> None:
        self.watch(self.source)  # tells us when it has ended for good

    async def receive(self, message: Write | Flush) -> None:
        match message:
            case Write(""):
                raise EmptyLine("an empty line is not worth storing")
            case Write(line):
                self.waiting.append((line, self.defer()))
                if len(self.waiting) == 1:
                    self.set_timer("flush", self.MOMENT, Flush())
                if len(self.waiting) >= self.FULL:
                    await self.store()
            case Flush():
                await self.store()

    async def signal(self, signal: actorq.Signal) -> None:
        match signal:
            case actorq.Terminated(ref, reason):
                print(f"  batcher: {ref.name!r} has ended ({reason}); no need to wait for more")
                await self.store()

    async def store(self) -> None:
        self.cancel_timer("flush")
        batch, self.waiting = self.waiting, []
        if batch:
            count = await self.disk.ask(Store(tuple(line for line, _ in batch)))
            for _, reply in batch:
                reply.send(count)


class Source(actorq.Actor[Flush]):
    """Ends when it is told to: its restart policy lets it go."""

    async def receive(self, message: Flush) -> None:
        self.stop()


async def main() -> None:
    stored: list[str] = []
    async with actorq.open_kernel() as kernel:
        source = await kernel.spawn(Source, restart=Restart.TEMPORARY)
        storage = await kernel.spawn_supervisor("storage", strategy=Strategy.REST_FOR_ONE)
        disk = await storage.spawn(lambda: Disk(stored), name="disk")
        batcher = await storage.spawn(lambda: Batcher(disk, source), name="batcher")

        async def write(line: str) -> None:
            try:
                count = await batcher.ask(Write(line))
                print(f"{line!r} stored, {count} lines now")
            except EmptyLine as refusal:
                print(f"{line!r} refused: {refusal}")
            except actorq.ActorFailed as failed:
                print(f"{line!r} lost: {failed}, because of {failed.__cause__!r}")

        async def write_all(*lines: str) -> None:
            async with trio.open_nursery() as nursery:
                for line in lines:
                    nursery.start_soon(write, line)

        print("a full batch, and the rest a moment later:")
        await write_all("one", "two", "three", "four", "five", "six", "")
        print("a crash of disk, and what comes after it starts anew:")
        await write_all("poison")
        await write_all("seven")
        for actor in (disk, batcher):
            print(f"  {actor.name}: {actor.statistics().restarts} restart")
        print("a watched actor ends:")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, "eight")
            await trio.testing.wait_all_tasks_blocked()
            await source.tell(Flush())
        print("stored:", *stored)


if __name__ == "__main__":
    logging.getLogger("actorq").setLevel(logging.CRITICAL)  # it tells of the crash; so do we
    trio.run(main)
