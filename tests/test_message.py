"""The envelope: what it keeps, and that it is JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actorq.message import TaskMessage
from actorq.options import TaskOptions


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
moments = st.none() | st.floats(-1e9, 1e12)


@given(
    task_id=names,
    task_name=names,
    args=st.lists(plain, max_size=3),
    kwargs=st.dictionaries(names, plain, max_size=3),
    labels=st.dictionaries(names, plain, max_size=3),
    eta=moments,
    retries=st.integers(0, 1000),
    priority=st.integers(-(2**40), 2**40),
    timeout=st.none() | st.floats(0.001, 1e6),
    ack=st.sampled_from(["when_executed", "when_saved"]),
)
def test_the_envelope_survives_json(
    task_id: str,
    task_name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    labels: dict[str, Any],
    eta: float | None,
    retries: int,
    priority: int,
    timeout: float | None,
    ack: str,
) -> None:
    """A18: metadata and arguments of any JSON shape."""
    options = TaskOptions().updated(
        {
            "labels": labels,
            "retries": retries,
            "priority": priority,
            "timeout": timeout,
            "ack": ack,
        },
        where="test",
    )
    message = TaskMessage(task_id, task_name, tuple(args), kwargs, options, eta, 1.5)
    read = TaskMessage.from_dict(json.loads(json.dumps(message.to_dict(), allow_nan=False)))
    assert (read.task_id, read.task_name, read.eta, read.enqueued_at) == (
        task_id,
        task_name,
        eta,
        1.5,
    )
    assert (list(read.args), dict(read.kwargs), dict(read.labels)) == (args, kwargs, labels)
    assert read.options == options


def test_only_the_names_are_needed() -> None:
    """For messages that other programs write."""
    read = TaskMessage.from_dict({"task_id": "a", "task_name": "b"})
    assert (read.args, dict(read.kwargs), read.options, read.eta) == ((), {}, TaskOptions(), None)


def test_labels_are_added_to_a_copy() -> None:
    """A18: one call's metadata never appears on another's."""
    options = TaskOptions().updated({"labels": {"a": 1}}, where="test")
    one = TaskMessage("1", "t", options=options)
    two = one.with_labels(b=2)
    assert dict(one.labels) == {"a": 1}
    assert dict(two.labels) == {"a": 1, "b": 2}
    assert options.labels == {"a": 1}
