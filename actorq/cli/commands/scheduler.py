"""`actorq scheduler`: enqueue what schedules say."""

from __future__ import annotations

import click


@click.command()
@click.argument("broker", required=False, metavar="[MODULE:BROKER]")
def scheduler(broker: str | None) -> None:
    """Enqueue what the schedules of a broker say."""
