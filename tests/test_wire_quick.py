"""The quick way of the wire: the same bytes and the same values as the long way, or none at all."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.errors import EnvelopeError
from actorq.message import TaskMessage
from actorq.options import TaskOptions
from actorq.result import TaskResult
from actorq.serialization import plain_data
from actorq.wire import JSONSerializer, Wire, quick
from strategies import examples
from test_wire import MESSAGES, PLAIN


JSON = JSONSerializer()
MESSAGE = TaskMessage("id", "mod:task", (1, "é"), {"a": [None]}, TaskOptions(timeout=2.5), 1e9, 2.0)
RESULT: TaskResult[Any] = TaskResult(return_value=[1, {"a": "é"}], execution_time=0.25, attempts=2)
#: Also what is no plain data, and what is not finite.
VALUES = PLAIN | st.sampled_from(
    [float("nan"), float("inf"), "\ud800", b"x", (1,), {1: 2}, {"a": {2}}, 10**4300, True, [[]]]
)
_ODD = st.sampled_from([1, True, 1.0, "x", "", -1, 1e16, {"retries": 1}, {"x": 1}, None])


def long_way(envelope: dict[str, Any], spare: int) -> bytes | None:
    """The bytes of it, if it can be written."""
    try:
        return JSON.dumps(plain_data(envelope, spare=spare))
    except Exception:
        return None


@settings(max_examples=examples(300))
@given(MESSAGES)
def test_messages_are_written_as_the_long_way_does(message: TaskMessage) -> None:
    """And read back as what they were."""
    data = quick.encoded(message)
    assert data is None or data == long_way(message.to_dict(), 1)
    assert repr(Wire().decode_message(Wire().encode_message(message))) == repr(message)


@settings(max_examples=examples(300))
@given(st.lists(VALUES, max_size=3), VALUES, VALUES | _ODD, VALUES | _ODD, VALUES | _ODD)
def test_what_cannot_be_written_is_not_written_quickly(
    args: list[Any], value: Any, task_id: Any, eta: Any, timeout: Any
) -> None:
    """Whatever stands in a message that was made by hand."""
    message = TaskMessage(
        task_id, "t", tuple(args), {"k": value}, TaskOptions(timeout=timeout), eta
    )
    data = quick.encoded(message)
    assert data is None or data == long_way(message.to_dict(), 1)
    result: TaskResult[Any] = TaskResult(return_value=value, execution_time=eta, attempts=timeout)
    data = quick.encoded_result(result)
    assert data is None or data == long_way(result.to_dict(), 20)


@settings(max_examples=examples(1000))
@given(st.dictionaries(st.sampled_from([*MESSAGE.to_dict(), "other"]), PLAIN | _ODD, max_size=3))
def test_messages_are_read_as_the_long_way_does(changes: dict[str, Any]) -> None:
    """Whatever stands in an envelope: the same message, or the long way has a word on it."""
    envelope = {**MESSAGE.to_dict(), **changes}
    read = quick_or_refused(envelope)
    if read is not None:
        assert repr(read) == repr(TaskMessage.from_dict(envelope))  # 1 is not True, nor 1.0


def quick_or_refused(envelope: dict[str, Any]) -> TaskMessage | None:
    """What the quick way makes of it; it may refuse what the long way refuses."""
    try:
        return quick.message_of(envelope)
    except EnvelopeError:
        try:
            TaskMessage.from_dict(envelope)
        except EnvelopeError:
            return None
        raise


@settings(max_examples=examples(300))
@given(st.dictionaries(st.sampled_from([*RESULT.to_dict(), "other"]), PLAIN | _ODD, max_size=3))
def test_results_are_read_as_the_long_way_does(changes: dict[str, Any]) -> None:
    """The same of results."""
    envelope = {**RESULT.to_dict(), **changes}
    read = quick.result_of(envelope)
    if read is not None:
        assert repr(read) == repr(TaskResult.from_dict(envelope))


@settings(max_examples=examples(500))
@given(VALUES, st.booleans())
def test_json_is_surely_plain_only_if_it_is(value: Any, escaped: bool) -> None:
    """Depth, lone surrogates and huge numbers are looked for where they may be."""
    try:
        data = json.dumps(value, ensure_ascii=escaped).encode()
        loaded = JSON.loads(data)
    except (TypeError, ValueError):
        return
    if quick.is_surely_plain(data):
        assert plain_data(loaded) == loaded


def test_the_usual_goes_the_quick_way() -> None:
    """Or all this would be for nothing."""
    data = Wire().encode_message(MESSAGE)
    assert quick.encoded(MESSAGE) == data
    assert quick.is_surely_plain(data)
    assert repr(quick.message_of(json.loads(data))) == repr(MESSAGE)
    assert quick.encoded_result(RESULT) == Wire().encode_result("id", RESULT)
    assert quick.result_of(RESULT.to_dict()) == RESULT


def test_what_is_remembered_is_bounded() -> None:
    """A program that makes options for each call keeps some of them, and reads them right."""
    wire = Wire()
    for number in range(3 * quick.REMEMBERED):
        message = TaskMessage("id", "t", options=TaskOptions(priority=number, retry=None))
        assert repr(wire.decode_message(wire.encode_message(message))) == repr(message)
    assert len(quick._written) <= quick.REMEMBERED
    assert len(quick._read) <= quick.REMEMBERED


def test_deep_nesting_goes_the_long_way() -> None:
    """Which refuses it."""
    deep: Any = []
    for _ in range(150):
        deep = [deep]
    assert quick.encoded(TaskMessage("id", "t", (deep,))) is None
    assert not quick.is_surely_plain(json.dumps(deep).encode())
