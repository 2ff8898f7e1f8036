"""Exceptions as plain data and back: what is rebuilt, what is told of, and what is never done."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq import errors
from actorq.errors import ActorStopped, EnvelopeError, Reject, TaskFailed, TaskTimeout
from actorq.remote_error import (
    MAX_ERRORS,
    MAX_NOTES,
    MAX_TEXT,
    RemoteTraceback,
    dump_error,
    load_error,
)
from strategies import examples


class Declared(Exception):
    """What a task would name with `raises=`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Chatty(Exception):
    """Its message is made of its arguments: given the message, it would say it twice."""

    def __init__(self, code: object) -> None:
        super().__init__(f"failed with {code}")


class Once(Exception):
    """Always the same object."""

    instance: Any = None

    def __new__(cls, *args: object) -> Self:
        cls.instance = cls.instance or super().__new__(cls, *args)
        return cls.instance  # type: ignore[no-any-return]


class Mute(Exception):
    """Cannot be printed, reduced or constructed."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def raised(error: BaseException) -> BaseException:
    """The same error, with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def travelled(error: BaseException, *declared: type[Exception]) -> Exception:
    """Through real JSON, as an engine would carry it."""
    return load_error(json.loads(json.dumps(dump_error(raised(error)))), declared)


def printed(error: BaseException) -> str:
    """What a user sees."""
    return "".join(traceback.format_exception(error))


# --- what is rebuilt ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3),
        KeyError("k"),
        ZeroDivisionError(),
        FileNotFoundError(2, "No such file", "/x"),
        TimeoutError("slow"),
        RecursionError("deep"),
        DeprecationWarning("old"),
        Reject("no"),
        TaskTimeout("late"),
        ActorStopped("a", "r"),
        TaskFailed("m.X", "msg", "tb"),
        Declared(5),
        KeyError(("a", 1)),
        KeyError(b"k"),
        ValueError([("x", (1, b"y"))], {"a": ("b",)}),
        ValueError({"$tuple": [1]}, {"$bytes": "eA=="}, {"$dict": {"$dict": 1}}, {"$other": 1}),
        UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte"),
        UnicodeEncodeError("ascii", "\xe9", 0, 1, "ordinal not in range(128)"),
        OSError(28, "No space left on device"),
        FileNotFoundError(2, "No such file", "/a", None, "/b"),
        FileNotFoundError(2, "No such file", b"/bytes"),
        SyntaxError("invalid syntax", ("file.py", 3, 7, "x = = 1", 3, 8)),
        ModuleNotFoundError("No module named 'x'", name="x", path="/p"),
        NameError("name 'x' is not defined", name="x"),
        AttributeError("no y", name="y"),
        Declared((1, (2, b"3"))),  # type: ignore[arg-type]
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_known_error_comes_back_as_its_own_type(error: Exception) -> None:
    """T38: builtin, actorq's own or declared; with its arguments, its message and its state."""
    again = travelled(error, Declared)
    assert type(again) is type(error)
    assert repr(again.args) == repr(error.args)
    assert str(again) == str(error)
    for name in ("errno", "strerror", "filename", "filename2", "name", "path", "object", "lineno"):
        assert repr(getattr(again, name, "none")) == repr(getattr(error, name, "none")), name


class Without(Exception):
    """False, as a collection with nothing in it is; and one that will not say."""

    def __bool__(self) -> bool:
        if self.args:
            raise RuntimeError("no")
        return False


@pytest.mark.parametrize("cause", [Without(), Without("it will not say")])
@pytest.mark.parametrize("how", ["__cause__", "__context__"])
def test_a_cause_that_is_false_is_a_cause(cause: Without, how: str) -> None:
    """What an exception is to `bool` is its author's code."""
    error = ValueError("it")
    setattr(error, how, cause)
    again = travelled(error, Without)
    kept = getattr(again, how)
    assert type(kept) is Without
    assert isinstance(kept.__cause__, RemoteTraceback)


def test_a_declared_error_is_constructed_with_its_arguments() -> None:
    """So that what its constructor sets is there."""
    again = travelled(Declared(5), Declared)
    assert isinstance(again, Declared)
    assert again.code == 5


def test_a_builtin_with_arguments_that_json_cannot_carry_keeps_its_type() -> None:
    """`except ValueError` matters more than the object in it."""
    again = travelled(ValueError(object, {1}))
    assert type(again) is ValueError
    assert "<class 'object'>" in str(again)


def test_a_file_that_was_named_by_a_path_is_named_by_its_text() -> None:
    """As `open` does."""
    again = travelled(FileNotFoundError(2, "No such file", Path("/x")))
    assert isinstance(again, FileNotFoundError)
    assert (again.errno, again.filename) == (2, "/x")


def test_a_builtin_that_cannot_be_made_of_a_message_becomes_its_nearest_base() -> None:
    """`except ValueError` goes on to work when half a megabyte of bytes was left behind."""
    again = travelled(UnicodeDecodeError("utf-8", b"\xff" * 500_000, 0, 1, "invalid start byte"))
    assert type(again) is UnicodeError
    assert "invalid start byte" in str(again)


def test_arguments_that_are_nested_deep_are_left_behind() -> None:
    """The type and the message stay."""
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    again = travelled(KeyError(deep))
    assert type(again) is KeyError
    assert "[[[" in str(again)


class Nosy(ImportError):
    """Its attributes are the user's code."""

    @property
    def name(self) -> str:  # type: ignore[override]
        raise RuntimeError("no")


def test_attributes_that_cannot_be_read_are_left_out() -> None:
    """Reporting an error never fails."""
    assert type(travelled(Nosy("x"))) is TaskFailed


@pytest.mark.parametrize(
    ("error", "declared"),
    [
        (Declared(5), ()),
        (Chatty(5), (Chatty,)),
        (Declared(object()), (Declared,)),  # type: ignore[arg-type]
        (Mute(), (Mute,)),
        (StopIteration(5), ()),
        (errors.MailboxFull("a", 1, "m"), ()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_other_error_is_told_of(
    error: Exception, declared: tuple[type[Exception], ...]
) -> None:
    """Not declared, or one that would not be the same again."""
    again = travelled(error, *declared)
    assert type(again) is TaskFailed
    assert again.type_name == type(error).__qualname__
    assert "Traceback (most recent call last)" in again.remote_traceback


def test_exceptions_that_are_not_errors_are_never_raised_here() -> None:
    """A worker's KeyboardInterrupt must not stop the client."""
    for error in (KeyboardInterrupt(), SystemExit(1), GeneratorExit()):
        assert type(travelled(error)) is TaskFailed


# --- chains, notes, groups ------------------------------------------------------------------------


def test_the_remote_traceback_is_printed() -> None:
    """As the first cause, with the line that raised."""
    again = travelled(ValueError("bad"))
    assert isinstance(again.__cause__, RemoteTraceback)
    assert "raise error" in str(again.__cause__)
    assert "raise error" in printed(again)
    assert printed(again).rstrip().endswith("ValueError: bad")


def test_the_real_cause_stays_the_cause() -> None:
    """T38: the remote traceback comes before the first of them."""
    error = ValueError("outer")
    error.__cause__ = raised(KeyError("inner"))
    again = travelled(error)
    assert isinstance(again.__cause__, KeyError)
    assert isinstance(again.__cause__.__cause__, RemoteTraceback)
    assert "KeyError: 'inner'" in str(again.__cause__.__cause__)


def test_a_context_stays_a_context_unless_it_was_suppressed() -> None:
    """`raise ... from None` says that it is nobody's business."""
    error = ValueError("outer")
    error.__context__ = KeyError("inner")
    assert isinstance(load_error(dump_error(error)).__context__, KeyError)
    error.__suppress_context__ = True
    assert load_error(dump_error(error)).__context__ is None


def test_notes_come_along() -> None:
    """As many as a human reads."""
    error = ValueError("x")
    for n in range(MAX_NOTES + 5):
        error.add_note(f"note {n}")
    assert travelled(error).__notes__ == [f"note {n}" for n in range(MAX_NOTES)]


def test_a_group_comes_back_with_its_members() -> None:
    """Each as its own type, nested groups too, so that `except*` works."""
    error = ExceptionGroup("many", [ValueError(1), ExceptionGroup("in", [Declared(2), Chatty(3)])])
    again = travelled(error, Declared)
    assert isinstance(again, ExceptionGroup)
    assert again.message == "many"
    value_error, inner = again.exceptions
    assert type(value_error) is ValueError
    assert [type(one) for one in inner.exceptions] == [Declared, TaskFailed]


def test_circles_and_crowds_are_bounded() -> None:
    """T38: causes in a circle, and groups of groups."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert len(json.dumps(dump_error(one))) < 5000

    crowd: Exception = ValueError("x")
    for _ in range(4):
        crowd = ExceptionGroup("g", [crowd] * 30)
    data = dump_error(crowd)
    assert json.dumps(data).count('"module"') <= MAX_ERRORS
    assert isinstance(load_error(data), ExceptionGroup)


def test_texts_are_bounded_and_the_traceback_keeps_its_tail() -> None:
    """The end of a traceback is where the error is."""
    data = dump_error(raised(ValueError("x" * 100_000 + "the end")))
    assert len(data["message"]) == MAX_TEXT
    assert len(data["traceback"]) == MAX_TEXT
    assert data["traceback"].rstrip().endswith("the end")
    assert "args" not in data
    assert type(load_error(data)) is ValueError


@given(st.text(), st.lists(st.text() | st.integers() | st.floats() | st.binary()))
def test_any_message_and_any_arguments_are_carried_by_json(note: str, args: list[Any]) -> None:
    """Lone surrogates, NaN and bytes included: the data is strict JSON in UTF-8."""
    error = ValueError(*args)
    error.add_note(note)
    data = dump_error(error)
    json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
    assert type(load_error(data)) is ValueError


# --- data from elsewhere --------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        *vars(errors),
        "ValueError",
        "KeyError",
        "UnicodeDecodeError",
        "ImportError",
        "SyntaxError",
        "SystemExit",
        "ExceptionGroup",
        "OSError",
        "eval",
        "Declared",
    ]
)
MODULES = st.sampled_from(["builtins", "actorq.errors", "os", __name__])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
MARKED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(
        st.sampled_from(["$bytes", "$tuple", "$dict", "$x"]), st.lists(inner) | inner, max_size=2
    ),
    max_leaves=4,
)
DATA = st.recursive(
    JSON,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": NAMES | JSON,
            "module": MODULES | JSON,
            "message": st.text(max_size=5) | JSON,
            "args": st.lists(JSON | MARKED, max_size=3) | JSON,
            "attributes": st.dictionaries(st.sampled_from(["name", "path"]), JSON) | JSON,
            "traceback": JSON,
            "notes": st.lists(st.text() | JSON, max_size=3) | JSON,
            "cause": inner,
            "context": inner,
            "exceptions": st.lists(inner, max_size=3) | JSON,
        },
    ),
    max_leaves=8,
)


@settings(max_examples=examples(500))
@given(DATA)
def test_malformed_data_gives_an_exception_or_an_envelope_error(data: Any) -> None:
    """T38: whatever it names, what comes back is an Exception of one of the three closed lists."""
    if not isinstance(data, dict):
        with pytest.raises(EnvelopeError, match="expected an error's data as a dict"):
            load_error(data)
        return
    error = load_error(data, (Declared, Chatty, Once))
    assert isinstance(error, Exception)
    assert type(error).__module__ in {"builtins", "actorq.errors", __name__}
    assert printed(error)


@pytest.mark.parametrize("key", ["cause", "context", "exceptions", "args"])
def test_hostile_nesting_is_cut_off(key: str) -> None:
    """Deeper than the stack is."""
    data: Any = {"type": "ValueError", "module": "builtins", "message": "x"}
    for _ in range(100_000):
        inner = [data] if key in ("exceptions", "args") else data
        data = {"type": "ExceptionGroup", "module": "builtins", "message": "x", key: inner}
    assert isinstance(load_error(data), Exception)


def test_a_crowd_is_cut_off() -> None:
    """Members times depth would be millions."""
    data: Any = {"type": "ValueError", "module": "builtins", "message": "x", "args": ["x"]}
    for _ in range(5):
        data = {
            "type": "ExceptionGroup",
            "module": "builtins",
            "message": "g",
            "args": ["g"],
            "exceptions": [data] * 40,
        }
    assert isinstance(load_error(data), ExceptionGroup)


def test_a_class_that_returns_one_object_makes_no_endless_chain() -> None:
    """Its cause would be itself."""
    data: Any = {"type": "Once", "module": __name__, "message": "", "args": [], "traceback": "t"}
    error = load_error({**data, "cause": data}, (Once,))
    assert isinstance(error, Once)


def test_empty_data_is_a_task_failed() -> None:
    """With what is known: nothing."""
    error = load_error({})
    assert isinstance(error, TaskFailed)
    assert str(error) == "Exception"
