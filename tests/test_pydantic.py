"""Pydantic models as arguments and return values: what comes back, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import pydantic
import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st

import actorq
from actorq.errors import ArgumentsError, EnvelopeError, NotSerializable, TaskDefinitionError
from actorq.serialization import dump, load
from actorq.testing import simulate


T = TypeVar("T")


class Item(pydantic.BaseModel):
    name: str
    price: Decimal = Decimal("1.50")
    tags: frozenset[str] = frozenset()


class Order(pydantic.BaseModel):
    number: UUID
    when: datetime
    items: list[Item] = []
    note: bytes | None = None
    parent: Order | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)

    day: date
    size: int


class Renamed(pydantic.BaseModel):
    class_: str = pydantic.Field(alias="class")


class Box(pydantic.BaseModel, Generic[T]):
    content: T


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Computed(pydantic.BaseModel):
    side: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.side**2


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    name: str


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    name: str


@pydantic.dataclasses.dataclass
class Data:
    day: date
    name: Annotated[str, pydantic.Field(alias="Name")] = "x"


ORDER = Order(
    number=UUID(int=7),
    when=datetime(2024, 5, 1, 12, tzinfo=UTC),
    items=[Item(name="é", tags=frozenset({"a"}))],
    note=b"text",
    parent=Order(number=UUID(int=6), when=datetime(2023, 1, 1)),
)


def round_trip(value: Any, annotation: Any) -> Any:
    """Through real JSON."""
    return load(json.loads(json.dumps(dump(value, annotation), allow_nan=False)), annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (ORDER, Order),
        (Strict(day=date(2024, 5, 1), size=3), Strict),
        (Renamed.model_validate({"class": "x"}), Renamed),
        (Box[int](content=5), Box[int]),
        (Box[list[date]](content=[date(2024, 5, 1)]), Box[list[date]]),
        (Numbers([1, 2]), Numbers),
        (Computed(side=3), Computed),
        (Data(date(2024, 5, 1)), Data),
        ([ORDER, ORDER], list[Order]),
        ({"a": ORDER}, dict[str, Order]),
        (None, Order | None),
        (ORDER, Order | None),
        ([Cat(name="c"), Dog(name="d")], list[Cat | Dog]),
        ((1, Item(name="i")), tuple[int, Item]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_model_comes_back(value: Any, annotation: Any) -> None:
    """Nested, generic, renamed, strict, recursive; in containers and in unions."""
    back = round_trip(value, annotation)
    assert back == value
    assert type(back) is type(value)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        Item,
        name=TEXTS,
        price=st.decimals(allow_nan=False, allow_infinity=False),
        tags=st.frozensets(TEXTS, max_size=3),
    )
)
def test_any_model_comes_back(item: Item) -> None:
    """Drawn values."""
    assert round_trip(item, Item) == item


@pytest.mark.parametrize(
    ("plain", "text"),
    [
        ({"number": "x"}, "$.number: Order refused it: Input should be a valid UUID"),
        ([], "$: Order refused it: Input should be"),
        (
            {"number": str(UUID(int=1)), "when": "2024-05-01T00:00:00", "items": [{}]},
            "$.items[0].name: Order refused it: Field required",
        ),
        ({}, "(and 1 more)"),
    ],
)
def test_what_a_model_refuses_is_told_with_its_path(plain: Any, text: str) -> None:
    """In the words of pydantic, and without the value."""
    with pytest.raises(EnvelopeError) as caught:
        load(plain, Order)
    assert text in str(caught.value)
    with pytest.raises(EnvelopeError, match=r"^\$\.a\[0\]"):
        load({"a": [plain]}, dict[str, list[Order]])


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Hidden(pydantic.BaseModel):
    shown: int
    hidden: int = pydantic.Field(default=0, exclude=True)


class TwoNames(pydantic.BaseModel):
    x: int = pydantic.Field(validation_alias="in", serialization_alias="out")


class Numeric(pydantic.BaseModel):
    x: float


class Raises(pydantic.BaseModel):
    x: int

    @pydantic.field_validator("x")
    @classmethod
    def check(cls, x: int) -> int:
        if x > 5:
            raise OSError("a validator may raise anything")
        return x


class Special(Item):
    more: int = 0


def broken() -> Item:
    """A model that somebody has changed behind its validators."""
    item = Item(name="x")
    item.name = 5  # type: ignore[assignment]
    return item


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        (Secret(password=pydantic.SecretStr("hush")), Secret, "password would be lost (a secret"),
        (Hidden(shown=1, hidden=2), Hidden, "hidden would be lost"),
        (TwoNames.model_validate({"in": 1}), TwoNames, "does not read what it writes"),
        (Numeric(x=float("nan")), Numeric, "$.x: JSON cannot carry the float nan"),
        (Special(name="x"), Item, "expected Item, got Special"),
        ({"name": "x"}, Item, "expected Item, got dict"),
        (broken(), Item, "PydanticSerializationError"),
        (Raises.model_construct(x=9), Raises, "OSError: a validator may raise anything"),
        (Item(name="x"), Any, "annotate it as Item, so that it is converted"),
        (Item(name="\ud800"), Item, ""),
        (Box[Any](content=object()), Box[Any], "PydanticSerializationError"),
    ],
)
def test_a_model_that_would_not_come_back_is_refused(
    value: Any, annotation: Any, text: str
) -> None:
    """A SecretStr would arrive as asterisks; no value is in the text."""
    with pytest.raises(NotSerializable) as caught:
        dump(value, annotation)
    assert text in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_default_that_is_not_written_is_no_loss() -> None:
    """An excluded field may stand at its default."""
    assert round_trip(Hidden(shown=1), Hidden) == Hidden(shown=1)


def test_a_model_that_names_nothing_is_a_definition_error() -> None:
    """As with a class of any other kind."""

    class Broken(pydantic.BaseModel):
        x: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TaskDefinitionError, match=r"pydantic cannot use the model .*Broken"):
        load({}, Broken)


# --- tasks ----------------------------------------------------------------------------------------


@actorq.task
async def cheapest(order: Order, *more: Item, limit: Item | None = None) -> Item:
    """A model in, a model out."""
    assert type(order) is Order
    assert all(type(each) is Item for each in more)
    return min([*order.items, *more], key=lambda item: item.price)


def test_models_are_arguments_and_return_values() -> None:
    """T27, T28: positional, keyword and starred; the caller gets a model back."""

    async def main() -> None:
        async with actorq.open_system() as sys:
            handle = await sys.enqueue(
                cheapest, ORDER, Item(name="cheap", price=Decimal(1)), limit=Item(name="l")
            )
            item = await handle.result()
            assert item == Item(name="cheap", price=Decimal(1))
            assert type((await handle.wait_result()).return_value) is Item

    simulate(main)


def test_wrong_models_are_refused_at_the_call_and_where_the_task_runs() -> None:
    """A15: never an unvalidated call."""

    async def main() -> None:
        async with actorq.open_system(tasks=[cheapest]) as sys:
            with pytest.raises(ArgumentsError, match="order: expected Order, got dict"):
                await sys.enqueue(cheapest, {"number": "7"})  # type: ignore[arg-type]
            made = actorq.TaskMessage("1", cheapest.name, ({"number": "7"},))
            handle = await sys.send(made)
            with pytest.raises(ArgumentsError, match="Order refused it: Input should be a valid"):
                await handle.result()

    simulate(main)


def test_pydantic_is_not_imported_for_others() -> None:
    """Nor needed."""
    program = """
import sys, dataclasses
sys.modules["pydantic"] = None
from actorq.serialization import dump, load
@dataclasses.dataclass
class Data:
    x: int
assert load(dump(Data(1), Data), Data) == Data(1)
"""
    root = Path(actorq.__file__).parent.parent
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=60)
