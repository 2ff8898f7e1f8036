"""The numbered promises, so that a failing check can say which one was broken.

Their wording is that of "The promises" (docs/semantics.md), in short.
"""

from __future__ import annotations

from typing import Final


#: What each number stands for.
PROMISES: Final[dict[int, str]] = {
    1: "one handler of an actor at a time",
    2: "messages of one sender are handled in order",
    3: "nothing is dropped for lack of room",
    4: "a send that returned was accepted, a cancelled one was not",
    5: "an accepted message is handled at most once",
    6: "every accepted tell is accounted for",
    7: "signals are never refused",
    8: "other tasks run after at most 64 messages",
    9: "an ask settles exactly once",
    10: "a refusal reaches the asker, and the actor lives on",
    11: "a crash fails the ask in progress at once",
    12: "queued asks survive a restart",
    13: "deferred replies fail with their life",
    14: "a message whose asker gave up is handled once",
    15: "asking a dead actor raises at once",
    16: "a reply carries only values and exceptions",
    17: "a circle of asks is refused, and named",
    18: "a restart keeps ref, mailbox and watchers",
    19: "the message that crashed an actor does not come again",
    20: "permanent, transient and temporary actors",
    21: "a restart touches exactly its set, in order",
    22: "too many incidents end the supervisor",
    23: "a failing start during a restart is one more incident",
    24: "the back-off between restarts",
    25: "timers and child tasks end with their life",
    26: "a watcher is told of an end exactly once",
    27: "children start in order",
    28: "a restart loses no task, lease or result",
    29: "a task whose worker dies is available again, attempt + 1",
    30: "each task is in exactly one place",
    31: "an accepted task survives; an uncertain one may be sent again",
    32: "at least once, or at most once, as the ack mode says",
    33: "attempts are counted, and a retry is not early",
    34: "stale fences are refused, and no result is replaced by an earlier one",
    35: "the lease of a running job is not taken away",
    36: "cancel() says whether it took effect, and then it has",
    37: "enqueue order, and higher priorities first",
    38: "a delayed task is not early, an expired one never starts",
    39: "one of many with a unique key is stored",
    40: "each schedule slot is enqueued exactly once",
    41: "concurrency limits hold over all live leases",
    42: "an undecodable message or unknown task hurts nobody else",
    43: "a waiter is woken by the result",
    44: "a middleware's exception goes where it belongs",
    45: "a closing mailbox refuses, and handles what is queued",
    46: "children stop in reverse order, one after the other",
    47: "the body unwinds before any actor is cancelled",
    48: "a cancellation is never swallowed",
    49: "a KeyboardInterrupt ends the system",
    50: "the body's own exception surfaces naked",
    51: "opening in a cancelled scope returns promptly",
    52: "nothing of a closed system lives on",
    53: "a shutdown lets running jobs finish, and gives back the rest",
    54: "who delays a shutdown is named",
}


class PromiseBroken(AssertionError):
    """A promise was not kept: says which, and what was seen."""

    def __init__(self, promise: int, seen: str) -> None:
        self.promise = promise
        self.seen = seen
        super().__init__(f"promise {promise} ({PROMISES[promise]}) is broken: {seen}")

    def __reduce__(self) -> tuple[type[PromiseBroken], tuple[int, str]]:
        return type(self), (self.promise, self.seen)


def broken(promise: int, seen: str) -> PromiseBroken:
    """The error to raise: `raise broken(34, "...")`."""
    return PromiseBroken(promise, seen)


def expect(promise: int, kept: object, seen: str) -> None:
    """Raise `PromiseBroken`, which says what was *seen*, unless the promise was *kept*."""
    if not kept:
        raise PromiseBroken(promise, seen)
