"""One child process, from the parent's side: started, listened to, ended, killed if need be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import trio

from actorq.cli.serving.orders import News, Orders


#: Seconds in which what has come is read.
ONE_LOOK: Final = 0.5


@attrs.define(eq=False)
class Process:
    """A child that runs, or has ended."""

    orders: Orders
    process: trio.Process
    socket: trio.SocketStream
    ready: trio.Event = attrs.field(factory=trio.Event)
    #: it takes nothing more, or has ended: another may take its place
    leaving: trio.Event = attrs.field(factory=trio.Event)
    why: str = ""  #: it leaves by itself; empty if it has died
    ready_at: float | None = None
    heard_at: float = 0.0  #: its last news
    killed: bool = False

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def name(self) -> str:
        """Such as worker-1."""
        return self.orders.name

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.process.returncode is None

    def has_been_ready_for(self, seconds: float) -> bool:
        """Whether it is that long ago that it said so."""
        return self.ready_at is not None and trio.current_time() - self.ready_at >= seconds

    async def live(self) -> int:
        """Listen until it has ended; its exit code (that of a signal is negative)."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            code = await self.process.wait()
            nursery.cancel_scope.cancel("the process has ended")
        return code

    async def _listen(self) -> None:
        told = b""
        with suppress(trio.BrokenResourceError):
            async for more in self.socket:
                *lines, told = (told + more).split(b"\n")
                for line in lines:
                    self._note(News.read(line))

    def _note(self, news: News) -> None:
        self.heard_at = trio.current_time()
        if news.event == "ready":
            self.ready_at = self.heard_at
            self.ready.set()
        elif news.event == "leaving":
            self.why = news.text
            self.leaving.set()

    async def silence(self, limit: float) -> None:
        """Return when it has given no sign of life for *limit* seconds since it was ready."""
        await self.ready.wait()
        while True:
            before = self.heard_at
            await trio.sleep_until(before + limit)
            await trio.sleep(ONE_LOOK)  # who was stopped reads first what has come meanwhile
            if self.heard_at == before:
                return

    def end(self) -> None:
        """Ask it to end within its grace."""
        self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Ask it to end without a grace."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it, and what its tasks have started, now."""
        if self.running:
            self.killed = True
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.running:  # or its number may be another's by now
            self.process.send_signal(number)


@asynccontextmanager
async def started(orders: Orders, *, quiet: bool = False) -> AsyncIterator[Process]:
    """A process for the body; killed if it has not ended by then.

    With *quiet*, what it prints goes to stderr: stdout is for something else.
    """
    ours, its = socket.socketpair()
    with its:
        command = [sys.executable, "-m", "actorq.cli.serving.child", str(its.fileno())]
        # once it has begun it cannot be cancelled: no process stays that nobody knows
        process = await trio.lowlevel.open_process(
            [*command, orders.name, orders.broker],  # for people who read `ps`
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if quiet else None,
            pass_fds=(its.fileno(),),
            # a Ctrl-C is for us alone, and a kill takes what its tasks have started with it
            process_group=0,
        )
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    child = Process(orders, process, stream)
    try:
        with suppress(trio.BrokenResourceError):
            await stream.send_all(orders.line())
        yield child
    finally:
        child.kill()
        with trio.CancelScope(shield=True):  # a killed process is gone in a moment
            await process.wait()
            await stream.aclose()
