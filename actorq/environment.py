"""What a system takes from the world outside: wall time, randomness and new task ids.

One value, so that a simulation can replace all of it and the same seed gives the same run.
Read once, when a system opens.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

from actorq.ids import uuid7


if TYPE_CHECKING:
    from actorq.tap import Tap


def new_worker_name() -> str:
    """Of a worker that shares its name with no other, in this process or elsewhere."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@attrs.frozen
class Environment:
    """The outside world of one system."""

    wall: Callable[[], float] = time.time  #: seconds since 1970, UTC
    random: random.Random = attrs.field(factory=random.Random)  #: back-off jitter
    new_id: Callable[[], str] = uuid7  #: of task ids
    new_worker: Callable[[], str] = new_worker_name  #: of the name that a broker's workers go by
    tap: Tap | None = None  #: hears what actors say to one another


_current: ContextVar[Environment | None] = ContextVar("actorq_environment", default=None)


def current_environment() -> Environment:
    """The environment that a simulation has set here, or a fresh one of the real world."""
    return _current.get() or Environment()


def set_environment(environment: Environment) -> None:
    """Use *environment* in this context and in what is started from it."""
    _current.set(environment)


@contextmanager
def environment_set(environment: Environment) -> Iterator[None]:
    """`set_environment`, undone at the end."""
    token = _current.set(environment)
    try:
        yield
    finally:
        _current.reset(token)
