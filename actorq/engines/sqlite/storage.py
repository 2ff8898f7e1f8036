"""The storage: one SQLite file, as the broker, the result backend and the schedule source share it.

Whoever has something to do there hands in a *step*, a function of the connection; a thread
(`committer.py`) does all that has come meanwhile in one transaction (group commit) and answers when it
is committed.  Each step is all or nothing, whatever the others do.

Steps run in the thread: they touch nothing but the connection, their arguments and `touch`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, get_args

import trio

from actorq.engines.sqlite import schema
from actorq.engines.sqlite.committer import Committer, Keep, Topic
from actorq.engines.sqlite.connection import Synchronous
from actorq.engines.sqlite.inbox import Work
from actorq.engines.sqlite.maintenance import (
    FileInformation,
    back_up,
    give_back,
    information_of,
    make_anew,
    problems_of,
)
from actorq.engines.sqlite.peers import Peers, dead_among
from actorq.engines.sqlite.rounds import Round
from actorq.engines.sqlite.schema import Migration


__all__ = ["SQLiteStorage", "Synchronous", "Topic"]

T = TypeVar("T")


class SQLiteStorage:
    """One file.  Give the same one to all parts that live in it: `SQLiteBroker(path)` does that.

    *synchronous*: "full" (unless told): what was accepted survives a power cut; "normal": the end of
    the process, and after a power cut the last moments may be missing; "off": the same without care
    for the file, which a power cut may damage.  *recheck*: seconds (1.0 unless told) after which other
    processes' changes are seen if the word of them was lost, and the death of a process is noticed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: Synchronous = "full",
        recheck: float = 1.0,
    ) -> None:
        if synchronous not in get_args(Synchronous):
            raise ValueError(f"synchronous expects 'full', 'normal' or 'off'; got {synchronous!r}")
        if not recheck > 0:
            raise ValueError(f"recheck expects seconds, more than 0; got {recheck!r}")
        if str(path).startswith((":memory:", "file:")):
            raise ValueError(
                f"SQLiteStorage expects the path of a file, got {str(path)!r}; for a queue in "
                f"memory use InMemoryBroker()"
            )
        self.path = Path(path).absolute()  # a job may change the folder it is in
        self.synchronous: Synchronous = synchronous
        self.recheck = recheck
        self._users = 0
        self._opening = trio.Lock()
        self._peers = Peers(self.path)
        self._committer = self._new_committer()
        self._ended = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._closes = False
        self._listeners: dict[Callable[[], None], tuple[frozenset[Topic], object]] = {}

    @staticmethod
    def migrations() -> Sequence[Migration]:
        """The versions of the tables; others in tests alone."""
        return schema.migrations()

    @property
    def peer(self) -> str:
        """The id by which other processes may ask whether this one lives; new at each opening."""
        return self._peers.me

    @property
    def commits(self) -> int:
        """Transactions that wrote, since it was opened."""
        return self._committer.commits

    # --- its life ---

    async def open(self) -> None:
        """Be used by one part more; the first one opens the file, and brings its tables up to date.

        Raises `EngineUnavailable` if the file cannot be used, with why and what to do.
        """
        async with self._opening:
            if self._users == 0:
                await self._open()
            elif self._token is not trio.lowlevel.current_trio_token():
                raise RuntimeError(f"{self.path}: this storage is open in another trio.run()")
            self._users += 1

    async def _open(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._closes = False
        self._ended = trio.Event()
        self._peers = Peers(self.path)
        self._committer = self._new_committer()
        thread = threading.Thread(
            target=self._committer.run,
            args=(self._ended.set,),
            name=f"actorq: {self.path}",
            daemon=True,  # a run of Trio that crashes cannot end it
        )
        thread.start()
        try:
            await self._do(lambda _: None, writes=False)  # says why it cannot be opened
        except BaseException:
            await self._close()
            raise

    async def close(self) -> None:
        """Be used by one part less; the last one closes the file."""
        with trio.CancelScope(shield=True):  # it is at its last transaction
            async with self._opening:  # who opens it meanwhile has to wait for another thread
                self._users -= 1
                if self._users == 0:
                    await self._close()

    async def _close(self) -> None:
        self._closes = True  # what is put in after that nobody would ever answer
        self._committer.inbox.close()
        with trio.CancelScope(shield=True):
            await self._ended.wait()
        self._peers.sign_off()
        self._token = None

    def die(self) -> None:
        """For tests: as if the process was killed, now.  What is not committed never will be."""
        self._committer.died = True
        self._committer.inbox.close()
        self._peers.die()
        self._users = 0
        self._token = None

    def _new_committer(self) -> Committer:
        return Committer(
            path=self.path,
            synchronous=self.synchronous,
            rounds=Round(self.path, self.recheck, self._peers),
            migrations=type(self).migrations,
            peers=self._peers,
            tell=self._tell,
            answer=self._answer,
            look=self._look,
        )

    # --- doing ---

    async def write(self, step: Callable[[sqlite3.Connection], T], *, synced: bool = True) -> T:
        """Do *step* in the next transaction; returns when it is committed.  Always a checkpoint.

        To be cancelled only as long as it has not begun.  Raises what the step raises, which then has
        done nothing, and `EngineUnavailable` if the file cannot be written.  *synced*: whether it has
        to survive a power cut, if the storage's `synchronous` is "full"; otherwise it does as
        soon as anything that comes after it does.
        """
        return await self._do(step, writes=True, synced=synced)

    async def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Do *step*, which only looks.  Always a checkpoint."""
        return await self._do(step, writes=False)

    @trio.lowlevel.enable_ki_protection
    async def _do(
        self, step: Callable[[sqlite3.Connection], T], *, writes: bool, synced: bool = False
    ) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._token is None or self._closes:
            raise RuntimeError(
                f"{self.path}: this storage is not open; `await storage.open()` first"
            )
        work = Work(step, trio.lowlevel.current_task(), writes, synced)
        inbox = self._committer.inbox

        def abort(_: Callable[[], Any]) -> trio.lowlevel.Abort:
            given_up = inbox.give_up(work)
            return trio.lowlevel.Abort.SUCCEEDED if given_up else trio.lowlevel.Abort.FAILED

        inbox.put(work)
        done: T = await trio.lowlevel.wait_task_rescheduled(abort)
        return done

    # --- who is told ---

    def touch(self, topic: Topic, by: object = None) -> None:
        """For steps: who listens to *topic* is told once this is committed, but for *by* itself."""
        self._committer.touched.append((topic, by))

    async def listen(
        self, topics: Collection[Topic], changed: Callable[[], None], me: object = None
    ) -> None:
        """Call *changed* whenever somebody touched one of *topics*, until cancelled.

        In this process or another; not what *me* touched.  Once at the beginning.  If the word of it
        was lost, within `recheck` seconds; and when a process that had the file open has died.
        """
        self._listeners[changed] = (frozenset(topics), me)
        self._watch()
        try:
            with self._peers.hearing(topics) as heard:
                changed()
                if heard is None:
                    await trio.sleep_forever()
                while True:
                    await trio.lowlevel.wait_readable(heard)
                    with suppress(OSError):
                        while heard.recv(1):
                            pass
                    changed()
        finally:
            del self._listeners[changed]
            self._watch()

    def _watch(self) -> None:
        self._committer.watched = bool(self._listeners)
        self._committer.inbox.nudge()

    def _answer(self, works: Sequence[Work], touched: frozenset[tuple[Topic, object]]) -> None:
        self._committer.turned = time.monotonic()
        for work in works:
            trio.lowlevel.reschedule(work.task, work.result)  # type: ignore[arg-type]
        if touched:
            for changed, (topics, me) in tuple(self._listeners.items()):
                if any(topic in topics and (by is None or by is not me) for topic, by in touched):
                    changed()

    def _look(self) -> None:
        for changed in tuple(self._listeners):
            changed()

    def _tell(self, call: Callable[[], object]) -> None:
        token = self._token
        if token is None:
            raise trio.RunFinishedError
        token.run_sync_soon(call)

    # --- who lives ---

    async def dead_peers(self, peers: Collection[str]) -> set[str]:
        """Which of these storages (`peer`) are certainly gone: their process has died or closed them.

        Who cannot be asked is not among them.
        """
        return await self.read(lambda connection: dead_among(connection, self._peers, peers))

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
        keep = Keep(step, every, bound, time.monotonic() + every)
        committer = self._committer
        committer.turned = time.monotonic()
        committer.keeps = (*committer.keeps, keep)
        committer.inbox.nudge()
        try:
            yield
        finally:
            committer.keeps = tuple(each for each in committer.keeps if each is not keep)

    # --- care, while it is open ---

    async def information(self) -> FileInformation:
        """Sizes, versions, settings, and who has it open."""
        return await self.read(
            lambda connection: information_of(
                connection, self.path, self.synchronous, self.recheck, push=self._peers.push
            )
        )

    async def backup(self, target: str | os.PathLike[str]) -> None:
        """Copy the file as it is at one moment to *target*, while tasks go on.

        A file of that name is replaced, when the copy is whole; cancelled, nothing is left.  Put in the
        file's place, what was running at that moment runs again, and what ended since does, too.
        Raises `ValueError` if *target* is a folder, this file, or a database in use.
        """
        await back_up(self.path, Path(target))

    async def check(self, *, thorough: bool = False) -> list[str]:
        """What is wrong with the file, for people; nothing if it is sound.

        Its structure, its tables, and what must hold between their rows; *thorough* (False unless
        told): its indexes, too.  Tasks go on; takes about a second for each gigabyte, *thorough*
        several.
        """
        return await problems_of(self.path, self.migrations(), thorough=thorough)

    async def vacuum(self, *, full: bool = False) -> int:
        """Give free pages back to the system; how many bytes smaller the file is.

        In slices of milliseconds, while tasks go on; many free pages are given back so without being
        asked.  *full* (False unless told): write the whole file anew, without holes; nobody
        else writes meanwhile, and there must be room for it twice.  Needed once for a file that
        was there before it had a queue: its pages cannot be given back otherwise.
        """
        before = (await self.information()).size
        if full:
            await make_anew(self.path)
        else:
            left = -1
            while (now := await self.write(give_back)) not in (0, left):
                left = now
        self._committer.tidy = True  # what is in the log makes the file no smaller
        await self.write(lambda _: None)
        return before - (await self.information()).size
