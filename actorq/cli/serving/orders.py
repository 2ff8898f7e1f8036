"""The orders: what one process of `actorq worker` is to be, and how it is told.

Parent and child have a pair of sockets between them.  The first line on it is the child's orders;
after that the child tells how it is, and the end of it tells either that the other has died.
Each line is a JSON object.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

import attrs


#: Seconds that a process has beside its grace, to say its last words to the engine; and after those
#: its parent's patience: then it is killed.
LAST_WORDS: Final = 2.0
PATIENCE: Final = 5.0

#: Seconds between two signs of life of a process at most, and those after which its log names what
#: holds its event loop up.
BEAT: Final = 5.0
STALL: Final = 10.0


@attrs.frozen
class Orders:
    """What one process is to be."""

    name: str  #: such as worker-1, in its log
    broker: str  #: module:broker
    role: Literal["worker", "scheduler"] = "worker"
    modules: tuple[str, ...] = ()  #: to import as well
    concurrency: int = 100
    queues: tuple[str, ...] | dict[str, float] | None = None
    grace: float = 30.0  #: seconds
    max_jobs: int | None = None
    max_memory: int | None = None  #: bytes
    max_silence: float = 0.0  #: seconds without a sign of life; 0: for ever
    log_level: str = "INFO"

    def line(self) -> bytes:
        """As they are told."""
        return _line(attrs.asdict(self))

    @classmethod
    def read(cls, line: bytes) -> Orders:
        """The inverse of `line`."""
        told = json.loads(line)
        told["modules"] = tuple(told["modules"])
        if isinstance(told["queues"], list):
            told["queues"] = tuple(told["queues"])
        return cls(**told)


@attrs.frozen
class News:
    """What a child tells."""

    event: Literal["ready", "alive", "leaving"]
    text: str = ""  #: why it leaves

    def line(self) -> bytes:
        """As it is told."""
        return _line(attrs.asdict(self))

    @classmethod
    def read(cls, line: bytes) -> News:
        """The inverse of `line`."""
        return cls(**json.loads(line))


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"
