"""`actorq dead`: the tasks that failed for good."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from actorq.cli import exits
from actorq.cli.client import ask
from actorq.cli.confirming import confirm, yes_option
from actorq.cli.documents import of_dead
from actorq.cli.finding import broker_option
from actorq.cli.naming import queue_names, task_names
from actorq.cli.output import CommandError, Output, json_option
from actorq.cli.tables import styled, table
from actorq.cli.values import call_text, read_value
from actorq.cli.words import ago, count, iso, short
from actorq.errors import DeadTaskNotFound
from actorq.protocol import DeadTask


if TYPE_CHECKING:
    from actorq.system import System


@click.group()
def dead() -> None:
    """Tasks that failed for good: list, show, replay, purge."""


def _filters(function: Any) -> Any:
    function = click.option(
        "--queue", metavar="NAME", shell_complete=queue_names, help="Only of this queue."
    )(function)
    return click.option(
        "--task", metavar="NAME", shell_complete=task_names, help="Only of this task."
    )(function)


@dead.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@broker_option
@json_option
def list_(
    task: str | None, queue: str | None, limit: int, broker: str | None, output: Output
) -> None:
    """List dead letters, the newest last."""

    async def look(sys: System) -> tuple[DeadTask, ...]:
        return await sys.dead_tasks(task=task, queue=queue)

    letters = ask(broker, look)
    shown = letters[-limit:]
    output.document([of_dead(each) for each in shown])
    if not letters:
        output.text(styled("no dead letters", "dim"))
        return
    rows = [
        (
            each.task_id,
            each.message.task_name,
            each.message.options.queue,
            each.attempts,
            ago(each.died_at),
            short(each.reason),
        )
        for each in shown
    ]
    heads = ("ID", "TASK~", "QUEUE~", ">ATTEMPTS", ">DIED", "REASON~")
    output.text(table(heads, rows, output.console.width))
    if len(letters) > limit:
        output.text(styled(f"the newest {limit} of {len(letters):,}: --limit shows more", "dim"))


@dead.command()
@click.argument("task_id", metavar="ID")
@broker_option
@json_option
def show(task_id: str, broker: str | None, output: Output) -> None:
    """Show one: its call, its reason, the traceback of its last error."""

    async def look(sys: System) -> DeadTask:
        return await sys.dead_task(task_id)

    letter = _asked(broker, look)
    output.document(of_dead(letter))
    message = letter.message
    kwargs = dict(message.kwargs)
    rows = [
        ("id", letter.task_id),
        ("call", call_text(message.task_name, [_shown(one) for one in message.args], kwargs)),
        ("queue", message.options.queue),
        ("attempts", letter.attempts),
        ("died", f"{iso(letter.died_at)} ({ago(letter.died_at)})"),
        ("reason", letter.reason),
    ]
    if message.labels:
        rows.append(("labels", json.dumps(dict(message.labels), ensure_ascii=False)))
    for head, value in rows:
        output.text(styled(f"{head:9}", "dim").append(str(value), "default"))
    if letter.traceback:
        output.text(Text(), Text(letter.traceback.rstrip("\n")))


@dead.command()
@click.argument("task_ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them; or say --task or --queue.")
@_filters
@click.option(
    "--arg", "args", multiple=True, metavar="VALUE", help="Other arguments, in JSON: of one ID."
)
@broker_option
@json_option
def replay(
    task_ids: tuple[str, ...],
    everything: bool,
    task: str | None,
    queue: str | None,
    args: tuple[str, ...],
    broker: str | None,
    output: Output,
) -> int:
    """Enqueue dead letters again, each under a new id; the letter goes in the same step."""
    _check_choice(task_ids, everything=everything or bool(task or queue), what="replay")
    if args and len(task_ids) != 1:
        raise click.UsageError("--arg goes with one ID")

    async def again(sys: System) -> list[tuple[str | None, str]]:
        if args:
            (task_id,) = task_ids
            handle = await sys.replay(task_id, args=[read_value(said) for said in args])
            return [(task_id, handle.task_id)]
        if not task_ids:
            return [(None, h.task_id) for h in await sys.replay_all(task=task, queue=queue)]
        return [(task_id, (await sys.replay(task_id)).task_id) for task_id in task_ids]

    replayed = _asked(broker, again)
    output.document([{"replay_of": old, "task_id": new} for old, new in replayed])
    for old, new in replayed:
        output.text(Text(new if old is None else f"{old}  is now  {new}"))
    if not replayed:
        output.text(styled("no dead letters", "dim"))
    return exits.OK


@dead.command()
@click.argument("task_ids", metavar="[ID...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@yes_option
@broker_option
@json_option
def purge(
    task_ids: tuple[str, ...], everything: bool, yes: bool, broker: str | None, output: Output
) -> int:
    """Forget dead letters for good."""
    _check_choice(task_ids, everything=everything, what="purge")
    what = count(len(task_ids), "dead letter") if task_ids else "all dead letters"
    confirm(f"Forget {what}?", yes=yes)

    async def forget(sys: System) -> int:
        return await sys.purge_dead(task_ids or None)

    gone = ask(broker, forget)
    output.document({"purged": gone})
    output.text(f"{count(gone, 'dead letter')} forgotten")
    return exits.NOT_FOUND if gone < len(task_ids) else exits.OK


def _check_choice(task_ids: tuple[str, ...], *, everything: bool, what: str) -> None:
    if bool(task_ids) == everything:
        raise click.UsageError(f"say which to {what}: their ids, or --all")


def _asked(broker: str | None, question: Any) -> Any:
    try:
        return ask(broker, question)
    except DeadTaskNotFound as error:
        raise CommandError(
            str(error).partition(";")[0],  # then it says how to list them in Python
            "`actorq dead list` lists them",
            exit_code=exits.NOT_FOUND,
        ) from None


def _shown(value: Any) -> Any:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value
