"""The page that `run.py --write` writes, section by section: docs/performance.md."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from measure import ROOT, Finding, markdown_table
from own_servers import server_version
from peers import peer_python, version_of
from peers import versions as peer_versions
from standings import Standing


PAGE = ROOT / "docs" / "performance.md"

#: A section of the page begins and ends with a comment; what stands between is written by a run.
BEGIN, END = "<!-- {}: begins -->", "<!-- {}: ends -->"

OWN = """\
{date} · {machine}
{versions}

{table}

{missed}

### How it is measured

* Each program runs in a fresh interpreter, warms up, and times itself with `time.perf_counter`.
  The garbage collector is left as users have it.
* The programs of a row run one after the other in each of {rounds} rounds,
  every other round in reversed order. A round gives one ratio;
  the table shows the median of the rounds' ratios, the smallest and the largest,
  and beside them the medians of both figures. The budget is for the median.
* **bulk, single**: a no-op `async` task without arguments.
  Ours: `InMemoryBroker` with `InMemoryResultBackend(max_stored_results=-1)`, no middleware,
  concurrency 100; the clock stops when `sys.wait_idle()` has returned,
  and the number of stored results is checked.
  taskiq: `InMemoryBroker(max_async_tasks=100, max_stored_results=-1)` on asyncio,
  an awaited `kiq()` for each task, then `wait_all()`; the number of results is checked;
  it has no bulk call. It starts an asyncio task for each call at once, whatever `max_async_tasks`
  says; ours holds to its concurrency, leases every task, and settles it after its result is stored.
* **channel**: one task awaits `send`, another awaits `receive`, for every item,
  over a channel with room for 100: checkpoints for each item, and no batches.
* **round-trip**: the floor is two asks, one after the other, of an actor that answers at once,
  on the bare kernel.
* **ask**: the hand-written reply is a slotted box with a `trio.Event`; the client sends without
  waiting, the server is an `async for` loop. For information also with an awaited `send`.
* **sleeping**: both sleep equally often, a hundred at a time.
* **depth-enqueue, depth-fetch**: the queue of `InMemoryBroker` alone:
  enqueue and claim by turns, in batches of 100, of messages that were made before,
  on top of the depth named.
* **system-enqueue, system-fetch**: through all five actors. 100 jobs hold all slots;
  1,000 tasks are enqueued one by one on top of the depth;
  then the slots are let go, until 1,000 tasks have run.
* **depth-bytes**: `tracemalloc` over 200,000 queued tasks without arguments: all that is kept of
  each, its id and message included. **depth-resident**: the growth of the resident set.
* **idle**: an instrument counts how often the scheduler returns from waiting, while a thread,
  and no timer of ours, keeps the time; and `current_statistics().seconds_to_next_deadline` must be
  infinite. After work, the lease's own timers (renewal and sweep, each a third of a lease)
  run out once, and set no others; the count after work begins when they have.
* **hooks-…**, **watchdog**: the programs of *bulk* and *single* once more, with a middleware and without
  one, by CPU time (`time.process_time`). *none*: a subclass of `Middleware` that overrides nothing;
  *all*: every hook, as plain functions that do nothing, and context managers that do nothing;
  *async*: the same as `async def`.
* **durable-…**: a client process and worker processes on one file, in a fresh folder for each run.
  Ours: `SQLiteBroker`, `synchronous="full"` (each commit waits for the disk) unless the row says
  otherwise, and `actorq worker --processes 1 --concurrency 100`.
  huey: `SqliteHuey`, which by default does not wait for the disk, and so is put beside
  `synchronous="normal"`; with `fsync=True` it promises what `full` promises. Its consumer has 8 threads
  and looks for tasks every 5 to 10 ms, its client for a result every millisecond:
  the best settings found.
  A task of huey is gone from the file when it begins, so a crash loses it; ours is leased.
  taskiq: `RedisStreamBroker` and `RedisAsyncResultBackend` on a Redis server that keeps nothing
  on disk; one worker process, uvloop, `--no-parse`, a look for the result every millisecond.
  **run**: the clock stops when the last result is stored, which is seen by counting them
  every 50 ms. **waiting**: over 3 s, `time.process_time` of the client; its worker's by 10 ms ticks.
  **memory**: proportional set size of all its processes. **crash**: SIGKILL to all processes of
  a worker while 50 jobs of 1 s run, another one started at once; one round.
  taskiq's tasks come back when its `idle_timeout` of 10 minutes is over; huey's do not.

"""

STANDINGS = """\
{date} · {machine}
{versions}

Each figure is followed by how many times the best peer's it is, of the peers in this table.

{tables}
What ours must be, against the best peer in each:

{budgets}

Settings, each with concurrency 100 where there is such a thing:

{settings}
"""

#: Above the lines about budgets.
BUDGETS = ("row", "what", "best peer", "ours", "its", "median [min–max]", "budget", "verdict")


def write_own(findings: Sequence[Finding], rounds: int) -> None:
    """Write the section about what runs on one machine."""
    packages = {name: version_of(sys.executable, name) for name in ("trio", "attrs", "cattrs")}
    taskiq, huey = peer_python("taskiq"), peer_python("huey")
    packages |= {
        "taskiq": version_of(taskiq, "taskiq"),
        "taskiq-redis": version_of(taskiq, "taskiq-redis"),
        "huey": version_of(huey, "huey"),
        "uvloop": version_of(taskiq, "uvloop"),
    }
    _write(
        "own",
        OWN.format(
            date=_today(),
            machine=machine(),
            versions=" · ".join(f"{name} {version}" for name, version in packages.items())
            + commit(),
            table=markdown_table([each.cells() for each in findings]),
            missed=missed(findings),
            rounds=rounds,
        ),
    )


def write_standings(section: str, standings: Sequence[Standing]) -> None:
    """Write the section about the queues on one kind of server."""
    contenders = {each.name: each for standing in standings for each in standing.contest.contenders}
    names = sorted({each.peer for each in contenders.values() if each.peer})
    driver = {"redis": "msgpack", "postgres": "psycopg"}[section]
    versions = {driver: version_of(sys.executable, driver)} | peer_versions(names)
    settings = [f"* {each.name}: {each.settings}." for each in contenders.values()]
    _write(
        section,
        STANDINGS.format(
            date=_today(),
            machine=f"{machine()} · {server_version(section)}",
            versions=" · ".join(f"{name} {version}" for name, version in versions.items())
            + commit(),
            tables="\n".join(each.markdown() for each in standings),
            budgets=markdown_table(
                [line for each in standings for line in each.budgets()], BUDGETS
            ),
            settings="\n".join(settings),
        ),
    )


def _write(section: str, text: str) -> None:
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN.format(section))
    _, end, after = rest.partition(END.format(section))
    if not end:
        raise RuntimeError(f"{PAGE} has no section {section!r} between two comments")
    PAGE.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def _today() -> str:
    return f"{datetime.now(tz=UTC):%Y-%m-%d}"


#: What is known of the rows that miss their budgets, for as long as they do.
REASONS = {
    "round-trip": "of six task switches (the client's two, broker, slot, result backend, and the "
    "broker once more for the settlement in three rounds of five) the floor has four; the rest is the "
    "queue's work: lease, run, store, settle. No single large cost is left; named queues, limits and "
    "chains have added some 5 us, mostly in asking whether they are used. Settling without a message "
    "of its own would bring the last few microseconds, at the price of a broker that hears of ends late",
    "sleeping": "a hundred jobs end in the same pass, and none begins before all of them are stored and "
    "settled: about 2.5 ms of work in a cycle of 10 ms. Reading a few tasks ahead would hide that, and "
    "would break the rule that a worker asks for as many tasks as it has free slots, and with it "
    "priorities",
    "depth-enqueue": "memory latency of the look-up that refuses a duplicate id: a bare `in` on a "
    "dictionary of a million strings costs ten times what it costs on a thousand. Through the whole "
    "system (row system-enqueue) the budget is met",
}


def missed(findings: Sequence[Finding]) -> str:
    """What is not as it should be."""
    lines = [
        f"* **{each.row.name}**: {each.verdict} (budget {each.row.budget}, median {each.spread}): "
        f"{REASONS.get(each.row.name, 'not explained yet')}."
        for each in findings
        if each.met is False
    ]
    if not lines:
        return "Every budget is met."
    return "Budgets that are missed:\n\n" + "\n".join(lines)


def machine() -> str:
    """Cores, processor and Python."""
    return (
        f"{os.cpu_count()} cores · {_processor()} · {platform.system()} · "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


def commit() -> str:
    """Which source was measured, and whether it had been changed."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        status = subprocess.run(
            [*git, "status", "--porcelain", "--", "actorq"], capture_output=True, text=True
        )
    except OSError:
        return ""
    if name.returncode:
        return ""
    changed = " with changes that are not committed" if status.stdout.strip() else ""
    return f" · actorq {name.stdout.strip()}{changed}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
