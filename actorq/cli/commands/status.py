"""`actorq status`: what is where, who works on what, and what comes next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from actorq.actors.broker import Broker
from actorq.capability import Capability
from actorq.cli import documents
from actorq.cli.client import ask
from actorq.cli.engine import information_of
from actorq.cli.finding import broker_option, find_broker
from actorq.cli.output import Output, json_option
from actorq.cli.overview import (
    counts_line,
    engine_line,
    job_table,
    queue_table,
    rows_of,
    worker_table,
)
from actorq.cli.tables import styled, table
from actorq.cli.words import until
from actorq.protocol import QueueStatistics, WorkerInfo
from actorq.schedule_source import ScheduleInfo


if TYPE_CHECKING:
    from actorq.system import System

#: Schedules that are shown to people.
UPCOMING = 5
#: Likewise running jobs.
MOST = 20


@click.command()
@broker_option
@json_option
def status(broker: str | None, output: Output) -> None:
    """Show what is where: queues, workers with their jobs, the next schedules, the engine."""
    found = find_broker(broker)

    async def look(sys: System) -> tuple[Any, ...]:
        counts = await sys.queue_statistics()
        workers = () if Capability.WORKERS in found.lacks else await sys.workers(look=True)
        return counts, workers, await sys.schedules.list(), await information_of(found)

    counts, workers, schedules, information = ask(found, look)
    output.document(
        {
            "tasks": documents.of_statistics(counts),
            "queues": [row._asdict() for row in rows_of(counts, workers)],
            "workers": [documents.of_worker(each) for each in workers],
            "schedules": [documents.of_schedule(each) for each in schedules],
            "engine": documents.of_engine(found, information),
        }
    )
    if not output.json:
        show(output, found, counts, workers, schedules, information)


def show(
    output: Output,
    broker: Broker,
    counts: QueueStatistics,
    workers: tuple[WorkerInfo, ...],
    schedules: tuple[ScheduleInfo, ...],
    information: Any,
) -> None:
    """For people."""
    width = output.console.width
    output.text(engine_line(broker, information), Text(), counts_line(counts))
    rows = rows_of(counts, workers)
    if rows:
        output.text(Text(), queue_table(rows, width))
    now = time.time()
    if workers:
        output.text(Text(), worker_table(workers, now, width))
    jobs = [job for worker in workers for job in worker.jobs]
    if jobs:
        output.text(Text(), job_table(jobs[:MOST], now, width))
    if len(jobs) > MOST:
        output.text(styled(f"and {len(jobs) - MOST} more: actorq top", "dim"))
    if schedules:
        schedule_rows = [
            ("paused" if s.paused else until(s.next_time), s.schedule_id, s.description)
            for s in schedules[:UPCOMING]
        ]
        output.text(Text(), table(("NEXT", "SCHEDULE~", "RHYTHM~"), schedule_rows, width))
        if len(schedules) > UPCOMING:
            output.text(
                styled(f"and {len(schedules) - UPCOMING} more: actorq schedule list", "dim")
            )
