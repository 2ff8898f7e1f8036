"""`actorq enqueue module:task`: one task, with its arguments in JSON."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from actorq.actors.broker import Broker
from actorq.cli import exits
from actorq.cli.client import ask
from actorq.cli.endings import show_result, without_result
from actorq.cli.finding import broker_option, find_broker
from actorq.cli.naming import find_task, queue_names, task_names
from actorq.cli.output import CommandError, Output, json_option
from actorq.cli.values import DURATION, MOMENT, argument_options, call_text, read_arguments
from actorq.cli.words import iso
from actorq.errors import ArgumentsError, OptionError, ResultGetError


if TYPE_CHECKING:
    from actorq.message import TaskMessage
    from actorq.system import System
    from actorq.task import Task


@click.command()
@click.argument("task", metavar="MODULE:TASK", shell_complete=task_names)
@argument_options
@click.option(
    "--queue", metavar="NAME", shell_complete=queue_names, help="Not the task's own queue."
)
@click.option("--priority", type=int, help="Higher first.")
@click.option("--delay", type=DURATION, metavar="DURATION", help="Not before: 90, 5m, 1h30m.")
@click.option("--eta", type=MOMENT, metavar="TIME", help="Not before: 2026-11-21T14:30[+01:00].")
@click.option("--id", "task_id", metavar="ID", help="Its id; the same one twice is one task.")
@click.option("--by-name", is_flag=True, help="Do not look for the task here: workers know it.")
@click.option("--wait", is_flag=True, help="Wait for its result, and show that as `result` does.")
@broker_option
@json_option
def enqueue(
    task: str,
    args: tuple[str, ...],
    kwargs: tuple[str, ...],
    queue: str | None,
    priority: int | None,
    delay: float | None,
    eta: datetime | None,
    task_id: str | None,
    by_name: bool,
    wait: bool,
    broker: str | None,
    output: Output,
) -> int | None:
    """Enqueue one call of a task.

    \b
    actorq enqueue tasks:resize --arg '"photo.png"' --arg 64 --kwarg crop=true
    """
    said = {"queue": queue, "priority": priority, "delay": delay, "eta": eta, "task_id": task_id}
    options = {name: value for name, value in said.items() if value is not None}
    found, message, chosen = _prepare(
        task, *read_arguments(args, kwargs), options, broker, by_name=by_name
    )

    async def send(sys: System) -> int | None:
        handle = await sys.send(message)
        _say(output, message, handle.task_id, quiet=wait)
        if not wait:
            return None
        waiting = sys.handle(handle.task_id, chosen)
        try:
            return show_result(output, handle.task_id, await waiting.wait_result())
        except ResultGetError as why:
            return await without_result(sys, output, handle.task_id, why)

    return ask(found, send)


def _prepare(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    broker_said: str | None,
    *,
    by_name: bool,
) -> tuple[Broker, TaskMessage, Task[..., Any] | None]:
    from actorq.environment import current_environment
    from actorq.message import TaskMessage
    from actorq.options import TaskOptions

    new_id = options.get("task_id") or current_environment().new_id()
    now = time.time()
    if not by_name:
        found, task = find_task(name, broker_said)
        try:
            message = task.using(**options).message(args, kwargs, task_id=new_id, now=now)
        except (ArgumentsError, OptionError, TypeError, ValueError) as error:
            call = call_text(task.name, args, kwargs)
            advice = [f"understood as {call}"]
            if "expected str" in str(error):
                advice.append("quotes within quotes make a string of what is JSON: --arg '\"2\"'")
            raise CommandError(str(error), *advice, exit_code=exits.USAGE) from None
        return found, message, task
    delay, eta = options.pop("delay", None), options.pop("eta", None)
    start = now + delay if delay is not None else None if eta is None else eta.timestamp()
    try:
        kept = TaskOptions().updated(options, where="enqueue --by-name")
    except OptionError as error:
        raise CommandError(str(error), exit_code=exits.USAGE) from None
    return find_broker(broker_said), TaskMessage(new_id, name, args, kwargs, kept, start, now), None


def _say(output: Output, message: TaskMessage, task_id: str, *, quiet: bool) -> None:
    call = call_text(message.task_name, message.args, dict(message.kwargs))
    if quiet:
        if not output.json:
            click.echo(f"{call} is {task_id}", err=True)  # stdout is the result's
        return
    output.document(
        {
            "task_id": task_id,
            "task_name": message.task_name,
            "args": list(message.args),
            "kwargs": dict(message.kwargs),
            "queue": message.options.queue,
            "priority": message.options.priority,
            "eta": iso(message.eta),
            "stand_in": task_id != message.task_id,
        }
    )
    if not output.json:
        more = f" on queue {message.options.queue!r}" if message.options.queue != "default" else ""
        if message.eta is not None:
            more += f", not before {iso(message.eta)}"
        if task_id != message.task_id:
            more += "; its unique key was taken, that task stands for it"
        click.echo(f"enqueued {call}{more}", err=True)
    output.text(Text(task_id))
