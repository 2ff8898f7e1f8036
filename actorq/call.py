"""The call: a task and its arguments as a value; nothing is enqueued yet.

What takes work to do (`sys.enqueue`, a task nursery, `sys.gather`) takes an `Enqueueable`: a task, whose
arguments follow, or a call, which has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

import attrs

from actorq.errors import TaskNotBound


if TYPE_CHECKING:
    from actorq.handle import TaskHandle
    from actorq.task import Task

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
X_contra = TypeVar("X_contra", contravariant=True)


class Enqueueable(Generic[P, R_co]):
    """What can be enqueued; the parameters are what is still to be passed."""

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """This with its arguments, as a value; checked when it is enqueued."""
        raise NotImplementedError


class Takes(Protocol[X_contra, R_co]):
    """What can be enqueued with one argument."""

    def call(self, value: X_contra, /) -> Call[R_co]:
        """This with *value*."""
        ...


@attrs.frozen(repr=False)
class Call(Enqueueable[[], R_co]):
    """One call, not enqueued yet.  Made by `task.call(...)`.

    A value: it may be enqueued any number of times, and each time is a task of its own.
    """

    task: Task[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = attrs.field(factory=dict)

    def call(self) -> Call[R_co]:
        """Itself: there is nothing left to pass."""
        return self

    async def kiq(self) -> TaskHandle[R_co]:
        """Enqueue on the open system of the task's broker, as `task.kiq(...)` does."""
        if self.task.broker is None:
            raise TaskNotBound(
                f"task {self.task.name!r} belongs to no broker; declare it with `@broker.task`, or "
                f"enqueue the call on a system: `await sys.enqueue(call)`"
            )
        return await self.task.broker.open_system_or_raise().enqueue(self)

    def __repr__(self) -> str:
        arguments = [repr(value) for value in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"<Call {self.task.name}({', '.join(arguments)})>"
