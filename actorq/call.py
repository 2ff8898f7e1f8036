"""The call: a task and its arguments as a value; nothing is enqueued yet.  And the chain of calls.

What takes work to do (`sys.enqueue`, a task nursery, `sys.gather`) takes an `Enqueueable`: a task, whose
arguments follow; a call, which has them; or a chain, in which the result of each step is the first
argument of the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

import attrs

from actorq.errors import TaskDefinitionError, TaskNotBound


if TYPE_CHECKING:
    from actorq.handle import TaskHandle
    from actorq.task import Task

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
X = TypeVar("X")
Y = TypeVar("Y")
X_contra = TypeVar("X_contra", contravariant=True)


class Takes(Protocol[X_contra, R_co]):
    """What can be enqueued with one argument."""

    def call(self, value: X_contra, /) -> Call[R_co]:
        """This with *value*."""
        ...


class Enqueueable(Generic[P, R_co]):
    """What can be enqueued; the parameters are what is still to be passed."""

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """This with its arguments, as a value; checked when it is enqueued."""
        raise NotImplementedError

    def __or__(self: Enqueueable[P, X], following: Takes[X, Y]) -> Chain[P, Y]:
        """A chain: *following* is enqueued with this one's result as its first argument."""
        return Chain(self, steps_of(following))

    def _as_steps(self) -> tuple[Step[Any, Any], ...]:
        """What this is as a part of a chain that is not its beginning."""
        raise NotImplementedError


def steps_of(following: object) -> tuple[Step[Any, Any], ...]:
    """What stands right of a `|`; raises `TaskDefinitionError` if it cannot."""
    if not isinstance(following, Enqueueable):
        raise TaskDefinitionError(
            f"a chain consists of tasks: `a | b | c`, or `a | b.step(64)` with further arguments; "
            f"got {following!r}"
        )
    return following._as_steps()


@attrs.frozen(repr=False)
class Step(Enqueueable[[X], R_co], Generic[X, R_co]):
    """A task that lacks its first argument: the result of what comes before.  See `Task.step`."""

    task: Task[..., Any]
    args: tuple[Any, ...] = ()  #: after the first
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)

    def call(self, value: X, /) -> Call[R_co]:
        """This with its first argument."""
        return Call(self.task, (value, *self.args), self.kwargs)

    def _as_steps(self) -> tuple[Step[Any, Any], ...]:
        return (self,)

    def __repr__(self) -> str:
        return f"<Step {_shown(self.task, ('...', *map(repr, self.args)), self.kwargs)}>"


@attrs.frozen(repr=False)
class Chain(Enqueueable[P, R_co]):
    """Tasks of which each takes the result of the one before: `download | resize.step(64) | upload`."""

    first: Enqueueable[P, Any]
    following: tuple[Step[Any, Any], ...]

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """This with the arguments of its first step."""
        beginning = self.first.call(*args, **kwargs)
        return attrs.evolve(beginning, following=(*beginning.following, *self.following))

    async def kiq(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R_co]:
        """Enqueue on the open system of the first task's broker, as `task.kiq(...)` does."""
        return await self.call(*args, **kwargs).kiq()

    def _as_steps(self) -> tuple[Step[Any, Any], ...]:
        return (*self.first._as_steps(), *self.following)

    def __repr__(self) -> str:
        return f"<Chain {' | '.join([step.task.name for step in self._as_steps()])}>"


@attrs.frozen(repr=False)
class Call(Enqueueable[[], R_co]):
    """One call, not enqueued yet.  Made by `task.call(...)`.

    A value: it may be enqueued any number of times, and each time is a task of its own.
    """

    task: Task[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)
    following: tuple[Step[Any, Any], ...] = ()  #: enqueued one by one, when this has succeeded

    def call(self) -> Call[R_co]:
        """Itself: there is nothing left to pass."""
        return self

    def __or__(self: Call[X], following: Takes[X, Y]) -> Call[Y]:  # type: ignore[override]
        """A chain whose first step has its arguments."""
        return Call(self.task, self.args, self.kwargs, (*self.following, *steps_of(following)))

    @property
    def last(self) -> Task[..., Any]:
        """The task whose result is this call's."""
        return self.following[-1].task if self.following else self.task

    async def kiq(self) -> TaskHandle[R_co]:
        """Enqueue on the open system of the task's broker, as `task.kiq(...)` does."""
        if self.task.broker is None:
            raise TaskNotBound(
                f"task {self.task.name!r} belongs to no broker; declare it with `@broker.task`, or "
                f"enqueue the call on a system: `await sys.enqueue(call)`"
            )
        return await self.task.broker.open_system_or_raise().enqueue(self)

    def _as_steps(self) -> tuple[Step[Any, Any], ...]:
        raise TaskDefinitionError(
            f"{self!r} has all its arguments, so it cannot take a result: right of a `|` write the "
            f"task, or `task.step(...)` with the arguments after the first"
        )

    def __repr__(self) -> str:
        shown = [_shown(self.task, tuple(map(repr, self.args)), self.kwargs)]
        return f"<Call {' | '.join([*shown, *[step.task.name for step in self.following]])}>"


def _shown(task: Task[..., Any], args: tuple[str, ...], kwargs: Mapping[str, Any]) -> str:
    named = [f"{name}={value!r}" for name, value in kwargs.items()]
    return f"{task.name}({', '.join([*args, *named])})"
