"""What a broker remembers of its server between two calls."""

from __future__ import annotations

from typing import Any

from actorq.engines.remote.view import MOST, View
from actorq.message import Fence
from actorq.protocol import Notice


def shown(**changes: Any) -> dict[str, Any]:
    """A view of an empty queue, with changes."""
    empty: dict[str, Any] = {
        "claimable": False,
        "leased": False,
        "due": None,
        "good": [],
        "notices": [],
    }
    return {**empty, "parked": [], "outbox": [], **changes}


def test_sessions_that_vanish_are_counted() -> None:
    """It is how the broker knows that somebody is to be told."""
    view = View()
    view.show(shown(good=[7, 8]), 0.0)
    assert (set(view.sessions), view.ended) == ({7, 8}, 0)
    view.show(shown(good=[8, 9]), 0.0)
    assert (set(view.sessions), view.ended) == ({8, 9}, 1)
    view.show(shown(), 0.0)
    assert view.ended == 3


def test_times_are_on_our_clock() -> None:
    """The server's clock is an hour ahead."""
    view = View()
    view.show(shown(due=4600.0), 3600.0)
    assert view.due == 1000.0


def test_each_notice_is_taken_once_until_it_is_over() -> None:
    """The server says it in each view."""
    view = View()
    notices = [[7, "t", 1.0, 40.0], [8, "u", 1, 41]]
    view.show(shown(good=[7, 8], notices=notices), 0.0)
    before = view.has_notices
    assert view.take_notices(7) == (Notice(Fence("t", 1, 40), "cancelled"),)
    view.show(shown(good=[7, 8], notices=notices), 0.0)
    assert view.take_notices(7) == ()
    assert view.take_notices(8) == (Notice(Fence("u", 1, 41), "cancelled"),)
    after = view.has_notices
    assert (before, after) == (True, False)
    view.show(shown(good=[7, 8]), 0.0)
    view.show(shown(good=[7, 8], notices=notices[:1]), 0.0)
    assert view.has_notices, "another delivery may have the same numbers on other data"


def test_ends_are_new_once_and_no_more_are_asked_for_than_there_is_room() -> None:
    """A read that was sent before the last write may be answered after it."""
    view = View()
    rows = [[1, "a"], [2, "b"]]
    assert view.show(shown(outbox=rows), 0.0) == rows
    assert view.show(shown(outbox=[*rows, [5, "c"]]), 0.0) == [[5, "c"]]
    assert list(view.numbers) == [1, 2, 5]
    assert view.room == MOST - 3
    view.forget()
    assert view.show(shown(outbox=rows), 0.0) == rows
