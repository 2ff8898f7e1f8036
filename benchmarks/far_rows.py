"""Who is measured beside `RedisBroker` and `PostgresBroker`, in what, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping

from standings import Contender, Contest, Figure


def _amounts(
    enqueue: int, run: int, *, waiting: int = 200, recovery: int = 50
) -> Mapping[str, int]:
    """So much that each takes a second or two; nothing of what is 0."""
    amounts = {
        "enqueue": enqueue,
        "one_worker": run,
        "two_workers": run,
        "waiting": waiting,
        "recovery": recovery,
    }
    return {body: amount for body, amount in amounts.items() if amount}


def _ours(engine: str, amounts: Mapping[str, int]) -> tuple[Contender, ...]:
    return (
        Contender(
            "**actorq**",
            "far_actorq.py",
            f"actorq_{engine}_default",
            "",
            "as it comes: a lease of 30 s; `enqueue_many` by 1,000",
            amounts,
        ),
        Contender(
            "**actorq**, lease 5 s",
            "far_actorq.py",
            f"actorq_{engine}_brief",
            "",
            "the same with `lease=5`",
            {"recovery": 50},
        ),
    )


def _peer(
    name: str, setting: str, settings: str, amounts: Mapping[str, int], *, module: str = ""
) -> Contender:
    module = module or name
    prefix = "taskiq" if name == "taskiq" else module
    shown = name if setting == "default" else f"{name}, {setting}"
    return Contender(shown, f"peer_{module}.py", f"{prefix}_{setting}", name, settings, amounts)


ON_REDIS = (
    *_ours("redis", _amounts(4000, 20_000)),
    _peer(
        "taskiq",
        "default",
        "streams, a look for the result each 0.2 s; recovery: `idle_timeout` 10 s",
        _amounts(1500, 4000),
        module="redis",
    ),
    _peer(
        "taskiq",
        "best",
        "uvloop, `--no-parse`, a look each millisecond",
        _amounts(1500, 4000, recovery=0),
        module="redis",
    ),
    _peer(
        "streaq", "default", "`enqueue_many`; recovery: `idle_timeout` 10 s", _amounts(1500, 4000)
    ),
    _peer(
        "streaq",
        "best",
        "uvloop, tasks not logged, a look for the result each millisecond instead of `result()`",
        _amounts(1500, 4000, recovery=0),
    ),
    _peer(
        "streaq", "trio", "as it comes, worker and client on Trio", _amounts(1500, 4000, recovery=0)
    ),
    _peer("arq", "default", "recovery: a job's timeout 5 s", _amounts(1500, 2000)),
    _peer(
        "arq",
        "best",
        "uvloop, both sides look each 10 ms, results not logged",
        _amounts(1500, 4000, recovery=0),
    ),
    _peer(
        "saq",
        "default",
        "hiredis, `Queue.apply` for the round trip; recovery: a heartbeat of 5 s "
        "swept each 5 s, three tries",
        _amounts(2000, 5000),
    ),
    _peer(
        "saq",
        "best",
        "uvloop, results waited for over pub/sub (`refresh`)",
        _amounts(2000, 5000, recovery=0),
    ),
    _peer(
        "dramatiq",
        "default",
        "100 threads; recovery: a heartbeat of 5 s, maintenance at every command",
        _amounts(2000, 5000),
    ),
    _peer("dramatiq", "best", "8 threads", _amounts(2000, 5000, recovery=0)),
    _peer(
        "celery",
        "default",
        "100 threads; recovery: late acknowledgement, visibility timeout 10 s",
        _amounts(800, 1500),
    ),
    _peer(
        "celery",
        "best",
        "two child processes, without gossip, mingle and heartbeat, 16 tasks ahead",
        _amounts(800, 1500, recovery=0),
    ),
    _peer(
        "rq",
        "default",
        "a process for each job, one at a time; recovery: of one job, worker TTL "
        "10 s, maintenance each 10 s, three tries",
        _amounts(800, 100, waiting=100, recovery=1),
    ),
    _peer(
        "rq",
        "best",
        "`SimpleWorker`, one job at a time",
        _amounts(800, 1000, waiting=100, recovery=0),
    ),
    _peer(
        "huey",
        "default",
        "100 threads; a task that has begun is not kept",
        _amounts(2000, 5000),
        module="huey_redis",
    ),
    _peer(
        "huey",
        "best",
        "8 threads, `notify_result`",
        _amounts(2000, 5000, recovery=0),
        module="huey_redis",
    ),
)

ON_POSTGRES = (
    *_ours("postgres", _amounts(2500, 12_000)),
    _peer(
        "procrastinate",
        "default",
        "no results: a look for a job's status each 50 ms, one by one; "
        "recovery: a task of its own each 5 s, heartbeats each 2 s",
        _amounts(500, 1000, waiting=100),
    ),
    _peer(
        "procrastinate",
        "best",
        "uvloop in the client, a look each 5 ms",
        _amounts(500, 1000, waiting=100, recovery=0),
    ),
    _peer(
        "pgqueuer",
        "default",
        "no results: the end stands in its log; batches of 10; recovery: a "
        "heartbeat of 5 s, a look for tasks each 5 s",
        _amounts(2500, 3000, waiting=100),
    ),
    _peer(
        "pgqueuer",
        "best",
        "uvloop, batches of 50, ends looked at after 1 ms instead of 50",
        _amounts(2500, 15_000, waiting=100, recovery=0),
    ),
)


def _contests(engine: str, contenders: tuple[Contender, ...]) -> tuple[Contest, ...]:
    def of(body: str) -> tuple[Contender, ...]:
        return tuple(each for each in contenders if body in each.amounts)

    return (
        Contest(
            f"{engine}-enqueue",
            "no-op tasks a second, nobody works: one awaited call after the other; 50 callers at once; "
            "as quickly as it can, by the queue's own call for many where it has one",
            "enqueue",
            (
                Figure("single", "one by one, tasks/s"),
                Figure("callers", "50 callers, tasks/s"),
                Figure("batch", "at its quickest, tasks/s", at_least=1),
            ),
            of("enqueue"),
            rounds=2,
        ),
        Contest(
            f"{engine}-run",
            "end to end: enqueued by one process as quickly as it can, run by one worker, results kept",
            "one_worker",
            (
                Figure("rate", "tasks/s", at_least=2),
                Figure("worker_cpu_us", "worker, µs of CPU a task", more=False),
                Figure("client_cpu_us", "client, µs of CPU a task", more=False),
                Figure("server_cpu_us", "server, µs of CPU a task", more=False),
            ),
            of("one_worker"),
            rounds=2,
        ),
        Contest(
            f"{engine}-run-two",
            "the same with two worker processes",
            "two_workers",
            (
                Figure("rate", "tasks/s"),
                Figure("worker_cpu_us", "workers, µs of CPU a task", more=False),
            ),
            of("two_workers"),
            rounds=2,
        ),
        Contest(
            f"{engine}-waiting",
            "enqueue and wait for the result, one after the other, the worker in another process; "
            "and what client and worker cost while a job sleeps",
            "waiting",
            (
                Figure("p50_ms", "p50, ms", more=False, at_most=1),
                Figure("p99_ms", "p99, ms", more=False),
                Figure("trip_cpu_us", "µs of CPU a trip, all processes", more=False),
                Figure("after_idleness_ms", "after 2 s of idleness, ms", more=False),
                Figure("client_cpu_percent", "client waits, % CPU", more=False),
                Figure("worker_cpu_percent", "worker idle, % CPU", compared=False),
                Figure("memory", "worker, MB", more=False),
                Figure("cold_start", "start to first result, s", compared=False),
            ),
            of("waiting"),
        ),
        Contest(
            f"{engine}-recovery",
            "SIGKILL to a worker in the middle of 50 jobs of 4 s, another worker started at once, "
            "everybody with settings that make it quick; given up after 60 s",
            "recovery",
            (
                Figure("jobs", "jobs", compared=False),
                Figure("lost", "not run again", compared=False),
                Figure("twice", "ended twice", compared=False),
                Figure("first_rerun", "first runs again, s", compared=False),
                Figure("all_ended", "all ended, s", compared=False),
            ),
            of("recovery"),
            together=True,
            note="All of them at the same time, each with a server of its own. What is not run again "
            "within 60 s need not be lost: celery and taskiq bring tasks back later, or when others "
            "come.",
        ),
    )


#: By the section of the page.
CONTESTS = {
    "redis": _contests("redis", ON_REDIS),
    "postgres": _contests("postgres", ON_POSTGRES),
}
