"""What `actorq doctor` looks at, each with what to change if it is not as it should be.

An examination is a generator of findings; what it looks at was gathered before, so that one that fails
hides no other.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import attrs

from actorq._version import __version__
from actorq.cli.overview import rows_of
from actorq.cli.words import ago, count, size, span
from actorq.engines.remote.information import ServerInformation
from actorq.engines.sqlite.maintenance import FileInformation
from actorq.engines.sqlite.troubles import REMOTE
from actorq.protocol import DeadTask, QueuedTask, QueueStatistics, WorkerInfo
from actorq.requirements import of_main
from actorq.schedule_source import ScheduleInfo


OK: Final = "ok"
WARNING: Final = "warning"  #: it works, and should be looked at
PROBLEM: Final = "problem"  #: something does not work, or may be lost

#: SQLite with `returning`, upserts and `without rowid` as our tables use them.
OLDEST_SQLITE: Final = (3, 35)
MEGABYTE: Final = 1_000_000
#: Of the disk: fewer bytes than these are left.
LITTLE: Final = 500 * MEGABYTE
NOTHING: Final = 50 * MEGABYTE
#: A file that is worth shrinking.
LARGE: Final = 50 * MEGABYTE
#: A write-ahead log that long is not emptied: somebody reads without end.
LONG_WAL: Final = 64 * MEGABYTE
#: Seconds by which a schedule may be late before nobody seems to serve it.
LATE: Final = 10.0


class Finding(NamedTuple):
    """What was found."""

    check: str
    level: str  #: ok, warning, problem
    says: str
    advice: str = ""


@attrs.frozen
class Gathered:
    """What an open system was asked."""

    counts: QueueStatistics
    workers: tuple[WorkerInfo, ...] | None  #: None: the engine does not know
    schedules: tuple[ScheduleInfo, ...]
    dead: tuple[DeadTask, ...]
    parked: tuple[QueuedTask, ...]
    information: FileInformation | ServerInformation | None  #: of the file or the server
    damage: Sequence[str] | None  #: None: it was not asked for
    began: float  #: the wall clock when it was asked


def versions() -> Iterator[Finding]:
    """Of what everything stands on."""
    import trio

    text = (
        f"actorq {__version__}, Python {platform.python_version()}, trio {trio.__version__}, "
        f"SQLite {sqlite3.sqlite_version}"
    )
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        yield Finding(
            "versions",
            PROBLEM,
            text,
            f"SQLite {oldest} or newer is needed; use a Python that brings it ({sys.executable})",
        )
    else:
        yield Finding("versions", OK, text)


def server_settings(information: ServerInformation) -> Iterator[Finding]:
    """Of a queue that is kept on a server: what its engine looks at."""
    said = " ".join(
        filter(None, [information.where, information.server and f"({information.server})"])
    )
    yield Finding("server", OK, said)
    if information.size is not None:
        yield Finding("size", OK, size(information.size))
    for remark in information.remarks:
        yield Finding(*remark)


def file_settings(information: FileInformation) -> Iterator[Finding]:
    """Of a queue that is kept in a file."""
    if information.synchronous == "off":
        yield Finding(
            "synchronous",
            PROBLEM,
            "off: a power cut may damage the file",
            'say synchronous="full" (or "normal") where the broker is made',
        )
    elif information.synchronous == "normal":
        lost = "a power cut may undo the last moments"
        yield Finding("synchronous", OK, f"normal: the end of the process loses nothing; {lost}")
    else:
        yield Finding("synchronous", OK, "full: what was accepted survives a power cut")
    if information.journal_mode != "wal":
        yield Finding(
            "journal mode",
            PROBLEM,
            f"{information.journal_mode}: readers and the writer wait for one another",
            "the file should be in WAL mode: put it on a local disk, and see who changed it",
        )
    if information.has_wal_reset_bug:
        yield Finding(
            "SQLite",
            OK,
            f"{information.sqlite_version} may lose what is written while another connection empties "
            f"the log: ours do not; your own to this file should `pragma wal_autocheckpoint = 0`",
        )
    if not information.pushes:
        yield Finding(
            "wake-ups",
            WARNING,
            f"other processes are heard of only each {span(information.recheck)}: there is no socket "
            f"beside the file",
            "let its folder be writable, and on a file system that can hold sockets",
        )
    yield from _disk(information)
    yield from _sizes(information)
    others = len({each.pid for each in information.peers} - {os.getpid()})
    more = (
        "no other process"
        if not others
        else "1 other process"
        if others == 1
        else f"{others} others"
    )
    yield Finding("processes", OK, f"this one has the file open, and {more}")


def _disk(information: FileInformation) -> Iterator[Finding]:
    kind, path = information.file_system, information.path.resolve()
    yield Finding("file", OK, str(path))
    if kind in REMOTE:
        yield Finding(
            "file system",
            PROBLEM,
            f"{path} is on {kind}: its locks do not hold between machines, the file may be damaged",
            "put it on a local disk; for several machines use an engine with a server",
        )
    elif kind:
        yield Finding("file system", OK, kind)
    if hasattr(os, "statvfs"):
        disk = os.statvfs(path.parent)
        free = disk.f_bavail * disk.f_frsize
        level = PROBLEM if free < NOTHING else WARNING if free < LITTLE else OK
        advice = "" if level == OK else "make room: a full disk refuses every task"
        yield Finding("disk space", level, f"{size(free)} free", advice)


def _sizes(information: FileInformation) -> Iterator[Finding]:
    held, log = information.size, information.wal_size
    if log > LONG_WAL:
        yield Finding(
            "write-ahead log",
            WARNING,
            f"{size(log)}: it is not emptied",
            "somebody keeps a read transaction open; end that program, or it grows on",
        )
    unused = information.free_pages / max(1, information.page_count)
    if held > LARGE and unused > 0.5:
        how = "it shrinks by itself in small steps; " if information.gives_pages_back else ""
        yield Finding(
            "file size",
            WARNING,
            f"{size(held)}, {unused:.0%} of it free",
            f"{how}`await storage.vacuum(full=True)` shrinks it at once",
        )
    else:
        yield Finding("file size", OK, f"{size(held)}, log {size(log)}")


def health(found: Gathered) -> Iterator[Finding]:
    """Of the queue itself."""
    counts = found.counts
    said = f"{counts.ready:,} ready, {counts.leased:,} running, {counts.scheduled:,} scheduled"
    yield Finding("queue", OK, said)
    if found.damage is not None:
        if found.damage:
            yield Finding(
                "integrity",
                PROBLEM,
                "; ".join(found.damage[:3]),
                "stop the workers and go back to a backup: `actorq backup` makes them",
            )
        else:
            yield Finding("integrity", OK, "the file is whole")
    yield from _dead(found)
    yield from _parked(found)
    yield from _served(found)
    yield from _schedules(found)
    yield from _clock(found)


def _dead(found: Gathered) -> Iterator[Finding]:
    if not found.dead:
        yield Finding("dead letters", OK, "none")
        return
    recent = [each for each in found.dead if each.died_at > found.began - 86400]
    often = Counter(each.message.task_name for each in found.dead).most_common(1)[0]
    yield Finding(
        "dead letters",
        WARNING,
        f"{count(len(found.dead), 'task')} failed for good, {len(recent)} of them in the last day; "
        f"most of {often[0]} ({often[1]}), the newest {ago(found.dead[-1].died_at)}",
        "`actorq dead list` shows why; then `actorq dead replay` or `actorq dead purge`",
    )


def _parked(found: Gathered) -> Iterator[Finding]:
    if found.counts.parked:
        names = sorted({each.message.task_name for each in found.parked})
        yield Finding(
            "parked tasks",
            WARNING,
            f"{count(found.counts.parked, 'task')} that no worker knows: {', '.join(names[:5])}",
            "start workers whose modules define them (`actorq worker --import MODULE`)"
            + next(filter(None, map(of_main, names)), ""),
        )


def _served(found: Gathered) -> Iterator[Finding]:
    if found.workers is None:
        return
    here = found.workers
    jobs = sum(len(each.jobs) for each in here)
    if here:
        yield Finding("workers", OK, f"{count(len(here), 'worker')} with {count(jobs, 'job')}")
    elif found.counts.ready:
        waiting = f"waiting for one: {count(found.counts.ready, 'task')}"
        yield Finding("workers", WARNING, f"none; {waiting}", "start `actorq worker`")
    else:
        yield Finding("workers", OK, "none, and nothing waits")
    for row in rows_of(found.counts, here):
        if row.paused:
            yield Finding(
                f"queue {row.queue}",
                WARNING,
                f"paused, with {count(row.ready, 'task')}",
                f"`actorq queue resume {row.queue}` if that is not meant any more",
            )
        elif row.ready and not row.workers and here:
            yield Finding(
                f"queue {row.queue}",
                WARNING,
                f"{count(row.ready, 'task')}, and no worker serves it",
                f"start a worker with --queues {row.queue}, or enqueue to another queue",
            )


def _schedules(found: Gathered) -> Iterator[Finding]:
    late = [
        each
        for each in found.schedules
        if each.next_time is not None and each.next_time.timestamp() < found.began - LATE
    ]
    if late:
        worst = min(late, key=ScheduleInfo.order)
        assert worst.next_time is not None
        yield Finding(
            "schedules",
            WARNING,
            f"{count(len(late), 'schedule')} overdue; {worst.schedule_id} by "
            f"{span(found.began - worst.next_time.timestamp())}",
            "start `actorq scheduler`, or workers with --scheduler",
        )
    elif found.schedules:
        yield Finding("schedules", OK, f"{count(len(found.schedules), 'schedule')}, none overdue")


def _clock(found: Gathered) -> Iterator[Finding]:
    seen = [each.seen for each in found.workers or () if each.seen is not None]
    ahead = max(seen, default=0.0) - time.time()
    if ahead > 2.0:
        yield Finding(
            "clock",
            WARNING,
            f"a worker gave a sign of life {span(ahead)} from now: the clock was set back",
            "keep it with NTP; schedules and delays go by it, leases do not",
        )
