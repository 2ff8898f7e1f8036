"""`actorq scheduler`: enqueue what schedules say, and run nothing."""

from __future__ import annotations

from pathlib import Path

import click

from actorq.cli.finding import broker_with_tasks
from actorq.cli.output import Output, json_option
from actorq.cli.serving.command import broker_argument, run_options, serve
from actorq.cli.serving.orders import Orders
from actorq.cli.serving.parent import Plan


@click.command()
@broker_argument
@run_options
@json_option
def scheduler(
    broker: str | None,
    grace: float,
    modules: tuple[str, ...],
    max_restarts: int | None,
    restart_period: float,
    max_silence: float,
    log_level: str,
    ready_file: Path | None,
    output: Output,
) -> int:
    """Enqueue what the schedules of a broker say: in its tasks, and those that were added.

    Several may run: each slot is enqueued once.  Watched and ended as `actorq worker` is.
    """
    orders = Orders(
        name="scheduler",
        broker=broker_with_tasks(broker, "scheduler"),
        role="scheduler",
        modules=modules,
        grace=grace,
        max_silence=max_silence,
        log_level=log_level,
    )
    plan = Plan(
        [orders],
        grace=grace,
        intensity=5 if max_restarts is None else max_restarts,
        period=restart_period,
        ready_file=ready_file,
    )
    return serve("scheduler", plan, output)
