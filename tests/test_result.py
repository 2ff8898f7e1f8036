"""The task result: its envelope, and raising what went wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq import TaskFailed, TaskResult
from test_message import plain


class Declared(Exception):
    """One of the user's."""


@given(
    value=plain,
    seconds=st.floats(0, 1e6),
    labels=st.dictionaries(st.text(max_size=3), plain, max_size=2),
    attempts=st.integers(1, 99),
    log=st.none() | st.text(max_size=5),
)
def test_a_success_survives_json(
    value: Any, seconds: float, labels: dict[str, Any], attempts: int, log: str | None
) -> None:
    """Every field."""
    result: TaskResult[Any] = TaskResult(
        return_value=value, execution_time=seconds, labels=labels, attempts=attempts, log=log
    )
    assert TaskResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    assert result.raise_for_error() is result  # T09


@pytest.mark.parametrize(
    "error", [ValueError(1, "x"), KeyError("k"), actorq.TaskTimeout("late"), OSError(2, "no")]
)
def test_a_failure_survives_json(error: Exception) -> None:
    """T08, T38: type and args; `raise_for_error` raises it."""
    failed: TaskResult[Any] = TaskResult(is_err=True, error=error)
    read = TaskResult.from_dict(json.loads(json.dumps(failed.to_dict())))
    assert read.is_err
    assert read.return_value is None
    with pytest.raises(type(error)) as caught:
        read.raise_for_error()
    assert caught.value.args == error.args


def test_only_declared_types_are_rebuilt() -> None:
    """What comes from elsewhere constructs nothing of its own choice."""
    data = TaskResult(is_err=True, error=Declared("mine")).to_dict()
    assert isinstance(TaskResult.from_dict(data, (Declared,)).error, Declared)
    stranger = TaskResult.from_dict(data).error
    assert isinstance(stranger, TaskFailed)
    assert (stranger.type_name, stranger.message) == ("Declared", "mine")
