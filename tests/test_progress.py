"""The task progress."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq import EnvelopeError, TaskProgress
from test_message import plain


counts = st.none() | st.integers(0, 10**9)


@given(
    st.floats(0, 1) | st.sampled_from([0, 1]),
    st.text(max_size=9),
    counts,
    counts,
    st.dictionaries(st.text(max_size=3), plain, max_size=2),
)
def test_a_progress_survives_json(
    fraction: float, status: str, current: int | None, total: int | None, meta: dict[str, Any]
) -> None:
    """Every field."""
    progress = TaskProgress(fraction, status, current, total, meta)
    assert TaskProgress.from_dict(json.loads(json.dumps(progress.to_dict()))) == progress


def test_a_progress_cannot_be_changed() -> None:
    """It is a value; its meta is a copy of the caller's."""
    meta = {"a": 1}
    progress = TaskProgress(meta=meta)
    meta["a"] = 2
    assert progress.meta == {"a": 1}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        progress.status = "x"  # type: ignore[misc]


def test_defaults_and_strangers() -> None:
    """What is missing takes its default; what is unknown is refused by name."""
    assert TaskProgress.from_dict({}) == TaskProgress() == TaskProgress(0.0, "PENDING", None, None)
    with pytest.raises(EnvelopeError, match="unknown fields in a progress: percent"):
        TaskProgress.from_dict({"percent": 50})
    with pytest.raises(EnvelopeError, match="not per cent"):
        TaskProgress.from_dict({"progress": 50})
