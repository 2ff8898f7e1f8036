"""Capabilities: what an engine may lack.  What it lacks is refused by name, never ignored.

An engine says so in `Broker.lacks`; enqueueing and the operations refuse, the contract suites skip.
"""

from __future__ import annotations

from enum import Enum


class Capability(Enum):
    """Something that not every engine can do.  The value is what error messages call it."""

    DELAY = "delay and eta"  #: tasks that wait for their time (retries wait, too)
    PRIORITY = "priority"
    QUEUES = (
        "queues other than the default one"  #: named queues, and workers that choose among them
    )
    EXPIRY = "expires"
    UNIQUE = "unique"
    CONCURRENCY = "concurrency"
    RATE = "rate"
    CHAINS = "chains"
    CANCELLATION = "cancel"  #: of tasks that wait or run
    PARKING = "parking"  #: an unknown task waits for a worker that knows it
    DEAD_LETTERS = "dead letters"  #: kept, listed, replayed, purged
    LISTING = "listing queued tasks"
    PAUSE = "pause and resume"
    PURGE = "purge"
    BYTES = "encoded messages"  #: messages are kept as bytes, which may be damaged
    SURVIVAL = "surviving the process"  #: what was accepted is there for the next process
    SHARING = "several processes at once"  #: on one storage
