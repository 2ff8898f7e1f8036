"""The terminal of a live view: another screen while it lasts, keys as they come, nothing left over.

Redraws when something has changed, four times a second at most.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio
from rich.console import Console, RenderableType
from rich.live import Live


#: Seconds between two pictures at least.
SHORTEST: Final = 0.25
#: What keys send that have names.
NAMED: Final = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1b[5~": "page up", b"\x1b[6~": "page down"}


class Screen:
    """Draws what *picture* returns for a size in columns and lines."""

    def __init__(self, console: Console, picture: Callable[[int, int], RenderableType]) -> None:
        self._console = console
        self._picture = picture
        self._changed = trio.Event()
        self.ended_by: int | None = None  #: the signal that ended it

    def changed(self) -> None:
        """There is something new to draw."""
        self._changed.set()

    async def show(self, press: Callable[[str], bool]) -> None:
        """Draw until *press*, which gets each key, returns False, or SIGINT or SIGTERM comes."""
        with Live(console=self._console, screen=True, auto_refresh=False) as live, _single_keys():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._draw, live)
                nursery.start_soon(self._hear_signals, nursery.cancel_scope)
                async for key in _keys():
                    if not press(key):
                        break
                    self.changed()
                nursery.cancel_scope.cancel("actorq: the view was left")

    async def _draw(self, live: Live) -> None:
        while True:
            self._changed = trio.Event()
            width, height = self._console.size
            live.update(self._picture(width, height), refresh=True)
            await trio.sleep(SHORTEST)
            await self._changed.wait()

    async def _hear_signals(self, scope: trio.CancelScope) -> None:
        signals = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGWINCH"):
            signals.append(signal.SIGWINCH)
        with trio.open_signal_receiver(*signals) as received:
            async for number in received:
                if number in (signal.SIGINT, signal.SIGTERM):
                    self.ended_by = number
                    scope.cancel("actorq: the view was interrupted")
                self.changed()


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys come as they are pressed and are not shown; as before when this is left."""
    if os.name != "posix" or not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


async def _keys() -> AsyncIterator[str]:
    """By their names, or as they are; none, for ever, where there is no keyboard."""
    if os.name != "posix" or not sys.stdin.isatty():
        await trio.sleep_forever()
    fd = sys.stdin.fileno()
    while True:
        await trio.lowlevel.wait_readable(fd)
        pressed = os.read(fd, 64)
        if not pressed:  # the terminal is gone
            return
        if pressed in NAMED:
            yield NAMED[pressed]
        else:
            for key in pressed.decode(errors="ignore"):
                yield key
