"""Worker processes, and what they use: for programs of several processes.

Standard library only, as the peers' programs need it too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter


HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")

#: Seconds after which what should come has not come.
PATIENCE = 60.0


def until(claim: Callable[[], bool], what: str, *, pause: float = 0.002) -> float:
    """Look until *claim* holds; when it did, by `perf_counter`."""
    give_up = perf_counter() + PATIENCE
    while not claim():
        if perf_counter() > give_up:
            raise TimeoutError(f"{what}: not within {PATIENCE:g} s")
        time.sleep(pause)
    return perf_counter()


class Worker:
    """A worker of some queue: a process, and what it starts."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        paths = [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        self.began = perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=HERE,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
            | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=None if os.environ.get("BENCH_STDERR") else subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pids(self) -> list[int]:
        """Of all its processes."""
        return family(self._process.pid)

    def memory(self) -> float:
        """Megabytes of all its processes, shared pages by their share."""
        return sum(map(_proportional, self.pids)) / 1024

    def cpu(self) -> float:
        """Seconds that its processes have computed."""
        return cpu(self._process.pid)

    def kill(self) -> float:
        """SIGKILL to all of it; when, by `perf_counter`."""
        pids = self.pids  # each by itself: some make process groups of their own
        killed = perf_counter()
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        return killed

    def stop(self) -> None:
        """As an operator would, and if that does not help, as one who has lost patience."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()


@contextmanager
def workers(
    command: Sequence[str], environment: Mapping[str, str], count: int = 1
) -> Iterator[list[Worker]]:
    """So many of them; those that are in the list at the end are stopped."""
    started = [Worker(command, environment) for _ in range(count)]
    try:
        yield started
    finally:
        for worker in started:
            worker.stop()


def say(log: str, word: str) -> None:
    """A line more in the file *log*, if there is one."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{word}\n")


def family(pid: int) -> list[int]:
    """This process and its children, and theirs."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, children.read_text().split())
    return found


def cpu(pid: int) -> float:
    """Seconds that this process and its children have computed."""
    return sum(map(_cpu, family(pid)))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def script(name: str) -> str:
    """A program that was installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0  # a job's own process, which has ended since
    return next(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # its own, and that of its children that have ended
    return sum(map(int, fields[11:15])) / TICKS
