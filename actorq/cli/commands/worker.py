"""`actorq worker`: run tasks, in processes that a parent watches and restarts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import attrs
import click

from actorq.cli.finding import broker_with_tasks
from actorq.cli.output import Output, json_option
from actorq.cli.serving.command import broker_argument, run_options, serve
from actorq.cli.serving.limits import UNITS
from actorq.cli.serving.orders import Orders
from actorq.cli.serving.parent import Plan
from actorq.cli.serving.reload import Watch


def read_queues(_context: object, _parameter: object, value: str | None) -> Any:
    """`a,b`: names, in strict order; `a=3,b=1`: a mapping of names to weights."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.partition("=")[0].strip() for part in parts):
        raise click.BadParameter(f"{value!r}: expected names, such as mail,images")
    if not any("=" in part for part in parts):
        return tuple(parts)
    weights = {}
    for part in parts:
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"{part!r}: expected a number, such as mail=3") from None
        if not 0 < weights[name.strip()] < math.inf:
            raise click.BadParameter(f"{part!r}: expected a weight > 0")
    return weights


def read_size(_context: object, _parameter: object, value: str | None) -> int | None:
    """`500M`, `2G`, or bytes."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)i?B?", value.strip(), re.IGNORECASE)
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{value!r}: expected a size, such as 500M or 2G")
    return int(float(found[1]) * UNITS[found[2].upper()])


@click.command()
@broker_argument
@click.option(
    "-p", "--processes", type=click.IntRange(1), default=1, show_default=True, metavar="N",
    help="Worker processes.",
)  # fmt: skip
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), default=100, show_default=True, metavar="N",
    help="Tasks that run at a time in each process.",
)  # fmt: skip
@click.option(
    "-q", "--queues", callback=read_queues, metavar="A,B|A=3,B=1",
    help="Queues to serve: in strict order, or by weights.  [default: all]",
)  # fmt: skip
@click.option(
    "--max-jobs-per-process", type=click.IntRange(1), metavar="N",
    help="Replace a process when it has run N tasks.",
)  # fmt: skip
@click.option(
    "--max-memory", callback=read_size, metavar="SIZE",
    help="Replace a process that takes more memory, such as 500M.",
)  # fmt: skip
@click.option(
    "--scheduler/--no-scheduler", default=False,
    help="Run a scheduler too, in a process of its own.",
)  # fmt: skip
@click.option(
    "--reload", is_flag=True, help="Start anew when a Python file below this folder changes."
)
@run_options
@json_option
def worker(
    broker: str | None,
    processes: int,
    concurrency: int,
    queues: Any,
    max_jobs_per_process: int | None,
    max_memory: int | None,
    scheduler: bool,
    reload: bool,
    grace: float,
    modules: tuple[str, ...],
    max_restarts: int | None,
    restart_period: float,
    max_silence: float,
    log_level: str,
    ready_file: Path | None,
    output: Output,
) -> int:
    """Run the tasks of a broker: those that its module knows, and the modules named by --import.

    Each process is watched: one that dies is restarted, ever later if it dies again and again, and too
    many deaths end it all.  SIGTERM or Ctrl-C: take nothing more, let running tasks finish within the
    grace, exit with 0.  A second one cancels them and gives them back, a third kills.
    """
    common = Orders(
        name="worker-1",
        broker=broker_with_tasks(broker, "worker"),
        modules=modules,
        concurrency=concurrency,
        queues=queues,
        grace=grace,
        max_silence=max_silence,
        max_jobs=max_jobs_per_process,
        max_memory=max_memory,
        log_level=log_level,
    )
    seats = [attrs.evolve(common, name=f"worker-{n}") for n in range(1, processes + 1)]
    if scheduler:
        seats.append(
            attrs.evolve(common, name="scheduler", role="scheduler", max_jobs=None, max_memory=None)
        )
    plan = Plan(
        seats,
        grace=grace,
        intensity=5 * len(seats) if max_restarts is None else max_restarts,
        period=restart_period,
        reload=reload,
        ready_file=ready_file,
    )
    return serve("worker", plan, output, Watch.of(Path()) if reload else None)
