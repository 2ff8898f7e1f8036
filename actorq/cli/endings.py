"""How a task ended, for people and for programs: what `result`, `watch` and `enqueue --wait` show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from actorq.cli import exits
from actorq.cli.documents import of_pending, of_result
from actorq.cli.output import CommandError, Output
from actorq.cli.words import span
from actorq.errors import ResultGetError, TaskCancelled
from actorq.handle import ask_again
from actorq.protocol import Locate
from actorq.remote_error import dump_error
from actorq.result import TaskResult
from actorq.serialization import dump


if TYPE_CHECKING:
    from actorq.system import System


async def state_of(sys: System, task_id: str) -> str:
    """Where it is, in a word: see `actorq.protocol.Locate`; "running" for leased."""
    state = await ask_again(sys.wiring.broker, Locate(task_id))
    return "running" if state == "leased" else state


def show_result(
    output: Output, task_id: str, result: TaskResult[Any], *, with_log: bool = False
) -> int:
    """Write it; 1 if the task failed."""
    output.document(of_result(task_id, _plain(result), with_log=with_log))
    if with_log and result.log:
        output.text(Text(result.log.rstrip("\n"), style="dim"))
    took = f"after {span(result.execution_time)}"
    if result.attempts > 1:
        took += f", attempt {result.attempts}"
    if not result.is_err:
        value = json.dumps(dump(result.return_value), indent=2, ensure_ascii=False)
        output.text(Text(value))
        return exits.OK
    error = result.error
    if isinstance(error, TaskCancelled):
        output.text(Text(f"cancelled {took}: {error}", style="yellow"))
        return exits.FAILED
    plain = {} if error is None else dump_error(error)
    trace = str(plain.get("traceback") or "").rstrip("\n")
    if trace:
        output.text(Text(trace, style="dim"))
    output.text(Text(f"failed {took}: {plain.get('type', '')}: {error}", style="bold red"))
    return exits.FAILED


async def without_result(
    sys: System, output: Output, task_id: str, why: ResultGetError, *, waited: float | None = None
) -> int:
    """Say why there is none: 3, unless the task failed for good and its result was not kept."""
    state = await state_of(sys, task_id)
    output.document(of_pending(task_id, state))
    if state == "unknown":
        raise CommandError(
            f"there is no task {task_id!r}, and no result of it",
            "it was never enqueued here, or ended so long ago that it is forgotten",
            exit_code=exits.NOT_FOUND,
        )
    if state in ("done", "dead"):
        advice = f"`actorq dead show {task_id}` shows its error" if state == "dead" else str(why)
        raise CommandError(
            f"task {task_id} has ended ({state}), and its result is not kept",
            advice,
            exit_code=exits.NOT_FOUND,
        )
    so_far = "" if waited is None else f" after {span(waited)}"
    raise CommandError(
        f"task {task_id} has no result yet{so_far}: it is {state}",
        "`actorq result --wait SECONDS` waits for it, `actorq watch` shows its progress",
        exit_code=exits.NOT_FOUND,
    )


def _plain(result: TaskResult[Any]) -> TaskResult[Any]:
    return TaskResult(
        is_err=result.is_err,
        return_value=dump(result.return_value),
        error=result.error,
        execution_time=result.execution_time,
        labels=result.labels,
        attempts=result.attempts,
        log=result.log,
    )
