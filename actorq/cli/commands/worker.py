"""`actorq worker`: run tasks."""

from __future__ import annotations

import click


@click.command()
@click.argument("broker", required=False, metavar="[MODULE:BROKER]")
def worker(broker: str | None) -> None:
    """Run the tasks of a broker."""
