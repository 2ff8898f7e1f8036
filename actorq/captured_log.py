"""The captured log: what one attempt logs through `logging`, as text of bounded size.

Whose a record is, its context says: a task's child tasks and threads inherit the context, other tasks
have another.  One handler at the root logger serves all attempts; it is there while one captures.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs


#: Characters that are kept: the last ones, for that is where the error is.
MAX_LOG = 64 * 1024

_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@attrs.define(eq=False)
class CapturedLog:
    """What is logged while `capturing()`; written by any thread."""

    _entries: deque[str] = attrs.field(factory=deque)
    _size: int = 0
    _dropped: int = 0  #: entries, from the beginning
    _open: bool = False
    _around: CapturedLog | None = None  #: an attempt of another system, in which this one runs
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Capture what is logged in this context and in those that come out of it."""
        self._around = _current.get()
        self._open = True
        _handler.need()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)
            _handler.need_no_more()
            self._open = False

    def add(self, entry: str) -> None:
        """Keep *entry*, and forget the oldest that it leaves no room for."""
        if not self._open:
            return  # a thread, or a task, that lives longer than the attempt which started it
        if self._around is not None:
            self._around.add(entry)
        if len(entry) > MAX_LOG:
            entry = "... " + entry[4 - MAX_LOG :]
        with self._lock:
            self._entries.append(entry)
            self._size += len(entry) + 1
            while self._size > MAX_LOG + 1:
                self._size -= len(self._entries.popleft()) + 1
                self._dropped += 1

    def text(self) -> str:
        """One entry after the other, each from a new line."""
        with self._lock:
            entries = [*self._entries]
            if self._dropped:
                entries.insert(0, f"... ({self._dropped} earlier entries were dropped)")
        text = "\n".join(entries)
        return text.encode("utf-8", "backslashreplace").decode()  # it travels as JSON


_current: ContextVar[CapturedLog | None] = ContextVar("actorq_captured_log", default=None)


class _CapturingHandler(logging.Handler):
    """Gives each record to the attempt in whose context it was made."""

    def __init__(self) -> None:
        super().__init__()
        self._needed = 0
        self._counting = threading.Lock()

    def need(self) -> None:
        """One more attempt captures."""
        with self._counting:
            self._needed += 1
            if self._needed == 1:
                logging.getLogger().addHandler(self)

    def need_no_more(self) -> None:
        """One attempt less."""
        with self._counting:
            self._needed -= 1
            if self._needed == 0:
                logging.getLogger().removeHandler(self)

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the handler's lock: no attempt waits while another's record is formatted."""
        captured = _current.get()
        if captured is not None:
            captured.add(_formatted(record))
        last = logging.lastResort
        if last is not None and record.levelno >= last.level and self._is_alone(record.name):
            last.handle(record)  # as if we were not there
        return True

    def _is_alone(self, name: str) -> bool:
        """Whether no handler but this one sees the records of the logger called *name*."""
        if len(logging.getLogger().handlers) > 1:
            return False
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None and logger.parent is not None:
            if logger.handlers:
                return False
            logger = logger.parent
        return True


_handler = _CapturingHandler()


def _formatted(record: logging.LogRecord) -> str:
    record = copy.copy(record)
    record.exc_text = None  # another handler's formatter may have left its own there
    try:
        return _FORMAT.format(record)
    except Exception as error:  # noqa: BLE001 - the arguments, and their __str__, are the user's
        return (
            f"{record.levelname} {record.name}: (cannot be shown: {type(error).__name__}, "
            f"{record.pathname}:{record.lineno})"
        )
