"""Tools for testing code on actorq, and the ones with which actorq itself is tested.

`simulate` runs a program in virtual time under a drawn schedule; `crash` and `crash_at` break an
actor on purpose.  `actorq.testing.machine` hosts Hypothesis state machines.  Needs neither pytest
nor, until `schedules()` is called, Hypothesis.
"""

from __future__ import annotations

from actorq.testing.faults import crash, crash_at
from actorq.testing.simulation import EPOCH, Stuck, simulate
from actorq.testing.tape import Tape, schedules


__all__ = ["EPOCH", "Stuck", "Tape", "crash", "crash_at", "schedules", "simulate"]
