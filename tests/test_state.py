"""The state: a mapping whose items are attributes."""

from __future__ import annotations

import copy
import pickle

import pytest

import actorq


def test_items_are_attributes() -> None:
    """And the other way round."""
    state = actorq.State(db="open")
    state.cache = {}
    assert (state["cache"], state.db) == ({}, "open")
    state["db"] = "closed"
    assert state.db == "closed"
    assert list(state) == ["db", "cache"]
    assert "db" in state
    del state.db, state["cache"]
    assert len(state) == 0
    assert not hasattr(state, "db")
    assert repr(state) == "<State with nothing in it>"
    assert repr(actorq.State(b=1, a=2)) == "<State a, b>"


def test_what_is_missing_is_named() -> None:
    """With what there is instead."""
    with pytest.raises(AttributeError, match=r"a startup handler does: state.db = ..."):
        _ = actorq.State().db
    with pytest.raises(AttributeError, match="no 'db'; it has cache"):
        _ = actorq.State(cache=1).db
    with pytest.raises(AttributeError, match="no 'db'"):
        del actorq.State(cache=1).db
    with pytest.raises(KeyError, match="db"):
        _ = actorq.State()["db"]


def test_a_method_is_not_hidden() -> None:
    """`state.items = ...` would break whoever iterates; the item can still be had."""
    state = actorq.State()
    with pytest.raises(AttributeError, match=r'write `state\["items"\]'):
        state.items = 1  # type: ignore[method-assign, assignment]
    state["items"] = 2
    assert dict(state.items()) == {"items": 2}


def test_it_can_be_copied() -> None:
    """`__getattr__` does not stand in the way of what looks for methods."""
    state = actorq.State(db=1)
    for twin in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert twin == state
        assert twin.db == 1


class AppState(actorq.State):
    """One of an application's own."""

    def __init__(self, url: str) -> None:
        super().__init__(url=url)


def test_a_copy_is_of_the_same_class() -> None:
    """Else a task that asks for it by its class is refused."""
    state = AppState("db:")
    for twin in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(twin) is AppState
        assert twin == state
        twin.more = 1
        assert "more" not in state
