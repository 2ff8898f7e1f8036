"""`actorq queue`: pause, resume and purge queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.text import Text

from actorq.cli.client import ask
from actorq.cli.confirming import confirm, yes_option
from actorq.cli.finding import broker_option
from actorq.cli.naming import queue_names
from actorq.cli.output import Output, json_option
from actorq.cli.overview import QueueRow, queue_table, rows_of
from actorq.cli.tables import styled
from actorq.cli.words import count


if TYPE_CHECKING:
    from actorq.system import System


@click.group()
def queue() -> None:
    """Queues: list, pause, resume, purge."""


@queue.command("list")
@broker_option
@json_option
def list_(broker: str | None, output: Output) -> None:
    """List queues: what is ready and running in each, and how many workers serve it."""

    rows = ask(broker, _rows)
    output.document([row._asdict() for row in rows])
    if not rows:
        output.text(styled("no queues: nothing waits or runs, and no worker names one", "dim"))
        return
    output.text(queue_table(rows, output.console.width))


@queue.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=queue_names)
@broker_option
@json_option
def pause(names: tuple[str, ...], broker: str | None, output: Output) -> None:
    """Give no more tasks of a queue to workers; what runs goes on."""

    async def hold(sys: System) -> set[str]:
        before = {row.queue for row in await _rows(sys)}
        for name in names:
            await sys.pause(name)
        return before

    before = ask(broker, hold)
    _say(output, names, paused=True)
    for name in names:
        if name not in before and not output.json:
            click.echo(f"note: nothing is in queue {name!r}, and no worker names it", err=True)


@queue.command()
@click.argument("names", metavar="QUEUE...", nargs=-1, required=True, shell_complete=queue_names)
@broker_option
@json_option
def resume(names: tuple[str, ...], broker: str | None, output: Output) -> None:
    """Give tasks of a queue to workers again."""

    async def go_on(sys: System) -> None:
        for name in names:
            await sys.resume(name)

    ask(broker, go_on)
    _say(output, names, paused=False)


@queue.command()
@click.argument("name", metavar="QUEUE", shell_complete=queue_names)
@yes_option
@broker_option
@json_option
def purge(name: str, yes: bool, broker: str | None, output: Output) -> None:
    """Cancel every task that waits in a queue; what runs goes on."""
    confirm(f"Cancel every task that waits in queue {name!r}?", yes=yes)

    async def cancel_all(sys: System) -> int:
        return await sys.purge(name)

    gone = ask(broker, cancel_all)
    output.document({"queue": name, "purged": gone})
    output.text(Text(f"{count(gone, 'task')} of queue {name!r} cancelled"))


async def _rows(sys: System) -> list[QueueRow]:
    return rows_of(await sys.queue_statistics(), await sys.workers())


def _say(output: Output, names: tuple[str, ...], *, paused: bool) -> None:
    output.document([{"queue": name, "paused": paused} for name in names])
    for name in names:
        output.text(Text(f"queue {name!r} {'is paused' if paused else 'goes on'}"))
