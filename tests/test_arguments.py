"""Argument strategies: what they draw can be enqueued, and arrives as it was."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import typing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import annotated_types
import attrs
import pydantic
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import actorq
from actorq import ArgumentsError, Context, Depends
from actorq.serialization import codec
from actorq.testing import Arguments, arguments, run_task, simulate
from actorq.testing.values import values


T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    y: float = 0.5
    _label: str = "p"


@attrs.frozen
class Box(Generic[T]):
    content: T


@attrs.frozen
class Positive:
    n: int = attrs.field(validator=attrs.validators.gt(0))


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Movie(TypedDict):
    title: str
    year: typing.NotRequired[int]


class Order(pydantic.BaseModel):
    item: str
    count: int = pydantic.Field(gt=0, le=100)
    price: Decimal | None = None
    when: datetime = pydantic.Field(alias="at")


class Stranger:
    """Nobody knows how to write it."""


ANNOTATIONS: list[Any] = [
    *(int, float, str, bool, None, Any, bytes, bytearray),
    *(datetime, date, time, timedelta, Decimal, Fraction, UUID, ZoneInfo, Path, PurePosixPath),
    *(IPv4Address, IPv4Interface, IPv4Network, IPv6Address),
    *(list[int], list[Any], tuple[int, str], tuple[int, ...], tuple[()], set[int], frozenset[str]),
    *(dict[str, int], dict[int, Decimal], collections.Counter[str], collections.deque[int]),
    *(collections.abc.Sequence[float], collections.abc.Mapping[str, date], list, dict, set),
    *(int | None, str | UUID, int | list[int], Literal["a", 1] | None, Colour, Access, UserId),
    *(Annotated[int, annotated_types.Gt(3)], Annotated[str, "a remark"], T),
    *(Point, Box[int], Box[datetime], Positive, Tree, Pair, Movie, Order, list[Order]),
    dict[str, list[Point | None]],
]


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=str)
def test_values_come_back_from_json(annotation: Any) -> None:
    """Whatever is drawn for an annotation is carried to a task, and is equal there."""
    hooks = codec(annotation)

    @given(values(annotation))
    @settings(max_examples=25)
    def check(value: object) -> None:
        assert hooks.load(hooks.dump(value)) == value

    check()


got: list[tuple[Any, ...]] = []


def get_name() -> str:
    """A dependency."""
    return "n"


@actorq.task
async def everything(
    a: int,
    /,
    b: Point,
    c: datetime | None = None,
    *more: Decimal,
    d: tuple[int, ...],
    e: Order | None = None,
    ctx: Context = Depends(),
    name: str = Depends(get_name),
    **others: list[bytes],
) -> None:
    """Every kind of parameter."""
    got.append((a, b, c, more, d, e, others))


@actorq.task
async def after_an_injected_one(x: int, ctx: Context = Depends(), y: str = "y") -> None:
    """What comes after it is passed by name."""
    got.append((x, y))


@given(st.lists(arguments(everything), max_size=4), st.lists(arguments(after_an_injected_one)))
@settings(max_examples=60)
def test_every_call_that_is_drawn_is_accepted_and_arrives(
    calls: list[Arguments], others: list[Arguments]
) -> None:
    """Enqueueing takes it, and the function gets equal values."""
    wanted: list[tuple[Any, ...]] = []

    def note(
        a: Any, b: Any, c: Any = None, *more: Any, d: Any, e: Any = None, **others: Any
    ) -> None:
        wanted.append((a, b, c, more, d, e, others))

    async def program() -> None:
        got.clear()
        async with actorq.open_system(concurrency=1) as sys:
            for args, kwargs in calls:
                note(*args, **kwargs)
                await sys.enqueue(everything, *args, **kwargs)
            for args, kwargs in others:
                wanted.append((lambda x, y="y": (x, y))(*args, **kwargs))
                await sys.enqueue(after_an_injected_one, *args, **kwargs)
            await sys.wait_idle()
            assert await sys.dead_tasks() == ()
        assert got == wanted

    simulate(program)


@given(arguments(after_an_injected_one, x=st.integers(0, 9)))
def test_a_parameter_is_overridden_by_its_name(call: Arguments) -> None:
    """And the others are drawn as before."""

    async def program() -> None:
        await run_task(after_an_injected_one, *call.args, **call.kwargs)

    got.clear()
    simulate(program)
    ((x, y),) = got
    assert x in range(10)
    assert isinstance(y, str)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda call: len(call.args) == 1 and not call.kwargs,
        lambda call: len(call.args) == 1 and "y" in call.kwargs,
        lambda call: not call.args and call.kwargs.keys() == {"x"},
    ],
)
def test_by_position_by_name_and_without_a_default(wanted: Any) -> None:
    """Each way to call is drawn."""
    find(arguments(after_an_injected_one), wanted)


def test_a_class_that_was_registered_with_hypothesis() -> None:
    """Its strategy is used, inside of other values, too."""
    st.register_type_strategy(Positive, st.just(Positive(7)))
    try:

        @given(values(list[Positive]))
        def check(drawn: list[Positive]) -> None:
            assert all(each.n == 7 for each in drawn)

        check()
    finally:
        st.register_type_strategy(Positive, st.integers(1).map(Positive))


@actorq.task
async def strange(n: int, thing: list[Stranger]) -> None:
    """Nobody can enqueue it."""


@attrs.frozen
class Crate:
    inside: Stranger


@actorq.task
async def crated(crate: Crate) -> None:
    """Nor this."""


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (
            lambda: arguments(strange),
            TypeError,
            "parameter 'thing'.*Stranger.*arguments.strange, thing=",
        ),
        (
            lambda: arguments(crated),
            TypeError,
            "parameter 'crate': Crate.inside: JSON cannot carry",
        ),
        (
            lambda: arguments(everything, z=st.none()),
            ArgumentsError,
            "no such parameter; there are: a,",
        ),
        (lambda: arguments(everything, ctx=st.none()), ArgumentsError, "the worker fills it in"),
        (lambda: arguments(strange, n=cast(Any, 3)), TypeError, r"write st.just\(3\)"),
        (
            lambda: arguments(cast(Any, get_name)),
            TypeError,
            "expects a task made with @actorq.task",
        ),
    ],
)
def test_what_cannot_be_built(build: Any, error: type[Exception], said: str) -> None:
    """The error names the parameter, and says what to write."""
    with pytest.raises(error, match=said):
        build()
