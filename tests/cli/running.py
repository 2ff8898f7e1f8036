"""Real `actorq` processes: started in a folder with a program of the test's, read line by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import trio


T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent.parent

#: Seconds after which a test gives up; much more than anything here takes.
PATIENCE = 40.0

#: A broker that says it is shared by processes, and is alone.
ALONE = """
import actorq, os, trio

class Alone(actorq.InMemoryBroker):
    async def listen(self, changed):
        await trio.sleep_forever()

    async def refresh(self, now):
        pass

broker = Alone()
broker.lacks = frozenset()
"""


@attrs.define(eq=False)
class Lines:
    """The lines of a pipe, as they come."""

    pipe: trio.abc.ReceiveStream
    seen: list[str] = attrs.field(factory=list)
    more: trio.Condition = attrs.field(factory=trio.Condition)
    ended: bool = False
    others: list[Lines] = attrs.field(factory=list)  #: to be shown when this one ends too early

    async def read(self) -> None:
        """Until it is closed."""
        told = b""
        with suppress(trio.ClosedResourceError):  # a test has had enough of it
            async for chunk in self.pipe:
                *lines, told = (told + chunk).split(b"\n")
                async with self.more:
                    self.seen += [line.decode(errors="replace") for line in lines]
                    self.more.notify_all()
        async with self.more:
            self.ended = True
            self.more.notify_all()

    def all_said(self) -> str:
        """For who looks for something else in it."""
        said = [*self.seen, *[line for other in self.others for line in other.seen]]
        return "it ended, and said:\n" + "\n".join(said)

    async def until(self, find: Callable[[list[str]], list[T]]) -> list[T]:
        """What *find* finds in them, as soon as it finds something."""
        async with self.more:
            while not (found := find(self.seen)):
                assert not self.ended, self.all_said()
                await self.more.wait()
            return found


def _named(lines: list[str], *names: str) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, lines) if event["event"] in names]


@attrs.define(eq=False)
class Program:
    """An `actorq worker --json` that runs, or has ended."""

    process: trio.Process
    out: Lines  #: events
    err: Lines  #: what its children print and log

    async def event(self, *names: str, nth: int = 1) -> dict[str, Any]:
        """Its *nth* event of these names; waits for it."""
        return (await self.out.until(lambda lines: _named(lines, *names)[nth - 1 :]))[0]

    async def says(self, text: str) -> str:
        """The line of a child that contains *text*; waits for it."""
        return (await self.err.until(lambda lines: [line for line in lines if text in line]))[0]

    def named(self, name: str) -> list[dict[str, Any]]:
        """Its events of that name, so far."""
        return _named(self.out.seen, name)

    def events(self) -> list[str]:
        """The names of all events so far."""
        return [json.loads(line)["event"] for line in self.out.seen]

    def signal(self, *numbers: signal.Signals) -> None:
        """Send signals to the parent."""
        for number in numbers:
            self.process.send_signal(number)

    async def end(self) -> int:
        """Wait for its end; the exit code."""
        code = await self.process.wait()
        async with self.out.more:  # what it said last has been read
            while not self.out.ended:
                await self.out.more.wait()
        return code


@asynccontextmanager
async def running(
    folder: Path,
    *arguments: str,
    prefix: tuple[str, ...] = (),
    stdin: int = subprocess.DEVNULL,
    **environment: str,
) -> AsyncIterator[Program]:
    """`actorq ...` in *folder*, for the body; killed then if it has not ended."""
    command = [*(prefix or (sys.executable,)), "-m", "actorq", *arguments]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    known.pop("ACTORQ_BROKER", None)
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process = await trio.lowlevel.open_process(
                command,
                cwd=folder,
                env=known,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            program = Program(process, Lines(process.stdout), Lines(process.stderr))
            program.out.others.append(program.err)
            nursery.start_soon(program.out.read)
            nursery.start_soon(program.err.read)
            try:
                yield program
            finally:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
                nursery.cancel_scope.cancel()


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> None:
    """Wait for the end of a process that is nobody's child here."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(PATIENCE):
            await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)
