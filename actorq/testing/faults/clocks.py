"""Faults of time, as one-liners: the wall clock leaps, an actor or the whole loop stands still.

In a simulation only.
"""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import trio

from actorq.ref import ActorRef
from actorq.testing.faults.crashes import cell_of
from actorq.testing.faults.planned import seconds_of
from actorq.testing.process import Process
from actorq.testing.simulation import Simulation, current_simulation


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


def leap(seconds: float) -> None:
    """Set the wall clock forward by *seconds*, or back if that is less than 0.

    What reads the wall clock sees it at once: when schedules are due (at most 60 seconds later), the
    moments at which a new system opens.  Trio's clock goes on as before, and so does the clock of an
    open queue: delays, leases, back-offs, expiry.
    """
    simulation_for("leap").leapt += seconds_of(seconds, above=None)


def stall_loop(seconds: float) -> None:
    """Let the whole loop stand still: *seconds* go by in which nobody runs.

    As when a task computes for long without a checkpoint, or the machine sleeps.
    """
    simulation_for("stall_loop").clock.jump(seconds_of(seconds))


def stall(whom: ActorRef[Any] | Process, seconds: float) -> bool:
    """Let an actor, its child tasks and its jobs, or a whole process, do nothing for *seconds*.

    Then it goes on where it was; what was sent to it meanwhile waits for it.  False, and nothing
    happens, if it is not up at this moment.
    """
    simulation = simulation_for("stall")
    seconds = seconds_of(seconds)
    if isinstance(whom, Process):
        task = None if whom.killed or not whom.is_running else whom.task
    elif isinstance(whom, ActorRef):
        task = cell_of(whom).loop_task
    else:
        raise TypeError(
            f"stall() expects the ref of an actor, such as sys.actor('pool'), or a process that "
            f"processes.start() returned; got {whom!r}"
        )
    if task is None:
        return False
    _stalled.setdefault(simulation, Counter())[task] += 1
    simulation.player.freeze(task)
    # the system's: whoever stalls somebody may end meanwhile
    trio.lowlevel.spawn_system_task(_go_on, simulation, task, whom, seconds, name="a stall's end")
    return True


async def _go_on(
    simulation: Simulation, task: trio.lowlevel.Task, whom: object, seconds: float
) -> None:
    try:
        await trio.sleep(seconds)
    finally:
        stalled = _stalled[simulation]
        stalled[task] -= 1
        if not stalled[task]:  # the last one of those that overlap
            del stalled[task]
            if not (isinstance(whom, Process) and whom.killed):
                simulation.player.thaw(task)


#: By simulation: tasks that stand still, and how many stalls hold each.
_stalled: weakref.WeakKeyDictionary[Simulation, Counter[trio.lowlevel.Task]] = (
    weakref.WeakKeyDictionary()
)


def simulation_for(what: str) -> Simulation:
    """The simulation whose time *what* would bend."""
    try:
        return current_simulation()
    except RuntimeError:
        raise RuntimeError(
            f"{what}() bends time, and that works in a simulation only: run the program with "
            f"simulate(...)"
        ) from None
