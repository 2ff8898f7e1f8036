"""The processes of a round: started, watched, killed; and when each of them died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs
import trio

import actorq
from crash import tasks
from crash.journal import JOURNAL, Journal


TESTS: Final = Path(__file__).resolve().parent.parent
#: Seconds after which a process or a result is taken for lost.
PATIENCE: Final = 60.0


@attrs.define(eq=False)
class Member:
    """A process."""

    role: str
    process: trio.Process
    killed: int | None = None  #: not earlier than this it died, on the monotonic clock
    died: int | None = None  #: nor later than this
    stopped: int | None = None  #: since then it stood still for a while, on the same clock

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def lives(self) -> bool:
        """It has not been seen dead."""
        return self.died is None and self.killed is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.process.returncode is None:
            if number is signal.SIGKILL and self.killed is None:
                self.killed = time.monotonic_ns()
            if number is signal.SIGSTOP:
                self.stopped = time.monotonic_ns()
            self.process.send_signal(number)


class Fleet:
    """All processes of a round; leaving it kills those that are left."""

    def __init__(
        self,
        folder: Path,
        nursery: trio.Nursery,
        *,
        lease: float,
        synchronous: str = "full",
        url: str | None = None,
    ) -> None:
        self.tick = tasks.TICK  #: seconds between two slots, on a server
        self.url = url  #: of a server; else all is in the file
        self.file = folder / "crash.db"
        self.lease = lease
        self.synchronous = synchronous
        self.journal = Journal(folder / "journal")
        self.members: list[Member] = []
        self._nursery = nursery

    @property
    def environment(self) -> dict[str, str]:
        """What its processes need to know."""
        paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
        url = {}
        if self.url is not None:
            url = {tasks.URL: self.url, tasks.EVERY: str(self.tick)}
        return {
            **os.environ,
            **url,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            JOURNAL: str(self.journal.path),
            tasks.FILE: str(self.file),
            tasks.LEASE: str(self.lease),
            tasks.SYNCHRONOUS: self.synchronous,
        }

    async def start(
        self, role: str, *arguments: object, environment: Mapping[str, str] | None = None
    ) -> Member:
        """One more process of `crash.program`."""
        command = [sys.executable, "-m", "crash.program", role, *map(str, arguments)]
        return await self.run(role, command, environment)

    async def run(
        self, role: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Member:
        """One more process of any program."""
        with self.log.open("ab") as log:
            process = await trio.lowlevel.open_process(
                command,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stderr=None if self.url is None else log,
                cwd=self.file.parent,
            )
        member = Member(role, process)
        self.members.append(member)
        self._nursery.start_soon(self._watch, member)
        return member

    async def up(self, member: Member) -> None:
        """Return when it says that its system is open."""
        await self.journal.until(
            lambda: bool(self.journal.said("up", member.pid)) or not member.lives
        )

    def living(self, *roles: str) -> list[Member]:
        """Those that have not died, in the order of their start."""
        return [each for each in self.members if each.lives and each.role in roles]

    async def stop(self, *roles: str) -> None:
        """SIGTERM, but for clients, which end by themselves; the end must be a good one."""
        stopped = self.living(*roles)
        for member in stopped:
            if member.role != "client":
                member.signal(signal.SIGTERM)
        for member in stopped:
            status = await member.process.wait()
            # before it is up it has no ear for signals
            ends = {0} if self.journal.said("up", member.pid) else {0, -signal.SIGTERM}
            if member.role == "worker":
                ends.add(-signal.SIGKILL)  # its last commit was the one to die in
            assert status in ends, f"{member.role} {member.pid} ended with {status}"

    @property
    def log(self) -> Path:
        """What those wrote to stderr that work with a server."""
        return self.file.parent / "stderr"

    def client(self) -> actorq.Broker:
        """A broker for this process, on the same file or server."""
        if self.url is not None:
            return actorq.broker_from_url(self.url, lease=self.lease).register(*tasks.broker.tasks)
        broker = actorq.SQLiteBroker(
            self.file,
            lease=self.lease,
            synchronous=self.synchronous,  # type: ignore[arg-type]
        )
        return broker.register(*tasks.broker.tasks)

    def describe(self) -> str:
        """How things stand."""
        members = [
            f"{each.role} {each.pid}: {each.process.returncode or 'lives'}" for each in self.members
        ]
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(
            [", ".join(members), *(f"  {each}" for each in self.journal.entries[-20:]), *said[-60:]]
        )

    async def _watch(self, member: Member) -> None:
        try:
            await member.process.wait()
        finally:
            member.died = time.monotonic_ns()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.CancelScope(shield=True):
            for member in self.members:
                if member.process.returncode is None:
                    member.process.kill()
            for member in self.members:
                await member.process.wait()


@asynccontextmanager
async def open_fleet(
    folder: Path,
    *,
    lease: float = 3.0,
    synchronous: str = "full",
    patience: float = PATIENCE,
    url: str | None = None,
) -> AsyncIterator[Fleet]:
    """A fleet with a journal that is read; fails after *patience* seconds, and says how things stood.

    What the body raises comes out naked.
    """
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        fleet = Fleet(folder, nursery, lease=lease, synchronous=synchronous, url=url)
        nursery.start_soon(fleet.journal.read)
        async with fleet:
            try:
                with trio.fail_after(patience):
                    yield fleet
            except trio.TooSlowError as late:
                raised = AssertionError(f"not within {patience:g} s; {fleet.describe()}")
                raised.__cause__ = late
            except Exception as error:
                raised = error
        nursery.cancel_scope.cancel(reason="the round is over")
    if raised is not None:
        raise raised
