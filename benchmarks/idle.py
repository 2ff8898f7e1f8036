"""Row 7: what an idle system does, counted by an instrument: nothing.

No timer of the benchmark's own may disturb: a thread sleeps, and tells the loop when time is up.
"""

from __future__ import annotations

import math
import resource
import threading
import time
from contextlib import AbstractAsyncContextManager, nullcontext

import trio

import actorq
from measure import Program, Report, Row, excess, program_main
from throughput import noop


#: So short, that the timers which the last jobs leave behind (a third of it) end within SETTLING.
LEASE = 0.9
SETTLING = 1.0


class Wakeups(trio.abc.Instrument):
    """Counts what the scheduler does."""

    def __init__(self) -> None:
        self.passes = 0  #: returns from waiting for something to happen
        self.steps = 0  #: of tasks

    def after_io_wait(self, timeout: float) -> None:
        self.passes += 1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


async def _idleness(seconds: float) -> dict[str, float]:
    """Watch the scheduler for *seconds* in which nobody asks anything of it."""
    token = trio.lowlevel.current_trio_token()
    wakeups = Wakeups()
    over = trio.Event()
    seen: dict[str, float] = {}

    def look() -> None:
        seen["passes"] = wakeups.passes - 1  # the one in which we are is our own
        seen["steps"] = wakeups.steps - 1  # likewise
        deadline = trio.lowlevel.current_statistics().seconds_to_next_deadline
        seen["timers"] = float(deadline != math.inf)
        seen["switches"] = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - switches
        over.set()

    def wait() -> None:
        time.sleep(seconds)
        token.run_sync_soon(look)

    threading.Thread(target=wait).start()
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    switches = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    trio.lowlevel.add_instrument(wakeups)
    await over.wait()
    trio.lowlevel.remove_instrument(wakeups)
    return seen


async def _idle(
    milliseconds: int, opened: AbstractAsyncContextManager[actorq.System | None]
) -> Report:
    async with opened as sys:
        fresh = await _idleness(milliseconds / 1000)
        left = {"passes": 0.0}
        if sys is not None:
            await sys.enqueue_many(noop, [()] * 1000)
            await sys.wait_idle()
            left = await _idleness(SETTLING)
        after = await _idleness(milliseconds / 1000)
    report = {f"fresh_{name}": value for name, value in fresh.items()}
    report |= {f"after_{name}": value for name, value in after.items()}
    return report | {"left_passes": left["passes"]}


def wakeups(report: Report) -> float:
    """Of the scheduler, before any work and after it."""
    return report["fresh_passes"] + report["after_passes"]


def timers(report: Report) -> float:
    return report["fresh_timers"] + report["after_timers"]


IDLE = Program("idle.py", "idle_system", 2_000, 200)
IDLE_TRIO = Program("idle.py", "idle_trio", 2_000, 200)

ROWS = (
    Row(
        "idle",
        "wake-ups of an idle system: 2 s before any work and 2 s after 1,000 tasks",
        IDLE,
        wakeups,
        "wake-ups",
        "none more",
        "an idle `trio.run`",
        IDLE_TRIO,
        excess,
        at_most=0,
    ),
    Row(
        "idle-timers",
        "timers that are set then",
        IDLE,
        timers,
        "timers",
        "none more",
        "an idle `trio.run`",
        IDLE_TRIO,
        excess,
        at_most=0,
    ),
    Row(
        "idle-left",
        "wake-ups in the first second after the last task: the lease's own timers run out",
        IDLE,
        lambda report: report["left_passes"],
        "wake-ups",
        "–",
    ),
)


if __name__ == "__main__":
    program_main(
        {
            "idle_system": lambda n: trio.run(
                _idle, n, actorq.open_system(actorq.InMemoryBroker(lease=LEASE))
            ),
            "idle_trio": lambda n: trio.run(_idle, n, nullcontext()),
        }
    )
