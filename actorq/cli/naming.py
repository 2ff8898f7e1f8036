"""Finding the task that a command is about, and the names that a shell may complete."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import click

from actorq.actors.broker import Broker
from actorq.cli import exits
from actorq.cli.finding import broker_name, find_broker, import_module
from actorq.cli.output import CommandError
from actorq.cli.words import a
from actorq.task import Task


def find_task(said: str, broker_said: str | None) -> tuple[Broker, Task[..., Any]]:
    """The task called *said*, and the broker to enqueue it on.

    A broker's own task by its name; else the variable of a module, `module:task`, on the broker that
    is named, or its own.
    """
    if _is_named(broker_said):
        broker = find_broker(broker_said)
        known = broker.tasks.get(said)
        return broker, _variable(said, broker) if known is None else known
    task = _variable(said, None)
    if task.broker is None:
        find_broker(broker_said)  # which says how to name one
        raise AssertionError("a broker was named after all")
    return task.broker, task


def _is_named(broker_said: str | None) -> bool:
    try:
        broker_name(broker_said)
    except CommandError:
        return False
    return True


def _variable(said: str, broker: Broker | None) -> Task[..., Any]:
    module_name, colon, attribute = said.partition(":")
    if not module_name or not colon or not attribute:
        raise CommandError(
            f"{said!r} names no task: write module:task, where `from module import task` would find it",
            *_known(said, broker),
            exit_code=exits.USAGE,
        )
    try:
        found: Any = import_module(module_name, f"the task {said!r}")
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise CommandError(
            f"module {module_name!r} has no {attribute!r}",
            *_known(said, broker),
            exit_code=exits.NOT_FOUND,
        ) from None
    except CommandError as error:
        raise CommandError(
            error.message,
            *error.advice,
            *_known(said, broker),
            exit_code=exits.NOT_FOUND if error.exit_code == exits.USAGE else error.exit_code,
            detail=error.detail,
        ) from None
    if not isinstance(found, Task):
        raise CommandError(
            f"{said!r} is {a(type(found).__name__)}; a task was expected, made with @broker.task or "
            f"@actorq.task",
            *_known(said, broker),
            exit_code=exits.USAGE,
        )
    return found


def _known(said: str, broker: Broker | None) -> tuple[str, ...]:
    names = [] if broker is None else sorted(task.name for task in broker.tasks)
    if not names:
        return ("a task that only other processes know is enqueued by its name alone: --by-name",)
    close = difflib.get_close_matches(said, names, n=3)
    return (f"the broker knows: {', '.join(close or names[:20])}",)


def completing(names: Callable[[Broker], list[str]]) -> Callable[..., list[str]]:
    """A shell's completion out of the broker's module; whatever is wrong with that, it has none."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        nowhere = io.StringIO()
        try:
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                found = names(find_broker(ctx.params.get("broker")))
        except (Exception, SystemExit):  # noqa: BLE001 - a shell's prompt is no place for errors
            return []
        return [name for name in found if name.startswith(incomplete)]

    return complete


@completing
def task_names(broker: Broker) -> list[str]:
    """Those that it knows."""
    return sorted(task.name for task in broker.tasks)


@completing
def queue_names(broker: Broker) -> list[str]:
    """Those that its tasks go to."""
    return sorted({task.options.queue for task in broker.tasks} | {"default"})
