"""What is measured of a queue that outlives its processes: the same programs for each queue.

A queue is an adapter: `durable_actorq.py`, `far_actorq.py`, and of the peers `peer_*.py`.
Standard library only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Protocol, TypeAlias

from fleet import Worker, percentile, until, workers
from measure import Report, program_main


#: How many jobs a killed worker leaves, and how many seconds each takes.
LEFT = 50
NAP = 1.0
#: Seconds that a crash's jobs are waited for.
WINDOW = 12.0
#: The same where many queues recover side by side, each job longer.
LONG_NAP = 4.0
LONG_WINDOW = 60.0
#: Seconds after which no further round trip is begun.
TRIPS = 3.0
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

    def server_cpu(self) -> float:
        """Processor seconds of its server, if it has one."""
        ...

    def round_trips(self, n: int) -> list[float]:
        """Enqueue a task and wait for its result, one after the other; seconds of each.

        At most *n*, and none after `TRIPS` seconds.
        """
        ...

    def waits(self, seconds: float) -> float:
        """Wait for the result of a job that sleeps; processor seconds that this took the client."""
        ...

    def naps(self, n: int, seconds: float, log: Path) -> None:
        """Enqueue *n* jobs that write `begin NUMBER` to *log*, sleep, and write `end NUMBER`."""
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
        "recovery": _recovery,
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
        warm = max(n // 10, 20)
        queue.batch(warm)
        until(lambda: queue.stored() == warm, "the first results")
        used, served = sum(worker.cpu() for worker in working), queue.server_cpu()
        began, own = perf_counter(), process_time()
        queue.batch(n)
        own = process_time() - own
        ended = until(lambda: queue.stored() == warm + n, "all results", pause=0.05)
        used = sum(worker.cpu() for worker in working) - used
        served = queue.server_cpu() - served
    return {
        "rate": n / (ended - began),
        "worker_cpu_us": used / n * 1e6,
        "client_cpu_us": own / n * 1e6,
        "server_cpu_us": served / n * 1e6,
    }


def _waiting(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    """One task at a time, and none at all."""
    queue.single(1)
    with workers(queue.worker(), environment) as (worker,):
        cold = until(lambda: queue.stored() == 1, "the first result") - worker.began
        queue.round_trips(n // 10)
        used = process_time() + worker.cpu() + queue.server_cpu()
        trips = queue.round_trips(n)
        used = process_time() + worker.cpu() + queue.server_cpu() - used
        trip_cpu_us = used / len(trips) * 1e6
        time.sleep(2)
        (after_idleness,) = queue.round_trips(1)
        used = worker.cpu()
        client = queue.waits(WAIT)
        return {
            "cold_start": cold,
            "p50_ms": median(trips) * 1e3,
            "p99_ms": percentile(trips, 0.99) * 1e3,
            "trip_cpu_us": trip_cpu_us,
            "after_idleness_ms": after_idleness * 1e3,
            "client_cpu_percent": client / WAIT * 100,
            "worker_cpu_percent": (worker.cpu() - used) / WAIT * 100,
            "memory": worker.memory(),
        }


def _crash(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    return _killed(queue, environment, folder, n, NAP, WINDOW)


def _recovery(queue: Queue, environment: Mapping[str, str], folder: Path, n: int) -> Report:
    return _killed(queue, environment, folder, n, LONG_NAP, LONG_WINDOW, pause=LONG_NAP / 2)


def _killed(
    queue: Queue,
    environment: Mapping[str, str],
    folder: Path,
    n: int,
    nap: float,
    window: float,
    pause: float = 0,
) -> Report:
    """SIGKILL while all jobs run; another worker is started at once."""
    log = folder / "log"
    log.touch()

    def numbers(word: str) -> list[str]:
        """Of the jobs that wrote it; a line may still be short."""
        lines = [line.split() for line in log.read_text().splitlines()]
        return [line[1] for line in lines if len(line) == 2 and line[0] == word]

    command = queue.worker(n)
    with workers(command, environment) as working:
        queue.naps(n, nap, log)
        until(lambda: len(numbers("begin")) == n, "all jobs at once")
        time.sleep(pause)
        killed = working.pop().kill()
        early = len(numbers("end"))
        working.append(Worker(command, environment))
        first = window
        while perf_counter() < killed + window and len(set(numbers("end"))) < n:
            if first == window and len(numbers("begin")) > n:
                first = perf_counter() - killed
            time.sleep(0.01)
        all_ran = perf_counter() - killed
        ends = numbers("end")
        return {
            "jobs": n,
            "early": early,
            "lost": n - len(set(ends)),
            "twice": len(ends) - len(set(ends)),
            "first_rerun": first,
            "all_ended": all_ran,
            "executions": len(numbers("begin")),
        }
