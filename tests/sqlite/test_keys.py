"""Unique keys in the file: the same answers as the reference, for two processes that take turns."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.engines.memory import keys as memory
from actorq.engines.sqlite import keys
from actorq.unique import OnConflict, UniqueKey, Until
from sqlite_files import connected, plan


pytestmark = pytest.mark.engine

_NAMES = st.sampled_from(["a", "b", "c"])
_TASKS = st.sampled_from(["1", "2", "3"])
_UNTIL = st.one_of(
    st.sampled_from([(Until.START, None), (Until.FINISH, None)]),
    st.sampled_from([1.0, 2.5]).map(lambda seconds: (Until.TIME, seconds)),
)
_KEYS = st.builds(lambda key, until: UniqueKey(key, OnConflict.REJECT, *until), _NAMES, _UNTIL)
_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["take", "started", "ended", "later"]), _KEYS, _TASKS, st.integers(0, 1)
    ),
    max_size=40,
)


@pytest.mark.promise(39)
@given(_OPERATIONS)
def test_keys_have_the_holders_of_the_reference(operations: list[tuple[Any, ...]]) -> None:
    """39: whoever takes a key, starts, ends or waits: each key has the same holder."""
    now = 100.0
    reference = memory.UniqueKeys()
    with tempfile.TemporaryDirectory() as folder:
        pair = [connected(Path(folder) / "queue.db") for _ in range(2)]
        for what, unique, task_id, turn in operations:
            ours = keys.UniqueKeys(pair[turn])
            if what == "take":
                reference.take(unique, task_id, now)
                ours.take(unique, task_id, now)
            elif what == "later":
                now += 1.0
            else:
                getattr(reference, what)(unique, task_id)
                getattr(ours, what)(unique, task_id)
            for key in "abc":
                holder = reference.holder(key, now)
                assert [keys.UniqueKeys(each).holder(key, now) for each in pair] == [holder] * 2
        for each in pair:
            each.close()


def test_keys_whose_time_is_over_are_swept_out(path: Path) -> None:
    """Ten thousand keys of a moment each leave a few behind."""
    connection = connected(path)
    ours = keys.UniqueKeys(connection)
    connection.execute("begin")
    for index in range(10_000):
        key = UniqueKey(str(index), OnConflict.REJECT, Until.TIME, 1.0)
        ours.take(key, str(index), now=float(index))
    (left,) = connection.execute("select count(*) from actorq_keys").fetchone()
    connection.close()
    assert left <= keys.SWEPT


@pytest.mark.parametrize("statement", [keys._HOLDER, keys._FREE, keys._SWEEP])
def test_a_million_keys_cost_what_ten_do(path: Path, statement: str) -> None:
    """Each statement seeks."""
    connection = connected(path)
    assert "SCAN" not in plan(connection, statement).replace("SCAN actorq_keys USING", "")
    connection.close()
