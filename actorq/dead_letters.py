"""Dead letters: the messages that were accepted and never came to a regular end (promise 6).

Owned by the system; cells and incarnations record, users read.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from enum import Enum

import attrs


log = logging.getLogger("actorq.dead_letters")


class LetterReason(Enum):
    """Why an accepted message was not handled to its end."""

    CRASHED = "crashed"  #: its handler raised
    INTERRUPTED = "interrupted"  #: its handler was cancelled, or a child task crashed meanwhile
    UNDELIVERED = "undelivered"  #: its actor ended for good before its turn came


@attrs.frozen
class DeadLetter:
    """One accepted `tell` that was not handled to its end."""

    actor: str
    message: object
    reason: LetterReason


class DeadLetters:
    """The most recent dead letters (1,000 unless told), and how many there were of each reason."""

    def __init__(self, keep: int = 1_000) -> None:
        self._letters: deque[DeadLetter] = deque(maxlen=keep)
        self._listeners: list[Callable[[DeadLetter], None]] = []
        self.counts: Counter[LetterReason] = Counter()

    def record(self, letter: DeadLetter) -> None:
        """Keep *letter*, tell the log and whoever listens."""
        self._letters.append(letter)
        self.counts[letter.reason] += 1
        log.warning(
            "a message to actor %r was accepted and is lost (%s): %r",
            letter.actor,
            letter.reason.value,
            letter.message,
        )
        for listener in self._listeners:
            listener(letter)

    def listen(self, listener: Callable[[DeadLetter], None]) -> None:
        """Call *listener*, which must not raise or block, with every letter from now on."""
        self._listeners.append(listener)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._letters))

    def __len__(self) -> int:
        return len(self._letters)
