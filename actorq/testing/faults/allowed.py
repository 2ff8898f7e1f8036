"""Which fault is allowed for which message, and why.

* **Delay**: any message, by any time, while those that the same sender sends to the same actor wait
  behind it (promise 2).  Whoever sends is an actor, its child tasks and jobs included, or a task that
  belongs to none.
* **Reorder**: any message, with those of other senders: nothing is promised between them.
* **Drop**: with its actor only.  A live actor loses nothing that it accepted (promise 6), and an ask
  that fails with `ActorFailed` says that the actor crashed (promise 11): so it does, on the message,
  or after it and before the answer is out.
* **Duplicate**: what may be said twice in a row and means the same.  Any other message is handled at
  most once (promise 5).
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from actorq import protocol as p
from actorq.actors.scheduler import TaskAdded
from actorq.actors.worker_pool import GetPoolStatistics
from actorq.testing.faults.planned import FaultForbidden


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


@attrs.frozen
class Twice:
    """What is true of a message that comes a second time."""

    harmless: bool
    promise: int  #: that makes it harmless, or forbids it
    why: str


_READS = "it only asks"

#: By message.  `Renew` and other timers are signals, which nobody sends.
TWICE: Final[dict[type[Any], Twice]] = {
    p.Enqueue: Twice(True, 31, "an id that was accepted before is not stored again"),
    p.OpenSession: Twice(
        False, 29, "a worker's second session takes the jobs of its first; nobody would know of it"
    ),
    p.Allow: Twice(True, 5, "the allowance is counted from the session's beginning"),
    p.Settle: Twice(True, 34, "the second is stale, and refused"),
    p.Extend: Twice(True, 34, "a lease is renewed from now, and one that was lost stays lost"),
    p.NextNotices: Twice(False, 9, "the newest asker is answered: the first would never be"),
    p.Cancel: Twice(True, 36, "what was cancelled stays so"),
    p.Locate: Twice(True, 5, _READS),
    p.TaskKnown: Twice(True, 42, "what was parked is released once"),
    p.Count: Twice(True, 5, _READS),
    p.WaitIdle: Twice(True, 5, _READS),
    p.ListDead: Twice(True, 5, _READS),
    p.GetDead: Twice(True, 5, _READS),
    p.Replay: Twice(True, 31, "the dead letter went in the step in which its task was enqueued"),
    p.PurgeDead: Twice(True, 5, "there is nothing left to forget"),
    p.ListTasks: Twice(True, 5, _READS),
    p.ListWorkers: Twice(True, 5, _READS),
    p.Purge: Twice(True, 36, "what was cancelled stays so"),
    p.Pause: Twice(True, 5, "it says how the queue is to be, not what is to change"),
    p.SetResults: Twice(True, 34, "the same attempt stores the same result"),
    p.ResultsStored: Twice(True, 43, "who waited has the result; nobody waits any more"),
    p.UnsavedResult: Twice(True, 43, "who waited has been told; who comes is told again"),
    p.DoubtResults: Twice(True, 43, "who waited has asked the broker"),
    p.EndedBefore: Twice(True, 43, "what is in doubt already stays so"),
    p.GetResult: Twice(True, 5, _READS),
    p.WaitResult: Twice(True, 5, _READS),
    p.IsResultReady: Twice(True, 5, _READS),
    p.DeleteResult: Twice(True, 5, "there is nothing left to delete"),
    p.SetProgress: Twice(False, 5, "its readers would see the update twice"),
    p.GetProgress: Twice(True, 5, _READS),
    p.NextProgress: Twice(True, 5, _READS),
    p.AreUp: Twice(True, 5, _READS),
    p.EndedUnreported: Twice(False, 5, "its hooks would run twice"),
    GetPoolStatistics: Twice(True, 5, _READS),
    TaskAdded: Twice(True, 40, "a schedule that is declared again keeps its place"),
}

_UNKNOWN = (
    "it is handled at most once, and nothing is known of {name}; if saying it twice means the same, "
    "write duplicate(..., harmless=True)"
)


def check_twice(kinds: tuple[type[Any], ...]) -> None:
    """Raise `FaultForbidden` if one of these must not come twice."""
    for kind in kinds:
        if not may_come_twice(kind):
            known = TWICE.get(kind)
            if known is None:
                raise FaultForbidden(5, _UNKNOWN.format(name=kind.__name__))
            raise FaultForbidden(known.promise, f"a second {kind.__name__}: {known.why}")


def may_come_twice(kind: type[Any]) -> bool:
    """Whether saying it twice is known to mean the same."""
    known = TWICE.get(kind)
    return known is not None and known.harmless
