"""The task: a function with a name, options and a checked signature.

A value: made by a decorator, copied by `using`, registered nowhere by itself.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

import attrs

from actorq.call import Call, Enqueueable, Step
from actorq.context import Context
from actorq.depends import Dependency, mark_of
from actorq.errors import OptionError, TaskDefinitionError, TaskNotBound
from actorq.import_name import ImportName, home_of
from actorq.message import TaskMessage
from actorq.options import Options, TaskOptions
from actorq.parameters import Injected
from actorq.progress import Progress
from actorq.schedule import At, Cron, Every, Trigger
from actorq.signature import Signature
from actorq.state import State
from actorq.terms import check_keys, terms_of


if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from actorq.actors.broker import Broker
    from actorq.handle import TaskHandle
    from actorq.schedule_source import ScheduleHandle, ScheduleSource
    from actorq.system import System

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
X = TypeVar("X")

_NO_OPTIONS = TaskOptions()
#: Options that say something of one call, and nothing of the task.
_PER_CALL = {"task_id": "an id is one call's", "eta": "a moment is one call's"}
#: Annotations, as they may be written, of what only a worker has.
_FILLED_IN: dict[type | str, str] = {
    written: kind.__name__
    for kind in (Context, State, Progress)
    for written in (kind, kind.__name__, f"actorq.{kind.__name__}")
}


class Task(Enqueueable[P, R], Generic[P, R]):
    """A function that can be enqueued; calling it runs it here and now, without a queue."""

    __name__: str

    def __init__(
        self,
        function: Callable[P, Any],
        *,
        name: str | None = None,
        options: TaskOptions = _NO_OPTIONS,
        broker: Broker | None = None,
    ) -> None:
        self.function = function
        self.name = name or f"{home_of(function)}:{function.__qualname__}"
        self.options = options
        self.broker = broker
        self.signature = Signature.of(function, injected=_is_injected)
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        self._is_bare: bool | None = None
        functools.update_wrapper(self, function)

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
            """Run the function itself."""

    else:

        def __call__(self, *args, **kwargs):
            """Run the function itself."""
            return self.function(*args, **kwargs)

    def using(self, **options: Unpack[Options]) -> Self:
        """A copy of this task with these options in place of its own.

        Raises `OptionError` (`UnknownOption`, `UnsupportedOption`).
        """
        if "schedule" in options:
            raise OptionError(f"using(): schedule belongs into the decorator of {self.name!r}")
        updated = self.options.updated(options, where=f"{self.name}.using()")
        updated = _with_filters(self, updated)
        _check_executor(self.function, self.is_async, updated)
        if updated.has_terms:
            check_keys(self.name, updated, self.signature)
        if (updated.executor == "process") != (self.options.executor == "process"):
            raise OptionError(
                f"{self.name}.using(): where a task runs does not travel with a call; say it in the "
                f"decorator, or make another task: "
                f"`task(name=..., executor={updated.executor!r})({self.__name__}.function)`"
            )
        return self._copy(updated)

    def _copy(self, options: TaskOptions) -> Self:
        twin = copy.copy(self)
        twin.options = options
        return twin

    async def kiq(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Enqueue on the open system of the broker that this task belongs to.

        Always a checkpoint.  Raises as `System.enqueue` does, and `TaskNotBound` if the task was not
        made with `@broker.task`.
        """
        if self.broker is None:
            raise TaskNotBound(
                f"task {self.name!r} belongs to no broker; declare it with `@broker.task`, "
                f"or enqueue it on a system: `await sys.enqueue({self.__name__}, ...)`"
            )
        return await self.broker.open_system_or_raise().enqueue(self, *args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """This task with its arguments, as a value: for `sys.gather`, task nurseries and chains.

        Nothing is checked or enqueued yet.
        """
        return Call(self, args, kwargs)

    # --- schedules ---

    async def schedule_by_cron(
        self,
        where: System | ScheduleSource,
        expression: str | Cron,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ScheduleHandle:
        """Enqueue it where the clock matches: `await t.schedule_by_cron(sys, "0 3 * * *", 1)`.

        *expression*: by the clock of UTC, or `cron(...)` with a time zone, a name and policies.
        Queue options: `task.using(...).schedule_by_cron(...)`.  Raises as `ScheduleSource.add`.
        """
        trigger = Cron(expression) if isinstance(expression, str) else expression
        return await self._schedule(where, trigger, Cron, args, kwargs)

    async def schedule_by_interval(
        self,
        where: System | ScheduleSource,
        period: float | timedelta | Every,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ScheduleHandle:
        """Enqueue it every *period* seconds from now; `every(...)` has a name and policies.

        Raises as `ScheduleSource.add`.
        """
        trigger = period if isinstance(period, Trigger) else Every(period)
        return await self._schedule(where, trigger, Every, args, kwargs)

    async def schedule_by_time(
        self,
        where: System | ScheduleSource,
        when: datetime | At,
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> ScheduleHandle:
        """Enqueue it once at that moment, an aware datetime; `at(...)` has a name and policies.

        Raises as `ScheduleSource.add`.
        """
        trigger = when if isinstance(when, Trigger) else At(when)
        return await self._schedule(where, trigger, At, args, kwargs)

    async def _schedule(
        self,
        where: System | ScheduleSource,
        trigger: Trigger,
        kind: type[Trigger],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> ScheduleHandle:
        if not isinstance(trigger, kind):
            raise OptionError(
                f"a schedule by {kind.__name__.lower()} cannot be made of {trigger!r}"
            )
        source: Any = where if hasattr(where, "add") else getattr(where, "schedules", None)
        if source is None:
            raise TypeError(
                f"the first argument says where the schedule is kept: an open system or a "
                f"ScheduleSource; got {where!r}"
            )
        handle: ScheduleHandle = await source.add(self, trigger, *args, kwargs=kwargs)
        return handle

    def step(self: Task[Concatenate[X, Q], R], *args: Q.args, **kwargs: Q.kwargs) -> Step[X, R]:
        """This task as a step of a chain, with its arguments after the first: `a | b.step(64)`.

        Nothing is checked or enqueued yet.
        """
        return Step(self, args, kwargs)

    def _as_steps(self) -> tuple[Step[Any, Any], ...]:
        return (Step(self),)

    def message(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, task_id: str, now: float
    ) -> TaskMessage:
        """The message of one call; raises `ArgumentsError` or `NotSerializable`."""
        plain_args, plain_kwargs = self.signature.bind(args, kwargs, name=self.name)
        options = self.options
        eta = options.eta
        if options.delay is not None:
            eta = now + options.delay
        terms = None
        if options.has_terms:
            terms = terms_of(self.name, options, self.signature, args, kwargs, now, eta)
        return TaskMessage(task_id, self.name, plain_args, plain_kwargs, options, eta, now, terms)

    @property
    def is_bare(self) -> bool:
        """Whether a worker has nothing to do but to call and await the function."""
        if self._is_bare is None:
            self._is_bare = inspect.iscoroutinefunction(self.function) and not self.injected
        return self._is_bare

    @property
    def injected(self) -> Mapping[str, Injected]:
        """The parameters that the worker fills in, by name."""
        return self.signature.injected

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task made of an `async def` function."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
            """Run the function itself."""
            ...


class SyncTask(Task[P, R]):
    """A task made of a plain function; a worker runs it in a thread."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
            """Run the function itself."""
            ...


def _is_injected(annotation: object, default: object) -> bool:
    return mark_of(annotation, default) is not None


class TaskDecorator:
    """What `@task(...)` with options returns."""

    def __init__(self, name: str | None, options: TaskOptions, broker: Broker | None) -> None:
        self._name = name
        self._options = options
        self._broker = broker

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the more special one comes first
        self, function: Callable[P, Coroutine[Any, Any, R]]
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> SyncTask[P, R]: ...
    def __call__(self, function: Callable[P, Any]) -> Task[P, Any]:
        """Make a task of *function*."""
        return make_task(function, name=self._name, options=self._options, broker=self._broker)


def make_task(
    function: Callable[P, Any],
    *,
    name: str | None = None,
    options: TaskOptions = _NO_OPTIONS,
    broker: Broker | None = None,
) -> Task[P, Any]:
    """A task of *function*; registers it with *broker* if there is one."""
    if isinstance(function, Task):
        raise TaskDefinitionError(f"{function!r} is a task already; decorate the function once")
    if not callable(function) or isinstance(function, type):
        raise TaskDefinitionError(f"@task expects a function; got {function!r}")
    plain = inspect.unwrap(function)
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        raise TaskDefinitionError(
            f"{function.__qualname__} is a generator function: a task returns one result; "
            f"report the steps with ctx.set_progress(...) instead"
        )
    if not hasattr(function, "__qualname__"):
        raise TaskDefinitionError(f"@task expects a function with a name; got {function!r}")
    if name is not None and (not isinstance(name, str) or not name):
        raise OptionError(f"name expects a string that is not empty; got {name!r}")
    _check_context_is_injected(function)
    if name is None and function.__name__ == "<lambda>":
        raise TaskDefinitionError("a lambda has no name of its own; pass name= to the decorator")
    is_async = inspect.iscoroutinefunction(plain)
    _check_executor(function, is_async, options)
    kind_of_task: type[Task[P, Any]] = AsyncTask if is_async else SyncTask
    made = kind_of_task(function, name=name, options=options, broker=broker)
    if options.has_terms:
        check_keys(made.name, options, made.signature)
    if options.schedule:
        _check_schedule(made)
    if broker is not None:
        broker.tasks.add(made)
    return made


def _check_executor(function: Callable[..., Any], is_async: bool, options: TaskOptions) -> None:
    if options.executor is not None and (options.executor == "trio") != is_async:
        kind = "an async" if is_async else "a plain"
        raise OptionError(
            f"{function.__qualname__} is {kind} function: executor={options.executor!r} cannot run "
            f"it; leave the option out"
        )
    if options.executor == "process":
        ImportName.of(function)


def _with_filters(task: Task[..., Any], updated: TaskOptions) -> TaskOptions:
    """The task's filters hold for a call with another count, on whatever worker it runs."""
    known, said = task.options.retry, updated.retry
    if said is None or said is known:
        return updated
    if said.has_filters:
        raise OptionError(
            f"{task.name}.using(): retry_on, give_up_on and when are code, which does not travel "
            f"with a call; say them in the decorator, and only the numbers here"
        )
    if known is None or not known.has_filters:
        return updated
    kept = attrs.evolve(said, retry_on=known.retry_on, give_up_on=known.give_up_on, when=known.when)
    return attrs.evolve(updated, retry=kept)


def _filled_in(annotation: Any) -> str | None:
    if isinstance(annotation, type | str):  # whatever else it is may be no key at all
        return _FILLED_IN.get(annotation)
    return None


def _check_context_is_injected(function: Callable[..., Any]) -> None:
    for parameter in inspect.signature(function).parameters.values():
        kind = _filled_in(parameter.annotation)
        if kind is not None and not isinstance(parameter.default, Dependency):
            raise TaskDefinitionError(
                f"{function.__qualname__}: the worker fills in the {kind.lower()} only if you mark the "
                f"parameter: write `{parameter.name}: actorq.{kind} = actorq.Depends()`"
            )


def _check_schedule(task: Task[..., Any]) -> None:
    for trigger in task.options.schedule:
        task.signature.bind(trigger.args, trigger.kwargs, name=task.name)


def decorator_options(where: str, options: Mapping[str, Any]) -> TaskOptions:
    """Checked options of a decorator."""
    for name, why in _PER_CALL.items():
        if options.get(name) is not None:
            raise OptionError(
                f"{where}: {name} cannot be given in the decorator: {why}; "
                f"say `task.using({name}=...)`"
            )
    return _NO_OPTIONS.updated(options, where=where)


@overload
def task(  # type: ignore[overload-overlap]  # the more special one comes first
    function: Callable[P, Coroutine[Any, Any, R]], /
) -> AsyncTask[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> SyncTask[P, R]: ...
@overload
def task(*, name: str | None = None, **options: Unpack[Options]) -> TaskDecorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    **options: Unpack[Options],
) -> Any:
    """Make a task of a function: `@task`, or `@task(timeout=30, retries=3)`.

    Registers nothing: enqueue it with `sys.enqueue(task, ...)`.  Its name is `module:qualname` unless
    told.  An `async def` function runs in the worker's Trio loop, a plain one in a thread.
    Raises `OptionError` or `TaskDefinitionError`.
    """
    checked = decorator_options("@task", options)
    if function is None:
        return TaskDecorator(name, checked, None)
    return make_task(function, name=name, options=checked)


@attrs.define
class TaskRegistry:
    """The tasks that a broker, or one system, knows by name."""

    _tasks: dict[str, Task[..., Any]] = attrs.field(factory=dict)

    def add(self, added: Task[..., Any]) -> bool:
        """Know *added*; True if its name is new.  Another function of the same name is refused."""
        known = self._tasks.get(added.name)
        if known is None:
            self._tasks[added.name] = added
            return True
        if known.function is not added.function:
            raise TaskDefinitionError(
                f"two functions want the task name {added.name!r}: {known.function!r} and "
                f"{added.function!r}; give one of them another with name="
            )
        return False

    def forget(self, name: str) -> None:
        """Know no task called *name* any more."""
        self._tasks.pop(name, None)

    def get(self, name: str) -> Task[..., Any] | None:
        """The task called *name*, if it is known."""
        return self._tasks.get(name)

    def copy(self) -> TaskRegistry:
        """The same tasks, apart from now on."""
        return TaskRegistry(dict(self._tasks))

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(tuple(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)
