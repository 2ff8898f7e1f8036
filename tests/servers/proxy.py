"""A TCP proxy that ill-treats what goes through it: cuts, freezes, delays, refuses, when it is told.

It runs in a thread, so that tests of any kind and other processes can go through it while a test
controls it.  Every method may be called from any thread, is done when it returns, and blocks for
microseconds only.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, TypeVar

import attrs
import trio


Way: TypeAlias = Literal["requests", "replies"]
WAYS: Final[tuple[Way, ...]] = ("requests", "replies")
T = TypeVar("T")


@attrs.define
class _Cut:
    """One that is to come."""

    left: int  #: bytes that may still pass
    way: Way
    reset: bool


@attrs.define(eq=False)
class _Link:
    """A connection through the proxy."""

    client: trio.SocketStream
    scope: trio.CancelScope
    server: trio.SocketStream | None = None


class Proxy:
    """A context manager: while it is open, `port` leads to *target*, a port of this machine."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delays: dict[Way, float] = {"requests": 0.0, "replies": 0.0}  #: seconds
        self.accepted = 0  #: connections, in all
        self.passed: dict[Way, int] = {"requests": 0, "replies": 0}  #: bytes, in all
        self.were_cut = 0  #: connections
        self._links: set[_Link] = set()
        self._cuts: list[_Cut] = []
        self._open = dict.fromkeys(WAYS, True)
        self._changed = trio.Event()
        self._listener: trio.SocketListener | None = None
        self._plain: socket.socket
        self._listening = trio.CancelScope()
        self._nursery: trio.Nursery
        self._token: trio.lowlevel.TrioToken
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._main, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._close)
        self._thread.join()

    # --- what it can be told ---

    @property
    def connections(self) -> int:
        """How many are open now."""
        return self._do(lambda: len(self._links))

    def cut(self, *, reset: bool = False) -> None:
        """Cut all connections, now; with *reset* as if the other machine had forgotten them."""
        self._do(lambda: self._cut_all(reset))

    def cut_after(self, size: int, way: Way = "requests", *, reset: bool = False) -> None:
        """Let so many bytes more pass that way, and cut the connection on which the last one did.

        For the middle of a command, take fewer bytes than it has.  Several of these wait for their
        bytes at the same time.
        """
        self._do(lambda: self._cuts.append(_Cut(size, way, reset)))

    @property
    def cuts_to_come(self) -> int:
        """How many have been ordered with `cut_after` and have not happened."""
        return self._do(lambda: len(self._cuts))

    def spare(self) -> None:
        """Forget the cuts that are to come."""
        self._do(self._cuts.clear)

    def refuse(self) -> None:
        """Nobody listens on the port; what is connected stays."""
        self._do(self._refuse)

    def accept(self) -> None:
        """Listen again."""
        self._do(self._listen)

    def away(self) -> None:
        """Cut everything, and refuse: the network is down, until `accept`."""
        self.refuse()
        self.cut(reset=True)

    def freeze(self, *ways: Way) -> None:
        """Pass nothing on, either way or one: nobody hears that anything is wrong."""
        self._do(lambda: self._open.update(dict.fromkeys(ways or WAYS, False)))

    def thaw(self) -> None:
        """Pass on what has been held, and go on."""
        self._do(self._thaw)

    def delay(self, seconds: float, *ways: Way) -> None:
        """From now on everything takes so much longer, either way or one."""
        for way in ways or WAYS:
            self.delays[way] = seconds

    # --- within ---

    def _do(self, what: Callable[[], T]) -> T:
        done: Future[T] = Future()

        def do() -> None:
            try:
                done.set_result(what())
            except BaseException as error:
                done.set_exception(error)

        self._token.run_sync_soon(do)
        return done.result(timeout=10)

    def _main(self) -> None:
        try:
            trio.run(self._run)
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _run(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._token = trio.lowlevel.current_trio_token()
            self._listen()
            self._ready.set_result(None)
            await trio.sleep_forever()  # also when nobody listens and nobody is connected

    def _close(self) -> None:
        self._refuse()
        self._nursery.cancel_scope.cancel(reason="the proxy is closed")

    def _listen(self) -> None:
        if self._listener is not None:
            return
        plain = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plain.bind(("127.0.0.1", self.port))
        plain.listen(128)
        self.port = plain.getsockname()[1]
        plain.setblocking(False)
        self._plain = plain
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(plain))
        self._listening = trio.CancelScope()
        self._nursery.start_soon(self._take_in, self._listener, self._listening)

    def _refuse(self) -> None:
        if self._listener is not None:
            with suppress(BlockingIOError):  # who has connected already is not to be refused
                while True:
                    waiting, _ = self._plain.accept()
                    waiting.setblocking(False)
                    client = trio.SocketStream(trio.socket.from_stdlib_socket(waiting))
                    self._nursery.start_soon(self._serve, client)
            self._listener.socket.close()
            self._listener = None
            self._listening.cancel(reason="told to refuse")

    async def _take_in(self, listener: trio.SocketListener, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                try:
                    client = await listener.accept()
                except trio.ClosedResourceError:
                    return
                self._nursery.start_soon(self._serve, client)

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        link = _Link(client, trio.CancelScope())
        self._links.add(link)
        try:
            with link.scope:
                try:
                    link.server = await trio.open_tcp_stream("127.0.0.1", self.target)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._carry, link, "requests", client, link.server)
                        nursery.start_soon(self._carry, link, "replies", link.server, client)
                except* OSError:
                    pass  # nobody is there: for the client, its connection broke
        finally:
            self._links.discard(link)
            client.socket.close()
            if link.server is not None:
                link.server.socket.close()

    async def _carry(
        self, link: _Link, way: Way, source: trio.SocketStream, sink: trio.SocketStream
    ) -> None:
        put, take = trio.open_memory_channel[tuple[float, bytes]](64)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, source, put)
            async for arrived, data in take:
                await trio.sleep_until(arrived + self.delays[way])
                while not self._open[way]:
                    await self._changed.wait()
                await self._pass(link, way, data, sink)
        link.scope.cancel(reason="one side has closed")

    async def _read(
        self, source: trio.SocketStream, put: trio.MemorySendChannel[tuple[float, bytes]]
    ) -> None:
        async with put:
            try:
                while data := await source.receive_some(1 << 16):
                    await put.send((trio.current_time(), data))
            except trio.BrokenResourceError:
                pass

    async def _pass(self, link: _Link, way: Way, data: bytes, sink: trio.SocketStream) -> None:
        cuts = [each for each in self._cuts if each.way == way]
        for each in cuts:
            each.left -= len(data)
        due = [each for each in cuts if each.left <= 0]
        if not due:
            self.passed[way] += len(data)
            try:
                await sink.send_all(data)
            except trio.BrokenResourceError:
                link.scope.cancel(reason="the other side has closed")
            return
        first = min(due, key=lambda each: each.left)
        self._cuts.remove(first)
        part = data[: len(data) + first.left]
        for each in due:  # those are for the next connection
            if each is not first:
                each.left = max(1, each.left - first.left)
        self.passed[way] += len(part)
        with suppress(trio.BrokenResourceError):
            await sink.send_all(part)
        self._cut(link, first.reset)

    def _cut_all(self, reset: bool) -> None:
        for link in [*self._links]:
            self._cut(link, reset)

    def _cut(self, link: _Link, reset: bool) -> None:
        self.were_cut += 1
        if reset:
            for stream in (link.client, link.server):
                if stream is not None and stream.socket.fileno() >= 0:
                    linger = struct.pack("ii", 1, 0)
                    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        link.scope.cancel(reason="cut")

    def _thaw(self) -> None:
        self._open = dict.fromkeys(WAYS, True)
        self._changed.set()
        self._changed = trio.Event()
