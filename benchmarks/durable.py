"""What is measured of a queue that outlives its processes: the same programs for each queue.

A queue is an adapter: `durable_actorq.py`, and of the peers `peer_huey.py` and `peer_redis.py`.
Standard library only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Protocol, TypeAlias

from fleet import Worker, percentile, until, workers
from measure import Report, program_main


#: How many jobs a killed worker leaves, and how many seconds each takes.
LEFT = 50
NAP = 1.0
#: Seconds that a crash's jobs are waited for.
WINDOW = 12.0
#: Seconds that a client waits for one result while its processor time is taken.
WAIT = 3.0


#: Queue, its workers' environment, its folder, amount of work.
Program: TypeAlias = Callable[["Queue", Mapping[str, str], Path, int], Report]


class Queue(Protocol):
    """A queue that keeps its tasks elsewhere than in the process."""

    def opened(self, folder: Path) -> AbstractContextManager[Mapping[str, str]]:
        """Make it, in an empty folder; what its processes need in their environment."""
        ...

    def worker(self, jobs: int = 0) -> Sequence[str]:
        """The command of one worker process: at its best with no-ops, or for so many long jobs."""
        ...

    def single(self, n: int) -> float:
        """Enqueue *n* no-op tasks one by one, each accepted before the next; seconds."""
        ...

    def callers(self, n: int) -> float:
        """The same by 50 callers at once."""
        ...

    def batch(self, n: int) -> float:
        """The same as quickly as it can."""
        ...

    def stored(self) -> int:
        """How many results there are."""
        ...

    def round_trips(self, n: int) -> list[float]:
        """Enqueue a task and wait for its result, *n* times one after the other; seconds of each."""
        ...

    def waits(self, seconds: float) -> float:
        """Wait for the result of a job that sleeps; processor seconds that this took the client."""
        ...

    def naps(self, n: int, seconds: float, log: Path) -> None:
        """Enqueue *n* jobs that write a line `begin` to *log*, sleep, and write a line `end`."""
        ...


def serve(queues: Mapping[str, Queue]) -> None:
    """Be one of the programs of *queues*, whose names begin with the queue's."""

    def program(queue: Queue, body: Program) -> Callable[[int], Report]:
        def run(amount: int) -> Report:
            with (
                tempfile.TemporaryDirectory(prefix="actorq-bench-") as folder,
                queue.opened(Path(folder)) as environment,
            ):
                return body(queue, environment, Path(folder), amount)

        return run

    bodies: dict[str, Program] = {
        "enqueue": _enqueue,
        "one_worker": _one_worker,
        "two_workers": _two_workers,
        "waiting": _waiting,
        "crash": _crash,
    }
    program_main(
        {
            f"{queue}_{body}": program(queues[queue], bodies[body])
            for queue in queues
            for body in bodies
        }
    )


def _enqueue(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    """Nobody works; after some to warm up."""
    queue.single(n // 20)
    return {
        "single": n / queue.single(n),
        "callers": n / queue.callers(n),
        "batch": 5 * n / queue.batch(5 * n),
    }


def _one_worker(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    return _end_to_end(queue, environment, n, 1)


def _two_workers(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    return _end_to_end(queue, environment, n, 2)


def _end_to_end(queue: Queue, environment: Mapping[str, str], n: int, count: int) -> Report:
    """From before the first enqueue until the last result is stored."""
    with workers(queue.worker(), environment, count) as working:
        warm = max(n // 10, 200)
        queue.batch(warm)
        until(lambda: queue.stored() == warm, "the first results")
        used = sum(worker.cpu() for worker in working)
        began = perf_counter()
        queue.batch(n)
        ended = until(lambda: queue.stored() == warm + n, "all results", pause=0.02)
        used = sum(worker.cpu() for worker in working) - used
    return {"rate": n / (ended - began), "worker_cpu_us": used / n * 1e6}


def _waiting(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    """One task at a time, and none at all."""
    queue.single(1)
    with workers(queue.worker(), environment) as (worker,):
        cold = until(lambda: queue.stored() == 1, "the first result") - worker.began
        queue.round_trips(n // 10)
        trips = queue.round_trips(n)
        time.sleep(2)
        (after_idleness,) = queue.round_trips(1)
        used = worker.cpu()
        client = queue.waits(WAIT)
        return {
            "cold_start": cold,
            "p50_ms": median(trips) * 1e3,
            "p99_ms": percentile(trips, 0.99) * 1e3,
            "after_idleness_ms": after_idleness * 1e3,
            "client_cpu_percent": client / WAIT * 100,
            "worker_cpu_percent": (worker.cpu() - used) / WAIT * 100,
            "memory": worker.memory(),
        }


def _crash(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    """SIGKILL while all jobs run; another worker is started at once."""
    log = folder / "log"
    log.touch()

    def lines(word: str) -> int:
        return log.read_text().split().count(word)

    command = queue.worker(n)
    with workers(command, environment) as working:
        queue.naps(n, NAP, log)
        until(lambda: lines("begin") == n, "all jobs at once")
        killed = working.pop().kill()
        working.append(Worker(command, environment))
        first = WINDOW
        while perf_counter() < killed + WINDOW and lines("end") < n:
            if first == WINDOW and lines("begin") > n:
                first = perf_counter() - killed
            time.sleep(0.005)
        all_ran = perf_counter() - killed
        return {
            "lost": max(n - lines("end"), 0),
            "first_rerun": first,
            "all_ended": all_ran,
            "executions": lines("begin"),
        }
