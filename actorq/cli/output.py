"""What a command says: documents for programs, text for people, errors on stderr.

Standard output carries what was asked for and nothing else, so that it can be piped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from textwrap import indent
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import attrs
import click

from actorq.cli import exits
from actorq.cli.streams import writes_utf8


if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

#: Columns where there is no terminal: enough that nothing is cut off in a file or a pipe.
WIDE = 240


class CommandError(click.ClickException):
    """A command cannot go on: what is wrong, and lines of *advice* on what to do about it."""

    def __init__(
        self, message: str, *advice: str, exit_code: int = exits.FAILED, detail: str = ""
    ) -> None:
        super().__init__(message)
        self.advice = advice
        self.exit_code = exit_code  # type: ignore[misc]  # click's own has one for each class
        self.detail = detail  #: such as a traceback; shown before the message

    def show(self, file: Any = None) -> None:  # noqa: ARG002 - click's signature
        """Write it to stderr."""
        complain(self.message, *self.advice, detail=self.detail)


def complain(message: str, *advice: str, detail: str = "") -> None:
    """An error on stderr, if anybody reads it: one line, then what to do."""
    said = [detail.rstrip("\n") + "\n"] if detail else []
    said += [f"error: {message}\n", *[indent(f"{line}\n", "  ") for line in advice]]
    with suppress(OSError):
        sys.stderr.write("".join(said))
        sys.stderr.flush()


@attrs.define
class Output:
    """Where one command's answer goes.  With `--json`, text for people is left out."""

    json: bool = False
    #: What is stdout when it is made: later, what the user's module prints goes elsewhere.
    stream: TextIO = attrs.field(factory=lambda: sys.stdout)
    _console: Console | None = None

    @property
    def console(self) -> Console:
        """Rich's: colours and widths as the terminal has them; plain if there is none (or NO_COLOR)."""
        if self._console is None:
            from rich.console import Console  # here: it takes longer than some commands

            self._console = Console(
                highlight=False,
                file=self.stream,
                soft_wrap=not self.stream.isatty(),
                width=None if self.stream.isatty() else WIDE,
            )
        return self._console

    def document(self, value: Any) -> None:
        """The answer, with `--json`: one document."""
        if self.json:
            self._write(value, indent=2)

    def line(self, value: Any) -> None:
        """One of many parts of the answer, with `--json`: one line each, as soon as it is there."""
        if self.json:
            self._write(value, indent=None)

    def _write(self, value: Any, *, indent: int | None) -> None:
        escaped = not writes_utf8(self.stream)
        self.stream.write(json.dumps(value, indent=indent, ensure_ascii=escaped) + "\n")
        self.stream.flush()

    def text(self, *renderables: Any) -> None:
        """The answer for people: text (with rich's markup), tables, trees."""
        if self.json:
            return
        console = self.console
        if console.is_terminal:
            console.print(*renderables, sep="\n")
            return
        with console.capture() as written:
            console.print(*renderables, sep="\n")
        # tables fill their columns with spaces, the last one too
        self.stream.write("\n".join([line.rstrip(" ") for line in written.get().split("\n")]))
        self.stream.flush()

    def lines(self, values: Iterable[Any]) -> None:
        """Many at once."""
        for value in values:
            self.line(value)


def json_option(function: F) -> F:
    """Give a command `--json`: its function gets `output`, an `Output`."""

    def make(context: click.Context, _parameter: click.Parameter, value: bool) -> Output:
        output = Output(json=value)
        # stdout is the answer's: what the user's module prints is none
        context.with_resource(redirect_stdout(sys.stderr))
        return output

    return click.option(
        "--json",
        "output",
        is_flag=True,
        callback=make,
        help="Write JSON to stdout: one document, or one line for each event.",
    )(function)
