"""Tools for testing code on actorq, and the ones with which actorq itself is tested.

`simulate` runs a program in virtual time under a drawn schedule; `crash` and `crash_at` break an
actor on purpose; `assert_crash_safe` kills a whole program at every moment of its life.
`recorded` shows what actors said to one another.  `actorq.testing.machine` hosts Hypothesis state
machines.  Needs neither pytest nor, until `schedules()` is called, Hypothesis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorq.engines.memory.storage import MemoryStorage
from actorq.testing.crash_safety import CrashReport, NotCrashSafe, assert_crash_safe
from actorq.testing.faults import crash, crash_at
from actorq.testing.recording import recorded
from actorq.testing.simulation import EPOCH, Stuck, simulate
from actorq.testing.tape import Tape, schedules
from actorq.testing.trace import Event, Kind, Trace


if TYPE_CHECKING:
    from actorq.testing.contracts import BrokerContract


__all__ = [
    "EPOCH",
    "BrokerContract",
    "CrashReport",
    "Event",
    "Kind",
    "MemoryStorage",
    "NotCrashSafe",
    "Stuck",
    "Tape",
    "Trace",
    "assert_crash_safe",
    "crash",
    "crash_at",
    "recorded",
    "schedules",
    "simulate",
]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: suites, which are many modules."""
    if name == "BrokerContract":
        from actorq.testing import contracts

        return getattr(contracts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
