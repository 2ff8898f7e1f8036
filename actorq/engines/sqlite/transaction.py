"""Enqueueing in a transaction of the user's own, on the file that the queue lives in too.

The tasks are rows of that transaction: they are there if it commits, and never were if it does not.
All is plain synchronous code, for any thread, with or without an open system.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from actorq.call import Enqueueable
from actorq.engines.enqueuing import Enqueuing, id_for
from actorq.engines.sqlite.connection import begin, connect
from actorq.engines.sqlite.peers import ring
from actorq.engines.sqlite.queue import outbox
from actorq.engines.sqlite.queue.accepting import accept_in
from actorq.engines.sqlite.queue.moment import Law, Moment
from actorq.engines.sqlite.result_rows import store_row
from actorq.engines.sqlite.results import SQLiteResultBackend
from actorq.engines.sqlite.schema import migrate, migrations
from actorq.engines.sqlite.troubles import explained, is_busy
from actorq.engines.stored_result import row_of
from actorq.errors import EngineUnavailable
from actorq.message import TaskId, TaskMessage


if TYPE_CHECKING:
    from actorq.configuration import Configuration
    from actorq.engines.sqlite.storage import SQLiteStorage

P = ParamSpec("P")
R = TypeVar("R")


class Transaction:
    """A transaction on the queue's file.  Made by `SQLiteBroker.transaction`."""

    def __init__(self, broker: FileEnqueuing, connection: sqlite3.Connection) -> None:
        self.connection = connection  #: for your own tables; committed at the end of the block
        self._broker = broker
        self._sent: list[TaskMessage] = []

    def enqueue(self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskId:
        """Enqueue one call, if and when the transaction commits; the task's id.

        As `SQLiteBroker.enqueue_in`, on this transaction's connection.
        """
        message, task_id = self._broker._enqueue_in(self.connection, task, args, kwargs)
        if message is not None:
            self._sent.append(message)
        return task_id


class FileEnqueuing(Enqueuing):
    """What a `SQLiteBroker` has for transactions."""

    storage: SQLiteStorage

    def enqueue_in(
        self,
        connection: sqlite3.Connection,
        task: Enqueueable[P, R],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> TaskId:
        """Enqueue one call within the transaction that is open on *connection*; the task's id.

        It is there when you have committed, together with all else that you wrote, and if you roll back
        nothing was enqueued.  *connection* is yours, to the queue's file (`storage.path`), with a
        transaction open that may write: best begun with `begin immediate`.  *task* may be a chain or a
        call, as for `System.enqueue`; where `unique` says so, the id is that of the task which stands
        for it.  For any thread, with or without an open system; `system.handle(task_id)` waits for it.
        Workers find it within the storage's `recheck` seconds of the commit; at once if you
        call `wake()` then, as `transaction()` does.

        Middlewares' `around_send` and `pre_send` run as far as they need not wait: one that does is
        refused with `MiddlewareError`.  `post_send` does not run, for nothing is accepted yet.  Raises
        `ValueError` that says what is wrong with *connection*, `EngineUnavailable`, and else as
        `System.enqueue`; then nothing was enqueued, and your transaction is as it was.
        """
        return self._enqueue_in(connection, task, args, kwargs)[1]

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A transaction on the queue's file, for your own tables and for tasks: all of it, or nothing.

            with broker.transaction() as tx:
                tx.connection.execute("insert into orders values (?)", (order,))
                tx.enqueue(ship, order)

        Committed at the end of the block, and then workers are woken at once; rolled back if the block
        raises.  Other writers of the file wait meanwhile, so do nothing slow in it.  For any thread,
        with or without an open system; in Trio's thread it holds up the loop for its short time, like
        any synchronous call.  Raises `EngineUnavailable` if the file cannot be written.
        """
        path = self.storage.path
        connection: sqlite3.Connection | None = None
        try:
            with _troubles(path):
                connection = connect(path, self.storage.synchronous)
                begin(connection, path)
            transaction = Transaction(self, connection)
            yield transaction
            if not connection.in_transaction:
                raise RuntimeError(
                    "the transaction was ended inside `with broker.transaction()`: leave commit and "
                    "rollback to the end of the block (raise something to roll back)"
                )
            with _troubles(path):
                connection.execute("commit")
        finally:
            if connection is not None:
                connection.close()  # rolls back what is not committed
        if transaction._sent:
            self.wake()
            self._tell_sent(tuple(transaction._sent))

    def wake(self) -> None:
        """Let workers in all processes look for tasks now: after a commit of your own.

        For any thread.  Never raises; who misses it looks within the storage's `recheck` seconds.
        """
        ring(self.storage.path, "tasks", "ends", "results")

    # --- how ---

    def _enqueue_in(
        self,
        connection: sqlite3.Connection,
        work: Enqueueable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[TaskMessage | None, TaskId]:
        """The message, unless another task stands for it; and the id."""
        path = self.storage.path
        check_connection(connection, path)
        with self._sending(work, args, kwargs) as (message, now):
            broker = cast("Configuration", self)
            with _plain_rows(connection), _troubles(path), _savepoint(connection):
                migrate(connection, migrations())  # a file that no broker has opened yet
                stand_ins = accept_in(connection, (message,), broker.wire, now)
                self._store_ends(connection, now)
        if stand_ins is not None and stand_ins[0] != message.task_id:
            return None, stand_ins[0]
        return message, id_for(message)

    def _store_ends(self, connection: sqlite3.Connection, now: float) -> None:
        """Of tasks that this one replaces: no broker has had a hand in it, so none would tell."""
        broker = cast("Configuration", self)
        backend = broker.result_backend
        if not isinstance(backend, SQLiteResultBackend) or backend.storage is not self.storage:
            return  # the next broker that looks after what the dead have left stores them
        if not connection.execute("select 1 from actorq_outbox where peer = ''").fetchone():
            return
        law = Law("", lambda _: None, broker.wire)
        moment = Moment(connection, law, now)
        ends = outbox.after(moment, 0, outbox.MOST)
        for told in ends:
            row = row_of(outbox.outcome(told, broker.wire), broker.wire)
            store_row(connection, row, now, backend.keeping)
        outbox.stored(moment, [told.seq for told in ends])


def check_connection(connection: object, path: Path) -> None:
    """Raise unless it is a connection to the file at *path* with a transaction open."""
    if not isinstance(connection, sqlite3.Connection):
        raise TypeError(
            f"enqueue_in() expects the sqlite3.Connection of your transaction; got {connection!r}. "
            f"SQLAlchemy: session.connection().connection.driver_connection; Django: "
            f"django.db.connection.connection"
        )
    with _plain_rows(connection):
        listed = connection.execute("pragma database_list").fetchall()
    file = next((file for _, name, file in listed if name == "main"), "")
    if not file or not path.exists() or not os.path.samefile(file, path):
        raise ValueError(
            f"enqueue_in() expects a connection to the queue's file, {path.absolute()}; this one is to "
            f"{file or 'a database in memory'}. A transaction covers one file: keep your tables in "
            f"the queue's file, or give the broker the path of yours"
        )
    if not connection.in_transaction:
        raise ValueError(
            "enqueue_in() expects an open transaction, which you commit afterwards; this connection "
            "has none. Begin one first: connection.execute('begin immediate')"
        )


@contextmanager
def _plain_rows(connection: sqlite3.Connection) -> Iterator[None]:
    """The queue reads tuples, whatever the connection's owner reads."""
    factories = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, str
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = factories


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("savepoint actorq_enqueue")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk undoes the whole of it
            connection.execute("rollback to actorq_enqueue")
            connection.execute("release actorq_enqueue")
        raise
    connection.execute("release actorq_enqueue")


@contextmanager
def _troubles(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if is_busy(error):
            raise EngineUnavailable(
                f"{path}: another connection has written since this transaction began to read, or is "
                f"writing: begin it with 'begin immediate', which waits for its turn; nothing was "
                f"enqueued"
            ) from error
        raise explained(error, path) from error
