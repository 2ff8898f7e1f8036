"""Standard input, output and error as a command can rely on them, however it was started.

Closed ones (`>&-`, a daemon's start) get a place that leads nowhere: Python has None for them, and
their numbers would be given to the next file or socket.  What an encoding cannot write is escaped.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def settle() -> None:
    """Once, before anything is written or opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_RDWR)  # in this order it is the closed one's number
            os.set_inheritable(lowest, True)
            setattr(sys, name, open(lowest, mode, encoding="utf-8"))  # noqa: SIM115 - for good
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def leads_nowhere(stream: TextIO) -> None:
    """What is still to be written to *stream* is dropped: nobody is there to read it."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def writes_utf8(stream: TextIO) -> bool:
    """Whether *stream* can carry any text as it is."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"
