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
from pathlib import Path
from typing import Any, Final, NamedTuple

import attrs

from actorq._version import __version__
from actorq.actors.broker import Broker
from actorq.cli.overview import rows_of
from actorq.cli.words import ago, count, size, span
from actorq.protocol import DeadTask, QueuedTask, QueueStatistics, WorkerInfo
from actorq.schedule_source import ScheduleInfo


OK: Final = "ok"
WARNING: Final = "warning"  #: it works, and should be looked at
PROBLEM: Final = "problem"  #: something does not work, or may be lost

#: SQLite with `returning`, upserts and `without rowid` as our tables use them.
OLDEST_SQLITE: Final = (3, 35)
#: File systems on which locks or shared memory do not work between machines.
REMOTE: Final = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "fuse.sshfs",
        "afs",
        "ceph",
        "glusterfs",
        "vboxsf",
    }
)
MEGABYTE: Final = 1_000_000
#: Of the disk: fewer bytes than these are left.
LITTLE: Final = 500 * MEGABYTE
NOTHING: Final = 50 * MEGABYTE
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
    information: Any  #: of the storage, if it says something
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


def file_settings(broker: Broker, information: Any) -> Iterator[Finding]:
    """Of a queue that is kept in a file."""
    storage: Any = getattr(broker, "storage", None)
    if not hasattr(storage, "path"):
        return
    path = Path(storage.path)
    synchronous = str(getattr(storage, "synchronous", "")).lower()
    if synchronous == "off":
        yield Finding(
            "synchronous",
            PROBLEM,
            "off: a power cut may damage the file",
            'say synchronous="full" (or "normal") where the broker is made',
        )
    elif synchronous == "normal":
        yield Finding(
            "synchronous",
            OK,
            "normal: what was accepted survives the process; a power cut may undo the last moments",
        )
    elif synchronous:
        yield Finding("synchronous", OK, f"{synchronous}: what was accepted survives a power cut")
    mode = str(getattr(information, "journal_mode", "") or "").lower()
    if mode and mode != "wal":
        yield Finding(
            "journal mode",
            PROBLEM,
            f"{mode}: readers and the writer wait for one another",
            "the file should be in WAL mode: put it on a local disk, and see who changed it",
        )
    yield from _file_system(path)
    yield from _sizes(path, information)


def _file_system(path: Path) -> Iterator[Finding]:
    kind = file_system_of(path.parent.resolve())
    if kind in REMOTE:
        yield Finding(
            "file system",
            PROBLEM,
            f"{path} is on {kind}: its locks do not hold between machines, the file may be damaged",
            "put it on a local disk; for several machines use an engine with a server",
        )
    elif kind:
        yield Finding("file system", OK, kind)
    with_room = os.statvfs(path.parent) if hasattr(os, "statvfs") else None
    if with_room is not None:
        free = with_room.f_bavail * with_room.f_frsize
        level = PROBLEM if free < NOTHING else WARNING if free < LITTLE else OK
        advice = "" if level == OK else "make room: a full disk refuses every task"
        yield Finding("disk space", level, f"{size(free)} free", advice)


def _sizes(path: Path, information: Any) -> Iterator[Finding]:
    wal = path.with_name(path.name + "-wal")
    long = wal.stat().st_size if wal.exists() else 0
    if long > LONG_WAL:
        yield Finding(
            "write-ahead log",
            WARNING,
            f"{size(long)}: it is not emptied",
            "somebody keeps a read transaction open; end that program, or it grows on",
        )
    free, pages = getattr(information, "free_pages", 0), getattr(information, "page_count", 0)
    held = path.stat().st_size if path.exists() else 0
    if free and pages and held > 50 * MEGABYTE and free / pages > 0.5:
        yield Finding(
            "file size",
            WARNING,
            f"{size(held)}, {free / pages:.0%} of it free",
            "it shrinks by itself in small steps; `await storage.vacuum()` does it at once",
        )
        return
    yield Finding("file size", OK, f"{size(held)}, log {size(long)}")


def file_system_of(folder: Path) -> str:
    """The type of the file system, on Linux; empty where that is not known."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    best, kind = -1, ""
    for line in mounts.splitlines():
        _, where, its_kind, *_ = line.split()
        where = where.replace("\\040", " ")
        if folder.is_relative_to(where) and len(where) >= best:
            best, kind = len(where), its_kind
    return kind


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
            "start workers whose modules define them (`actorq worker --import MODULE`)",
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
