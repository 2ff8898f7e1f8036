"""What a system takes from the world outside: wall time, randomness and new task ids.

One value, so that a simulation can replace all of it and the same seed gives the same run.
Read once, when a system opens; imports nothing of the package.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextvars import ContextVar

import attrs


_id_bits = random.Random()
if hasattr(os, "register_at_fork"):  # not on Windows
    # a forked child would go on with its parent's numbers
    os.register_at_fork(after_in_child=_id_bits.seed)


def new_task_id() -> str:
    """A time-ordered id: 12 hex digits of Unix milliseconds, then 20 random ones (RFC 9562's idea).

    Time first, so that ids sort by age and indexes stay dense; 80 random bits, so that no two meet.
    An id is no secret: the bits are not the operating system's, which cost five times as much.
    """
    return f"{time.time_ns() // 1_000_000:012x}{_id_bits.getrandbits(80):020x}"


@attrs.frozen
class Environment:
    """The outside world of one system."""

    wall: Callable[[], float] = time.time  #: seconds since 1970, UTC
    random: random.Random = attrs.field(factory=random.Random)  #: back-off jitter
    new_id: Callable[[], str] = new_task_id


_current: ContextVar[Environment | None] = ContextVar("actorq_environment", default=None)


def current_environment() -> Environment:
    """The environment that a simulation has set here, or a fresh one of the real world."""
    return _current.get() or Environment()


def set_environment(environment: Environment) -> None:
    """Use *environment* in this context and in what is started from it."""
    _current.set(environment)
