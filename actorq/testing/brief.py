"""Values in few words, the same in every run: for the trace, and for who waits for whom.

Nothing of it depends on addresses, on hash order or on what a terminal can show; what is long is cut.
A user's own `repr` is called, and may fail.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from typing import Any, Final

import attrs

from actorq.message import Delivery, Fence, TaskMessage
from actorq.progress import TaskProgress
from actorq.protocol import (
    Batch,
    DeadTask,
    Enqueue,
    Lease,
    OpenSession,
    Outcome,
    Session,
    SetProgress,
    Settle,
    Settlement,
)
from actorq.ref import ActorRef
from actorq.result import TaskResult


#: Characters of a whole text, of one value in it, items of a collection, and levels.
WIDTH: Final = 100
_PART, _ITEMS, _DEPTH = 40, 4, 4
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+|\b0x[0-9a-fA-F]{6,}\b")
_SIMULATED_ID: Final = re.compile(r"0{8,}[0-9a-f]+")


def brief(value: object, width: int = WIDTH) -> str:
    """*value* on one line of at most *width* characters."""
    return cut(_brief(value, 0), width)


def cut(text: str, width: int) -> str:
    """*text* on one line, its middle left out if it is longer than *width*."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    tail = width // 4
    return f"{text[: width - tail - 1]}…{text[-tail:] if tail else ''}"


def brief_id(task_id: str) -> str:
    """A task's id: `#1` for the first of a simulation, the last characters of a long one."""
    if len(task_id) == 32 and _SIMULATED_ID.fullmatch(task_id):
        return f"#{int(task_id, 16)}"
    return f"#{task_id if len(task_id) <= 20 else '…' + task_id[-6:]}"


def name_of_call(message: TaskMessage) -> str:
    """A task's call without its arguments: `greet #1`."""
    return f"{message.task_name.rpartition(':')[2].rpartition('.')[2]} {brief_id(message.task_id)}"


def brief_error(error: BaseException, width: int = WIDTH) -> str:
    """An error with its first words; a group with its members."""
    if isinstance(error, BaseExceptionGroup):
        return cut(f"{type(error).__name__}({_items(error.exceptions, 1)})", width)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it is the user's
        text = "?"
    first = _ADDRESS.sub("", text.strip().partition("\n")[0])
    return cut(f"{type(error).__name__}{first and ': ' + first}", width)


def _brief(value: object, depth: int) -> str:
    try:
        short = _SHORT.get(type(value))
        if short is not None:
            return short(value, depth)
        return _any(value, depth)
    except Exception:  # noqa: BLE001 - whatever a user's object does when it is looked at
        return f"<{type(value).__name__}>"


def _any(value: Any, depth: int) -> str:
    if isinstance(value, BaseException):
        return brief_error(value, _PART * 2)
    if isinstance(value, Enum):
        return str(value.name)
    if isinstance(value, type):
        return value.__name__
    if callable(value) and isinstance(value, types.FunctionType | types.MethodType | partial):
        function = value.func if isinstance(value, partial) else value
        return str(getattr(function, "__qualname__", type(function).__name__)).rpartition(".")[2]
    if getattr(type(value), "__repr__", None) is object.__repr__:
        return f"<{type(value).__name__}>"
    if depth >= _DEPTH:
        return "…"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return f"{type(value).__name__}({_items(value, depth)})"
    if isinstance(value, list | tuple):
        inside = _items(value, depth)
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, Mapping):
        pairs = [
            f"{_brief(key, depth + 1)}: {_brief(value[key], depth + 1)}"
            for key in list(value)[:_ITEMS]
        ]
        return "{" + ", ".join(pairs) + _more(len(value)) + "}"
    if isinstance(value, AbstractSet):
        members = sorted(_brief(member, depth + 1) for member in value)  # not in hash order
        return "{" + ", ".join(members[:_ITEMS]) + _more(len(members)) + "}"
    if attrs.has(type(value)):
        return f"{type(value).__name__}({_fields(value, depth)})"
    return _repr(value)


def _repr(value: object, _depth: int = 0) -> str:
    return cut(_ADDRESS.sub("", repr(value)), _PART)


def _items(values: Iterable[object], depth: int) -> str:
    values = tuple(values)
    return ", ".join(_brief(each, depth + 1) for each in values[:_ITEMS]) + _more(len(values))


def _more(total: int) -> str:
    return f", … {total} in all" if total > _ITEMS else ""


def _fields(value: Any, depth: int) -> str:
    """What was said and is not the default; by name, if there is more than one."""
    fields = attrs.fields(type(value))
    said = [
        (field.name.lstrip("_"), getattr(value, field.name))
        for field in fields
        if field.repr is not False and not _is_default(field, value)
    ]
    if len(said) == 1 and said[0][0] == fields[0].name.lstrip("_"):
        name, each = said[0]
        many = isinstance(each, tuple) and not hasattr(each, "_fields")
        return _items(each, depth) if many else _field(name, each, depth)
    texts = [f"{name}={_field(name, each, depth)}" for name, each in said[:_ITEMS]]
    return ", ".join(texts) + (", …" if len(said) > _ITEMS else "")


def _field(name: str, value: object, depth: int) -> str:
    if name == "task_id" and isinstance(value, str):
        return brief_id(value)
    return _brief(value, depth + 1)


def _is_default(field: attrs.Attribute[Any], value: Any) -> bool:
    default = field.default
    return default is not attrs.NOTHING and default is getattr(value, field.name)


# --- what travels in the queue ---


def _task_message(message: TaskMessage, depth: int) -> str:
    said = [_brief(each, depth + 2) for each in message.args]
    said += [f"{name}={_brief(each, depth + 2)}" for name, each in message.kwargs.items()]
    arguments = cut(", ".join(said), _PART)
    name, _, task_id = name_of_call(message).rpartition(" ")
    return f"{name}({arguments}) {task_id}"


def _delivery(delivery: Delivery, depth: int) -> str:
    return f"{_task_message(delivery.message, depth)}, attempt {delivery.fence.attempt}"


def _settlement(settlement: Settlement, _depth: int) -> str:
    fence, ending, delay = settlement[:3]
    later = f" in {delay:.3g} s" if delay else ""
    return f"{brief_id(fence.task_id)} {ending.value}{later}"


def _settle(settle: Settle, depth: int) -> str:
    return f"Settle({_items(settle.settlements, depth)})"


def _result(result: TaskResult[Any], depth: int) -> str:
    if result.error is not None:
        return brief_error(result.error, _PART * 2)
    return f"result {_brief(result.return_value, depth + 1)}"


_SHORT: Final[dict[type, Callable[[Any, int], str]]] = {
    **dict.fromkeys((int, float, bool, types.NoneType, str, bytes), _repr),
    ActorRef: lambda ref, _: repr(ref.name),
    Batch: lambda batch, depth: "; ".join(_brief(each, depth) for each in batch.deliveries),
    DeadTask: lambda dead, depth: f"dead {_brief(dead.message, depth)}",
    Delivery: _delivery,
    Enqueue: lambda said, depth: f"Enqueue({_items(said.messages, depth)})",
    Fence: lambda fence, _: f"{brief_id(fence.task_id)} attempt {fence.attempt}",
    Lease: lambda _lease, _: "lease",
    OpenSession: lambda said, _: f"OpenSession({said.worker}, allowance={said.allowance})",
    Outcome: lambda one, depth: f"{brief_id(one.task_id)} {_brief(one.result, depth + 1)}",
    Session: lambda session, _: f"session {session.id}",
    Settle: _settle,
    Settlement: _settlement,
    SetProgress: lambda said, depth: (
        f"SetProgress({brief_id(said.task_id)} {_brief(said.progress, depth)})"
    ),
    TaskMessage: _task_message,
    TaskProgress: lambda one, _: f"progress {one.progress:.0%}",
    TaskResult: _result,
}
