"""Tools for testing code on actorq, and the ones with which actorq itself is tested.

`run_task` runs one task without a queue; `drain`, `time_travel`, `enqueued` and the assertions work on a
system in virtual time, such as that of the pytest fixture `actorq_system`.
`simulate` runs a program in virtual time under a drawn schedule; `crash` and `crash_at` break an
actor on purpose; `assert_crash_safe` kills a whole program at every moment of its life.
`recorded` shows what actors said to one another.  `actorq.testing.machine` hosts Hypothesis state
machines.  Needs neither pytest nor, until `schedules()` is called, Hypothesis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorq.engines.memory.storage import MemoryStorage
from actorq.testing.crash_safety import CrashReport, NotCrashSafe, assert_crash_safe
from actorq.testing.drain import NotDrained, drain, now, time_travel
from actorq.testing.enqueued import assert_enqueued, assert_not_enqueued, enqueued, hold
from actorq.testing.faults import crash, crash_at
from actorq.testing.in_memory import in_memory
from actorq.testing.ledger import Enqueued, Ran
from actorq.testing.recording import recorded
from actorq.testing.run_task import TaskRun, run_task
from actorq.testing.simulation import EPOCH, Stuck, simulate
from actorq.testing.tape import Tape, schedules
from actorq.testing.trace import Event, Kind, Trace


if TYPE_CHECKING:
    from actorq.testing.contracts import BrokerContract


__all__ = [
    "EPOCH",
    "BrokerContract",
    "CrashReport",
    "Enqueued",
    "Event",
    "Kind",
    "MemoryStorage",
    "NotCrashSafe",
    "NotDrained",
    "Ran",
    "Stuck",
    "Tape",
    "TaskRun",
    "Trace",
    "assert_crash_safe",
    "assert_enqueued",
    "assert_not_enqueued",
    "crash",
    "crash_at",
    "drain",
    "enqueued",
    "hold",
    "in_memory",
    "now",
    "recorded",
    "run_task",
    "schedules",
    "simulate",
    "time_travel",
]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: suites, which are many modules."""
    if name == "BrokerContract":
        from actorq.testing import contracts

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
