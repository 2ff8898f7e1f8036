"""What `actorq worker` and `actorq scheduler` have in common: options, and how they are run."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import trio

from actorq.cli import exits
from actorq.cli.finding import broker_option
from actorq.cli.output import CommandError, Output
from actorq.cli.serving.journal import Journal
from actorq.cli.serving.parent import ENDING, Parent, Plan
from actorq.cli.serving.reload import Watch


F = TypeVar("F", bound=Callable[..., Any])

LEVELS = ["debug", "info", "warning", "error"]


def broker_argument(function: F) -> F:
    """Give a command `[MODULE:BROKER]`, and `--broker` as all others have it: either is its `broker`."""

    @wraps(function)
    def command(*, said: str | None, broker: str | None, **options: Any) -> Any:
        if said is not None and broker is not None:
            raise click.UsageError(f"the broker is named twice: {said}, and with --broker {broker}")
        return function(broker=said if broker is None else broker, **options)

    argument = click.argument("said", required=False, metavar="[MODULE:BROKER]")
    return cast(F, argument(broker_option(command)))


def run_options(function: F) -> F:
    """Give a command the options of what runs for long."""
    for option in reversed(
        [
            click.option(
                "-g", "--grace", type=click.FloatRange(0), default=30.0, show_default=True,
                metavar="SECONDS", help="How long running tasks may take to finish at the end.",
            ),
            click.option(
                "-i", "--import", "modules", multiple=True, metavar="MODULE",
                help="Import this too: it registers tasks on the broker.  May be repeated.",
            ),
            click.option(
                "--max-restarts", type=click.IntRange(0), metavar="N",
                help="Give up at more deaths of processes within the period.  [default: 5 for each]",
            ),
            click.option(
                "--restart-period", type=click.FloatRange(0, min_open=True), default=60.0,
                show_default=True, metavar="SECONDS", help="See --max-restarts.",
            ),
            click.option(
                "--max-silence", type=click.FloatRange(0), default=300.0, show_default=True,
                metavar="SECONDS", help="Kill a process whose event loop stands still so long.",
            ),
            click.option(
                "--log-level", type=click.Choice(LEVELS, case_sensitive=False), default="info",
                show_default=True, callback=lambda _context, _parameter, value: value.upper(),
                help="Of what is logged, unless the broker's module sets logging up.",
            ),
            click.option(
                "--ready-file", type=click.Path(dir_okay=False, path_type=Path), metavar="PATH",
                help="Is there while every process is ready, for probes.",
            ),
        ]
    ):  # fmt: skip
        function = option(function)
    return function


def serve(name: str, plan: Plan, output: Output, watch: Watch | None = None) -> int:
    """Keep the plan's processes until a signal comes; the exit code."""
    if sys.platform == "win32":
        raise CommandError(
            f"actorq {name} needs a system with process groups and socket pairs",
            "on Windows, open the system in a program of yours: `actorq.open_system(broker, role=...)`",
            exit_code=exits.USAGE,
        )
    try:
        parent = Parent(plan, Journal(name, output))
    except OSError as error:
        raise CommandError(f"--ready-file: {error}", exit_code=exits.USAGE) from None

    def note(number: int, _: object) -> None:
        if not parent.obeys:
            sys.exit(128 + number)
        # else it came after all had ended: the exit code stays what it is

    for number in ENDING:
        signal.signal(number, note)
    return trio.run(parent.run, watch)
