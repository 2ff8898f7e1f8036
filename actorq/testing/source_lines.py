"""Source lines: where a task sits or an error arose, as lines of the code under test.

Prefers the reader's own code to that of installed packages, and that to Trio's and actorq's.
"""

from __future__ import annotations

import linecache
import os
import sysconfig
from collections.abc import Iterable
from typing import Final

import attrs
import trio
import trio.lowlevel

from actorq.whereabouts import tasks_below


_HERE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MACHINERY: Final = (os.path.dirname(trio.__file__) + os.sep, _HERE + os.sep, "<")
_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib")}
)


@attrs.frozen
class SourceLine:
    """One line of a program."""

    function: str
    file: str
    number: int

    @property
    def text(self) -> str:
        """What stands there."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        where = f"{self.function} ({shown_path(self.file)}:{self.number})"
        return f"{where}: {self.text}" if self.text else where


def shown_path(path: str) -> str:
    """Relative to the current folder, if it is below."""
    below = os.path.relpath(path)
    return path if below.startswith(os.pardir) else below


def own_lines(lines: Iterable[SourceLine]) -> list[SourceLine]:
    """The reader's own among *lines*; failing that the innermost that is at least not machinery."""
    lines = list(lines)
    foreign = [line for line in lines if not line.file.startswith(_MACHINERY)]
    own = [line for line in foreign if not line.file.startswith(_INSTALLED)]
    return own or foreign[-1:]


def lines_of(task: trio.lowlevel.Task) -> list[SourceLine]:
    """The lines on which *task* sits, outermost first; none if it is not in the reader's code."""
    return own_lines(
        SourceLine(frame.f_code.co_qualname, frame.f_code.co_filename, number)
        for frame, number in task.iter_await_frames()
    )


def lines_of_error(error: BaseException) -> list[SourceLine]:
    """The lines through which *error* came, outermost first."""
    lines = []
    traceback = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(SourceLine(code.co_qualname, code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return own_lines(lines)


def where_it_sits(task: trio.lowlevel.Task | None, most: int = 8) -> tuple[str, ...]:
    """The tasks from *task* down that sit in the reader's code, each with its line."""
    found = []
    for _, each in tasks_below(task):
        found += [f"{each.name}: {line}" for line in lines_of(each)[-1:]]
    if len(found) > most:
        found[most:] = [f"... and {len(found) - most} more tasks"]
    return tuple(found)
