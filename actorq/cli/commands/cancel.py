"""`actorq cancel ID...`: cancel tasks that wait or run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.text import Text

from actorq.cli import exits
from actorq.cli.client import ask
from actorq.cli.endings import state_of
from actorq.cli.finding import broker_option
from actorq.cli.output import Output, json_option


if TYPE_CHECKING:
    from actorq.system import System


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@broker_option
@json_option
def cancel(task_ids: tuple[str, ...], broker: str | None, output: Output) -> int:
    """Cancel tasks: what waits never starts, what runs is cancelled where it stands.

    Returns when their ends are stored.  Exit code 1 if one had ended otherwise before, 3 if one is not
    known.
    """

    async def call_off(sys: System) -> list[tuple[str, bool, str]]:
        answers = []
        for task_id in task_ids:
            cancelled = await sys.handle(task_id).cancel()
            answers.append((task_id, cancelled, await state_of(sys, task_id)))
        return answers

    answers = ask(broker, call_off)
    output.document(
        [{"task_id": i, "cancelled": cancelled, "state": state} for i, cancelled, state in answers]
    )
    code = exits.OK
    for task_id, cancelled, state in answers:
        if cancelled:
            said = "cancelled"
        elif state == "unknown":
            said, code = "not known", exits.NOT_FOUND
        else:
            said, code = f"had ended before ({state})", code or exits.FAILED
        output.text(Text(f"{task_id}  {said}"))
    return code
