"""Faults: what may go wrong, done on purpose.

One-liners that break one thing once (`crash_at(ref, 3)`), the same as values (`CrashAt("pool", 3)`),
`inject`, which carries a plan of values out, and `faults()`, which draws plans.

planned, kinds                         what all have in common
crashes, calls                         work anywhere
allowed, courier, messages, clocks     in a simulation only
values, injection, strategies          plans
"""

from __future__ import annotations

from actorq.testing.faults.calls import fail_call, hang_call, lose_answer
from actorq.testing.faults.clocks import leap, stall, stall_loop
from actorq.testing.faults.crashes import PlannedCrash, crash, crash_at
from actorq.testing.faults.injection import Injection, inject
from actorq.testing.faults.messages import delay, drop, duplicate, reorder
from actorq.testing.faults.planned import FaultForbidden, Planned
from actorq.testing.faults.strategies import faults
from actorq.testing.faults.values import (
    Crash,
    CrashAt,
    Delay,
    Drop,
    Duplicate,
    FailCall,
    Fault,
    HangCall,
    Kill,
    Leap,
    LoseAnswer,
    Reorder,
    Stall,
    StallLoop,
)


__all__ = [
    "Crash",
    "CrashAt",
    "Delay",
    "Drop",
    "Duplicate",
    "FailCall",
    "Fault",
    "FaultForbidden",
    "HangCall",
    "Injection",
    "Kill",
    "Leap",
    "LoseAnswer",
    "Planned",
    "PlannedCrash",
    "Reorder",
    "Stall",
    "StallLoop",
    "crash",
    "crash_at",
    "delay",
    "drop",
    "duplicate",
    "fail_call",
    "faults",
    "hang_call",
    "inject",
    "leap",
    "lose_answer",
    "reorder",
    "stall",
    "stall_loop",
]
