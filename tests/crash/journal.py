"""The journal of a round: what its processes say of themselves, as it happens, in one order.

A named pipe: each word is one line, written by one `write`, so that lines never mix and a process that
is killed has said each of them or not.  Times are nanoseconds of the machine's monotonic clock, which
all processes have in common.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import attrs
import trio


#: Names the pipe, in the environment of those who write.
JOURNAL: Final = "ACTORQ_CRASH_JOURNAL"


@attrs.frozen
class Entry:
    """One line: who said what, and when."""

    what: str
    at: int
    pid: int
    words: tuple[str, ...]


@cache
def _pipe() -> int | None:
    path = os.environ.get(JOURNAL)
    return None if path is None else os.open(path, os.O_WRONLY)


def note(what: str, *words: object) -> None:
    """Say something.  Nothing without a journal."""
    if (pipe := _pipe()) is not None:
        line = " ".join(map(str, (what, time.monotonic_ns(), os.getpid(), *words)))
        os.write(pipe, line.encode() + b"\n")


class Journal:
    """The reading end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self.counts: Counter[str] = Counter()  #: lines by their first word
        self._more = trio.Event()
        os.mkfifo(path)
        # for both: it never ends, whoever comes and goes
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, 1 << 20)

    async def read(self) -> None:
        """Take in what is said, until cancelled."""
        rest = b""
        async with trio.lowlevel.FdStream(self._pipe) as stream:
            async for piece in stream:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    what, at, pid, *words = line.decode().split(" ")
                    self.entries.append(Entry(what, int(at), int(pid), tuple(words)))
                    self.counts[what] += 1
                self._more.set()
                self._more = trio.Event()

    async def until(self, claim: Callable[[], bool]) -> None:
        """Return when *claim* holds; asked after each piece that was read."""
        while not claim():
            await self._more.wait()

    def said(self, what: str, pid: int | None = None) -> list[Entry]:
        """The lines with this word, of one process or of all."""
        return [each for each in self.entries if each.what == what and pid in (None, each.pid)]
