"""The quick way for what most messages and results are: JSON with no terms, no labels, no error.

The same bytes, and the same values, as the long way; whatever is out of the ordinary here, wrong or
merely rare, is answered with None, and goes the long way, which knows what to say of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Any, Final

from actorq.errors import NotSerializable
from actorq.message import ENVELOPE_VERSION, TaskMessage
from actorq.options import TaskOptions
from actorq.result import TaskResult
from actorq.serialization import MAX_DEPTH, plain_data


#: Options that are remembered: a program has some for each of its tasks.
REMEMBERED: Final = 512
#: No moment is further away (`TaskMessage.from_dict`).
_FAR: Final = 1e15

_OPTIONS: Final = (
    *("timeout", "retries", "ack", "queue", "priority", "max_deliveries", "result_ttl"),
    "capture_logs",
)
_FIELDS: Final = frozenset(TaskMessage("id", "name").to_dict())
_RESULT_FIELDS: Final = frozenset(TaskResult().to_dict())

_compact: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode
_quoted: Final[Callable[[str], str]] = encode_basestring

_written: dict[int, tuple[TaskOptions, str]] = {}  # by id: who is remembered keeps its id
_read: dict[Any, TaskOptions] = {}


def encoded(message: TaskMessage) -> bytes | None:
    """The message as JSON."""
    options = message.options
    if message.terms is not None or options.labels:
        return None
    args: Any = message.args
    kwargs: Any = message.kwargs
    try:
        args = _compact(plain_data(args)) if args else "[]"
        kwargs = _compact(plain_data(kwargs)) if kwargs else "{}"
        return (
            f'{{"version":{ENVELOPE_VERSION},"task_id":{_quoted(message.task_id)},'
            f'"task_name":{_quoted(message.task_name)},"args":{args},"kwargs":{kwargs},'
            f'"labels":{{}},{_options_text(message)},"eta":{_moment(message.eta)},'
            f'"enqueued_at":{_moment(message.enqueued_at)},"terms":null}}'
        ).encode()
    except (NotSerializable, TypeError, ValueError, RecursionError):
        return None


def _options_text(message: TaskMessage) -> str:
    options = message.options
    known = _written.get(id(options))
    if known is not None:
        return known[1]
    envelope = message.to_dict()
    text = _compact(plain_data({name: envelope[name] for name in _OPTIONS}))[1:-1]
    if len(_written) >= REMEMBERED:
        _written.clear()
    _written[id(options)] = (options, text)
    return text


def _moment(value: object) -> str:
    if value is None:
        return "null"
    if type(value) is float and -_FAR < value < _FAR:
        return float.__repr__(value)
    raise ValueError("the long way knows")


def encoded_result(result: TaskResult[Any]) -> bytes | None:
    """The result as JSON."""
    value: Any = result.return_value
    if (
        result.error is not None
        or result.labels
        or result.log is not None
        or type(result.execution_time) is not float
        or not 0 <= result.execution_time < _FAR
        or type(result.attempts) is not int
    ):
        return None
    try:
        value = "null" if value is None else _compact(plain_data(value))
        return (
            f'{{"is_err":{"true" if result.is_err else "false"},"return_value":{value},'
            f'"error":null,"execution_time":{float.__repr__(result.execution_time)},"labels":{{}},'
            f'"attempts":{result.attempts},"log":null}}'
        ).encode()
    except (NotSerializable, TypeError, ValueError, RecursionError):
        return None


def is_surely_plain(data: bytes) -> bool:
    """Whether JSON that can be read is plain data, as far as one can tell without looking at it.

    Lone surrogates come by escapes only, and it can be no deeper than it has brackets.
    """
    return (
        data.count(b"{") + data.count(b"[") < MAX_DEPTH
        and b"\\u" not in data
        and 0 < sys.get_int_max_str_digits() <= sys.int_info.default_max_str_digits
    )


def message_of(plain: Any) -> TaskMessage | None:
    """The message of an envelope that is plain data."""
    if type(plain) is not dict or plain.keys() != _FIELDS:
        return None
    task_id, name, args, kwargs = (
        *(plain["task_id"], plain["task_name"]),
        *(plain["args"], plain["kwargs"]),
    )
    eta, enqueued_at = plain["eta"], plain["enqueued_at"]
    if (
        plain["version"] != ENVELOPE_VERSION
        or plain["terms"] is not None
        or plain["labels"] != {}
        or not (type(task_id) is type(name) is str and task_id and name)
        or type(args) is not list
        or type(kwargs) is not dict
        or not (eta is None or (type(eta) is float and -_FAR < eta < _FAR))
        or not (type(enqueued_at) is float and -_FAR < enqueued_at < _FAR)
    ):
        return None
    options = _options_of(plain)
    if options is None:
        return None
    return TaskMessage(task_id, name, tuple(args), kwargs, options, eta, enqueued_at)


def result_of(plain: Any) -> TaskResult[Any] | None:
    """The result of an envelope that is plain data."""
    if type(plain) is not dict or plain.keys() != _RESULT_FIELDS:
        return None
    attempts, time, is_err = plain["attempts"], plain["execution_time"], plain["is_err"]
    if (
        plain["error"] is not None
        or plain["log"] is not None
        or plain["labels"] != {}
        or type(is_err) is not bool
        or type(time) is not float
        or type(attempts) is not int
        or attempts < 1
    ):
        return None
    value = plain["return_value"]
    return TaskResult(
        is_err=is_err, return_value=value, execution_time=time, labels={}, attempts=attempts
    )


def _options_of(plain: dict[str, Any]) -> TaskOptions | None:
    said = [plain[name] for name in _OPTIONS]
    if type(said[1]) is dict:  # a retry policy
        said[1] = repr(said[1])
        key: Any = ("policy", *said, *map(type, said))
    else:
        key = (*said, *map(type, said))  # 1, 1.0 and True are one key, and not the same
    try:
        options = _read.get(key)
    except TypeError:
        return None
    if options is None:
        options = TaskMessage.from_dict(plain).options
        if len(_read) >= REMEMBERED:
            _read.clear()
        _read[key] = options
    return options
