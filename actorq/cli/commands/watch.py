"""`actorq watch ID`: a task's progress as it is reported, then its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from actorq.cli.client import ask
from actorq.cli.documents import of_progress, of_result
from actorq.cli.endings import show_result, without_result
from actorq.cli.finding import broker_option
from actorq.cli.output import Output, json_option
from actorq.cli.words import short
from actorq.errors import ResultGetError
from actorq.progress import TaskProgress


if TYPE_CHECKING:
    from actorq.handle import TaskHandle
    from actorq.system import System


@click.command()
@click.argument("task_id", metavar="ID")
@broker_option
@json_option
def watch(task_id: str, broker: str | None, output: Output) -> int:
    """Follow a task's progress to its end, and show its result as `result` does.

    With --json a line for each progress, and the result as the last.
    """

    async def follow(sys: System) -> int:
        handle: TaskHandle[Any] = sys.handle(task_id)
        if output.json:
            async for progress in handle.progress():
                output.line({"task_id": task_id, "state": "running", **of_progress(progress)})
        elif output.console.is_terminal:
            await _draw(sys, output, task_id)
        else:
            async for progress in handle.progress():
                output.text(Text(_line(progress)))
        try:
            found = await handle.wait_result()
        except ResultGetError as why:
            return await without_result(sys, Output(), task_id, why)
        if output.json:
            output.line(of_result(task_id, found, with_log=False))
            return int(found.is_err)
        return show_result(output, task_id, found)

    return ask(broker, follow)


async def _draw(sys: System, output: Output, task_id: str) -> None:
    """A bar, drawn when something has come; gone when the task has ended."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}", markup=False),
    )
    with Progress(*columns, console=output.console, transient=True, auto_refresh=False) as drawn:
        bar = drawn.add_task(task_id, total=1.0, status="")
        drawn.refresh()
        async for progress in sys.handle(task_id).progress():
            drawn.update(bar, completed=progress.progress, status=_status(progress), refresh=True)


def _status(progress: TaskProgress) -> str:
    counted = ""
    if progress.current is not None:
        counted = f"{progress.current}" + ("" if progress.total is None else f"/{progress.total}")
    return f"{counted}  {short(progress.status, 40)}".strip()


def _line(progress: TaskProgress) -> str:
    return f"{progress.progress:4.0%}  {_status(progress)}".rstrip()
