"""A worker's exception as plain data, and an exception again where somebody waits for the result.

What comes back is data from elsewhere: no module is imported for it, and only builtin exceptions,
actorq's own and those that the task declared are ever constructed.
"""

from __future__ import annotations

import base64
import builtins
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

from actorq import errors
from actorq.errors import EnvelopeError, TaskFailed
from actorq.serialization import codec


__all__ = ["RemoteTraceback", "dump_error", "is_from_elsewhere", "load_error"]

MAX_TEXT = 16 * 1024  #: characters of a traceback, a message or the arguments
MAX_DEPTH = 5  #: of causes and groups
MAX_ERRORS = 50  #: in one tree: members times depth would be millions
MAX_NOTES = 20
MAX_NESTING = 20  #: levels of containers in the arguments

#: What a builtin knows besides its arguments.
_KEPT: tuple[tuple[type[Exception], tuple[str, ...]], ...] = (
    (ImportError, ("name", "path")),
    (NameError, ("name",)),
    (AttributeError, ("name",)),
)

#: where a loaded exception keeps what it was made of
_DATA = "_actorq_remote_error"
#: raised out of a coroutine, these become a RuntimeError
_NOT_RAISABLE = (StopIteration, StopAsyncIteration)


class RemoteTraceback(Exception):
    """Carries the worker's traceback as text: the first cause of an error that came from there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


def dump_error(error: BaseException) -> dict[str, Any]:
    """The exception with its traceback, notes, cause and group members, all of bounded size.

    One that `load_error` made, and that was not raised since, gives the data that it was made of:
    stored and read any number of times, an error stays what it was.
    """
    known = _attribute(error, _DATA)
    if isinstance(known, dict) and error.__traceback__ is None:
        return dict(known)
    data = _dumped(error, [MAX_ERRORS], 0)
    data["traceback"] = _formatted(error)
    return data


def load_error(data: Any, declared: tuple[type[Exception], ...] = ()) -> Exception:
    """The exception again; a `TaskFailed` that tells of it, if its type may not be constructed.

    Its own cause is kept, and the last cause of the chain is a `RemoteTraceback`.
    """
    if not isinstance(data, dict):
        raise EnvelopeError(f"expected an error's data as a dict, got {type(data).__name__}")
    error = _loaded(data, declared, [MAX_ERRORS], 0)
    if text := _text_of(data, "traceback"):
        last: BaseException = error
        for _ in range(MAX_DEPTH):
            # not `or`: an exception can be false, and whether it is, is its author's code
            last = next(
                each for each in (last.__cause__, last.__context__, last) if each is not None
            )
        last.__cause__ = RemoteTraceback(text)
    setattr(error, _DATA, data)
    return error


def is_from_elsewhere(error: BaseException) -> bool:
    """Whether it came as plain data: the error of another task, raised where somebody waited for it."""
    return _DATA in vars(error)


# --- to plain data --------------------------------------------------------------------------------


def _dumped(error: BaseException, budget: list[int], depth: int) -> dict[str, Any]:
    budget[0] -= 1
    kind = type(error)
    data: dict[str, Any] = {
        "type": _clean(kind.__qualname__),
        "module": _clean(kind.__module__),
        "message": _clean(_message(error)),
    }
    if (args := _arguments(error)) is not None:
        data["args"] = args
    if attributes := _kept_attributes(error):
        data["attributes"] = attributes
    notes = _attribute(error, "__notes__")
    if isinstance(notes, list) and notes:
        data["notes"] = [_clean(note) for note in notes[:MAX_NOTES] if isinstance(note, str)]
    if depth < MAX_DEPTH:
        _dump_related(error, data, budget, depth + 1)
    return data


def _dump_related(
    error: BaseException, data: dict[str, Any], budget: list[int], depth: int
) -> None:
    context = None if error.__suppress_context__ else error.__context__
    for key, related in (("cause", error.__cause__), ("context", context)):
        if related is not None and budget[0] > 0:
            data[key] = _dumped(related, budget, depth)
            break
    if isinstance(error, BaseExceptionGroup):
        # Nobody holds a reference to a member that the budget cuts off: the text has it.
        members = []
        for member in error.exceptions:
            if budget[0] <= 0:
                break
            members.append(_dumped(member, budget, depth))
        data["exceptions"] = members


def _arguments(error: BaseException) -> list[Any] | None:
    """What constructs it again: `__reduce__` knows better than `args`."""
    if isinstance(error, BaseExceptionGroup):
        return [_clean(error.message)]
    try:
        args: Any = error.args
        reduced = error.__reduce__()
        if isinstance(reduced, tuple) and reduced[0] is type(error):
            args = reduced[1]
        plain = codec(Any).dump(_marked(list(args), 0))
        small = isinstance(plain, list) and len(json.dumps(plain)) <= MAX_TEXT
    except Exception:  # noqa: BLE001 - __reduce__ and what it returns are the user's
        return None
    return plain if small else None


def _marked(value: Any, depth: int) -> Any:
    """Arguments with a mark where JSON would make something else of them."""
    if depth > MAX_NESTING:
        raise ValueError("nested too deep")
    if type(value) is list:
        return [_marked(each, depth + 1) for each in value]
    if type(value) is tuple:
        return {"$tuple": [_marked(each, depth + 1) for each in value]}
    if type(value) is dict:
        inner = {key: _marked(each, depth + 1) for key, each in value.items()}
        return {"$dict": inner} if _mark_of(inner) else inner
    if type(value) in (bytes, bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, os.PathLike):  # a file's name, in an OSError
        return _marked(os.fspath(value), depth)
    return value


def _unmarked(value: Any, depth: int = 0) -> Any:
    if depth > 2 * MAX_NESTING:
        raise ValueError("nested too deep")
    if isinstance(value, list):
        return [_unmarked(each, depth + 1) for each in value]
    if isinstance(value, dict):
        mark = _mark_of(value)
        if mark is None:
            return {key: _unmarked(each, depth + 1) for key, each in value.items()}
        return _MARKS[mark](value[mark], depth + 1)
    return value


def _unmarked_dict(inner: Any, depth: int) -> dict[Any, Any]:
    return {key: _unmarked(each, depth) for key, each in inner.items()}


_MARKS: dict[str, Callable[[Any, int], Any]] = {
    "$bytes": lambda text, _: base64.b64decode(text, validate=True),
    "$tuple": lambda inner, depth: tuple(_unmarked(inner, depth)),
    "$dict": _unmarked_dict,
}


def _mark_of(value: dict[Any, Any]) -> str | None:
    for key in value if len(value) == 1 else ():
        if key in _MARKS:
            return str(key)
    return None


def _kept_attributes(error: BaseException) -> dict[str, str]:
    found = {}
    for kind, names in _KEPT:
        for name in names if isinstance(error, kind) else ():
            try:
                value = getattr(error, name, None)
            except Exception:  # noqa: BLE001 - a property of the user's
                continue
            if isinstance(value, str):
                found[name] = _clean(value)
    return found


def _attribute(error: BaseException, name: str) -> Any:
    """An attribute of the instance, past whatever `__getattr__` its class has."""
    try:
        return object.__getattribute__(error, "__dict__").get(name)
    except Exception:  # noqa: BLE001 - __dict__ may be the user's too
        return None


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - __str__ is the user's
        return "<its message could not be had: __str__ failed>"


def _formatted(error: BaseException) -> str:
    try:
        if _is_crowd(error):
            text = "".join(traceback.format_tb(error.__traceback__))
            text += f"{type(error).__qualname__}: {_message(error)}\n(and more than can be shown)\n"
        else:
            text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - __notes__ and the loader of the source are the user's
        text = type(error).__qualname__
    text = _utf8(text)
    # The tail: that is where the error is.
    return text if len(text) <= MAX_TEXT else "...\n" + text[4 - MAX_TEXT :]


def _is_crowd(error: BaseException) -> bool:
    """The traceback module would visit every member: seconds, for a nursery of ten thousand."""
    waiting, seen, count = [error], set[int](), 0
    while waiting and count <= MAX_ERRORS:
        one = waiting.pop()
        count += 1
        seen.add(id(one))
        chain = (one.__cause__, one.__context__)
        waiting.extend(other for other in chain if other is not None and id(other) not in seen)
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
    return count > MAX_ERRORS


def _clean(text: str) -> str:
    return _utf8(text[:MAX_TEXT])[:MAX_TEXT]


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


# --- and back -------------------------------------------------------------------------------------


def _loaded(
    data: dict[Any, Any], declared: tuple[type[Exception], ...], budget: list[int], depth: int
) -> Exception:
    budget[0] -= 1
    members = [] if depth >= MAX_DEPTH else _loaded_members(data, declared, budget, depth + 1)
    kind = _find(data, declared)
    error = _rebuilt(data, kind, members)
    if error is None:
        error = _failed(data)
        if kind is not None and kind in declared:
            error.add_note(
                f"{kind.__qualname__} is declared with raises=, but cannot be made again from its "
                f"args; pass all arguments of its __init__ on to super().__init__()"
            )
    notes = data.get("notes")
    for note in notes[:MAX_NOTES] if isinstance(notes, list) else ():
        if isinstance(note, str):
            error.add_note(note[:MAX_TEXT])
    if depth < MAX_DEPTH and budget[0] > 0:
        if isinstance(data.get("cause"), dict):
            error.__cause__ = _loaded(data["cause"], declared, budget, depth + 1)
        elif isinstance(data.get("context"), dict):
            error.__context__ = _loaded(data["context"], declared, budget, depth + 1)
    return error


def _loaded_members(
    data: dict[Any, Any], declared: tuple[type[Exception], ...], budget: list[int], depth: int
) -> list[Exception]:
    given = data.get("exceptions")
    members: list[Exception] = []
    for one in given if isinstance(given, list) else ():
        if budget[0] <= 0:
            break
        if isinstance(one, dict):
            members.append(_loaded(one, declared, budget, depth))
    return members


def _failed(data: dict[Any, Any]) -> TaskFailed:
    return TaskFailed(
        _text_of(data, "type") or "Exception",
        _text_of(data, "message"),
        _text_of(data, "traceback"),
    )


def _text_of(data: dict[Any, Any], key: str) -> str:
    value = data.get(key)
    return value[-MAX_TEXT:] if isinstance(value, str) else ""


def _find(data: dict[Any, Any], declared: tuple[type[Exception], ...]) -> type[Exception] | None:
    """The class itself, out of three closed lists."""
    name, module = data.get("type"), data.get("module")
    if not isinstance(name, str) or not isinstance(module, str):
        return None
    for kind in declared:
        if kind.__qualname__ == name and kind.__module__ == module:
            return kind
    for owner in (builtins, errors):
        found = vars(owner).get(name)
        if isinstance(found, type) and found.__module__ == module:
            allowed = issubclass(found, Exception) and not issubclass(found, _NOT_RAISABLE)
            return found if allowed else None
    return None


def _rebuilt(
    data: dict[Any, Any], kind: type[Exception] | None, members: list[Exception]
) -> Exception | None:
    """An exception that is of this type and says the same, or None."""
    if kind is None:
        return None
    try:
        if issubclass(kind, ExceptionGroup):
            args = codec(Any).load(data["args"]) if "args" in data else [data["message"]]
            group = kind(str(args[0]), members)
            return group if type(group) is kind else None
        error = _constructed(data, kind)
        if error is None and kind.__module__ == "builtins":
            error = _with_message(data, kind)
    except Exception:  # noqa: BLE001 - the data is from elsewhere, the constructor is the user's
        return None
    return error


def _constructed(data: dict[Any, Any], kind: type[Exception]) -> Exception | None:
    """Of its arguments."""
    if "args" not in data:
        return None  # its message is not what it was made of
    try:
        error = kind(*_unmarked(codec(Any).load(data["args"])))
        _prepare(error, data)
        attributes = data.get("attributes")
        for each, names in _KEPT:
            for name in names if kind is each or kind.__base__ is each else ():
                if isinstance(attributes, dict) and isinstance(attributes.get(name), str):
                    setattr(error, name, attributes[name])
        # Many a class makes its message out of its arguments: given the message, it says it twice.
        same = kind.__module__ == "builtins" or _clean(str(error)) == data["message"]
    except Exception:  # noqa: BLE001 - the data is from elsewhere, the constructor is the user's
        return None
    return error if same and type(error) is kind else None


def _with_message(data: dict[Any, Any], kind: type[Exception]) -> Exception | None:
    """A builtin of its message, for what its arguments do not say; or the nearest that takes one."""
    message = data["message"]
    if not isinstance(message, str):
        return None
    for each in kind.__mro__:
        if each is Exception and kind is not Exception:
            return None
        try:
            error: Exception = each(message)
            _prepare(error, data)
        except Exception:  # noqa: BLE001 - a UnicodeDecodeError wants five arguments
            continue
        return error
    return None


def _prepare(error: Exception, data: dict[Any, Any]) -> None:
    """All that is done to it later: some classes refuse it."""
    error.__cause__ = None
    error.__notes__ = []
    setattr(error, _DATA, data)
