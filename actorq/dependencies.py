"""What a broker knows of dependencies: values by type, stand-ins, the state; and each task's recipe.

A recipe is found out once, and again after something here has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actorq.context import Context
from actorq.dependency_graph import Recipe, Supply, recipe_of
from actorq.progress import Progress
from actorq.state import State


if TYPE_CHECKING:
    from actorq.signature import Signature
    from actorq.task import Task

_NOTHING: Any = object()


class Overrides(MutableMapping[Any, Callable[..., Any]]):
    """What stands in for a dependency: `broker.dependency_overrides[get_db] = get_fake_db`."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._stand_ins: dict[Any, Callable[..., Any]] = {}
        self._changed = changed

    def __getitem__(self, dependency: Any) -> Callable[..., Any]:
        return self._stand_ins[dependency]

    def __setitem__(self, dependency: Any, stand_in: Callable[..., Any]) -> None:
        if not callable(dependency):
            raise TypeError(
                f"an override replaces the function or class of a Depends(...); got {dependency!r}"
            )
        if not callable(stand_in):
            raise TypeError(
                f"an override is a function that returns the value, or a class; got {stand_in!r}: "
                f"write `lambda: value`"
            )
        self._stand_ins[dependency] = stand_in
        self._changed()

    def __delitem__(self, dependency: Any) -> None:
        del self._stand_ins[dependency]
        self._changed()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stand_ins)

    def __len__(self) -> int:
        return len(self._stand_ins)

    def __repr__(self) -> str:
        return f"<Overrides {self._stand_ins!r}>"


class Dependencies:
    """One broker's."""

    def __init__(self) -> None:
        self.overrides = Overrides(self._forget)
        self._values: dict[Any, Any] = {}
        self._state = State()
        self.grace = 10.0  #: seconds that the clean-up of an attempt's dependencies may take
        self._recipes: dict[Signature, Recipe] = {}

    @property
    def state(self) -> State:
        """The application's state."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if not isinstance(state, State):
            raise TypeError(
                f"the state is an object of actorq.State or of a subclass; got {state!r}: keep it in "
                f"there, `broker.state.app = ...`, or say broker.with_dependency(...)"
            )
        self._state = state
        self._forget()

    def supply(self, kind: Any, value: Any) -> None:
        """Give *value* to whoever asks for *kind*."""
        if isinstance(kind, str) or not callable(kind):
            raise TypeError(
                f"with_dependency() expects the type that tasks ask for and the value, such as "
                f"with_dependency(Database, db); got {kind!r}"
            )
        if kind in (Context, Progress):
            raise TypeError(f"each attempt has a {kind.__name__} of its own; it cannot be supplied")
        self._values[kind] = value
        self._forget()

    @contextmanager
    def overridden(self, dependency: Any, stand_in: Callable[..., Any]) -> Iterator[None]:
        """Override for the body of `with`; afterwards it is as it was."""
        before = self.overrides.get(dependency, _NOTHING)
        self.overrides[dependency] = stand_in
        try:
            yield
        finally:
            if before is _NOTHING:
                self.overrides.pop(dependency, None)
            else:
                self.overrides[dependency] = before

    def replace_overrides(self, overrides: Mapping[Any, Callable[..., Any]]) -> None:
        """These and no others."""
        given = dict(overrides)  # it may be our own
        self.overrides.clear()
        self.overrides.update(given)

    def recipe_of(self, task: Task[..., Any]) -> Recipe:
        """How to fill in what *task* wants; raises `TaskDefinitionError`."""
        recipe = self._recipes.get(task.signature)  # copies made by using() share it
        if recipe is None:
            supply = Supply(self.overrides, self._values, self._state)
            recipe = self._recipes[task.signature] = recipe_of(task.name, task.injected, supply)
        return recipe

    def _forget(self) -> None:
        self._recipes = {}
