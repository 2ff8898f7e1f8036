"""A peer on Redis: celery, with its results in Redis too.  Its worker imports this module for `app`.

`default`: 100 threads.  `best`: two child processes, no gossip, mingle or heartbeat, and 16 tasks
fetched ahead for each.  A `group` is slower than one call after the other, so that is what is timed.
Recovery: late acknowledgement, a visibility timeout of 10 s.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import adapters
import durable
from fleet import say, script


RECOVERY = "BENCH_CELERY_RECOVERY"

celery: Any = importlib.import_module("celery")  # by name: the type checker need not have it

app: Any = celery.Celery("peer_celery", broker=adapters.here(), backend=adapters.here())
app.conf.broker_connection_retry_on_startup = True


if RECOVERY in os.environ:
    app.conf.broker_transport_options = {"visibility_timeout": 10}


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> int:
    """Nothing."""
    return 0


@app.task(name="nap", acks_late=True)  # type: ignore[untyped-decorator]
def nap(number: int, seconds: float, log: str) -> None:
    """Sleep."""
    say(log, f"begin {number}")
    time.sleep(seconds)
    say(log, f"end {number}")


class Celery(adapters.OnRedis, adapters.Blocking):
    """Tasks by `delay`."""

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Mapping[str, str]]:
        with super().opened(folder) as environment:
            app.conf.update(broker_url=self.url, result_backend=self.url)
            yield environment

    def worker(self, jobs: int = 0) -> Sequence[str]:
        command = [script("celery"), "-A", "peer_celery", "worker", "-l", "WARNING"]
        lean = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        if jobs:
            return ["env", f"{RECOVERY}=1", *command, "-P", "threads", "-c", str(jobs)]
        if self.setting == "best":
            return [*command, "-P", "prefork", "-c", "2", "--prefetch-multiplier", "16", *lean]
        return [*command, "-P", "threads", "-c", "100"]

    def enqueue(self) -> Any:
        return noop.delay()

    def enqueue_nap(self, number: int, seconds: float, log: str) -> Any:
        return nap.delay(number, seconds, log)

    def result(self, handle: Any) -> None:
        handle.get(timeout=30)

    def stored(self) -> int:
        return self.redis.count("EVAL", "return #redis.call('keys', 'celery-task-meta-*')", "0")


if __name__ == "__main__":
    peer = importlib.import_module("peer_celery").Celery
    durable.serve({f"celery_{each}": peer(each) for each in ("default", "best")})
