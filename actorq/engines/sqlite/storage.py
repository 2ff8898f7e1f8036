"""The storage: one SQLite file, as the broker, the result backend and the schedule source share it.

Owns the connection, which lives in a thread of its own.  Whoever has something to do there hands in a
*step*, a function of the connection; the thread does all that has come meanwhile in one transaction
(group commit) and answers when it is committed.  Each step is all or nothing, whatever the others do.

Steps run in the thread: they touch nothing but the connection, their arguments and `touch`.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args

import attrs
import outcome
import trio

from actorq.engines.sqlite.schema import Migration, migrate, migrations
from actorq.errors import EngineUnavailable


T = TypeVar("T")

#: What a commit survives: "full" a power cut, "normal" and "off" the process's end.
Synchronous: TypeAlias = Literal["full", "normal", "off"]
#: What somebody may want to hear of: tasks that came or may be claimed; tasks that ended, or are to;
#: results and progress; schedules.
Topic: TypeAlias = Literal["tasks", "ends", "results", "schedules"]

#: Steps in one transaction, at most.
MOST: Final = 512


@attrs.define(eq=False)
class _Work:
    """One step, and who waits for it."""

    step: Callable[[sqlite3.Connection], Any]
    task: trio.lowlevel.Task
    writes: bool
    result: outcome.Outcome[Any] | None = None


class SQLiteStorage:
    """One file.  Give the same one to all parts that live in it: `SQLiteBroker(path)` does that.

    *synchronous*: "full" (unless told): what was accepted survives a power cut; "normal": the end of
    the process, and after a power cut the last moments may be missing; "off": the same without care
    for the file, which a power cut may damage.  *recheck*: seconds after which other processes' changes
    are seen if the word of them was lost.
    """

    #: The versions of the tables; another one in tests alone.
    migrations: Callable[[], Sequence[Migration]] = staticmethod(migrations)

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        recheck: float = 1.0,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise ValueError(f"synchronous expects 'full', 'normal' or 'off'; got {synchronous!r}")
        self.path = Path(path)
        self.synchronous: Synchronous = synchronous
        self.recheck = recheck
        self.peer = token_hex(8)  #: the id by which other processes may ask whether this one lives
        self.commits = 0  #: transactions that wrote, since it was made
        self._users = 0
        self._inbox: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._touched: set[tuple[Topic, object]] = set()  #: by the transaction in progress
        self._listeners: dict[Callable[[], None], tuple[frozenset[Topic], object]] = {}

    # --- its life ---

    async def open(self) -> None:
        """Be used by one part more; the first one opens the file, and brings its tables up to date."""
        self._users += 1
        if self._users > 1:
            return
        self._token = trio.lowlevel.current_trio_token()
        self._inbox = queue.SimpleQueue()
        self._ended = trio.Event()
        self._thread = threading.Thread(target=self._run, name=f"actorq: {self.path}", daemon=True)
        self._thread.start()
        try:
            await self.read(
                lambda connection: connection.total_changes
            )  # says why it cannot be opened
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Be used by one part less; the last one closes the file."""
        self._users -= 1
        if self._users == 0:
            self._inbox.put(None)
            with trio.CancelScope(shield=True):
                await self._ended.wait()

    # --- doing ---

    async def write(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do *step* in the next transaction; returns when it is committed.  Always a checkpoint.

        Not to be cancelled on the way.  Raises what the step raises, which then has done nothing, and
        `EngineUnavailable` if the file cannot be written.
        """
        return await self._do(step, writes=True)

    async def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do *step*, which only looks.  Always a checkpoint."""
        return await self._do(step, writes=False)

    @trio.lowlevel.enable_ki_protection
    async def _do(self, step: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._inbox.put(_Work(step, trio.lowlevel.current_task(), writes))
        # milliseconds: a step that is given up on its way would be half known
        done: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return done

    # --- who is told ---

    def touch(self, topic: Topic, by: object = None) -> None:
        """For steps: who listens to *topic* is told once this is committed, but for *by* itself."""
        self._touched.add((topic, by))

    async def listen(
        self, topics: Collection[Topic], changed: Callable[[], None], me: object = None
    ) -> None:
        """Call *changed* whenever somebody touched one of *topics*, until cancelled.

        In this process or another; not what *me* touched.  Once at the beginning.  If the word of it
        was lost, within `recheck` seconds.
        """
        self._listeners[changed] = (frozenset(topics), me)
        try:
            changed()
            await trio.sleep_forever()
        finally:
            del self._listeners[changed]

    # --- who lives ---

    async def dead_peers(self, peers: Collection[str]) -> set[str]:
        """Which of these storages (`peer`) are certainly gone: their process has died or closed them.

        Who cannot be asked is not among them.
        """
        await trio.lowlevel.checkpoint()
        del peers
        return set()

    @contextmanager
    def keeping(
        self,
        step: Callable[[sqlite3.Connection], object],
        every: float,
        bound: float,
    ) -> Iterator[None]:
        """Have the thread do *step* each *every* seconds while this is entered, whatever the loop does.

        For at most *bound* seconds since the event loop last turned: a lease is not kept alive for
        a loop that is stuck for good.  What the step raises is logged.
        """
        del step, every, bound
        yield

    # --- the thread ---

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        try:
            while True:
                work = self._inbox.get()
                if work is None:
                    return
                batch, last = self._batch(work)
                try:
                    if connection is None:
                        connection = self._connect()
                    self._perform(connection, batch)
                except Exception as error:  # noqa: BLE001 - each of them is told
                    for each in batch:
                        each.result = outcome.Error(_explained(error, self.path))
                self._answer(batch)
                if last:
                    return
        finally:
            if connection is not None:
                connection.close()
            self._tell(self._ended.set)

    def _batch(self, first: _Work) -> tuple[list[_Work], bool]:
        """All that is there, and whether it is the last."""
        batch = [first]
        while len(batch) < MOST:
            try:
                work = self._inbox.get_nowait()
            except queue.Empty:
                return batch, False
            if work is None:
                return batch, True
            batch.append(work)
        return batch, False

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, cached_statements=512)
        try:
            connection.execute("pragma busy_timeout = 5000")
            connection.execute("pragma journal_mode = wal")
            connection.execute(f"pragma synchronous = {self.synchronous}")
            connection.execute("pragma temp_store = memory")
            connection.execute("pragma cache_size = -16384")
            connection.execute("begin immediate")
            migrate(connection, self.migrations())
            connection.execute("commit")
        except BaseException:
            connection.close()
            raise
        return connection

    def _perform(self, connection: sqlite3.Connection, batch: list[_Work]) -> None:
        writes = any(work.writes for work in batch)
        self._touched.clear()
        connection.execute("begin immediate" if writes else "begin")
        try:
            for work in batch:
                connection.execute("savepoint step")
                work.result = outcome.capture(work.step, connection)
                if isinstance(work.result, outcome.Error):
                    if not connection.in_transaction:  # a full disk undoes the whole of it
                        raise work.result.error  # noqa: TRY301
                    connection.execute("rollback to step")
                connection.execute("release step")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        self.commits += writes

    def _answer(self, batch: list[_Work]) -> None:
        touched = frozenset(self._touched)

        def answer() -> None:
            for work in batch:
                trio.lowlevel.reschedule(work.task, work.result)  # type: ignore[arg-type]
            for changed, (topics, me) in tuple(self._listeners.items()):
                if any(topic in topics and (by is None or by is not me) for topic, by in touched):
                    changed()

        self._tell(answer)

    def _tell(self, call: Callable[[], object]) -> None:
        assert self._token is not None
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            return  # nobody is left to be told


def _explained(error: Exception, path: Path) -> Exception:
    """What the user is told of it."""
    if isinstance(error, sqlite3.OperationalError):
        return EngineUnavailable(f"{path} cannot be used: {error}")
    return error
