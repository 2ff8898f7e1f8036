"""Tools for testing code on actorq, and the ones with which actorq itself is tested.

`run_task` runs one task without a queue; `drain`, `time_travel`, `enqueued` and the assertions work on a
system in virtual time, such as that of the pytest fixture `actorq_system`.
`simulate` runs a program in virtual time under a drawn schedule; faults (`crash_at`, `delay`, `Stall`,
..., drawn by `faults()`, carried out by `inject`) break something on purpose; `assert_crash_safe` kills
a whole program at every moment of its life,
and `assert_idempotent` a worker with a task.
`recorded` shows what actors said to one another.  `actorq.testing.machine` hosts Hypothesis state
machines.  Needs neither pytest nor, until `schedules()` or
`faults()` is called, Hypothesis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorq.engines.memory.storage import MemoryStorage
from actorq.testing.argument_strategies import Arguments, arguments
from actorq.testing.assertions import assert_enqueued, assert_not_enqueued, enqueued, hold
from actorq.testing.crash_safety import NotCrashSafe, assert_crash_safe
from actorq.testing.draining import NotDrained, drain, now, time_travel
from actorq.testing.exploration import CrashReport
from actorq.testing.faults import (
    Crash,
    CrashAt,
    Delay,
    Drop,
    Duplicate,
    FailCall,
    Fault,
    FaultForbidden,
    HangCall,
    Injection,
    Kill,
    Leap,
    LoseAnswer,
    Planned,
    Reorder,
    Stall,
    StallLoop,
    crash,
    crash_at,
    delay,
    drop,
    duplicate,
    fail_call,
    faults,
    hang_call,
    inject,
    leap,
    lose_answer,
    reorder,
    stall,
    stall_loop,
)
from actorq.testing.idempotence import NotIdempotent, assert_idempotent
from actorq.testing.ledger import Enqueued, Ran
from actorq.testing.process import open_processes
from actorq.testing.recording import recorded
from actorq.testing.simulation import EPOCH, Stuck, simulate
from actorq.testing.stand_in import in_memory
from actorq.testing.tape import Tape, schedules
from actorq.testing.task_run import TaskRun, run_task
from actorq.testing.trace import Event, Kind, Trace


if TYPE_CHECKING:
    from actorq.testing.contracts import (
        BrokerContract,
        ResultBackendContract,
        ScheduleSourceContract,
    )
    from actorq.testing.machine import TrioMachine
    from actorq.testing.mutants.mutant import Mutant


__all__ = [
    "EPOCH",
    "Arguments",
    "BrokerContract",
    "Crash",
    "CrashAt",
    "CrashReport",
    "Delay",
    "Drop",
    "Duplicate",
    "Enqueued",
    "Event",
    "FailCall",
    "Fault",
    "FaultForbidden",
    "HangCall",
    "Injection",
    "Kill",
    "Kind",
    "Leap",
    "LoseAnswer",
    "MemoryStorage",
    "Mutant",
    "NotCrashSafe",
    "NotDrained",
    "NotIdempotent",
    "Planned",
    "Ran",
    "Reorder",
    "ResultBackendContract",
    "ScheduleSourceContract",
    "Stall",
    "StallLoop",
    "Stuck",
    "Tape",
    "TaskRun",
    "Trace",
    "TrioMachine",
    "arguments",
    "assert_crash_safe",
    "assert_enqueued",
    "assert_idempotent",
    "assert_not_enqueued",
    "crash",
    "crash_at",
    "delay",
    "drain",
    "drop",
    "duplicate",
    "enqueued",
    "fail_call",
    "faults",
    "hang_call",
    "hold",
    "in_memory",
    "inject",
    "leap",
    "lose_answer",
    "now",
    "open_processes",
    "recorded",
    "reorder",
    "run_task",
    "schedules",
    "simulate",
    "stall",
    "stall_loop",
    "time_travel",
]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: suites, which are many modules."""
    if name in ("BrokerContract", "ResultBackendContract", "ScheduleSourceContract"):
        from actorq.testing import contracts

        return getattr(contracts, name)
    if name == "TrioMachine":
        try:
            from actorq.testing.machine import TrioMachine
        except ModuleNotFoundError as error:
            if error.name != "hypothesis":
                raise
            raise ImportError(
                "TrioMachine needs Hypothesis: pip install 'actorq[testing]'"
            ) from None
        return TrioMachine
    if name == "Mutant":
        from actorq.testing.mutants.mutant import Mutant

        return Mutant
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
