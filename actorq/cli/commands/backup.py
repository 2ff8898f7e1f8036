"""`actorq backup TARGET`: a copy of the queue's file, made while it is in use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from actorq.cli import exits
from actorq.cli.client import ask, check_shared
from actorq.cli.engine import server_of, storage_of
from actorq.cli.finding import broker_option, find_broker
from actorq.cli.output import CommandError, Output, json_option
from actorq.cli.words import size, span
from actorq.errors import EngineUnavailable


if TYPE_CHECKING:
    from actorq.system import System


@click.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@broker_option
@json_option
def backup(target: Path, force: bool, broker: str | None, output: Output) -> None:
    """Copy the queue's file to TARGET while workers go on.

    The copy is a moment of the queue, whole, and can be opened as it is.
    """
    found = find_broker(broker)
    check_shared(found)
    storage, server = storage_of(found), server_of(found)
    if storage is None:
        raise CommandError(
            f"{type(found).__name__} keeps no file that could be copied",
            "back up its server" if server is None else server.backup,
            exit_code=exits.USAGE,
        )
    if target.exists() and not force:
        raise CommandError(
            f"{target} is there already", "say --force to replace it", exit_code=exits.USAGE
        )
    began = time.monotonic()

    async def copy(_: System) -> None:
        await storage.backup(target)

    try:
        ask(found, copy)
    except EngineUnavailable:
        raise  # an OSError too, but of the queue
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot write {target}: {error}") from None
    took, written = time.monotonic() - began, target.stat().st_size
    output.document({"target": str(target), "bytes": written, "seconds": round(took, 3)})
    output.text(Text(f"{target}  {size(written)} in {span(took)}"))
