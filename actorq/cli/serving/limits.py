"""The limits after which a process is replaced: how many tasks it has run, how large it has grown."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import trio

from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.result import TaskResult


#: Seconds between two looks at the size.
INTERVAL: Final = 1.0
UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class CountJobs(Middleware):
    """Calls *full* when *limit* attempts have ended."""

    def __init__(self, limit: int, full: Callable[[str], None]) -> None:
        self._limit = limit
        self._full = full
        self._ended = 0

    def post_execute(self, message: TaskMessage, result: TaskResult[Any]) -> None:  # noqa: ARG002
        """One more."""
        self._ended += 1
        if self._ended == self._limit:
            self._full(f"it has run {self._limit} tasks")


async def watch_memory(limit: int, full: Callable[[str], None]) -> None:
    """Call *full* when this process has *limit* bytes in memory."""
    while (size := resident()) < limit:  # noqa: ASYNC110 - nobody pushes it
        await trio.sleep(INTERVAL)
    full(f"it takes {in_words(size)} of memory, more than {in_words(limit)}")


def resident() -> int:
    """Bytes of this process that are in memory (where there is no /proc: that ever were)."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # not on Windows, where there are no worker processes of ours

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def in_words(size: int) -> str:
    """500M, as one writes it."""
    return f"{size / UNITS['M']:.0f}M"
