"""Whereabouts: on which line jobs sit, asked of the processes that have them, over a server.

Lines are known in the process of the job alone, and only said when somebody asks: who looks says so to
all who work (topic "looks"), and each answers to who asked (topic "lines").  What is said is stored
nowhere, and costs nothing while nobody looks.

A look is [peer, number].  An answer is [number, sessions, task_id, line, task_id, line, ...]; *sessions*
are those of which all is said by now, with blanks between.  Long answers are said in pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from typing import Final

import attrs
import trio

from actorq.engines.remote.acts import Topic
from actorq.engines.remote.storage import RemoteStorage
from actorq.errors import EngineUnavailable


#: Seconds that one waits for answers: a worker that blocks its loop has none.
PATIENCE: Final = 0.5
#: Seconds that one waits before, for the connection on which they come.
CONNECTING: Final = 2.0
#: Bytes of ids and lines that are said together: PostgreSQL's notifications have less than 8,000.
TOGETHER: Final = 6_000
#: Looks that wait for their answer; who looks once more asks again.
MOST: Final = 10


@attrs.define(eq=False)
class _Look:
    """One who waits."""

    waits_for: set[str]  #: sessions
    lines: dict[str, str] = attrs.field(factory=dict)
    changed: trio.Event = attrs.field(factory=trio.Event)


class Whereabouts:
    """One broker's looks, and its answers to those of others."""

    def __init__(self, storage: RemoteStorage) -> None:
        self._storage = storage
        self._looks: dict[str, _Look] = {}
        self._number = 0
        self._asked, self._to_answer = trio.open_memory_channel[tuple[str, str]](MOST)

    def hear(self, topic: Topic | None, words: Collection[str] | None) -> None:
        """What was said on "looks" and "lines"; None: something may have been missed."""
        if topic is None:
            for look in self._looks.values():
                look.changed.set()
            return
        if words is None or len(words) < 2:
            return  # not of ours
        first, second, *said = words
        if topic == "looks":
            with suppress(trio.WouldBlock):
                self._asked.send_nowait((first, second))
        elif first in self._looks:
            look = self._looks[first]
            look.lines.update(zip(said[::2], said[1::2], strict=False))
            look.waits_for.difference_update(second.split())
            if not look.waits_for:
                look.changed.set()

    async def answer(
        self, where: Callable[[], Mapping[str, str]], sessions: Callable[[], Collection[int]]
    ) -> None:
        """Say where our jobs sit whenever somebody looks, until cancelled."""
        async for peer, number in self._to_answer:
            with suppress(EngineUnavailable):  # the broker's own calls say so
                for piece in pieces(where()):
                    await self._storage.say("lines", [number, "", *piece], to=peer)
                done = " ".join([str(session) for session in sessions()])
                await self._storage.say("lines", [number, done], to=peer)

    async def look(self, sessions: Collection[int]) -> Mapping[str, str]:
        """On which line the jobs of these sessions sit, by task id: as far as they answer in time."""
        if not sessions or not self._storage.hears:
            return {}
        self._number += 1
        number, look = f"{self._number}", _Look({str(session) for session in sessions})
        self._looks[number] = look
        try:
            with trio.move_on_after(CONNECTING):
                await self._storage.subscribed.wait()
            deadline = trio.current_time() + PATIENCE
            while look.waits_for and trio.current_time() < deadline:
                look.changed = trio.Event()
                await self._storage.say("looks", [self._storage.peer, number])
                with trio.move_on_at(deadline):
                    await look.changed.wait()
        finally:
            del self._looks[number]
        return look.lines


def pieces(lines: Mapping[str, str]) -> Iterator[list[str]]:
    """Ids and lines in turn, so many together as are said together."""
    piece: list[str] = []
    room = TOGETHER
    for task_id, line in lines.items():
        size = len((task_id + line).encode(errors="surrogatepass"))
        if size > room and piece:
            yield piece
            piece, room = [], TOGETHER
        if size <= TOGETHER:  # else nobody would read it
            piece += task_id, line
            room -= size + 8  # quotes and commas
    if piece:
        yield piece
