"""Readiness: whether every seat has a process that can take tasks, and who is told of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import attrs

from actorq.cli.serving.journal import tell_systemd
from actorq.cli.serving.process import Process


@attrs.define
class Readiness:
    """Looked at anew whenever a process begins, is ready, or has ended."""

    seats: int
    file: Path | None = None  #: is there while all are ready
    seated: dict[str, Process] = attrs.field(factory=dict)  #: who holds each seat, by its name
    was: bool = False  #: once, at least
    _ready: bool = False

    def look(self, *, ending: bool) -> bool:
        """Tell who wants to know of a change; True the first time that all are ready."""
        ready = (
            not ending
            and len(self.seated) == self.seats
            and all(each.ready.is_set() and each.running for each in self.seated.values())
        )
        if ready != self._ready:
            self._ready = ready
            self._show()
        if ready and not self.was:
            self.was = True
            return True
        return False

    def begin(self) -> None:
        """Nobody is ready, whatever a predecessor that was killed has left; `OSError` if the file cannot
        be."""
        if self.file is not None:
            self.file.touch()
            self.file.unlink()

    def _show(self) -> None:
        if self._ready:
            tell_systemd("READY=1")
        if self.file is None:
            return
        with suppress(OSError):  # its folder is gone, or the disk is full: who probes sees none
            if self._ready:
                self.file.touch()
            else:
                self.file.unlink(missing_ok=True)
