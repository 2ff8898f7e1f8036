"""`TrioConnection`: psycopg's asynchronous connection, driven by Trio.

psycopg speaks the protocol in generators, which yield what to wait for; only who waits is asyncio's.
That is what is replaced here: connecting, waiting, cancelling and the lock.  All else of
`psycopg.AsyncConnection` works as it is documented, but for `psycopg_pool` and `notifies()`, in place
of which there is `next_notifies`.  It touches private names of psycopg (`PRIVATE`), hence the upper
bound on its version; tests/postgres/test_trio_connection.py holds it to what we need.
"""

from __future__ import annotations

import logging
import math
import select
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import psycopg
import trio
from psycopg import errors, generators
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_attempts, make_conninfo, timeout_from_conninfo
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready, Wait


if TYPE_CHECKING:
    from psycopg.abc import AdaptContext, ConnParam, PQGen, PQGenConn
    from psycopg.rows import AsyncRowFactory

log = logging.getLogger("actorq.storage")

T = TypeVar("T")

#: What of psycopg's own is used here, and of whom.
PRIVATE: Final = {
    "psycopg.AsyncConnection": (
        "_cancel_gen",
        "_connect_gen",
        "_get_connection_params",
        "_notifies_backlog",
        "_should_cancel",
    ),
    "psycopg.errors": ("_WaitTimeout",),
}

#: Seconds that the server has to obey a cancellation, unless told.
PATIENCE: Final = 5.0

_READ, _WRITE = int(Wait.R), int(Wait.W)
_EVENTS: Final = {
    _READ: select.POLLIN,
    _WRITE: select.POLLOUT,
    _READ | _WRITE: select.POLLIN | select.POLLOUT,
}


class TrioConnection(psycopg.AsyncConnection[Any]):
    """An asynchronous connection to PostgreSQL, for Trio.

    A call that is cancelled is cancelled at the server too, and the connection is as before; if the
    server does not obey within `patience` seconds, the connection is closed.  With no patience it is
    closed at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # asyncio.Lock in psycopg; only `async with` is used of it
        self.lock = cast("Any", QuickLock())
        self.patience = PATIENCE

    @classmethod
    async def connect(
        cls,
        conninfo: str = "",
        *,
        autocommit: bool = False,
        prepare_threshold: int | None = 5,
        context: AdaptContext | None = None,
        row_factory: AsyncRowFactory[Any] | None = None,
        cursor_factory: Any = None,
        **kwargs: ConnParam,
    ) -> Self:
        """As `psycopg.AsyncConnection.connect`; several hosts, and addresses, are tried in turn."""
        params = await cls._get_connection_params(conninfo, **kwargs)
        timeout = timeout_from_conninfo(params)
        # may ask a name server
        attempts = await trio.to_thread.run_sync(conninfo_attempts, params, abandon_on_cancel=True)
        connection: Self | None = None
        failures: list[errors.Error] = []
        for attempt in attempts:
            try:
                connection = await _drive_opening(
                    cls._connect_gen(make_conninfo("", **attempt)), timeout
                )
                break
            except errors._WaitTimeout:
                failures.append(errors.ConnectionTimeout(f"no answer within {timeout:g} s"))
            except errors.Error as error:
                failures.append(error)
        if connection is None:
            if len(failures) == 1:
                raise failures[0]
            raise type(failures[-1])("; ".join(" ".join(f"{each}".split()) for each in failures))
        connection._autocommit = autocommit
        connection.prepare_threshold = prepare_threshold
        if row_factory is not None:
            connection.row_factory = row_factory
        if cursor_factory is not None:
            connection.cursor_factory = cursor_factory
        if context is not None:
            connection._adapters = AdaptersMap(context.adapters)
        return connection

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = 0.1,  # noqa: ARG002 - psycopg's signature
        timeout: float | None = None,
    ) -> T:
        """For psycopg: see it through.  Always a checkpoint, but where nothing had to be waited for."""
        try:
            return await _drive(gen, self.pgconn.socket, timeout)
        except (trio.Cancelled, KeyboardInterrupt, SystemExit):
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                await self._stop(gen)
            raise

    async def _stop(self, gen: PQGen[Any]) -> None:
        """Let the server give up what we wait for, or close the connection."""
        with trio.CancelScope(deadline=trio.current_time() + self.patience, shield=True):
            try:
                if self.patience > 0:
                    await self.cancel_safe(timeout=self.patience)
                    await _drive(gen, self.pgconn.socket, self.patience)
            except Exception as error:  # noqa: BLE001 - its state decides
                log.debug("after a cancellation: %s", error)
        if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
            self.drop()

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Cancel what the connection does, at the server."""
        if not self._should_cancel():
            return
        if psycopg.capabilities.has_cancel_safe():
            try:
                await _drive_opening(self._cancel_gen(), timeout)
            except errors._WaitTimeout:
                raise errors.CancellationTimeout("cancellation timeout expired") from None
        else:  # libpq before 17 waits in its call
            await trio.to_thread.run_sync(self.cancel, abandon_on_cancel=True)

    async def close(self) -> None:
        """Close it; who waits for it is woken.  No checkpoint."""
        self.drop()

    def drop(self) -> None:
        """Close it, at once and without a word to the server that could be waited for."""
        if self.closed:
            return
        trio.lowlevel.notify_closing(self.pgconn.socket)
        self._closed = True
        self.pgconn.finish()

    async def next_notifies(self) -> list[psycopg.Notify]:
        """Wait for at least one notification, and return those that have come."""
        async with self.lock:
            # as psycopg's notifies(): what comes while we wait here is not put into the backlog too
            backlog = self._notifies_backlog
            self._notifies_backlog = None
            try:
                if backlog:
                    found = list(backlog)
                    backlog.clear()
                    return found
                encoding = self.pgconn._encoding
                came: list[Any] = []
                while not came:  # other messages wake us as well
                    came = await self.wait(generators.notifies(self.pgconn))
                return [
                    psycopg.Notify(
                        each.relname.decode(encoding), each.extra.decode(encoding), each.be_pid
                    )
                    for each in came
                ]
            finally:
                self._notifies_backlog = backlog


class QuickLock:
    """One at a time, in turn.  A checkpoint only if somebody has it.

    Trio's own gives way to all other tasks before what is to be sent is sent, and the server waits.
    """

    def __init__(self) -> None:
        self._lock = trio.StrictFIFOLock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


async def _drive(gen: PQGen[T], fd: int, timeout: float | None = None) -> T:
    """See a generator through that works on an open connection."""
    with trio.CancelScope(deadline=_deadline(timeout)):
        try:
            state = next(gen)
            while True:
                state = gen.send(await _wait_for(fd, state))
        except StopIteration as end:
            return cast("T", end.value)
        except (OSError, trio.ClosedResourceError) as error:
            raise errors.OperationalError("the connection was closed") from error
    raise errors._WaitTimeout("no answer in time")


async def _drive_opening(gen: PQGenConn[T], timeout: float | None = None) -> T:
    """See a generator through that opens a connection: its socket may change."""
    with trio.CancelScope(deadline=_deadline(timeout or None)):
        try:
            fd, state = next(gen)
            while True:
                fd, state = gen.send(await _wait_for(fd, state))
        except StopIteration as end:
            return cast("T", end.value)
        except OSError as error:
            raise errors.OperationalError(f"{error}") from error
        finally:
            gen.close()
    raise errors._WaitTimeout("no answer in time")


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else trio.current_time() + timeout


async def _wait_for(fd: int, state: int) -> Ready:
    """Wait until the socket is ready for what psycopg wants.  Not always a checkpoint."""
    if state == _READ:
        await trio.lowlevel.wait_readable(fd)
        return Ready.R
    ready = _ready(fd, state)  # a writable socket is the rule: no trip through Trio's loop
    if ready:
        return Ready(ready)
    if state == _WRITE:
        await trio.lowlevel.wait_writable(fd)
        return Ready.W
    async with trio.open_nursery() as nursery:

        async def wait(until: Any, flag: int) -> None:
            nonlocal ready
            await until(fd)
            ready |= flag
            nursery.cancel_scope.cancel(reason="the socket is ready")

        nursery.start_soon(wait, trio.lowlevel.wait_readable, _READ)
        nursery.start_soon(wait, trio.lowlevel.wait_writable, _WRITE)
    return Ready(ready)


def _ready(fd: int, state: int) -> int:
    poll = select.poll()
    poll.register(fd, _EVENTS[state])
    ready = 0
    for _, event in poll.poll(0):
        if event & ~select.POLLOUT:  # hung up is readable: an error will be read
            ready |= _READ
        if event & select.POLLOUT:
            ready |= _WRITE
    return ready & state or (state if ready else 0)
