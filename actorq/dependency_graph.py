"""What a task's injected parameters come to: the steps in which its dependencies are made (pure).

Found out once for a task, when it becomes known, and again when overrides or values change; what is
wrong is said then.  `dependency_resolver` takes the steps, for each attempt.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any, TypeVar

import attrs

from actorq.context import Context
from actorq.depends import Dependency, bare, mark_of
from actorq.errors import TaskDefinitionError
from actorq.parameters import Injected, named, read_annotation, signature_of
from actorq.progress import Progress
from actorq.state import State


#: What stands where in `Recipe.constants`; each attempt brings its own.
CONTEXT = 0

_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Kind(Enum):
    """How a dependency's value is had from its callable."""

    CALL = "call"  #: what it returns; awaited if that is a coroutine
    ENTER = "enter"  #: it returns a context manager
    ENTER_ASYNC = "enter async"  #: it returns an async context manager


@attrs.frozen
class Step:
    """One dependency."""

    kind: Kind
    call: Callable[..., Any]
    arguments: tuple[tuple[str, int], ...]  #: its parameters, and the places of their values
    place: int  #: where its value goes
    title: str


@attrs.frozen
class Recipe:
    """All that is to be done before a task's function is called."""

    constants: tuple[Any, ...]  #: every value that is there already, in its place
    steps: tuple[Step, ...]  #: in order
    parameters: tuple[tuple[str, int], ...]  #: the task's own
    opens: bool  #: whether there is something to clean up

    def ready(self, context: Context) -> dict[str, Any]:
        """The values, if there are no steps."""
        constants = self.constants
        return {
            name: constants[place] if place else context  # CONTEXT is the first
            for name, place in self.parameters
        }


@attrs.frozen
class Supply:
    """What the application says of dependencies."""

    overrides: Mapping[Any, Callable[..., Any]]  #: what stands in for what
    values: Mapping[Any, Any]  #: by the type that asks for them
    state: State


def recipe_of(title: str, injected: Mapping[str, Injected], supply: Supply) -> Recipe:
    """Find out how to fill in a task's *injected* parameters; *title* names it in errors.

    Raises `TaskDefinitionError`.
    """
    builder = _Builder(title, supply)
    parameters = []
    for name, (annotation, default) in injected.items():
        mark = mark_of(annotation, default)
        assert mark is not None
        parameters.append((name, builder.place(mark, annotation, f"the parameter {name!r}")))
    return Recipe(
        constants=tuple(builder.constants),
        steps=tuple(builder.steps),
        parameters=tuple(parameters),
        opens=any(step.kind is not Kind.CALL for step in builder.steps),
    )


class _Builder:
    """Goes down from the task's parameters; what a step needs comes before it."""

    def __init__(self, title: str, supply: Supply) -> None:
        self.constants: list[Any] = [None]  # the context's place
        self.steps: list[Step] = []
        self._title = title
        self._supply = supply
        self._places: dict[Any, int] = {}  #: of what is cached
        self._path: list[tuple[Any, str]] = []  #: what is being looked into: key, name

    def place(self, mark: Dependency, annotation: Any, where: str) -> int:
        """Where the value will be that *mark* asks for."""
        annotation = bare(annotation)
        wanted: Any = mark.dependency
        if wanted is None:
            wanted = self._named_by(annotation, where)
        key = _key(wanted)
        call = self._supply.overrides.get(key)
        if call is None:
            ready = self._ready(wanted, key, where)
            if ready is not None:
                return ready
            if mark.dependency is None:
                self._check_can_be_made(wanted, where)
            call = wanted
        if mark.use_cache and key in self._places:
            return self._places[key]
        place = self._step(call)
        if mark.use_cache:
            self._places[key] = place
        return place

    def _named_by(self, annotation: Any, where: str) -> Any:
        if annotation is Any or annotation is inspect.Parameter.empty:
            raise self._error(
                f"{where} is marked with Depends() and has no type that says what it is: annotate "
                f"it, such as `ctx: actorq.Context = actorq.Depends()`, or pass a function: "
                f"`= actorq.Depends(get_it)`"
            )
        if isinstance(annotation, str):
            raise self._error(
                f"the annotation {annotation!r} of {where} cannot be resolved: import or define what "
                f"it names at the top of the module, not under `if TYPE_CHECKING:` and not in a "
                f"function"
            )
        return annotation

    def _ready(self, wanted: Any, key: Any, where: str) -> int | None:
        """The place of a value that nobody has to make."""
        if key in self._supply.values:
            return self._constant(key, self._supply.values[key])
        if wanted is Context:
            return CONTEXT
        if wanted is Progress:
            return self._progress()
        if inspect.isclass(wanted) and issubclass(wanted, State):
            state = self._supply.state
            if not isinstance(state, wanted):
                raise self._error(
                    f"{where} wants the state as a {wanted.__name__}, and the broker's is a "
                    f"{type(state).__name__}: say `broker.state = {wanted.__name__}()`"
                )
            return self._constant(State, state)
        return None

    def _check_can_be_made(self, wanted: Any, where: str) -> None:
        """`Depends()` makes an object of a class, if it is one of which there can be objects."""
        kind = typing.get_origin(wanted) or wanted
        if (
            not inspect.isclass(kind)
            or kind.__module__ in ("builtins", "types")  # such as int, and int | None
            or inspect.isabstract(kind)
            or getattr(kind, "_is_protocol", False)
        ):
            raise self._error(
                f"{where} is marked with Depends(), and nothing supplies {_name(wanted)}: say "
                f"`broker.with_dependency({_name(wanted)}, value)`, or pass a function: "
                f"`= actorq.Depends(get_it)`"
            )

    def _constant(self, key: Any, value: Any) -> int:
        if key not in self._places:
            self._places[key] = len(self.constants)
            self.constants.append(value)
        return self._places[key]

    def _progress(self) -> int:
        if Progress not in self._places:
            step = Step(Kind.CALL, _progress_of, (("context", CONTEXT),), self._room(), "Progress")
            self._places[Progress] = step.place
            self.steps.append(step)
        return self._places[Progress]

    def _room(self) -> int:
        self.constants.append(None)
        return len(self.constants) - 1

    def _step(self, call: Any) -> int:
        key, name = _key(call), _name(call)
        keys = [each for each, _ in self._path]
        if key in keys:
            names = [each for _, each in self._path[keys.index(key) :]]
            circle = " -> ".join([*names, name])
            raise self._error(f"dependencies in a circle: {circle}", path=False)
        self._path.append((key, name))
        arguments = tuple(self._arguments(call))
        self._path.pop()
        kind, adapted = _adapted(call)
        step = Step(kind, adapted, arguments, self._room(), name)
        self.steps.append(step)
        return step.place

    def _arguments(self, call: Any) -> typing.Iterator[tuple[str, int]]:
        origin = typing.get_origin(call) or call
        variables = () if origin is call else getattr(origin, "__parameters__", ())
        types = dict(zip(variables, typing.get_args(call), strict=False))
        try:
            parameters = signature_of(origin).parameters.values()
        except (TypeError, ValueError) as error:
            raise self._error(f"{_name(call)} has no readable signature: {error}") from None
        for parameter in parameters:
            where = f"its parameter {parameter.name!r}"
            annotation = read_annotation(origin, parameter)
            mark = mark_of(annotation, parameter.default)
            if mark is None:
                self._check_is_not_needed(origin, parameter, annotation)
            elif parameter.kind in _STARS or parameter.kind is parameter.POSITIONAL_ONLY:
                raise self._error(f"{where} is marked, and cannot be passed by its name")
            else:
                annotation = _substituted(bare(annotation), types)
                yield parameter.name, self.place(mark, annotation, where)

    def _check_is_not_needed(
        self, call: Any, parameter: inspect.Parameter, annotation: Any
    ) -> None:
        if parameter.default is not parameter.empty or parameter.kind in _STARS:
            return
        if bare(annotation) in (Context, Progress, State):
            known = f"{bare(annotation).__name__} = actorq.Depends()"
            remedy = f"write `{parameter.name}: actorq.{known}`"
        else:
            remedy = "mark it with Depends(...), or give it a default"
            if inspect.isclass(call):
                remedy += f", or supply it all: `broker.with_dependency({_name(call)}, value)`"
        raise self._error(
            f"nothing fills in its parameter {parameter.name!r}: {remedy}. (A dependency does not "
            f"see the arguments of the task; `ctx.message` has them.)"
        )

    def _error(self, problem: str, *, path: bool = True) -> TaskDefinitionError:
        names = [name for _, name in self._path] if path else []
        return TaskDefinitionError(": ".join([f"task {self._title!r}", *names, problem]))


def _key(wanted: Any) -> Any:
    """What tells two dependencies apart: as in a dictionary, or by identity."""
    try:
        hash(wanted)
    except TypeError:
        return id(wanted)
    return wanted


def _name(call: Any) -> str:
    if typing.get_origin(call) is not None or not callable(call):
        return repr(call).replace("typing.", "")
    return call.__qualname__ if inspect.isclass(call) else named(call)


def _substituted(annotation: Any, types: Mapping[Any, Any]) -> Any:
    """With what a generic class was given for its type variables."""
    if isinstance(annotation, TypeVar):
        return types.get(annotation, annotation)
    inner = getattr(annotation, "__parameters__", ())
    if not types or not inner or inspect.isclass(annotation):
        return annotation
    return annotation[tuple(types.get(each, each) for each in inner)]


def _adapted(call: Any) -> tuple[Kind, Callable[..., Any]]:
    """How to have a value from *call*; a generator becomes a context manager."""
    generator: Any = call  # the checks below would narrow it to what cannot be decorated
    function = call
    if not inspect.isroutine(call) and not inspect.isclass(call):
        function = getattr(type(call), "__call__", call)  # noqa: B004 - its function is wanted
    if inspect.isasyncgenfunction(call) or inspect.isasyncgenfunction(function):
        return Kind.ENTER_ASYNC, asynccontextmanager(generator)
    if inspect.isgeneratorfunction(call) or inspect.isgeneratorfunction(function):
        return Kind.ENTER, contextmanager(generator)
    # what was decorated keeps its generator function in sight: @contextmanager does
    inner = inspect.unwrap(call) if not inspect.isclass(call) else call
    if inspect.isasyncgenfunction(inner):
        return Kind.ENTER_ASYNC, call
    if inspect.isgeneratorfunction(inner):
        return Kind.ENTER, call
    return Kind.CALL, call


def _progress_of(context: Context) -> Progress:
    return Progress(context.set_progress)
