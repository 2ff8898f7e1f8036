"""`actorq result ID`: how a task ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import trio

from actorq.cli.client import ask
from actorq.cli.endings import show_result, without_result
from actorq.cli.finding import broker_option
from actorq.cli.output import Output, json_option
from actorq.cli.values import DURATION
from actorq.errors import ResultGetError


if TYPE_CHECKING:
    from actorq.handle import TaskHandle
    from actorq.system import System


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--wait", type=DURATION, metavar="DURATION", help="Wait for it, at most so long.")
@click.option("--with-log", is_flag=True, help="With what the task logged, if that was captured.")
@broker_option
@json_option
def result(
    task_id: str, wait: float | None, with_log: bool, broker: str | None, output: Output
) -> int:
    """Show what a task returned, or how it failed.

    Exit code 1 if it failed, 3 if there is no such task, or no result (yet).
    """

    async def look(sys: System) -> int:
        handle: TaskHandle[Any] = sys.handle(task_id)
        try:
            if wait is None:
                found = await handle.get_result()
            else:
                with trio.fail_after(wait):
                    found = await handle.wait_result()
        except ResultGetError as why:
            return await without_result(sys, output, task_id, why)
        except trio.TooSlowError:
            late = ResultGetError(f"task {task_id} has no result")
            return await without_result(sys, output, task_id, late, waited=wait)
        return show_result(output, task_id, found, with_log=with_log)

    return ask(broker, look)
