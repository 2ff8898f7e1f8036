"""Enqueueing in a transaction of the user's own, on the database that the queue lives in too.

The tasks are rows of that transaction, in a table that the next call of any broker empties into the
queue: nothing of the queue itself is locked until the user commits.  PostgreSQL wakes the workers at the
commit.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast, overload
from weakref import WeakSet

import psycopg
import trio
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from actorq.call import Enqueueable
from actorq.engines import sent
from actorq.engines.enqueuing import Enqueuing, id_for
from actorq.engines.postgres.escapes import dumps
from actorq.engines.postgres.migrations import VERSION, newer
from actorq.engines.postgres.trio_connection import TrioConnection
from actorq.engines.postgres.troubles import explained, state_of
from actorq.errors import EngineUnavailable, EnqueueUncertain
from actorq.message import TaskId, TaskMessage


if TYPE_CHECKING:
    from actorq.engines.postgres.broker import PostgresBroker
    from actorq.engines.postgres.storage import PostgresStorage

P = ParamSpec("P")
R = TypeVar("R")

#: What `connection` may be, and how others are had from what one has.
EXPECTED: Final = (
    "enqueue_in() expects the connection of your transaction, a psycopg.Connection or "
    "psycopg.AsyncConnection (or psycopg2's); got {got!r}. SQLAlchemy: "
    "session.connection().connection.driver_connection; Django: django.db.connection.connection, in "
    "transaction.atomic(), after a query or django.db.connection.ensure_connection()"
)


class Transaction:
    """A transaction on the queue's database.  Made by `PostgresBroker.transaction`."""

    def __init__(self, broker: InDatabase, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection  #: for your own tables; committed at the end of the block
        self._broker = broker
        self._sent: list[TaskMessage] = []

    def enqueue(self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskId:
        """Enqueue one call, if and when the transaction commits; the task's id.

        As `PostgresBroker.enqueue_in`, on this transaction's connection.
        """
        message = self._broker._enqueue_at_once(self.connection, task, args, kwargs)
        self._sent.append(message)
        return id_for(message)


class AsyncTransaction:
    """The same, for `async with`."""

    def __init__(self, broker: InDatabase, connection: TrioConnection) -> None:
        self.connection = connection  #: for your own tables; committed at the end of the block
        self._broker = broker
        self._sent: list[TaskMessage] = []

    async def enqueue(
        self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskId:
        """Enqueue one call, if and when the transaction commits; the task's id."""
        message = await self._broker._enqueue_soon(self.connection, task, args, kwargs)
        self._sent.append(message)
        return id_for(message)


class InDatabase(Enqueuing):
    """What a `PostgresBroker` has for transactions."""

    storage: PostgresStorage

    def __init__(self) -> None:
        self._looked_at: WeakSet[Any] = WeakSet()  #: connections on which the schema is there

    @overload
    def enqueue_in(
        self,
        connection: psycopg.AsyncConnection[Any],
        task: Enqueueable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Awaitable[TaskId]: ...

    @overload
    def enqueue_in(
        self,
        connection: Any,
        task: Enqueueable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> TaskId: ...

    def enqueue_in(
        self,
        connection: Any,
        task: Enqueueable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> TaskId | Awaitable[TaskId]:
        """Enqueue one call within the transaction that is open on *connection*; the task's id.

        It is there when you have committed, together with all else that you wrote, and if you roll back
        nothing was enqueued; workers are woken by the commit.  *connection* is yours, to the queue's
        database: psycopg's, with a transaction open (or psycopg2's).  With an asynchronous one,
        await what is returned.  *task* may be a chain or a call, as for `System.enqueue`.  For any
        thread, with or without an open system; `system.handle(task_id)` waits for it.

        Whether a `unique` key is free is found out when you have committed: until then nobody else waits
        for you.  Who waits for a call that was refused gets `DuplicateTask`, and `TaskCancelled` for one
        in whose place another stands.

        Middlewares' `around_send` and `pre_send` run as far as they need not wait: one that does is
        refused with `MiddlewareError`.  `post_send` does not run, for nothing is accepted yet.  Raises
        `ValueError` or `TypeError` that says what is wrong with *connection*; what the database itself
        refuses ends your transaction, as any statement that fails.
        """
        if isinstance(connection, psycopg.AsyncConnection):
            return self._enqueue_later(connection, task, args, kwargs)
        return id_for(self._enqueue_at_once(connection, task, args, kwargs))

    def transaction(self) -> Opening:
        """A transaction on the queue's database, for your own tables and for tasks: all, or nothing.

            with broker.transaction() as tx:
                tx.connection.execute("insert into orders values (%s)", (order,))
                tx.enqueue(ship, order)

        Committed at the end of the block, and then workers are woken; rolled back if the block
        raises.  On a connection of its own, for any thread, with or without an open system.  In Trio
        write `async with`, and await `tx.connection.execute` and `tx.enqueue`.  Raises
        `EngineUnavailable` if the database cannot be written, and `EnqueueUncertain` if the connection
        breaks during the commit.
        """
        return Opening(self)

    # --- how ---

    def _enqueue_at_once(
        self, connection: Any, work: object, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> TaskMessage:
        if not isinstance(connection, psycopg.Connection) and not _is_psycopg2(connection):
            raise TypeError(EXPECTED.format(got=connection))
        _check_transaction(connection)
        with self._sending(work, args, kwargs) as (message, _):
            cursor = connection.cursor()
            try:
                if not self._is_known(connection):
                    cursor.execute(self._where().encode())
                    if not _value(cursor.fetchone()):
                        self._make_schema()  # as we know it; an older snapshot cannot tell
                    else:
                        cursor.execute(self._which().encode())
                        self._check_version(connection, _value(cursor.fetchone()))
                cursor.execute(self._insert().encode(), self._row_of(message))
            finally:
                with suppress(Exception):
                    cursor.close()
        return message

    async def _enqueue_later(
        self,
        connection: psycopg.AsyncConnection[Any],
        work: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> TaskId:
        return id_for(await self._enqueue_soon(connection, work, args, kwargs))

    async def _enqueue_soon(
        self,
        connection: psycopg.AsyncConnection[Any],
        work: object,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> TaskMessage:
        _check_transaction(connection)
        with self._sending(work, args, kwargs) as (message, _):
            if not self._is_known(connection):
                cursor = await connection.execute(self._where().encode())
                if not _value(await cursor.fetchone()):
                    self._make_schema()
                else:
                    cursor = await connection.execute(self._which().encode())
                    self._check_version(connection, _value(await cursor.fetchone()))
            await connection.execute(self._insert().encode(), self._row_of(message))
        return message

    def _is_known(self, connection: Any) -> bool:
        try:
            return connection in self._looked_at
        except TypeError:  # not every class can be referred to weakly
            return False

    def _where(self) -> str:
        return f"select to_regclass('\"{self.storage.schema}\".inbox') is not null"

    def _which(self) -> str:
        # as a number: text comes as bytes where the client's encoding is SQL_ASCII
        return f"select value::int from \"{self.storage.schema}\".meta where key = 'schema'"

    def _insert(self) -> str:
        schema = self.storage.schema
        return (
            f'with told as (insert into "{schema}".inbox (sent, body) '
            f"values (%s::jsonb, %s) returning 1) "
            f"select pg_notify('{schema}:tasks', '[\"\", null]') from told"
        )

    def _row_of(self, message: TaskMessage) -> tuple[str, bytes | None]:
        broker = cast("PostgresBroker", self)
        request = broker.storage.request()
        row = broker._row(request, sent.write(message, broker.wire))
        text = dumps(row)
        if not text.isascii():  # the connection is not ours, and may not know every character
            text = json.dumps(json.loads(text))
        return text, request.blobs[0] if request.blobs else None

    def _check_version(self, connection: Any, version: Any) -> None:
        if version != VERSION:
            raise newer(self.storage.schema, version or "unknown")
        with suppress(TypeError):
            self._looked_at.add(connection)

    def _make_schema(self) -> None:
        """No broker has been opened on this database yet: for that, a connection of our own."""
        storage = self.storage

        async def make() -> None:
            with trio.fail_after(storage.timeout):
                connection = await storage._open_calling()
            connection.drop()

        with ThreadPoolExecutor(1) as thread:
            thread.submit(trio.run, make).result()


class Opening:
    """What `transaction()` returns: to be entered with `with`, or in Trio with `async with`."""

    def __init__(self, broker: InDatabase) -> None:
        self._broker = broker
        self._entered: Transaction | AsyncTransaction | None = None

    def __enter__(self) -> Transaction:
        storage = self._broker.storage
        try:
            connection = psycopg.connect(make_conninfo("", **storage.parameters), autocommit=True)
            connection.execute("begin")
        except psycopg.Error as error:
            raise EngineUnavailable(f"{storage}: {explained(error)}") from error
        self._entered = Transaction(self._broker, connection)
        return self._entered

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entered = self._entered
        assert isinstance(entered, Transaction)
        connection = entered.connection
        try:
            if kind is None:
                _check_end(connection)
                try:
                    connection.execute("commit")
                except psycopg.Error as why:
                    raise self._failed(connection, entered._sent, why) from why
        finally:
            connection.close()  # rolls back what is not committed
        if kind is None:
            self._broker._tell_sent(tuple(entered._sent))

    async def __aenter__(self) -> AsyncTransaction:
        storage = self._broker.storage
        try:
            connection = await TrioConnection.connect(
                make_conninfo("", **storage.parameters), autocommit=True
            )
        except psycopg.Error as error:
            raise EngineUnavailable(f"{storage}: {explained(error)}") from error
        try:
            await connection.execute("begin")
        except BaseException as error:
            connection.drop()
            if isinstance(error, psycopg.Error):
                raise EngineUnavailable(f"{storage}: {explained(error)}") from error
            raise
        self._entered = AsyncTransaction(self._broker, connection)
        return self._entered

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        entered = self._entered
        assert isinstance(entered, AsyncTransaction)
        connection = entered.connection
        try:
            if kind is None:
                _check_end(connection)
                # it is over when the server says so: cancelled in the middle, nobody would know
                with trio.CancelScope(shield=True):
                    try:
                        await connection.execute("commit")
                    except psycopg.Error as why:
                        raise self._failed(connection, entered._sent, why) from why
        finally:
            connection.drop()
        if kind is None:
            self._broker._tell_sent(tuple(entered._sent))

    def _failed(self, connection: Any, sent: list[TaskMessage], why: psycopg.Error) -> Exception:
        storage = self._broker.storage
        if connection.closed or not state_of(why):  # nobody knows whether it was done
            return EnqueueUncertain(tuple([each.task_id for each in sent]))
        return EngineUnavailable(f"{storage}: {explained(why)}; nothing was enqueued")


def _is_psycopg2(connection: object) -> bool:
    return type(connection).__module__.partition(".")[0] == "psycopg2"


def _check_transaction(connection: Any) -> None:
    """Raise unless it has a transaction open, or begins one with its next statement."""
    if connection.closed:
        raise ValueError("enqueue_in() expects an open connection; this one is closed")
    status = int(connection.info.transaction_status)
    if status == TransactionStatus.INERROR:
        raise ValueError(
            "enqueue_in() expects a transaction that can be committed; in this one a statement has "
            "failed: roll it back"
        )
    if status == TransactionStatus.IDLE and connection.autocommit:
        raise ValueError(
            "enqueue_in() expects an open transaction, which you commit afterwards; this connection "
            "has none. Begin one first: with connection.transaction(): ..."
        )


def _check_end(connection: psycopg.Connection[Any] | TrioConnection) -> None:
    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise RuntimeError(
            "a statement failed inside `with broker.transaction()`, and its error was caught: nothing "
            "of the transaction can be committed; it was rolled back"
        )
    if status != TransactionStatus.INTRANS:
        raise RuntimeError(
            "the transaction was ended inside `with broker.transaction()`: leave commit and rollback "
            "to the end of the block (raise something to roll back)"
        )


def _value(row: Any) -> Any:
    """The only column, whatever rows the connection's owner reads."""
    if row is None:
        return None
    if isinstance(row, dict):
        (value,) = row.values()
        return value
    if isinstance(row, tuple | list):
        return row[0]
    (value,) = vars(row).values()
    return value
