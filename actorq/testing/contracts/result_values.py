"""Results to be kept: examples of everything that a backend must give back as it got it."""

from __future__ import annotations

from typing import Any

from actorq.errors import (
    ArgumentsError,
    LeaseLost,
    RetriesExhausted,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskTimeout,
    WorkerLost,
)
from actorq.result import TaskResult


#: One of everything.
FULL: TaskResult[Any] = TaskResult(
    return_value={"text": "žluťoučký 🐎", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}},
    execution_time=1.25,
    labels={"tenant": "acme", "list": [1, {"two": None}]},
    attempts=3,
    log="line 1\nline 2",
)

#: Ids that some storage or other takes for something else, or for one another.
ODD_IDS = [
    *("a", "A", "é", "e\u0301", "É", "ß", "ss"),
    *("a/b", "a_b", "a%2Fb", "a\\b", "a:b", "a.", "a ", " a", "a\n", "a\tb"),
    *("..", ".", "-", "CON", "nul.txt", "*", "%s", "{}", "'; --", '"', "\x7f", "🐎", "Ünïcode"),
    *("0", "00", "0.0", "None", "null", "a" * 200, "a" * 254, "a" * 255),
]


def errors() -> list[Exception]:
    """Every kind of error, new ones: builtin, actorq's own, unknown here, groups, with causes."""
    with_cause = ValueError("outer")
    with_cause.__cause__ = KeyError("inner")
    with_notes = RuntimeError("noted")
    with_notes.add_note("first")
    with_notes.add_note("second")
    return [
        ValueError("nope", 3),
        ValueError(),
        KeyError("k"),
        OSError(2, "No such file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        TaskCancelled("by hand"),
        TaskTimeout("5 s"),
        TaskExpired("too late"),
        WorkerLost("gone"),
        LeaseLost("gone"),
        RetriesExhausted("three times"),
        ArgumentsError("no such argument"),
        TaskFailed("app.Boom", "it went wrong", "Traceback ..."),
        ExceptionGroup("many", [ValueError(1), ExceptionGroup("more", [KeyError("k")])]),
        with_cause,
        with_notes,
    ]


def failure(error: Exception, **fields: Any) -> TaskResult[Any]:
    """The result of a task that raised it."""
    return TaskResult(is_err=True, error=error, **fields)


def difference(kept: TaskResult[Any], found: TaskResult[Any]) -> str | None:
    """What *found* says that *kept* did not; None if both tell the same."""
    for name in ("is_err", "return_value", "execution_time", "labels", "attempts", "log"):
        one, other = getattr(kept, name), getattr(found, name)
        if type(one) is not type(other) or one != other:
            return f"{name}: {_short(one)} was stored, {_short(other)} came back"
    if _told(kept.error) != _told(found.error):
        return f"error: {kept.error!r} was stored, {found.error!r} came back"
    return None


def _told(error: BaseException | None) -> Any:
    """What an error tells: its type, text and notes, and its members."""
    if error is None:
        return None
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return (
        type(error),
        str(error),
        tuple(getattr(error, "__notes__", ())),
        getattr(error, "remote_traceback", None),
        tuple(_told(each) for each in members),
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text)} characters)"
