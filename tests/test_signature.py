"""Arguments from the caller to the worker: what fits, what is refused, and what stays shared."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.errors import ArgumentsError, NotSerializable, TaskDefinitionError
from actorq.signature import EMPTY, Signature


if TYPE_CHECKING:
    from somewhere import Unknown  # type: ignore[import-not-found]


class Depends:
    """Stands in for the package's marker."""


def is_marked(annotation: Any, default: Any) -> bool:
    """What the package asks of its own marker."""
    return isinstance(default, Depends) or annotation is Depends


def signature(function: Callable[..., Any]) -> Signature:
    """As `@task` would make it."""
    return Signature.of(function, injected=is_marked)


DEPENDS: Any = Depends()


def nothing() -> None:
    """No parameters."""


def number(n: int) -> int:
    """One primitive."""
    return n


def everything(a: int, /, b: str, *rest: float, key: bool = True, **more: date) -> None:
    """All five kinds of parameters."""


def loose(a, b=1):  # type: ignore[no-untyped-def]
    """No annotations."""


def served(path: str, ctx: Unknown = DEPENDS, last: int = 0) -> dict[str, int]:
    """One parameter is injected."""
    return {path: last}


def early(later: Later) -> list[Later]:
    """Names a class that is defined below."""
    return [later]


@attrs.frozen
class Later:
    day: date


# --- what fits ------------------------------------------------------------------------------------


def test_no_arguments_cost_nothing() -> None:
    """The very same empty values each time."""
    args, kwargs = signature(nothing).bind((), {})
    assert args == ()
    assert kwargs is EMPTY
    assert EMPTY == {}


def test_every_kind_of_parameter_goes_there_and_back() -> None:
    """Positional-only, by name, *args and **kwargs, each by its annotation."""
    task = signature(everything)
    bound = task.bind((1, "b", 2, 2.5), {"key": False, "day": date(2024, 1, 2)})
    assert bound == ((1, "b", 2.0, 2.5), {"key": False, "day": "2024-01-02"})
    assert task.load(*bound) == ((1, "b", 2.0, 2.5), {"key": False, "day": date(2024, 1, 2)})
    assert task.bind((1,), {"b": "x"}) == ((1,), {"b": "x"})


def test_the_name_of_a_positional_only_parameter_is_free() -> None:
    """As in Python, **kwargs may take it."""
    task = signature(everything)
    assert task.bind((1, "b"), {"a": date(2024, 1, 2)})[1] == {"a": "2024-01-02"}


def test_defaults_are_not_filled_in() -> None:
    """The worker's function knows them, perhaps newer ones."""
    assert signature(loose).bind((5,), {}) == ((5,), EMPTY)


def test_annotations_may_name_what_comes_later() -> None:
    """They are resolved at the first call."""
    task = signature(early)
    assert task.bind((Later(date(2024, 1, 2)),), {}) == (({"day": "2024-01-02"},), {})
    assert task.load([{"day": "2024-01-02"}], {}) == ((Later(date(2024, 1, 2)),), {})


def test_loading_primitives_gives_the_same_objects() -> None:
    """Nothing is copied that nobody can change."""
    args = (12345678901,)
    assert signature(number).load(args, {})[0] is args


def test_mutable_arguments_are_never_shared() -> None:
    """Neither with the caller nor with what is stored."""
    task, mine = signature(loose), [[1]]
    (stored,), _ = task.bind((mine,), {})
    (loaded,), _ = task.load((stored,), {})
    assert mine == stored == loaded
    assert len({id(mine), id(stored), id(loaded)}) == 3
    assert len({id(mine[0]), id(stored[0]), id(loaded[0])}) == 3


@pytest.mark.parametrize("kind", ["partial", "wrapped", "method", "callable"])
def test_callables_of_all_kinds_have_signatures(kind: str) -> None:
    """With the annotations of the function that is inside."""

    @functools.wraps(number)
    def wrapped(*args: Any) -> Any: ...

    class Holder:
        def method(self, n: int) -> None: ...
        def __call__(self, n: int) -> None: ...

    made: dict[str, Callable[..., Any]] = {
        "partial": functools.partial(number),
        "wrapped": wrapped,
        "method": Holder().method,
        "callable": Holder(),
    }
    assert signature(made[kind]).bind((5,), {}) == ((5,), {})
    with pytest.raises(ArgumentsError, match="n: expected int"):
        signature(made[kind]).bind(("5",), {})


JSON = st.none() | st.booleans() | st.integers() | st.text("abc") | st.lists(st.integers())
NAMES = st.sampled_from(["a", "b", "key", "ctx", "other"])


@given(
    st.sampled_from([nothing, number, everything, loose, served]),
    st.lists(JSON, max_size=4).map(tuple),
    st.dictionaries(NAMES, JSON, max_size=3),
)
def test_bind_takes_no_call_that_python_would_not(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """What is enqueued can be called; what is refused says which task, by its signature."""
    task = signature(function)
    try:
        bound = task.bind(args, kwargs, name="the.task")
    except ArgumentsError as error:
        refusal = str(error)
        assert refusal.startswith("the.task(")
    else:
        loaded_args, loaded_kwargs = task.load(*bound)
        inspect.signature(function).bind(*loaded_args, **loaded_kwargs)
        assert (len(loaded_args), set(loaded_kwargs)) == (len(args), set(kwargs))


@given(st.lists(JSON, max_size=4).map(tuple), st.dictionaries(NAMES, JSON, max_size=3))
def test_bind_takes_every_call_that_python_would_take(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Without annotations and injected parameters, Python's own rules are the reference."""

    def function(a, /, b, c=1, *, key=None, other=2): ...  # type: ignore[no-untyped-def]

    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        with pytest.raises(ArgumentsError):
            signature(function).bind(args, kwargs)
    else:
        assert signature(function).bind(args, kwargs) == (args, kwargs)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (number, ("x",), {}, "number(n: int) -> int: n: expected int, got str 'x'"),
        (number, (3.7,), {}, "n: expected int, got float 3.7"),
        (number, (), {"n": True}, "n: expected int, got bool True"),
        (number, (), {}, "missing 'n'"),
        (number, (1, 2), {}, "takes 1 positional argument, got 2"),
        (number, (1,), {"n": 2}, "got two values for 'n'"),
        (number, (1,), {"m": 2}, "has no parameter 'm'"),
        (everything, (), {}, "missing 'a', 'b'"),
        (everything, (1, "b", "x"), {}, "*rest[2]: expected float, got str 'x'"),
        (everything, (1, "b"), {"day": 5}, "day: expected date, got int 5"),
        (served, ("p", 1), {}, "takes 1 positional argument, got 2; 'ctx' is filled in"),
        (served, ("p", 1), {}, "pass those after it by name"),
        (served, ("p",), {"ctx": 1}, "'ctx' is filled in by the worker"),
        (early, ({"day": 1},), {}, "later: expected Later, got dict {'day': 1}"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_and_taught(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    """The message shows the signature and names the argument."""
    with pytest.raises(ArgumentsError) as caught:
        signature(function).bind(args, kwargs)
    assert text in str(caught.value)


def test_a_positional_only_name_is_explained() -> None:
    """Not as an unknown parameter."""

    def function(a: int, /) -> None: ...

    with pytest.raises(ArgumentsError, match="'a' is positional-only, pass it without its name"):
        signature(function).bind((), {"a": 1})


def test_the_title_is_the_callers_name_without_injected_parameters() -> None:
    """It shows the call as it may be written, without quotes round what is text in this module."""
    with pytest.raises(ArgumentsError) as caught:
        signature(served).bind((), {}, name="app.served")
    assert str(caught.value) == (
        "app.served(path: str, last: int = 0) -> dict[str, int]: missing 'path'"
    )


@pytest.mark.parametrize("by_name", [False, True])
def test_what_json_cannot_carry_names_the_argument(by_name: bool) -> None:
    """With the path inside it."""
    value = {"x": [object()]}
    args, kwargs = ((), {"a": value}) if by_name else ((value,), {})
    with pytest.raises(NotSerializable, match=r"loose\(a, b=1\): a\.x\[0\]: JSON cannot carry"):
        signature(loose).bind(args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((object(),), {}), (("x",), {}), ((), {}), ("1", {}), ((1,), ["n"])]
)
def test_a_message_of_another_version_is_an_arguments_error(args: Any, kwargs: Any) -> None:
    """Whatever is in it."""
    with pytest.raises(ArgumentsError, match=r"^the\.task"):
        signature(number).load(args, kwargs, "the.task")


def test_a_circle_in_an_argument_is_refused() -> None:
    """Without a RecursionError."""
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(NotSerializable, match="contains itself"):
        signature(loose).bind((ring,), {})


# --- definitions ----------------------------------------------------------------------------------


def test_an_injected_parameter_needs_no_resolvable_annotation() -> None:
    """Its type may be imported for type checkers only."""
    task = signature(served)
    assert task.bind(("p",), {"last": 5}) == (("p",), {"last": 5})
    assert task.injected["ctx"].annotation == "Unknown"
    assert isinstance(task.injected["ctx"].default, Depends)


def test_an_injected_parameter_can_be_told_by_its_resolved_annotation() -> None:
    """The question is put again when names are resolved."""

    def function(n: int, *, ctx: Depends) -> None: ...

    task = signature(function)
    assert task.bind((1,), {}) == ((1,), {})
    assert list(task.injected) == ["ctx"]


def test_an_annotation_that_names_nothing_is_a_definition_error() -> None:
    """At the first call, with the parameter and the remedy."""

    def function(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    task = signature(function)
    with pytest.raises(TaskDefinitionError, match=r"'Nowhere' of the parameter 'x' .*TYPE_CHECK"):
        task.bind((1,), {})


def test_a_return_annotation_that_names_nothing_is_found_before_the_work() -> None:
    """Not when the result is there and cannot be written."""

    def function() -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TaskDefinitionError, match="the return value"):
        signature(function).bind((), {})


def test_an_injected_parameter_must_have_a_name() -> None:
    """The worker passes it by name."""

    def function(ctx: Any = DEPENDS, /) -> None: ...

    with pytest.raises(TaskDefinitionError, match="'ctx' is positional-only"):
        signature(function)


def test_a_function_without_a_signature_is_refused() -> None:
    """Some builtins have none."""
    with pytest.raises(TaskDefinitionError, match="has no readable signature"):
        signature(type)


# --- the return value -----------------------------------------------------------------------------


def test_a_return_value_follows_its_annotation() -> None:
    """There and back."""
    task, value = signature(early), [Later(date(2024, 1, 2))]
    plain = task.return_dump(value)
    assert plain == [{"day": "2024-01-02"}]
    assert task.return_load(plain) == value


def test_a_return_value_beside_its_annotation_is_kept_as_it_is() -> None:
    """The work is done: a wrong annotation must not lose it."""
    task = signature(number)
    plain = task.return_dump({"not": ["an int"]})
    loaded = task.return_load(plain)
    assert plain == loaded == {"not": ["an int"]}
    assert loaded is not plain
    assert loaded["not"] is not plain["not"]


def test_a_return_value_that_json_cannot_carry_names_the_task() -> None:
    """And the place within it."""
    with pytest.raises(NotSerializable, match=r"^a\.task.*: return value\.x: JSON cannot carry"):
        signature(number).return_dump({"x": object()}, name="a.task")
