"""The picture that `actorq top` draws: as much of a queue as fits into a terminal (pure)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs
from rich.console import Group, RenderableType
from rich.text import Text

from actorq.cli.overview import QueueRow, counts_line, job_table, queue_table, worker_table
from actorq.cli.rates import Rates, sparkline
from actorq.cli.tables import styled
from actorq.cli.words import short, span, until
from actorq.protocol import QueueStatistics, WorkerInfo
from actorq.schedule_source import ScheduleInfo


@attrs.frozen
class Snapshot:
    """All that is shown, at one moment."""

    at: float  #: Unix seconds
    counts: QueueStatistics
    rates: Rates
    history: Sequence[float]
    rows: Sequence[QueueRow]
    workers: Sequence[WorkerInfo]
    following: ScheduleInfo | None  #: the schedule that is next


@attrs.define
class View:
    """What of it the user wants to see, and how."""

    name: str  #: of the queue, for the head
    paused: bool = False
    first: int = 0  #: the first running job that is shown
    trouble: str = ""  #: why there is nothing new


def picture(shot: Snapshot | None, view: View, width: int, height: int) -> RenderableType:
    """In so many columns and lines."""
    if shot is None:
        return Group(_head(view, time.time(), width), Text(view.trouble or "looking ..."))
    parts: list[RenderableType] = [
        _head(view, shot.at, width),
        counts_line(shot.counts),
        _rates_line(shot, width),
    ]
    left = height - 4
    if view.trouble:
        parts.append(styled(short(view.trouble, width - 1), "bold red"))
        left -= 1
    if shot.following is not None:
        parts.append(_following(shot.following))
        left -= 1
    few = max(1, (left - 6) // 4)
    for made, rows in (
        (queue_table(shot.rows[:few], width), shot.rows),
        (worker_table(shot.workers[:few], shot.at, width), shot.workers),
    ):
        if rows:
            parts += [Text(), made]
            left -= 2 + min(few, len(rows))
            if len(rows) > few:
                parts.append(styled(f"and {len(rows) - few} more", "dim"))
                left -= 1
    jobs = sorted(
        [job for worker in shot.workers for job in worker.jobs],
        key=lambda job: job.since or shot.at,
    )
    if jobs and left > 3:
        view.first = max(0, min(view.first, len(jobs) - (left - 3)))
        shown = jobs[view.first : view.first + left - 3]
        parts += [Text(), job_table(shown, shot.at, width)]
        if len(shown) < len(jobs):
            last = view.first + len(shown)
            parts.append(styled(f"{view.first + 1}-{last} of {len(jobs)}: ↑ ↓", "dim"))
    return Group(*parts)


def _head(view: View, at: float, width: int) -> Text:
    head = Text.assemble(
        (" actorq top ", "bold reverse"), "  ", short(view.name, max(10, width - 42))
    )
    keys = "q quits  p pauses" if not view.paused else "paused: p goes on"
    right = f"{time.strftime('%H:%M:%S', time.localtime(at))}  {keys}"
    head.append(" " * max(2, width - head.cell_len - len(right)))
    return head.append(right, "dim" if not view.paused else "bold yellow")


def _rates_line(shot: Snapshot, width: int) -> Text:
    rate, waits, runs = shot.rates
    line = Text()
    line.append("…" if rate is None else f"{rate:,.1f}", "bold").append("/s  ", "dim")
    line.append(sparkline(list(shot.history), min(30, max(5, width - 50))), "cyan")
    for seconds, word in ((waits, "waits"), (runs, "runs")):
        line.append(f"   {word} ", "dim").append("–" if seconds is None else span(seconds), "bold")
    return line


def _following(schedule: ScheduleInfo) -> Text:
    line = styled("next ", "dim").append(schedule.schedule_id, "default")
    return line.append(f"  {until(schedule.next_time)}", "dim")
