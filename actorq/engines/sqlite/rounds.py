"""The round: what the storage finds out by itself each `recheck` seconds, since words get lost.

Others' commits, processes that have died, a file that has more free pages than it needs.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import attrs

from actorq.engines.sqlite.connection import begin
from actorq.engines.sqlite.maintenance import give_back, has_many_free
from actorq.engines.sqlite.peers import Peers


@attrs.define(eq=False)
class Round:
    """When it is made next, and what was found the last time.  The committer's thread makes it."""

    path: Path
    recheck: float
    peers: Peers
    due: float = 0.0  #: on the monotonic clock
    _version: int = -1  #: of the data, as the connection sees it

    def begin_with(self, connection: sqlite3.Connection) -> None:
        """What this new connection sees is known."""
        self._version = _data_version(connection)
        self.put_off()

    def put_off(self) -> None:
        """Be due again after the usual time; where no words come, that is shorter."""
        self.due = time.monotonic() + (self.recheck if self.peers.push else self.recheck / 10)

    def made(self, connection: sqlite3.Connection) -> bool:
        """Look round; whether other processes may have changed anything."""
        version = _data_version(connection)
        changed = version != self._version
        self._version = version
        if dead := self.peers.look_for_dead():
            begin(connection, self.path)
            self.peers.forget(connection, dead)
            connection.execute("commit")
            changed = True
        if has_many_free(connection):
            begin(connection, self.path)
            give_back(connection)
            connection.execute("commit")
        return changed


def _data_version(connection: sqlite3.Connection) -> int:
    """Another one when another connection has committed."""
    return int(connection.execute("pragma data_version").fetchone()[0])
