"""Troubles: what a user is told when the file cannot be used, instead of SQLite's word for it.

`EngineUnavailable` says that nothing was done; who cannot be certain of that passes the error itself on.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from actorq.errors import EngineUnavailable


#: File systems that many machines see: the lock table of WAL is in memory, which these do not share.
REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "afs"}
)
#: Where WAL's write lock lies in the `-shm` file: byte 120, by SQLite's file format.
WRITE_LOCK: Final = "120"
#: Characters of another process's command line.
SHOWN: Final = 200


class Uncertain(Exception):
    """A commit failed in a way that does not tell whether it is in the file."""


def code_of(error: BaseException) -> int:
    """SQLite's primary result code; 0: the error is none of SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def is_busy(error: BaseException) -> bool:
    """Whether somebody else has the lock that it takes."""
    return code_of(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def spoils_connection(error: BaseException) -> bool:
    """Whether it is better to open the file anew."""
    return code_of(error) in (
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB),
        *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL),
    )


def explained(error: BaseException, path: Path) -> BaseException:
    """The error that the user gets: a new one for each who waits, for it collects their tracebacks."""
    text = _text(error, path)
    if isinstance(error, Uncertain):
        return Uncertain(*error.args)
    if text is None:
        return error
    told = EngineUnavailable(f"{path}: {text}")
    told.__cause__ = error
    return told


def _text(error: BaseException, path: Path) -> str | None:
    """What it is, and what to do; None: it is no trouble of the file."""
    if isinstance(error, EngineUnavailable):
        return str(error).removeprefix(f"{path}: ")
    told = str(error)
    match code_of(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"another connection has the file's write lock ({lock_holder(path)}); nothing was done. "
                f"End what holds it, or keep its transactions short"
            )
        case sqlite3.SQLITE_FULL:
            return (
                f"the disk is full, or the file has its largest size: {_free(path)}; nothing was done. "
                f"Make room: it goes on by itself"
            )
        case sqlite3.SQLITE_READONLY:
            return (
                "the file cannot be written, only read: nothing was done. This process needs write "
                "permission for the file, for the files beside it (-wal, -shm) and for their folder, "
                "on a file system that is not mounted read-only"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return f"{_cannot_open(path)}; nothing was done"
        case sqlite3.SQLITE_NOTADB:
            return (
                "this is no SQLite database, or it is encrypted; nothing was done. Give the broker a "
                "path of its own, or put a backup in this one's place"
            )
        case sqlite3.SQLITE_CORRUPT:
            return (
                f"the file is damaged ({told}); nothing was done. Stop all its processes, keep a copy "
                f"of it with its -wal, and put a backup in its place, or `sqlite3 {path} .recover`; "
                f"docs/sqlite.md says what damages files"
            )
        case sqlite3.SQLITE_IOERR:
            return (
                f"the system failed to read or write it ({told}, {_free(path)}); nothing was done. See "
                f"the system's log for the disk; tried again by itself"
            )
        case sqlite3.SQLITE_PROTOCOL | sqlite3.SQLITE_NOLFS:
            return f"its locks do not work ({told}); {_why_not_wal(path)}"
        case sqlite3.SQLITE_NOMEM:
            return "the process has no memory left; nothing was done"
        case sqlite3.SQLITE_ERROR if "no such table: actorq_" in told:
            return (
                f"its tables are gone ({told.removeprefix('no such table: ')}): it was emptied or "
                f"replaced while in use; nothing was done. Stop all its processes before that"
            )
    return None


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free >> 20} MiB are free there"
    except OSError as error:
        return f"how much is free there is not known: {error.strerror}"


def _cannot_open(path: Path) -> str:
    folder = path.parent
    if not folder.exists():
        return f"expected a file in a folder that exists, and there is no {folder}; create it first"
    if not folder.is_dir():
        return f"expected a file in a folder, and {folder} is none"
    if path.is_dir():
        return "expected a file, got a folder: give it a name in there, such as 'queue.db'"
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return "this process may not read and write it; give it the permission, or run as its owner"
    if not os.access(folder, os.W_OK):
        return (
            f"this process may not write in {folder}, where files beside it (-wal, -shm) are needed"
        )
    return "it could not be opened: too many open files perhaps (`ulimit -n`)"


def _why_not_wal(path: Path) -> str:
    kind = file_system(path)
    where = f"this one is {kind}" if kind else "this one is perhaps a network file system"
    return f"expected a local disk, which several processes of one machine may share, and {where}"


def without_wal(path: Path, mode: str) -> EngineUnavailable:
    """Why a file on which WAL does not work is not used."""
    return EngineUnavailable(
        f"{path}: SQLite keeps its journal as {mode!r} here and not as 'wal': {_why_not_wal(path)}; put "
        f"the file on a local disk"
    )


def file_system(path: Path) -> str | None:
    """The kind of file system that it is on, such as "ext4"; None where the system does not say."""
    best, kind = -1, None
    try:
        real = os.path.realpath(path.parent)
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        _, place, this, *_ = line.split(" ")
        place = place.replace("\\040", " ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= best:
            best, kind = len(place), this
    return kind


def lock_holder(path: Path) -> str:
    """Who has the write lock, as far as the system tells."""
    try:
        inode = os.stat(f"{path}-shm").st_ino
        locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return "who it is the system does not tell"
    for line in locks:  # 1: POSIX  ADVISORY  WRITE 3718 fe:00:1466425 120 120
        words = line.split()
        if words[-3].endswith(f":{inode}") and words[3] == "WRITE" and words[-2] == WRITE_LOCK:
            return _process(int(words[4]))
    return "it was released just now"


def _process(pid: int) -> str:
    if pid == os.getpid():
        return f"this process itself, {pid}, in another connection"
    try:
        command = (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    except OSError:
        return f"process {pid}"
    return f"process {pid}: {command.strip()[:SHOWN]}"


def locked_too_long(path: Path, since: float, seconds: float) -> EngineUnavailable:
    """Why a write is given up."""
    at = time.strftime("%H:%M:%S", time.localtime(since))
    return EngineUnavailable(
        f"{path}: another connection has had the file's write lock since {at}, for {seconds:.0f} "
        f"seconds ({lock_holder(path)}); nothing was done. End what holds it, or keep its "
        f"transactions short"
    )


class Identity:
    """Which file a connection has opened: what is at its path later may be another one, or none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: tuple[int, int] | None = None
        self._file = _identity(path)

    def check(self, *, quick: bool = False) -> None:
        """Raise `EngineUnavailable` if the file is not there any more: what is written then is lost.

        *quick* asks no more than that.
        """
        file = _identity(self.path)
        if file != self._file:
            raise self._gone("deleted or moved away" if file is None else "replaced by another")
        if quick:
            return
        log = _identity(f"{self.path}-wal")
        self._log = self._log or log
        if log != self._log:
            raise self._gone("robbed of its -wal file, in which the newest tasks are,")
        if os.stat(self.path).st_size == 0:
            raise self._gone("emptied")

    def forget_log(self) -> None:
        """The connection was closed, and its -wal file with it, if it was the last."""
        self._log = None

    def _gone(self, what: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"{self.path}: the file was {what} while in use; nothing was done, and nothing will be "
            f"until this process starts again. Stop all its processes, put the file or a backup in "
            f"its place (or none, to begin anew), and start them"
        )


def _identity(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    # never open() it: closing would drop the locks that SQLite holds on it in this process
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
