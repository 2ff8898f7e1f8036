"""Other processes, for tests: started, read line by line, and ended whatever happens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs


PROGRAM = Path(__file__).with_name("storage_program.py")


@attrs.frozen
class Program:
    """One of them."""

    process: subprocess.Popen[str]

    def line(self) -> list[str]:
        """Its next line, in words; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def rest(self) -> list[list[str]]:
        """All its lines until it ends."""
        assert self.process.stdout is not None
        return [line.split() for line in self.process.stdout]

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()


@contextmanager
def started(what: str, path: Path, *prefix: str) -> Iterator[Program]:
    """`storage_program.py what path`."""
    process = subprocess.Popen(
        [*prefix, sys.executable, str(PROGRAM), what, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Program(process)
        finally:
            process.kill()
