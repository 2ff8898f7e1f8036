"""Values through real JSON and back: what comes back, what is refused, and in which words."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import math
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorq.errors import EnvelopeError, NotSerializable, TaskDefinitionError
from actorq.serialization import (
    MAX_DEPTH,
    Misfit,
    codec,
    converter,
    dump,
    dumper,
    load,
    loader,
)


T = TypeVar("T")
UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Name(str, enum.Enum):  # noqa: UP042 - the mixture is the test
    FIRST = "first"


class Place(enum.Enum):
    ORIGIN = (0, 0)
    ELSEWHERE = (1, 1)


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    y: float = 0.5
    _private: str = "p"


@dataclasses.dataclass
class Node:
    value: int
    children: list[Node] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(init=False, default=1)


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Movie(TypedDict):
    title: str
    year: typing.NotRequired[int]


@attrs.frozen
class Box(Generic[T]):
    content: T


@attrs.frozen
class IntBox(Box[int]):
    pass


@attrs.frozen
class Cat:
    name: str


@attrs.frozen
class Dog:
    name: str


@attrs.frozen
class Bird:
    name: str
    wings: int = 2


@attrs.frozen
class AsCat:
    name: str
    kind: Literal["cat"] = "cat"


@dataclasses.dataclass
class AsDog:
    name: str
    kind: Literal["dog"] = "dog"


class AsBird(TypedDict):
    kind: Literal["bird"]
    wings: int


@attrs.frozen(eq=False)
class Identity:
    name: str


@attrs.frozen
class Positive:
    n: int = attrs.field(validator=attrs.validators.gt(0))


class Opaque:
    pass


def through_json(plain: Any) -> Any:
    """What an engine would hand back."""
    return json.loads(json.dumps(plain, allow_nan=False))


def round_trip(value: Any, annotation: Any) -> Any:
    """There and back."""
    return load(through_json(dump(value, annotation)), annotation)


# --- drawn types with their values ----------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    str: TEXTS,
    float: FLOATS,
    bool: st.booleans(),
    None: st.none(),
    datetime: st.datetimes(timezones=st.none() | OFFSETS),
    date: st.dates(),
    time: st.times(timezones=st.none() | OFFSETS),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    bytes: st.binary(),
    Fraction: st.fractions(),
    ZoneInfo: st.timezones(),
    IPv4Address: st.ip_addresses(v=4),
    IPv6Address: st.ip_addresses(v=6),
    IPv4Interface: st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(IPv4Interface),
    IPv6Network: st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(
        lambda pair: IPv6Network(pair, strict=False)
    ),
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Name: st.sampled_from(Name),
    Place: st.sampled_from(Place),
    Access: st.sampled_from([Access(n) for n in range(4)]),
    Literal["a", 1, True]: st.sampled_from(["a", 1, True]),
    UserId: st.integers(),
    Annotated[int, "a note"]: st.integers(),
    PurePosixPath: TEXTS.filter(lambda text: "\0" not in text).map(PurePosixPath),
}
HASHABLE = [(kind, values) for kind, values in SCALARS.items() if kind is not None]

# As values: a type checker would read `list[t[0]]` as an annotation.
LIST: Any = list
TUPLE: Any = tuple
DICT: Any = dict
SET: Any = set
FROZENSET: Any = frozenset
OPTIONAL: Any = typing.Optional
BOX: Any = Box

Drawn = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[Drawn]) -> st.SearchStrategy[Drawn]:
    """One more container round the type and its values."""

    def small(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(values, max_size=3)

    def mapping(key: Drawn, value: Drawn) -> Drawn:
        return DICT[key[0], value[0]], st.dictionaries(key[1], value[1], max_size=3)

    def pair(left: Drawn, right: Drawn) -> Drawn:
        return TUPLE[left[0], right[0]], st.tuples(left[1], right[1])

    return st.one_of(
        inner.map(lambda t: (LIST[t[0]], small(t[1]))),
        inner.map(lambda t: (TUPLE[t[0], ...], small(t[1]).map(tuple))),
        st.tuples(inner, inner).map(
            lambda t: (TUPLE[t[0][0], t[1][0]], st.tuples(t[0][1], t[1][1]))
        ),
        inner.map(lambda t: (OPTIONAL[t[0]], st.none() | t[1])),
        inner.map(lambda t: (BOX[t[0]], t[1].map(Box))),
        st.builds(mapping, st.sampled_from(HASHABLE), inner),
        st.sampled_from(HASHABLE).map(lambda t: (SET[t[0]], small(t[1]).map(set))),
        st.sampled_from(HASHABLE).map(lambda t: (FROZENSET[t[0]], small(t[1]).map(frozenset))),
    )


TYPES = st.recursive(st.sampled_from(list(SCALARS.items())), containers, max_leaves=4)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down: `1 == True` is not enough."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, (list, tuple)):
        return all(map(same, left, right))
    if isinstance(left, dict):
        return all(same(item, right[key]) for key, item in left.items())
    return True


@given(TYPES.flatmap(lambda t: st.tuples(st.just(t[0]), t[1])))
def test_a_value_of_any_supported_type_comes_back(drawn: tuple[Any, Any]) -> None:
    """Through real JSON, structure(unstructure(x, T), T) == x, types included."""
    annotation, value = drawn
    assert same(round_trip(value, annotation), value)


@given(PLAIN)
def test_plain_data_comes_back_as_it_is(value: Any) -> None:
    """What JSON can say needs no annotation."""
    assert same(round_trip(value, Any), value)


@given(TYPES, PLAIN)
def test_loading_foreign_data_gives_a_value_or_an_envelope_error(drawn: Drawn, plain: Any) -> None:
    """No data makes load() raise anything else; what it accepts, it can dump again."""
    annotation, _ = drawn
    try:
        value = load(plain, annotation)
    except EnvelopeError as error:
        refusal = str(error)
        assert refusal.startswith("$")
    else:
        assert same(load(dump(value, annotation), annotation), value)


@given(TYPES, st.one_of(PLAIN, st.builds(Opaque), st.just(math.nan), st.tuples(PLAIN)))
def test_dumping_anything_gives_plain_data_or_not_serializable(drawn: Drawn, value: Any) -> None:
    """Whatever the annotation and the value, what dump() returns is carried by JSON unchanged."""
    annotation, _ = drawn
    try:
        plain = dump(value, annotation)
    except NotSerializable as error:
        refusal = str(error)
        assert refusal.startswith("$")
    else:
        assert same(through_json(plain), plain)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (Point(1, 2.5, "q"), Point),
        (Node(1, [Node(2), Node(3, [Node(4)])]), Node),
        (Pair(1, "x"), Pair),
        ({"title": "M", "year": 1931}, Movie),
        ({"title": "M"}, Movie),
        (IntBox(4), IntBox),
        (Box([1]), Box[list[int]]),
        (Box("any"), Box),
        (Path("/tmp/x"), Path),
        ([1, 2], Sequence[int]),
        ([1, 2], Iterable[int]),
        ({"a": 1}, Mapping[str, int]),
        (collections.OrderedDict(b=1, a=2), collections.OrderedDict[str, int]),
        (collections.deque([1]), collections.deque[int]),
        (collections.Counter("aab"), collections.Counter[str]),
        (collections.Counter({date(2024, 5, 1): 3}), collections.Counter[date]),
        (collections.Counter({"a": 0}), collections.Counter),
        (IPv4Network("10.0.0.0/8"), IPv4Network),
        (IPv6Interface("::1/64"), IPv6Interface),
        ("x", typing.LiteralString),
        (AsCat("c"), AsCat | AsDog),
        (AsDog("c"), AsCat | AsDog),
        ([{"kind": "bird", "wings": 2}, AsCat("c")], list[AsBird | AsCat]),
        (bytearray(b"x"), bytearray),
        ((), tuple[()]),
        ({1, "a"}, set),
        ({"a": [1]}, dict),
        ([1, "a", None], list),
        (5, object),
        (5, T),
        (True, int | bool | str),
        (1, float | int),
        (1.0, float | int),
        (datetime(2024, 1, 1), date | datetime),
        (date(2024, 1, 1), date | datetime),
        (Bird("b"), Cat | Bird),
        (Cat("c"), Cat | Bird | None),
        ([Point(1)], Point | list[Point] | None),
        ({1: {Colour.RED: 2}}, dict[int, dict[Colour, int]]),
        ({True: 1, False: 2}, dict[bool, int]),
        ({1.5: 1}, dict[float, int]),
    ],
)
def test_an_example_comes_back(value: Any, annotation: Any) -> None:
    """One of each shape that the drawn types do not reach."""
    assert same(round_trip(value, annotation), value)


def test_an_int_is_a_float_and_comes_back_as_one() -> None:
    """The one conversion that loses nothing."""
    assert same(dump(1, float), 1.0)
    assert same(load(1, float), 1.0)


def test_subclasses_of_jsons_own_types_become_these() -> None:
    """An IntEnum member for an int is an int."""
    assert same(dump(Level.HIGH, int), 2)
    assert same(dump(Name.FIRST, str), "first")
    assert same(dump(collections.Counter("aab")), {"a": 2, "b": 1})


def test_a_read_only_view_of_a_dict_is_a_dict() -> None:
    """With an annotation and without."""
    view = types.MappingProxyType({"a": types.MappingProxyType({"b": 1})})
    assert same(dump(view), {"a": {"b": 1}})
    assert same(dump(view["a"], Mapping[str, int]), {"b": 1})


def test_a_tuple_without_annotation_is_a_list() -> None:
    """As in JSON: it is told apart only by an annotation."""
    assert same(dump((1, (2,))), [1, [2]])


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (3.7, int, "$: expected int, got float 3.7"),
        (5, str, "$: expected str, got int 5"),
        ("str", list[str], "$: expected list[str], got str 'str'"),
        (True, int, "$: expected int, got bool True"),
        (True, float, "$: expected float, got bool True"),
        (1, bool, "$: expected bool, got int 1"),
        (0, None, "$: expected None, got int 0"),
        (2**53 + 1, float, "$: expected float, got an int that no float can hold exactly"),
        (10**400, float, "$: expected float, got an int that no float can hold exactly"),
        ([1, "x"], list[int], "$[1]: expected int, got str 'x'"),
        ({"a": {"b": ["x"]}}, dict[str, dict[str, list[int]]], "$.a.b[0]: expected int"),
        ({"a b": "x"}, dict[str, int], "$['a b']: expected int"),
        (("x", 1), tuple[int, int], "$[0]: expected int"),
        ((1,), tuple[int, int], "$: expected tuple[int, int], got tuple (1,)"),
        (None, Point, "$: expected Point, got None"),
        (Point("x"), Point, "$.x: expected int, got str 'x'"),  # type: ignore[arg-type]
        (Node(1, [Node(2), "x"]), Node, "$.children[1]: expected Node, got str 'x'"),  # type: ignore[list-item]
        ("green", Colour, "$: expected Colour, got str 'green'"),
        (1, Literal["a", True], "$: expected Literal['a', True], got int 1"),
        ([], Literal["a"], "$: expected Literal['a'], got list []"),
        ("x", int | list[int], "$: expected int | list[int], got str 'x'"),
        (["x"], int | list[int], "$[0]: expected int, got str 'x'"),
        (datetime(2024, 1, 1), date, "$: expected date, got datetime"),
        ({"titel": "M"}, Movie, "$: Movie has no field 'titel'"),
        ({}, Movie, "$: Movie needs 'title', which is missing"),
        ({True: 1}, dict[int, int], "$[True]: expected int, got bool True"),
        ({1: 1}, dict[str, int], "$[1]: expected str, got int 1"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_path(
    value: Any, annotation: Any, text: str
) -> None:
    """Nothing is converted that would lose its meaning; the text says where, what and what came."""
    with pytest.raises(NotSerializable) as caught:
        dump(value, annotation)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (math.nan, Any, "JSON cannot carry the float nan"),
        (-math.inf, float, "JSON cannot carry the float -inf"),
        ([math.nan], list[float | str], "$[0]: JSON cannot carry the float nan"),
        (Decimal("NaN"), Decimal, "JSON cannot carry the Decimal NaN"),
        ("\ud800", Any, "lone surrogate"),
        ({"\ud800": 1}, dict, "lone surrogate"),
        ({1: 2}, Any, "$[1]: a key is int 1, and JSON's keys are str; convert it, or annotate"),
        ({Name.FIRST: 2}, Any, "or annotate the dict: dict[Name, ...]"),
        ({"when": [date(2024, 1, 1)]}, Any, "$.when[0]: JSON cannot carry date"),
        (Point(1), Any, "annotate it as Point, so that it is converted"),
        (Pair(1), Any, "annotate it as Pair"),
        (Colour.RED, Any, "annotate it as Colour"),
        (Level.LOW, Any, "annotate it as Level"),
        ({1}, Any, "annotate it as set"),
        (Opaque(), Any, "or register hooks for Opaque"),
        (Opaque(), Opaque, "or register hooks for Opaque"),
        (5, type[int], "JSON cannot carry values of type[int]; annotate it as plain data"),
        ({(1, 2)}, set, "JSON cannot carry tuple (1, 2)"),
        (time(12, tzinfo=ZoneInfo("Europe/Paris")), time, "a time in a named zone has no offset"),
        (IPv4Interface("1.2.3.4/8"), IPv4Address, "expected IPv4Address, got IPv4Interface"),
        (Dog("d"), Cat | Dog, "give the classes a Literal field that differs"),
        (datetime(2024, 1, 1), datetime | str, "cannot tell this datetime"),
        ({1}, list[int] | set[int], "cannot tell this set"),
        ({1: 0}, dict[int | str, int], "$[1]: as a key, JSON cannot tell 1 from '1'"),
    ],
)
def test_what_json_cannot_carry_is_refused_with_a_remedy(
    value: Any, annotation: Any, text: str
) -> None:
    """The text says what to do instead."""
    with pytest.raises(NotSerializable) as caught:
        dump(value, annotation)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("plain", "annotation", "text"),
    [
        ({"items": [{"priority": "x"}]}, dict[str, list[dict[str, int]]], "$.items[0].priority: "),
        ({"x": 1, "z": 2}, Point, "$: Point has no field 'z'"),
        ({"y": 1.0}, Point, "$: Point needs 'x', which is missing"),
        ({"n": 0}, Positive, "$: Positive refused it: ValueError"),
        ({"child": {"n": 0}}, dict[str, Positive], "$.child: Positive refused it"),
        ([1, 1], set[int], "an item comes twice"),
        ([[1]], set, "JSON cannot carry list"),
        ({"01": 1}, dict[int, int], "$['01']: expected int, got str '01'"),
        ({"[": 1}, dict[int, int], "expected int, got str '['"),
        ({"1.0": 1}, dict[int, int], "expected int, got float 1.0"),
        ("2024-01-01", datetime, "expected datetime, got str '2024-01-01'"),
        ("2024-13-01", date, "expected date"),
        ("P1D", timedelta, "expected timedelta"),
        ("{12345678-1234-5678-1234-567812345678}", UUID, "expected UUID"),
        ("NaN", Decimal, "expected Decimal"),
        ("1_0", Decimal, "expected Decimal"),
        ("eA", bytes, "expected bytes"),
        ("1e9", Fraction, "expected Fraction"),
        ("1/0", Fraction, "expected Fraction"),
        ("9" * 5000, Fraction, "expected Fraction"),
        ("../passwd", ZoneInfo, "expected ZoneInfo"),
        ("/etc/passwd", ZoneInfo, "expected ZoneInfo"),
        ("Mars/Phobos", ZoneInfo, "expected ZoneInfo"),
        ("Europe", ZoneInfo, "expected ZoneInfo"),
        ("10.0.0.1/8", IPv4Network, "expected IPv4Network"),
        ("1.2.3.4/8", IPv4Address, "expected IPv4Address"),
        ({"a": 1.5}, collections.Counter[str], "$.a: expected int"),
        ("eB==", bytes, "expected bytes"),
        (8, Access, "expected Access, got int 8"),
        (True, Colour, "expected Colour, got bool True"),
        ({"name": 1}, Cat | None, "$.name: expected str, got int 1"),
        (1, Opaque, "expected Opaque, got int 1"),
        (1, type[int], "expected type[int], got int 1"),
        (math.inf, float, "JSON cannot carry the float inf"),
    ],
)
def test_data_that_does_not_fit_is_refused_with_its_path(
    plain: Any, annotation: Any, text: str
) -> None:
    """Loading is as strict as dumping."""
    with pytest.raises(EnvelopeError) as caught:
        load(plain, annotation)
    assert text in str(caught.value)


@pytest.mark.parametrize("annotation", [Any, int, str, list[int]])
def test_an_int_that_python_will_not_write_is_refused(annotation: Any) -> None:
    """Not even in the error's text may it be written."""
    with pytest.raises(NotSerializable, match=r"4300 digits|<no repr>"):
        dump(10**4300, annotation)
    assert round_trip(10**4300 - 1, int) == 10**4300 - 1


def test_a_subclass_is_refused_because_its_fields_would_be_lost() -> None:
    """Only the class that the annotation names comes back as itself."""

    @attrs.frozen
    class Point3(Point):
        z: int = 0

    with pytest.raises(NotSerializable, match="expected Point, got Point3"):
        dump(Point3(1), Point)


# --- circles and depth ----------------------------------------------------------------------------


def circles() -> list[tuple[Any, Any]]:
    """Values that contain themselves, with and without the help of an annotation."""
    ring: list[Any] = []
    ring.append(ring)
    wheel: dict[str, Any] = {}
    wheel["again"] = [wheel, wheel]
    node = Node(1)
    node.children.append(node)
    return [(ring, Any), (wheel, Any), (wheel, dict[str, list[Any]]), (node, Node)]


@pytest.mark.parametrize(("value", "annotation"), circles())
def test_a_circle_is_refused_without_a_recursion_error(value: Any, annotation: Any) -> None:
    """And with a path that is short enough to be read."""
    with pytest.raises(NotSerializable, match="or it contains itself") as caught:
        dump(value, annotation)
    assert len(str(caught.value)) < 400


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_the_deepest_value_passes_and_the_next_one_does_not() -> None:
    """The bound is exact, in both directions."""
    assert round_trip(nested(MAX_DEPTH), Any) == nested(MAX_DEPTH)
    with pytest.raises(NotSerializable, match="nested deeper"):
        dump(nested(MAX_DEPTH + 1))
    with pytest.raises(EnvelopeError, match="nested deeper"):
        load(nested(MAX_DEPTH + 1))


def test_a_caller_near_the_recursion_limit_gets_the_same_refusal() -> None:
    """RecursionError is an accident of the stack; it is told as what it is."""

    def sink(depth: int) -> None:
        if depth:
            return sink(depth - 1)
        # as deep as allowed, with too little stack left
        dump(nested(MAX_DEPTH))
        return None

    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    with pytest.raises(NotSerializable, match="nested deeper"):
        sink(sys.getrecursionlimit() - used - 60)


# --- what is shared, what is kept -----------------------------------------------------------------


@given(PLAIN.filter(lambda value: isinstance(value, (list, dict))))
def test_no_container_is_shared(value: Any) -> None:
    """Neither dump nor load hands out an object that somebody else may change."""

    def containers_in(data: Any) -> set[int]:
        if isinstance(data, dict):
            return {id(data)}.union(*map(containers_in, data.values()))
        if isinstance(data, list):
            return {id(data)}.union(*map(containers_in, data))
        return set()

    plain = dump(value)
    loaded = load(plain)
    assert plain == value == loaded
    assert containers_in(value).isdisjoint(containers_in(plain))
    assert containers_in(plain).isdisjoint(containers_in(loaded))


def test_a_field_that_the_constructor_does_not_take_is_derived() -> None:
    """It is not written, and so it cannot be set from outside."""
    assert dump(Node(1), Node) == {"value": 1, "children": []}
    with pytest.raises(EnvelopeError, match="Node has no field 'size'"):
        load({"value": 1, "size": 3}, Node)


def test_a_class_without_equality_passes_a_union() -> None:
    """The members are told apart by their data, not by comparing values."""
    assert dump(Identity("i"), Identity | int) == {"name": "i"}


def test_the_order_of_a_union_does_not_matter() -> None:
    """`A | B == B | A`: what one process writes, another one reads the same way."""
    for annotation in (list[Cat | Dog], list[Dog | Cat]):
        assert load([{"name": "x"}], annotation) == [Cat("x")]


def test_an_unhashable_annotation_works() -> None:
    """It is only not remembered."""
    assert round_trip([1], Annotated[list[int], []]) == [1]


# --- the converter --------------------------------------------------------------------------------


def test_the_converter_is_strict_by_itself() -> None:
    """Whoever uses cattrs directly gets the same hooks, also for an Enum that is a str."""
    assert converter.structure("first", Name) is Name.FIRST
    assert converter.unstructure(Point(1)) == {"x": 1, "y": 0.5, "_private": "p"}
    with pytest.raises(Misfit, match="expected int, got float"):
        converter.structure(3.7, int)


def test_a_class_can_be_taught() -> None:
    """Registered hooks win, are used inside containers, and what they write is verified."""

    class Money:
        def __init__(self, cents: int) -> None:
            self.cents = cents

    converter.register_unstructure_hook(Money, lambda money: money.cents)
    converter.register_structure_hook(Money, lambda plain, _: Money(int(plain)))
    assert dump([Money(5)], list[Money]) == [5]
    assert load([5], list[Money])[0].cents == 5
    with pytest.raises(EnvelopeError, match=r"^\$\[0\]: ValueError: invalid literal"):
        load(["x"], list[Money])
    with pytest.raises(NotSerializable, match=r"^\$\[0\]: JSON cannot carry object"):
        dump([Money(object())], list[Money])  # type: ignore[arg-type]


def test_a_field_that_names_nothing_is_a_definition_error() -> None:
    """It says which class, and what to do."""

    @attrs.frozen
    class Broken:
        x: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TaskDefinitionError, match=r"a field of .*Broken.*'Nowhere'"):
        dump(Broken(1), Broken)


def test_dumper_and_loader_are_dump_and_load() -> None:
    """With the annotation looked up once, and the same errors."""
    assert dumper(Point)(Point(1)) == dump(Point(1), Point)
    assert loader(Point)({"x": 1}) == Point(1)
    with pytest.raises(NotSerializable, match=r"^\$: expected Point, got int 1$"):
        dumper(Point)(1)
    with pytest.raises(EnvelopeError, match=r"^\$: expected Point, got int 1$"):
        loader(Point)(1)
    assert codec(Point) is codec(Point)
