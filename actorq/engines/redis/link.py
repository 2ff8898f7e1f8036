"""One connection to a Redis server: a command at a time, or what is pushed.

Its own few lines instead of a client library: on Trio a call of ours costs 22 us of CPU here, and about
155 with the library that knows all of Redis.  Raw sockets, since `trio.SocketStream` costs half as much
again; TLS goes through `trio.SSLStream`.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import trio

from actorq.engines.redis.where import Address
from actorq.engines.remote.storage import Interrupted, NotSent


#: Bytes that are read at once.
READ: Final = 1 << 16
READ_MORE: Final = 1 << 20
#: Seconds without a sign of life before the kernel asks, and between its questions.
KEEPALIVE: Final = 30
BETWEEN: Final = 10


class ServerSaid(Exception):
    """An error that the server answered: the command was not done."""

    @property
    def code(self) -> str:
        """Its first word."""
        return str(self).partition(" ")[0]


class _More(Exception):
    """The reply is not whole.  Its argument: how many bytes there must be, at least."""


class Link:
    """One connection.  Cancelled within a call, it is to be closed."""

    def __init__(
        self, address: Address, plain: socket.socket, secure: trio.SSLStream[Any] | None
    ) -> None:
        self.address = address
        self.closed = False
        self._plain = plain  #: watched and peeked at, and read from unless there is TLS
        self._secure = secure
        self._buffer = bytearray()

    @classmethod
    async def open(cls, address: Address, context: ssl.SSLContext | None = None) -> Link:
        """Connect; raises `NotSent`, with why."""
        try:
            if address.port:
                stream = await trio.open_tcp_stream(address.host, address.port)
            else:
                stream = await trio.open_unix_socket(address.host)
        except OSError as error:
            raise NotSent(f"no connection to {address}: {_reason(error)}") from error
        if address.port:
            _keep_alive(stream.socket)
        if context is None:
            plain = socket.socket(fileno=stream.socket.detach())
            plain.setblocking(False)
            return cls(address, plain, None)
        secure = trio.SSLStream(
            stream, context, server_hostname=address.host, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise NotSent(f"no TLS with {address}: {_reason(error.__cause__ or error)}") from error
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        # a second handle of the same socket: one is watched by us, the other by Trio
        return cls(address, socket.socket(fileno=_duplicate(stream.socket)), secure)

    def close(self) -> None:
        """At once, whoever waits for it: they get `Interrupted`."""
        if self.closed:
            return
        self.closed = True
        if self._secure is not None:
            inner: Any = self._secure.transport_stream
            inner.socket.close()
        else:
            with suppress(RuntimeError):  # no Trio here any more
                trio.lowlevel.notify_closing(self._plain)
        self._plain.close()

    def is_fresh(self) -> bool:
        """Whether nothing says that the other side has gone."""
        if self.closed or self._buffer:
            return False
        try:
            waiting = self._plain.recv(1, socket.MSG_PEEK | getattr(socket, "MSG_DONTWAIT", 0))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return bool(waiting) and self._secure is not None  # TLS has words of its own

    async def call(self, *command: bytes) -> Any:
        """Its reply: bytes, int, None, or a list; an error within a list is a `ServerSaid`.

        Raises `ServerSaid`, `NotSent` or `Interrupted`; after the last two, close it.
        """
        await self.send(*command)
        reply = await self.read()
        if isinstance(reply, ServerSaid):
            raise reply
        return reply

    async def send(self, *command: bytes) -> None:
        """A command whose reply is read later."""
        data = encoded(command)
        if self._secure is not None:
            try:
                await self._secure.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Interrupted(f"{self.address}: {_reason(error.__cause__ or error)}") from error
            return
        sent = 0
        try:
            while True:
                with suppress(BlockingIOError):
                    sent += self._plain.send(memoryview(data)[sent:])
                if sent == len(data):
                    return
                await trio.lowlevel.wait_writable(self._plain)
        except (OSError, trio.ClosedResourceError) as error:
            # a command that is not whole is not done
            raise NotSent(f"{self.address}: {_reason(error)}") from error

    async def read(self) -> Any:
        """The next reply, or what is pushed; an error is a `ServerSaid`.  Cancelled, nothing is lost."""
        needed = 1
        while True:
            if len(self._buffer) >= needed:
                try:
                    reply, end = decoded(self._buffer, 0)
                except _More as more:
                    needed = more.args[0]
                    continue
                del self._buffer[:end]
                return reply
            await self._read_some(needed - len(self._buffer))

    async def _read_some(self, missing: int) -> None:
        size = READ if missing <= READ else min(missing, READ_MORE)
        try:
            if self._secure is not None:
                data = bytes(await self._secure.receive_some(size))
            else:
                await trio.lowlevel.wait_readable(self._plain)
                try:
                    data = self._plain.recv(size)
                except BlockingIOError:
                    return
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Interrupted(f"{self.address}: {_reason(error.__cause__ or error)}") from error
        if not data:
            raise Interrupted(f"{self.address} closed the connection")
        self._buffer += data


def encoded(command: Sequence[bytes]) -> bytes:
    """A command as it is sent."""
    parts = [b"$%d\r\n%b\r\n" % (len(each), each) for each in command]
    return b"*%d\r\n%b" % (len(command), b"".join(parts))


def decoded(buffer: bytearray, begin: int) -> tuple[Any, int]:
    """The reply that begins there, and where it ends."""
    end = buffer.find(b"\r\n", begin)
    if end < 0:
        raise _More(len(buffer) + 1)
    kind, line = buffer[begin], bytes(buffer[begin + 1 : end])
    end += 2
    match kind:
        case 36:  # $
            size = int(line)
            if size < 0:
                return None, end
            if len(buffer) < end + size + 2:
                raise _More(end + size + 2)
            return bytes(buffer[end : end + size]), end + size + 2
        case 42:  # *
            size = int(line)
            if size < 0:
                return None, end
            found = []
            for _ in range(size):
                one, end = decoded(buffer, end)
                found.append(one)
            return found, end
        case 43:  # +
            return line, end
        case 45:  # -
            return ServerSaid(line.decode("utf-8", "replace")), end
        case 58:  # :
            return int(line), end
        case _:
            raise Interrupted(f"what answers does not speak Redis: {bytes(buffer[begin:end])!r}")


def _keep_alive(connection: Any) -> None:
    """A server that vanished without a word is noticed by who only listens."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", KEEPALIVE), ("TCP_KEEPINTVL", BETWEEN)):
        option = getattr(socket, name, None)
        if option is not None:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, seconds)


def _duplicate(connection: Any) -> int:
    copy: int = connection.dup().detach()
    return copy


def _system(error: BaseException) -> str:
    """The text of its number, such as "Connection refused"; empty where it has none."""
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""


def _reason(error: BaseException) -> str:
    """What the system said.  Trio's own text of a failed connection says only that it failed."""
    if isinstance(tried := error.__cause__, BaseExceptionGroup):  # each address of a name
        reasons = [_system(each) or _reason(each) for each in tried.exceptions]
        return "; ".join(dict.fromkeys(reasons))
    return str(error) or type(error).__name__
