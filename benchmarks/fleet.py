"""Worker processes and a server of one's own, and what they use: for programs of several processes.

Standard library only, as the peers' programs need it too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
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
        found = [self._process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def memory(self) -> float:
        """Megabytes of all its processes, shared pages by their share."""
        return sum(map(_proportional, self.pids)) / 1024

    def cpu(self) -> float:
        """Seconds that its processes have computed."""
        return sum(map(_cpu, self.pids))

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


REDIS = shutil.which("redis-server")


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis server that keeps nothing on disk, alone on a free port; its address."""
    assert REDIS is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: _answers(port), "redis-server")
        yield f"redis://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def say(log: str, word: str) -> None:
    """A line more in the file *log*, if there is one."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{word}\n")


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def script(name: str) -> str:
    """A program that was installed beside this interpreter."""
    return str(Path(sys.executable).parent / name)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _proportional(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
