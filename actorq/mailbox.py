"""The mailbox: a bounded lane for messages and a lane for signals that is never full.

Owned by the actor's cell, so it outlives restarts; read by one incarnation at a time.
Both lanes share ONE Trio memory channel: a parked receiver takes an item whatever the capacity, so
a signal, kept in a deque, needs only to wake a receiver that is parked (promise 7).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import trio

from actorq.reply import Reply
from actorq.signals import Signal


class Envelope:
    """A message with somebody who waits for its answer.  A tell travels bare."""

    __slots__ = ("message", "reply")

    def __init__(self, message: Any, reply: Reply[Any]) -> None:
        self.message = message
        self.reply = reply


class _Wake:
    """What a parked receiver is woken with when only a signal has come."""


WAKE: Final = _Wake()


class Mailbox:
    """Both ends of one actor's channel, and its signals."""

    __slots__ = (
        "_closing",
        "_receive",
        "_send",
        "capacity",
        "closed",
        "receive",
        "receive_nowait",
        "send",
        "send_nowait",
        "signals",
    )

    def __init__(
        self,
        capacity: float,
        takes: Callable[[Any], bool] | None = None,
        closing: Callable[[], None] | None = None,
    ) -> None:
        self.capacity = capacity
        self.closed = False
        self._closing = closing  #: a tap's: what it has taken is put in before the lane closes
        self.signals: deque[Signal] = deque()
        self._send, self._receive = trio.open_memory_channel[Any](capacity)
        # bound once: these four are called for every message
        self.send = self._send.send
        self.send_nowait: Callable[[Any], None] = self._send.send_nowait
        self.receive = self._receive.receive
        self.receive_nowait = self._receive.receive_nowait
        if takes is not None:
            self._listen(takes)

    def _listen(self, takes: Callable[[Any], bool]) -> None:
        """Ask *takes* first: what it takes counts as accepted (see `actorq.tap`)."""
        pass_on = self.send_nowait

        def send_nowait(item: Any) -> None:
            if self.closed or not takes(item):
                pass_on(item)

        self.send_nowait = send_nowait

    @trio.lowlevel.enable_ki_protection
    def push_signal(self, signal: Signal) -> None:
        """Put *signal* before the next message.  Never refused, never blocks.

        Two signals in one step wake once: the first `send_nowait` unparks the receiver.
        """
        self.signals.append(signal)
        if not self.closed and self._send.statistics().tasks_waiting_receive:
            self._send.send_nowait(WAKE)

    def has_messages(self) -> bool:
        """Whether one is queued, or waits to be."""
        state = self._send.statistics()
        return bool(state.current_buffer_used or state.tasks_waiting_send)

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Admit nothing more; what is queued can still be received.  Blocked senders raise."""
        if not self.closed:
            if self._closing is not None:
                self._closing()
            self.closed = True
            self._send.close()

    @trio.lowlevel.enable_ki_protection
    def put(self, item: Any) -> None:
        """Put in what was accepted before: past the tap, and though the lane may be full by now."""
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            self._send._state.data.append(item)

    @trio.lowlevel.enable_ki_protection
    def empty(self) -> list[Any]:
        """Close, and take out everything that was never received.

        Out first, then close the receiving end: its `close` would clear the items unseen.
        """
        self.close()
        left: list[Any] = []
        while True:
            try:
                item = self.receive_nowait()
            except (trio.EndOfChannel, trio.ClosedResourceError, trio.WouldBlock):
                break
            if item is not WAKE:
                left.append(item)
        self._receive.close()
        self.signals.clear()
        return left

    @property
    def queued(self) -> int:
        """Messages that wait to be handled; senders that wait for room are not among them."""
        return self._receive.statistics().current_buffer_used

    @property
    def peak_queued(self) -> int:
        """The most messages that ever waited at one time."""
        return self._receive.statistics().peak_buffer_used
