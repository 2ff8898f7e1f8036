"""What several commands show of a queue as a whole: `status`, `queue list`, `top`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from rich.table import Table
from rich.text import Text

from actorq._version import __version__
from actorq.actors.broker import Broker
from actorq.cli.engine import path_of, server_of
from actorq.cli.tables import styled, table
from actorq.cli.words import bar, queues, size, span
from actorq.engines.remote.information import ServerInformation
from actorq.engines.sqlite.maintenance import FileInformation
from actorq.protocol import QueueStatistics, RunningJob, WorkerInfo


if TYPE_CHECKING:
    from actorq.cli.engine import Information


class QueueRow(NamedTuple):
    """One queue."""

    queue: str
    ready: int
    running: int
    paused: bool
    workers: int  #: that serve it


def rows_of(counts: QueueStatistics, workers: tuple[WorkerInfo, ...]) -> list[QueueRow]:
    """Each queue that somebody names, with how much of it is ready and running, and who serves it."""
    running = Counter(job.queue for worker in workers for job in worker.jobs)
    served = {name for each in workers if each.queues is not None for name in each.queues.names}
    return [
        QueueRow(
            name,
            counts.queues.get(name, 0),
            running[name],
            name in counts.paused,
            sum(worker.queues is None or name in worker.queues.names for worker in workers),
        )
        for name in sorted({*counts.queues, *running, *counts.paused, *served})
    ]


def queue_table(rows: Iterable[QueueRow], width: int) -> Table:
    """For people."""
    return table(
        ("QUEUE~", ">READY", ">RUNNING", ">WORKERS", ""),
        [(r.queue, f"{r.ready:,}", f"{r.running:,}", r.workers, _note(r)) for r in rows],
        width,
    )


def worker_table(workers: Iterable[WorkerInfo], at: float, width: int) -> Table:
    """For people."""
    return table(
        ("WORKER~", ">PID", "HOST~", "QUEUES~", ">UP", ">SEEN", ">JOBS"),
        [
            (
                worker.name,
                worker.pid or "",
                worker.host,
                queues(worker.queues),
                "" if worker.since is None else span(at - worker.since),
                "" if worker.seen is None else span(at - worker.seen),
                len(worker.jobs),
            )
            for worker in workers
        ],
        width,
    )


def job_table(jobs: Iterable[RunningJob], at: float, width: int) -> Table:
    """For people."""
    narrow = width < 100
    rows = []
    for job in jobs:
        drawn = Text()
        if job.progress is not None:
            drawn.append(bar(job.progress.progress, 10), "green")
            drawn.append(f" {job.progress.progress:4.0%}")
        rows.append(
            (
                f"…{job.task_id[-8:]}" if narrow else job.task_id,
                job.task_name,
                job.attempt,
                "" if job.since is None else span(at - job.since),
                drawn,
                styled(line_of(job.line), "dim"),
            )
        )
    return table(("RUNNING", "TASK~", ">ATTEMPT", ">FOR", "PROGRESS", "LINE~"), rows, width)


def line_of(line: str) -> str:
    """`file:line` out of `function (folder/file:line)`."""
    return line.rpartition("/")[2].rpartition("(")[2].rstrip(")")


def _note(row: QueueRow) -> Text:
    if row.paused:
        return styled("paused", "yellow")
    if row.ready and not row.workers:
        return styled("nobody serves it", "red")
    return Text()


def counts_line(counts: QueueStatistics) -> Text:
    """All tasks in one line; what is nought is pale."""
    line = Text()
    for number, word, style in (
        (counts.ready, "ready", "bold"),
        (counts.leased, "running", "bold green"),
        (counts.scheduled, "scheduled", "bold"),
        (counts.done, "done", "bold"),
        (counts.dead, "dead", "bold red"),
        (counts.parked, "parked", "bold yellow"),
        (counts.limited, "limited", "bold"),
    ):
        line.append("   " if line else "")
        line.append(f"{number:,}", style=style if number else "dim").append(f" {word}", "dim")
    return line


def name_of(broker: Broker) -> str:
    """What it is, and where."""
    if server_of(broker) is not None:
        return path_of(broker)  # which begins with what it is
    return f"{type(broker).__name__} {path_of(broker)}".strip()


def engine_line(broker: Broker, information: Information) -> Text:
    """What it is, where it is, how big it is."""
    line = styled(name_of(broker), "bold")
    if isinstance(information, FileInformation):
        line.append(f"  {size(information.size + information.wal_size)}", "dim")
    elif isinstance(information, ServerInformation):
        if information.server:
            line.append(f"  {information.server}", "dim")
        if information.size is not None:
            line.append(f"  {size(information.size)}", "dim")
    return line.append(f"  actorq {__version__}", "dim")
