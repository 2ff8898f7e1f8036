"""The board: what every browser sees, kept up to date by one task for each job that has not ended.

However many browsers look, each job is followed once; however slow a browser is, it gets the latest
of each job and nothing piles up for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import attrs
import trio

import actorq
from jobs import WIDTHS, Thumbnail, make_thumbnails


@attrs.frozen
class Card:
    """One photo, and how far its job is."""

    id: str
    name: str
    task_id: str
    state: str = "waiting"  #: or running, done, cancelled, failed
    status: str = "waits for a worker"
    done: int = 0
    total: int = len(WIDTHS)
    made: tuple[int, ...] = ()  #: widths
    attempt: int = 0
    worker: int = 0  #: the process that has it

    @property
    def has_ended(self) -> bool:
        return self.state not in ("waiting", "running")


class View:
    """What one browser has not been told yet: iterate over it."""

    def __init__(self, cards: dict[str, Card]) -> None:
        self._news = dict(cards)
        self._woken = trio.Event()
        self._closed = False

    def show(self, card: Card) -> None:
        self._news[card.id] = card  # in place of what it did not take in time
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()

    def take(self) -> list[Card]:
        """What is new, at once; all cards, the first time."""
        news, self._news = self._news, {}
        return list(news.values())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Card]:
        await trio.lowlevel.checkpoint()
        while not self._news and not self._closed:
            self._woken = trio.Event()
            await self._woken.wait()
        if self._closed:
            raise StopAsyncIteration
        return self.take()


class Board:
    """All cards, and the views on them."""

    def __init__(self, system: actorq.System, nursery: trio.Nursery) -> None:
        self._system = system
        self._nursery = nursery
        self._views: set[View] = set()
        self.cards: dict[str, Card] = {}

    def add(self, card: Card) -> None:
        """Show *card*, and follow its job until it has ended."""
        self._show(card)
        self._nursery.start_soon(self._follow, card)

    @contextmanager
    def view(self) -> Iterator[View]:
        """All cards as they are, and then every change."""
        view = View(self.cards)
        self._views.add(view)
        try:
            yield view
        finally:
            self._views.discard(view)

    def close(self) -> None:
        """End the views, so that the server can stop."""
        for view in self._views:
            view.close()

    def _show(self, card: Card) -> None:
        self.cards[card.id] = card
        for view in self._views:
            view.show(card)

    async def _follow(self, card: Card) -> None:
        handle = self._system.handle(card.task_id, make_thumbnails)
        async for progress in handle.progress():  # pushed: the latest first, until the job's end
            card = attrs.evolve(card, **_progress(progress))
            self._show(card)
        try:
            ending = _ending(await handle.wait_result())
        except actorq.ResultGetError:  # it ended so long ago that its result is no longer kept
            state = "done" if len(card.made) == card.total else "failed"
            ending = {"state": state, "status": "ended long ago", "done": len(card.made)}
        self._show(attrs.evolve(card, **ending))


def _progress(progress: actorq.TaskProgress) -> dict[str, Any]:
    return {
        "state": "running",
        "status": progress.status,
        "done": progress.current,
        "total": progress.total,
        "made": tuple(progress.meta["made"]),
        "attempt": progress.meta["attempt"],
        "worker": progress.meta["worker"],
    }


def _ending(outcome: actorq.TaskResult[list[Thumbnail]]) -> dict[str, Any]:
    if isinstance(outcome.error, actorq.TaskCancelled):
        return {"state": "cancelled", "status": "what is there already is kept"}
    if outcome.error is not None:
        return {"state": "failed", "status": f"{type(outcome.error).__name__}: {outcome.error}"}
    widths = tuple(each.width for each in outcome.return_value or ())
    return {
        "state": "done",
        "status": "all sizes are there",
        "done": len(widths),
        "total": len(widths),
        "made": widths,
    }
