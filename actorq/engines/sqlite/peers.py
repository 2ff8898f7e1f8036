"""Peers: how the processes that share a file wake one another, and notice that one has died.

Beside the file is a folder of Unix datagram sockets: one for each listener, with the topics it
listens to in its name, and one for each open storage, `<peer>.life`, that only shows whether it still
lives.  A word is one byte: that something changed; what it was is in the file.  A word to a process
that has died is refused at once, and nobody has to wait for its lease to run out.

Words get lost (a full queue, a folder that was cleaned): who listens looks by itself, too, each
`recheck` seconds.  Where there are no such sockets that is all there is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sqlite3
import stat
import time
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Final
from weakref import WeakSet


#: Who has the file open: a row goes when its process closes the file; who was found dead is kept for a
#: while, for whoever takes over what it held.
TABLES: Final = (
    "create table actorq_peers (peer text primary key, boot text not null, pid integer not null,"
    " since real not null, died real) without rowid",
)
#: Seconds for which it is known who has died.
DEAD_KEPT: Final = 24 * 3600.0
#: What stands for each topic in a socket's name.
LETTERS: Final = {
    "tasks": "t",
    "ends": "e",
    "results": "r",
    "schedules": "s",
    "looks": "k",
    "lines": "n",
}
#: The longest address of a socket, with room for less generous systems than Linux.
LONGEST: Final = 100
#: Seconds in which a folder may change twice and show the same time.
TICK: Final = 0.05


def has_sockets() -> bool:
    """Whether this system has what wakes other processes."""
    return hasattr(socket, "AF_UNIX") and os.name == "posix"


def boot_id() -> str:
    """Another one after each start of the machine: no process of an earlier one lives."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def ring(path: str | os.PathLike[str], *topics: str) -> None:
    """Tell who listens to these topics of the file at *path*, in this process and others.

    From any thread, with or without Trio.  Never raises, never blocks: who does not hear it looks
    by itself within its `recheck` seconds.
    """
    peers = Peers(Path(path), me="")
    peers.ring(topics)
    peers.sign_off()


class Peers:
    """One storage's view of the others, and of itself as `me`."""

    def __init__(self, path: Path, me: str | None = None) -> None:
        self.me = token_hex(8) if me is None else me
        self.folder = Path(os.path.realpath(path) + "-peers")
        self.push = False  #: whether words reach this process
        self._path = path
        self._numbers = count(1)
        self._heard: list[socket.socket] = []
        self._life: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._names: list[str] = []  #: of the folder, as long as it looks the same
        self._changed = 0.0

    # --- this process ---

    def sign_on(self, connection: sqlite3.Connection) -> None:
        """Be known as living; in the transaction that is open."""
        now = time.time()
        connection.execute(  # who is not there is as dead as who was of an earlier boot
            "delete from actorq_peers where died < ? or boot <> ?", (now - DEAD_KEPT, boot_id())
        )
        connection.execute(
            "insert or replace into actorq_peers (peer, boot, pid, since) values (?, ?, ?, ?)",
            (self.me, boot_id(), os.getpid(), now),
        )
        if self._life is None:
            self._life = self._bound(f"{self.me}.life")
            self.push = self._life is not None

    def sign_off(self) -> None:
        """Live no more."""
        if self._life is not None:
            self._unbind(self._life, f"{self.me}.life")
            self._life = None
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        with contextlib.suppress(OSError):
            self.folder.rmdir()  # unless others are there

    def die(self) -> None:
        """For tests: as a process that was killed, its sockets are shut, and are still there."""
        for each in (self._life, self._sender, *self._heard):
            if each is not None:
                each.close()

    @contextlib.contextmanager
    def hearing(self, topics: Collection[str]) -> Iterator[socket.socket | None]:
        """A socket that becomes readable when one of *topics* was touched; None: look by yourself."""
        letters = "".join(LETTERS[topic] for topic in sorted(topics))
        name = f"{self.me}.{letters}.{next(self._numbers)}"
        heard = self._bound(name)
        if heard is not None:
            self._heard.append(heard)
        try:
            yield heard
        finally:
            if heard is not None:
                self._heard.remove(heard)
                self._unbind(heard, name)

    def _bound(self, name: str) -> socket.socket | None:
        if not has_sockets():
            return None
        for _ in range(3):  # whoever closes last takes the folder away, perhaps just now
            new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            new.setblocking(False)
            try:
                mode = stat.S_IMODE(os.stat(self._path).st_mode)
                with contextlib.suppress(FileExistsError):
                    self.folder.mkdir()
                    self.folder.chmod(
                        mode | (mode & 0o444) >> 2
                    )  # who may use the file may come in
                with self._address(name) as address:
                    new.bind(address)
                (self.folder / name).chmod(mode)
            except FileNotFoundError:
                new.close()
            except OSError:
                new.close()
                return None
            else:
                _bound.add(new)
                return new
        return None

    def _unbind(self, bound: socket.socket, name: str) -> None:
        # shut, and then away: who finds it refused may be sure that it is dead
        bound.close()
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    @contextlib.contextmanager
    def _address(self, name: str) -> Iterator[str]:
        """A path that fits into a socket's address, which is short."""
        whole = str(self.folder / name)
        if len(os.fsencode(whole)) <= LONGEST:
            yield whole
            return
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{name}"
        finally:
            os.close(folder)

    # --- the others ---

    def ring(self, topics: Collection[str]) -> None:
        """Send a word to each socket of another storage that listens to one of *topics*."""
        letters = {LETTERS[topic] for topic in topics}
        for name in self._others():
            wanted = not name.endswith(".life") and letters.intersection(name.split(".")[1])
            if wanted and self._sent(name) is False:
                self._bury(name)

    def _sent(self, name: str) -> bool | None:
        """Whether there was somebody to hear it; None: unknown."""
        try:
            if self._sender is None:
                self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            with self._address(name) as address:
                self._sender.sendto(b"!", socket.MSG_DONTWAIT, address)
        except OSError as error:
            # a full queue: it has enough words to come and look; or we have no file number left
            return False if error.errno == errno.ECONNREFUSED else None
        return True

    def _others(self) -> list[str]:
        """The names of other storages' sockets."""
        try:
            changed = os.stat(self.folder).st_mtime
        except OSError:
            return []
        if changed != self._changed:
            with contextlib.suppress(OSError):
                mine = f"{self.me}."
                names = os.listdir(self.folder)
                self._names = [
                    each
                    for each in names
                    if each.count(".") and not (self.me and each.startswith(mine))
                ]
            # it may change again within the tick of its clock
            self._changed = changed if time.time() - changed > TICK else 0.0
        return self._names

    def _bury(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def is_dead(self, peer: str) -> bool:
        """Whether its process has certainly ended, or closed the file."""
        if not has_sockets():
            return False
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            with self._address(f"{peer}.life") as address:
                probe.connect(address)
        except OSError as error:
            return error.errno == errno.ECONNREFUSED  # not there: somebody has cleaned up, perhaps
        finally:
            probe.close()
        return False

    def look_for_dead(self) -> list[str]:
        """Those whose sockets are here, and who have died."""
        lives = [each.removesuffix(".life") for each in self._others() if each.endswith(".life")]
        return [peer for peer in lives if self.is_dead(peer)]

    def forget(self, connection: sqlite3.Connection, dead: Collection[str]) -> None:
        """They have died: in the transaction that is open; and their sockets are taken away."""
        now = time.time()
        connection.executemany(
            "update actorq_peers set died = ? where peer = ?", [(now, each) for each in dead]
        )
        for name in self._others():
            if name.split(".")[0] in dead:
                self._bury(name)


def dead_among(connection: sqlite3.Connection, peers: Peers, asked: Collection[str]) -> set[str]:
    """Which of *asked* have ended; a step."""
    here = boot_id()
    query = "select peer, boot from actorq_peers where died is null"
    known = dict(connection.execute(query).fetchall())
    return {
        each
        for each in asked
        if each != peers.me and (known.get(each) != here or peers.is_dead(each))
    }


_bound: WeakSet[socket.socket] = WeakSet()


def _after_fork() -> None:
    for each in tuple(_bound):  # else the child would keep its parent alive, as it looks
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
