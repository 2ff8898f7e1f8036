"""The rows of `SQLiteBroker`: processes on one file, beside huey on SQLite and taskiq on Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import durable
from measure import Group, Program, Report, Row


HUEY = "huey on SQLite"
HUEY_FSYNC = "huey on SQLite, `fsync=True`"
REDIS = "taskiq on Redis, nothing on disk"


def _ours(name: str, amount: int, quick: int, *, synchronous: str = "") -> Program:
    return Program("durable_actorq.py", f"actorq_{synchronous}{name}", amount, quick)


def _huey(name: str, amount: int, quick: int, *, fsync: str = "") -> Program:
    return Program("peer_huey.py", f"huey_{fsync}{name}", amount, quick, peer="huey")


def _redis(name: str, amount: int, quick: int) -> Program:
    return Program("peer_redis.py", f"redis_{name}", amount, quick, peer="taskiq")


def _figure(key: str) -> Callable[[Report], float]:
    return lambda report: report[key]


def alone(ours: float, floor: float) -> float:
    """Ours by itself; the floor's is told beside it."""
    return ours


ENQUEUE = (
    _ours("enqueue", 3000, 200),
    _ours("enqueue", 3000, 200, synchronous="normal_"),
    _huey("enqueue", 3000, 200, fsync="fsync_"),
    _huey("enqueue", 3000, 200),
    _redis("enqueue", 3000, 200),
)
ONE = (
    _ours("one_worker", 10_000, 300),
    _ours("one_worker", 10_000, 300, synchronous="normal_"),
    _huey("one_worker", 6000, 300, fsync="fsync_"),
    _huey("one_worker", 6000, 300),
    _redis("one_worker", 3000, 300),
)
TWO = (
    _ours("two_workers", 10_000, 300),
    _huey("two_workers", 6000, 300, fsync="fsync_"),
    _redis("two_workers", 3000, 300),
)
WAITING = (
    _ours("waiting", 300, 20),
    _huey("waiting", 300, 20, fsync="fsync_"),
    _redis("waiting", 300, 20),
)
CRASH = (
    _ours("crash", durable.LEFT, 5),
    _huey("crash", durable.LEFT, 5, fsync="fsync_"),
    _redis("crash", durable.LEFT, 5),
)

#: Beside which of the five programs each figure of ours is put: ours, theirs, what theirs is.
BESIDE = ((0, 2, HUEY_FSYNC, ""), (1, 3, HUEY, "-normal"), (0, 4, REDIS, "-redis"))


def _rates(
    name: str, work: str, programs: Sequence[Program], key: str, *, at_least: float = 0
) -> tuple[Row, ...]:
    """As many a second as it must be, and compared with all peers."""
    suffixes = {0: "", 1: ', `synchronous="normal"`'}
    rows = [
        Row(
            f"durable-{name}{suffix}",
            work + suffixes[ours],
            programs[ours],
            _figure(key),
            "tasks/s",
            "–",
            against,
            programs[theirs],
        )
        for ours, theirs, against, suffix in BESIDE
    ]
    if at_least:
        rows.insert(
            0,
            Row(
                f"durable-{name}-rate",
                work,
                programs[0],
                _figure(key),
                "tasks/s",
                f"≥ {at_least:,.0f} tasks/s",
                HUEY_FSYNC,
                programs[2],
                compare=alone,
                at_least=at_least,
            ),
        )
    return tuple(rows)


def _beside(
    name: str,
    work: str,
    programs: Sequence[Program],
    key: str,
    unit: str,
    budget: str = "–",
    *,
    at_most: float = float("inf"),
    others: Sequence[str] = (HUEY_FSYNC, REDIS),
) -> tuple[Row, ...]:
    """A figure of ours by itself, and what the peers have."""
    names = (f"durable-{name}", f"durable-{name}-redis")
    budgets = ((budget, at_most), ("–", float("inf")))
    return tuple(
        Row(
            row,
            work,
            programs[0],
            _figure(key),
            unit,
            said,
            against,
            floor,
            compare=alone,
            at_most=most,
        )
        for row, against, floor, (said, most) in zip(
            names, others, programs[1:], budgets, strict=True
        )
    )


GROUPS = (
    Group(
        (
            *_rates("single", "enqueue, one call after the other", ENQUEUE, "single"),
            *_rates("callers", "enqueue, 50 callers at once", ENQUEUE, "callers"),
            *_rates(
                "batch",
                "enqueue as quickly as it can; ours: `enqueue_many` by 1,000",
                ENQUEUE,
                "batch",
                at_least=10_000,
            ),
        )
    ),
    Group(
        _rates(
            "run",
            "no-op: enqueued by one process, run by another, result stored",
            ONE,
            "rate",
            at_least=3_000,
        )
    ),
    Group(_beside("run-two", "the same with two worker processes", TWO, "rate", "tasks/s")),
    Group(
        (
            *_beside(
                "round-trip",
                "`enqueue` then `result()`, the worker in another process: the middle one of 300",
                WAITING,
                "p50_ms",
                "ms",
                "≤ 5 ms",
                at_most=5,
            ),
            *_beside("round-trip-99", "the slowest but 1 %", WAITING, "p99_ms", "ms"),
            *_beside(
                "after-idle",
                "one, after 2 s of idleness",
                WAITING,
                "after_idleness_ms",
                "ms",
            ),
            *_beside(
                "waiting",
                "processor time of a client that waits for a result",
                WAITING,
                "client_cpu_percent",
                "%",
                "≤ 0.5 %",
                at_most=0.5,
            ),
            *_beside(
                "working",
                "processor time of its worker meanwhile",
                WAITING,
                "worker_cpu_percent",
                "%",
            ),
            *_beside("memory", "an idle worker: all its processes", WAITING, "memory", "MB"),
            *_beside("cold", "start of a worker to the first result", WAITING, "cold_start", "s"),
        ),
        rounds=3,
    ),
    Group(
        (
            *_beside(
                "crash-lost",
                f"jobs that did not run again within {durable.WINDOW:g} s, of {durable.LEFT}",
                CRASH,
                "lost",
                "jobs",
                "none",
                at_most=0,
            ),
            *_beside("crash-first", "until the first ran again", CRASH, "first_rerun", "s"),
            *_beside("crash-all", "until all had ended, each of 1 s", CRASH, "all_ended", "s"),
        ),
        rounds=1,
    ),
)
