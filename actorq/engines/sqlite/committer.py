"""The committer: the thread that owns the connection and does all that has come meanwhile in one
transaction (group commit).

Each step is all or nothing, whatever the others of its transaction do.  Besides, as long as somebody
wants it: a look at the file each `recheck` seconds, and steps that are repeated while the event loop is
stuck.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import attrs
import outcome
import trio

from actorq.engines.sqlite.checkpoint import Checkpoints
from actorq.engines.sqlite.connection import Synchronous, begin, connect, patiently
from actorq.engines.sqlite.inbox import Inbox, Step, Work
from actorq.engines.sqlite.peers import Peers
from actorq.engines.sqlite.rounds import Round
from actorq.engines.sqlite.schema import Migration, migrate, newer, version_of
from actorq.engines.sqlite.troubles import Identity, Uncertain, explained, spoils_connection
from actorq.errors import EngineUnavailable


log = logging.getLogger("actorq.sqlite")

#: Seconds of rest after an error that nobody expected, lest it comes back at once for ever.
SHOCK: Final = 0.05
#: What somebody may want to hear of: tasks that came or may be claimed; tasks that ended, or are to;
#: results and progress; schedules; that somebody looks at the workers' lines; those lines.
Topic: TypeAlias = Literal["tasks", "ends", "results", "schedules", "looks", "lines"]

#: Seconds after which it is looked at the file more closely, and before reading, too.
LOOK: Final = 0.2
#: Seconds to wait for the write lock in order to say that we leave: our shut socket tells it too.
FAREWELL: Final = 1.0


@attrs.define(eq=False)
class Keep:
    """A step that is repeated while the event loop is stuck, but not for ever."""

    step: Step
    every: float
    bound: float
    due: float  #: on the monotonic clock


@attrs.define(eq=False)
class Committer:
    """The thread.  What is not said to be otherwise is its own."""

    path: Path
    synchronous: Synchronous
    migrations: Callable[[], Sequence[Migration]]
    peers: Peers
    rounds: Round
    #: Has the event loop call something; raises `trio.RunFinishedError`.
    tell: Callable[[Callable[[], object]], None]
    #: Called there after each transaction: what was done, and what was touched.
    answer: Callable[[Sequence[Work], frozenset[tuple[Topic, object]]], None]
    #: Called there when other processes may have changed anything.
    look: Callable[[], None]

    inbox: Inbox = attrs.field(factory=Inbox)
    watched: bool = False  #: somebody listens; set by the event loop
    keeps: tuple[Keep, ...] = ()  #: set by the event loop
    turned: float = 0.0  #: when the event loop last turned, as far as is known; set there
    tidy: bool = False  #: a checkpoint is wanted; set by the event loop
    died: bool = False  #: a test lets the process die: nothing is committed any more
    commits: int = 0
    touched: list[tuple[Topic, object]] = attrs.field(factory=list)
    _connection: sqlite3.Connection | None = None
    _identity: Identity | None = None
    _checkpoints: Checkpoints = attrs.Factory(lambda self: Checkpoints(self.path), takes_self=True)
    _synced: bool = True  #: the connection's commits wait for the disk, if they ever do
    _looked: float = 0.0
    _hindrance: str = ""  #: why the last checkpoint was not made

    # --- the thread's life ---

    def run(self, ended: Callable[[], object]) -> None:
        """Until the inbox is closed, or the event loop is gone."""
        try:
            while not (self.inbox.closed or self.died):
                batch = self.inbox.take(self._pause())
                try:
                    if batch:
                        self._do(batch)
                        self._tidy()
                    if self.watched or self.keeps:
                        self._on_time()
                except trio.RunFinishedError:
                    raise
                except Exception:  # without this thread, whoever asks next would wait for ever
                    log.exception("%s: the thread that commits goes on", self.path)
                    time.sleep(SHOCK)
        except trio.RunFinishedError:
            pass  # nobody is left to be told
        finally:
            self._leave()
            with contextlib.suppress(trio.RunFinishedError):
                self.tell(ended)

    def _pause(self) -> float | None:
        if not (self.watched or self.keeps):
            return None
        due = [keep.due for keep in self.keeps]
        if self.watched:
            due.append(self.rounds.due)
        return max(0.0, min(due) - time.monotonic())

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if not self.died and connection is not None and self._is_there():
            try:
                begin(connection, self.path, FAREWELL)
                connection.execute("delete from actorq_peers where peer = ?", (self.peers.me,))
                connection.execute("commit")
            except (sqlite3.Error, EngineUnavailable) as why:
                # its socket is shut: that tells
                log.debug("%s: could not sign off: %s", self.path, why)
        self._checkpoints.close(connection)

    def _is_there(self) -> bool:
        try:
            self._check()
        except (EngineUnavailable, OSError):
            return False
        return True

    # --- a transaction ---

    def _do(self, batch: list[Work]) -> None:
        self.touched.clear()
        begun: list[Work] = []
        try:
            writes = any(work.writes for work in batch)
            synced = any(work.synced for work in batch)
            connection = self._begin(writes=writes, synced=synced)
            begun = self.inbox.begin(batch)
            self._perform(connection, begun)
            self.commits += writes
        except Exception as error:  # noqa: BLE001 - each of them is told
            self._undo(error)
            begun = begun or self.inbox.begin(batch)
            for work in begun:
                work.result = outcome.Error(explained(error, self.path))
            self.touched.clear()
        touched = frozenset(self.touched)
        self.tell(lambda: self.answer(begun, touched))
        if touched:
            self.peers.ring({topic for topic, _ in touched})

    def _begin(self, *, writes: bool, synced: bool = True) -> sqlite3.Connection:
        """A connection in a transaction, in which the tables are those that we know."""
        connection = self._connection or self._open()
        quick = time.monotonic() - self._looked < LOOK
        if writes or not quick:
            self._check(quick=quick)
        if writes:
            if synced is not self._synced and self.synchronous == "full":
                self._synced = synced
                connection.execute(f"pragma synchronous = {'full' if synced else 'normal'}")
            begin(connection, self.path)
        else:
            connection.execute("begin")
        known = len(self.migrations())
        version = patiently(self.path, lambda: version_of(connection))
        if version != known:
            if version > known:
                raise newer(version, known)
            raise EngineUnavailable(
                "its tables are gone: the file was emptied or replaced while in use"
            )
        return connection

    def _perform(self, connection: sqlite3.Connection, batch: list[Work]) -> None:
        alone = len(batch) == 1
        for work in batch:
            if alone or not work.writes:
                work.result = outcome.capture(work.step, connection)
            else:
                self._perform_among_others(connection, work)
            if isinstance(work.result, outcome.Error):
                if not connection.in_transaction:  # a full disk undoes the whole of it
                    raise work.result.error
                work.result = outcome.Error(explained(work.result.error, self.path))
                if alone:
                    self.touched.clear()
                    connection.execute("rollback")
                    return
        if self.died:
            raise trio.RunFinishedError
        self._commit(connection)

    def _perform_among_others(self, connection: sqlite3.Connection, work: Work) -> None:
        touched = len(self.touched)
        connection.execute("savepoint step")
        work.result = outcome.capture(work.step, connection)
        if isinstance(work.result, outcome.Error) and connection.in_transaction:
            connection.execute("rollback to step")
            del self.touched[touched:]
        if connection.in_transaction:
            connection.execute("release step")

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_IOERR:
                raise Uncertain(
                    f"the system failed to write {self.path} ({error}): "
                    f"it is not certain whether that was done"
                ) from error
            raise

    def _tidy(self) -> None:
        """After who waits was answered: what may take milliseconds."""
        connection = self._connection
        if connection is None:
            return
        try:
            if self.tidy or self._checkpoints.due():
                self.tidy = False
                self._checkpoints.make(connection)
                self._hindrance = ""
        except (sqlite3.Error, OSError) as why:  # the log grows; nothing is lost
            self._undo(why)
            said = str(explained(why, self.path))
            if said != self._hindrance:  # tried after each step: it is told once
                log.warning("%s: no checkpoint: %s", self.path, said)
            self._hindrance = said

    def _undo(self, error: Exception) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("rollback")
        except sqlite3.Error as why:
            error = why
        if spoils_connection(error) or isinstance(error, Uncertain):
            self._connection = None
            self._checkpoints.close(connection)
            if self._identity is not None:
                self._identity.forget_log()

    # --- the file ---

    def _open(self) -> sqlite3.Connection:
        if self._identity is not None:
            self._check()  # what is there now may be another
        connection = connect(self.path, self.synchronous)
        try:
            begin(connection, self.path)
            migrate(connection, self.migrations())
            self.peers.sign_on(connection)
            connection.execute("commit")
            if self._identity is None:
                self._identity = Identity(self.path)
            self._check()
        except BaseException:
            connection.close()
            raise
        self._connection, self._synced = connection, True
        self.rounds.begin_with(connection)
        return connection

    def _check(self, *, quick: bool = False) -> None:
        if self._identity is not None:
            self._identity.check(quick=quick)
        if not quick:
            self._looked = time.monotonic()

    # --- what is done on time ---

    def _on_time(self) -> None:
        now = time.monotonic()
        for keep in self.keeps:
            if now >= keep.due:
                keep.due = now + keep.every
                self._keep(keep, now)
        if self.watched and now >= self.rounds.due:
            self.rounds.put_off()
            self._look_round()

    def _keep(self, keep: Keep, now: float) -> None:
        if now - self.turned > keep.bound:
            return
        self.tell(self._note_turn)
        self.touched.clear()
        try:
            connection = self._begin(writes=True)
            keep.step(connection)
            self._commit(connection)
            self.commits += 1
        except Exception as error:  # noqa: BLE001 - the next time it may work
            self._undo(error)
            log.warning("%s: %s", self.path, explained(error, self.path))
            return
        if touched := frozenset(self.touched):
            self.tell(lambda: self.answer((), touched))
            self.peers.ring({topic for topic, _ in touched})

    def _note_turn(self) -> None:
        self.turned = time.monotonic()

    def _look_round(self) -> None:
        """Words may have been lost, processes may have died, the file may be gone."""
        try:
            self._check()
            connection = self._connection or self._open()
            changed = self.rounds.made(connection)
            self._tidy()  # others' transactions, in which there are no checkpoints, make the log long
        except Exception as error:  # noqa: BLE001 - who looks is told
            self._undo(error)
            log.debug("%s: %s", self.path, explained(error, self.path))
            changed = True
        if changed:
            self.tell(self.look)
