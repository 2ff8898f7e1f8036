"""The `actorq` command: its subcommands by name, each imported when it is called.

A new command: a module in `commands/` with a click command of the same name (dashes become `_`), and
a line in `COMMANDS`.  A command's function returns its exit code, or None for 0.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from actorq._version import __version__
from actorq.cli import exits, streams
from actorq.cli.output import complain
from actorq.errors import ActorqError, EngineUnavailable


#: Each with what `actorq --help` says of it, so that this imports none of them.
COMMANDS: dict[str, str] = {
    "worker": "Run tasks, in worker processes that are watched and restarted.",
    "scheduler": "Enqueue what schedules say; several may run.",
    "enqueue": "Enqueue one call of a task.",
    "result": "Show what a task returned, or how it failed.",
    "watch": "Follow a task's progress to its end.",
    "cancel": "Cancel tasks.",
    "status": "Show queues, workers, schedules and the engine.",
    "top": "Watch queues, workers and running jobs, live.",
    "queue": "List, pause, resume and purge queues.",
    "dead": "List, show, replay and purge tasks that failed for good.",
    "schedule": "List, add, pause, resume, remove and run schedules.",
    "doctor": "Check the configuration, the engine and the queue; say what to change.",
    "backup": "Copy the queue's file while it is in use.",
    "completion": "Write a shell's completion script.",
}


class _Commands(click.Group):
    """Knows its commands by name; imports the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = importlib.import_module(f"actorq.cli.commands.{name}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="actorq")
def actorq() -> None:
    """The task queue for Trio: workers, schedules, and a look into the queue.

    The broker is named as `module:broker`, by --broker, ACTORQ_BROKER or tool.actorq in pyproject.toml.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    try:
        code: Any = actorq.main(arguments, prog_name="actorq", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except EngineUnavailable as error:
        complain(str(error))
        return exits.UNAVAILABLE
    except ActorqError as error:
        complain(f"{type(error).__name__}: {error}")
        return exits.FAILED
    except OSError as error:
        streams.leads_nowhere(sys.stdout)  # or Python would complain once more when it ends
        if isinstance(error, BrokenPipeError):  # who read our answer has read enough
            return exits.FAILED
        complain(f"cannot go on: {error}")
        return exits.FAILED
    return code if isinstance(code, int) else exits.OK
