"""Capabilities: what an engine may lack.  What it lacks is refused by name, never ignored.

An engine says so in `Broker.lacks`; enqueueing and the operations refuse (`actorq.requirements` says
what needs what), the contract suites skip.
Result backends and schedule sources have `lacks`, too: there only the contract suites ask.
"""

from __future__ import annotations

from enum import Enum


class Capability(Enum):
    """Something that not every engine can do.  The value is what error messages call it."""

    DELAY = "delay and eta"  #: tasks that wait for their time (so do retries with a back-off)
    PRIORITY = "priority"
    QUEUES = "named queues"  #: and workers that choose among them; there is "default" without it
    EXPIRY = "expires"  #: a deadline that is propagated is an expiry as well
    UNIQUE = "unique"
    CONCURRENCY = "concurrency"
    RATE = "rate"
    CHAINS = "chains"
    CANCELLATION = "cancel"  #: of tasks that wait or run; task nurseries, gather and map need it
    PARKING = "parking"  #: an unknown task waits for a worker that knows it
    DEAD_LETTERS = "dead letters"  #: kept, listed, replayed, purged
    LISTING = "listing queued tasks"
    WORKERS = "listing workers"  #: and what each of them runs
    PAUSE = "pause and resume"
    PURGE = "purge"
    BYTES = "encoded messages"  #: messages are kept as bytes, which may be damaged
    SURVIVAL = "surviving the process"  #: what was accepted is there for the next process
    SHARING = "several processes at once"  #: on one storage

    # --- of result backends ---

    RESULTS = "keeping results"  #: `keeps_results = False` says so
    PROGRESS = "keeping progress"  #: the latest can be read after a restart; else it is only pushed
