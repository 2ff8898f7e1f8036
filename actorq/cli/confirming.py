"""Asking before something is destroyed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from actorq.cli import exits
from actorq.cli.output import CommandError


F = TypeVar("F", bound=Callable[..., Any])


def yes_option(function: F) -> F:
    """Give a command `--yes`: its function gets `yes`, for `confirm`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


def confirm(question: str, *, yes: bool) -> None:
    """Ask, on a terminal; where nobody can answer, --yes is needed.  A `CommandError` on a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            "this cannot be undone, and nobody is there to ask",
            "say --yes if it is meant",
            exit_code=exits.USAGE,
        )
    if not click.confirm(question, err=True):
        raise CommandError("nothing was done")
