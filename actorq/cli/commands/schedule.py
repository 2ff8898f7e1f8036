"""`actorq schedule`: what is enqueued when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from actorq.cli import exits
from actorq.cli.client import ask
from actorq.cli.confirming import confirm, yes_option
from actorq.cli.documents import of_schedule
from actorq.cli.finding import broker_option, find_broker
from actorq.cli.naming import find_task, queue_names, task_names
from actorq.cli.output import CommandError, Output, json_option
from actorq.cli.tables import styled, table
from actorq.cli.values import DURATION, MOMENT, argument_options, call_text, read_arguments
from actorq.cli.words import until
from actorq.errors import ArgumentsError, OptionError, ScheduleNotFound
from actorq.schedule import At, CatchUp, Cron, Every, Overlap, Trigger


if TYPE_CHECKING:
    from actorq.schedule_source import ScheduleInfo
    from actorq.system import System


@click.group()
def schedule() -> None:
    """Schedules: list, add, pause, resume, remove, run."""


@schedule.command("list")
@broker_option
@json_option
def list_(broker: str | None, output: Output) -> None:
    """List schedules, the next one first.

    Those that tasks declare are there once a scheduler has seen them.
    """

    async def look(sys: System) -> tuple[ScheduleInfo, ...]:
        return await sys.schedules.list()

    found = find_broker(broker)
    infos = ask(found, look)
    output.document([of_schedule(each) for each in infos])
    if not infos:
        hint = "; those that tasks declare are there once a scheduler has run"
        declares = any(task.options.schedule for task in found.tasks)
        output.text(styled(f"no schedules{hint if declares else ''}", "dim"))
        return
    rows = [
        (
            each.schedule_id,
            styled("paused", "yellow") if each.paused else until(each.next_time),
            each.description,
            call_text(each.task_name, each.args, dict(each.kwargs)),
            "declared" if each.declared else "",
        )
        for each in infos
    ]
    output.text(table(("ID~", "NEXT", "RHYTHM~", "CALL~", ""), rows, output.console.width))


@schedule.command()
@click.argument("task", metavar="MODULE:TASK", shell_complete=task_names)
@click.option(
    "--every", "period", type=DURATION, metavar="DURATION", help="A period: 30, 5m, 1h30m."
)
@click.option("--cron", metavar="EXPRESSION", help="Five fields, as `30 2 * * *`, or @daily.")
@click.option("--tz", metavar="ZONE", help="For --cron.  [default: UTC]")
@click.option("--at", "moment", type=MOMENT, metavar="TIME", help="Once: 2026-11-21T14:30[+01:00].")
@argument_options
@click.option("--id", "schedule_id", metavar="ID", help="Its id; one that is there is renewed.")
@click.option(
    "--queue", metavar="NAME", shell_complete=queue_names, help="Not the task's own queue."
)
@click.option("--catch-up", type=click.Choice([each.value for each in CatchUp]))
@click.option("--overlap", type=click.Choice([each.value for each in Overlap]))
@click.option("--jitter", type=DURATION, metavar="DURATION")
@click.option("--by-name", is_flag=True, help="Do not look for the task here: workers know it.")
@broker_option
@json_option
def add(
    task: str,
    period: float | None,
    cron: str | None,
    tz: str | None,
    moment: datetime | None,
    args: tuple[str, ...],
    kwargs: tuple[str, ...],
    schedule_id: str | None,
    queue: str | None,
    catch_up: str | None,
    overlap: str | None,
    jitter: float | None,
    by_name: bool,
    broker: str | None,
    output: Output,
) -> None:
    """Enqueue a task in each slot of a rhythm from now on: --every, --cron, or once --at."""
    trigger = _trigger(period, cron, tz, moment)
    positional, named = read_arguments(args, kwargs)
    what: Any
    if by_name:
        found, what = find_broker(broker), task
        if queue is not None:
            raise click.UsageError("--queue is an option of the task, which --by-name does not see")
    else:
        found, what = find_task(task, broker)
        if queue is not None:
            what = what.using(queue=queue)

    async def put(sys: System) -> Any:
        try:
            handle = await sys.schedules.add(
                what,
                trigger,
                *positional,
                kwargs=named,
                schedule_id=schedule_id,
                catch_up=catch_up,
                overlap=overlap,
                jitter=jitter,
            )
        except (ArgumentsError, OptionError) as error:
            raise CommandError(str(error), exit_code=exits.USAGE) from None
        return handle.schedule_id, await handle.get()

    key, info = ask(found, put)
    output.document(None if info is None else of_schedule(info))
    output.text(Text(key))
    if info is not None and not output.json:
        call = call_text(info.task_name, info.args, dict(info.kwargs))
        click.echo(f"{call}, {info.description}; next: {until(info.next_time)}", err=True)


def _trigger(
    period: float | None, cron: str | None, tz: str | None, moment: datetime | None
) -> Trigger:
    if sum(each is not None for each in (period, cron, moment)) != 1:
        raise click.UsageError("say one of --every, --cron and --at")
    if tz is not None and cron is None:
        raise click.UsageError("--tz goes with --cron; a time of --at has its zone in it")
    try:
        if period is not None:
            return Every(period)
        if cron is not None:
            return Cron(cron, tz=tz or "UTC")  # it reads names of zones
        assert moment is not None
        return At(moment)
    except OptionError as error:
        raise CommandError(str(error), exit_code=exits.USAGE) from None


@schedule.command()
@click.argument("schedule_ids", metavar="ID...", nargs=-1, required=True)
@broker_option
@json_option
def pause(schedule_ids: tuple[str, ...], broker: str | None, output: Output) -> None:
    """Fire no slot of them until they are resumed."""
    _each(broker, output, schedule_ids, "is paused", lambda sys, key: sys.schedules.pause(key))


@schedule.command()
@click.argument("schedule_ids", metavar="ID...", nargs=-1, required=True)
@broker_option
@json_option
def resume(schedule_ids: tuple[str, ...], broker: str | None, output: Output) -> None:
    """Go on with the next slot; what went by is not caught up with."""
    _each(broker, output, schedule_ids, "goes on", lambda sys, key: sys.schedules.resume(key))


@schedule.command()
@click.argument("schedule_ids", metavar="ID...", nargs=-1, required=True)
@yes_option
@broker_option
@json_option
def remove(schedule_ids: tuple[str, ...], yes: bool, broker: str | None, output: Output) -> None:
    """Forget schedules, with what they owe."""
    confirm(f"Forget {', '.join(schedule_ids)}?", yes=yes)

    async def forget(sys: System, key: str) -> None:
        if not await sys.schedules.remove(key):
            raise ScheduleNotFound(f"there is no schedule {key!r}")

    _each(broker, output, schedule_ids, "is removed", forget)


@schedule.command()
@click.argument("schedule_id", metavar="ID")
@broker_option
@json_option
def run(schedule_id: str, broker: str | None, output: Output) -> None:
    """Enqueue its task once, now, besides its slots."""

    async def fire(sys: System) -> str:
        return (await sys.schedules.run_now(schedule_id)).task_id

    task_id = _asked(broker, fire)
    output.document({"schedule_id": schedule_id, "task_id": task_id})
    output.text(Text(task_id))


def _each(
    broker: str | None, output: Output, schedule_ids: tuple[str, ...], done: str, step: Any
) -> None:
    async def do(sys: System) -> list[Any]:
        for key in schedule_ids:
            await step(sys, key)
        return [(key, await sys.schedules.get(key)) for key in schedule_ids]

    after = _asked(broker, do)
    output.document(
        [{"schedule_id": key} if info is None else of_schedule(info) for key, info in after]
    )
    for key in schedule_ids:
        output.text(Text(f"{key}  {done}"))


def _asked(broker: str | None, question: Any) -> Any:
    try:
        return ask(broker, question)
    except ScheduleNotFound as error:
        raise CommandError(
            str(error), "`actorq schedule list` lists them", exit_code=exits.NOT_FOUND
        ) from None
    except OptionError as error:
        raise CommandError(str(error)) from None
