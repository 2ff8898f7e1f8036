"""What a user says of a queue before it opens: its tasks, its parts, its formats, its dependencies.

Half of a broker object; read by the system when it opens.  Says nothing of how the queue is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, cast, overload

from actorq.actor import Actor
from actorq.dependencies import Dependencies
from actorq.errors import SystemClosed, TaskDefinitionError
from actorq.ids import CheckedIds
from actorq.lifespan import Handler, Lifespan, Opener, Role
from actorq.middleware import Middleware, misspelt_hooks
from actorq.options import Options
from actorq.schedule_source import ScheduleSource
from actorq.state import State
from actorq.task import (
    AsyncTask,
    SyncTask,
    Task,
    TaskDecorator,
    TaskRegistry,
    decorator_options,
    make_task,
)
from actorq.wire import Encryption, Serializer, Signing, Wire


if TYPE_CHECKING:
    from actorq.actors.broker import Broker
    from actorq.actors.result_backend import ResultBackend
    from actorq.system import System

log = logging.getLogger("actorq.broker")

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Handler)


class Configuration:
    """What `Broker` has for those who declare tasks and choose parts."""

    def __init__(self) -> None:
        self.tasks = TaskRegistry()
        self._result_backend = self.default_result_backend()
        source = self.default_schedule_source()
        self._schedule_sources: tuple[ScheduleSource, ...] = () if source is None else (source,)
        self.middlewares: tuple[Middleware, ...] = ()
        self.id_generator: Callable[[], str] | None = None
        self.dependencies = Dependencies()
        self.lifespan = Lifespan()
        self.wire = Wire()  #: messages and results <-> bytes, for engines that keep them as bytes
        self._system: System | None = None
        self._taken = False  #: a system is open with it, or opens or closes

    # --- choosing ---

    @property
    def result_backend(self) -> ResultBackend:
        """What keeps results."""
        if self._result_backend is None:
            raise _not_chosen(type(self), "results are kept", "with_result_backend")
        return self._result_backend

    @property
    def schedule_sources(self) -> tuple[ScheduleSource, ...]:
        """What keeps schedules."""
        if not self._schedule_sources:
            raise _not_chosen(type(self), "schedules are kept", "with_schedule_source")
        return self._schedule_sources

    def fill_in(
        self, results: Callable[[], ResultBackend], schedules: Callable[[], ScheduleSource]
    ) -> None:
        """Choose what nobody has chosen: as the system is opened."""
        if self._result_backend is None:
            self._result_backend = results()
        self._schedule_sources = self._schedule_sources or (schedules(),)

    def default_result_backend(self) -> ResultBackend | None:
        """What keeps results unless `with_result_backend` says otherwise; None: the memory."""
        return None

    def with_result_backend(self, result_backend: ResultBackend) -> Self:
        """Keep results there.  Returns this broker."""
        if not isinstance(result_backend, Actor) or not hasattr(result_backend, "keeps_results"):
            raise TypeError(
                f"with_result_backend() expects a ResultBackend object, such as "
                f"InMemoryResultBackend(); got {result_backend!r}"
            )
        self._result_backend = result_backend
        return self

    def default_schedule_source(self) -> ScheduleSource | None:
        """What keeps schedules unless `with_schedule_source` says otherwise; None: the memory."""
        return None

    def with_schedule_source(self, *sources: ScheduleSource) -> Self:
        """Keep schedules there: the first takes what tasks declare, too.  Returns this broker."""
        if not sources or not all(isinstance(each, ScheduleSource) for each in sources):
            raise TypeError(
                f"with_schedule_source() expects ScheduleSource objects, such as "
                f"InMemoryScheduleSource(); got {sources!r}"
            )
        self._schedule_sources = sources
        return self

    def with_middlewares(self, *middlewares: Middleware) -> Self:
        """Add these to the chain, outermost first.  Returns this broker."""
        for middleware in middlewares:
            if not isinstance(middleware, Middleware):
                raise TypeError(
                    f"with_middlewares() expects Middleware objects; got {middleware!r}"
                )
            for method, hook in misspelt_hooks(middleware):
                log.warning(
                    "%s.%s is never called: there is no such hook; did you mean %s?",
                    type(middleware).__name__,
                    method,
                    hook,
                )
        self.middlewares += middlewares
        return self

    def with_id_generator(self, new_id: Callable[[], str]) -> Self:
        """Make task ids with *new_id* (`actorq.uuid7` unless told).  Returns this broker.

        What it returns is checked at each call: see `actorq.ids.CheckedIds`.
        """
        if not callable(new_id):
            raise TypeError(
                f"with_id_generator() expects a function that returns a new str at each call, such "
                f"as actorq.uuid4; got {new_id!r}"
            )
        self.id_generator = CheckedIds(new_id)
        return self

    # --- before the first task and after the last ---

    @overload
    def on_startup(self, handler: H, /) -> H: ...
    @overload
    def on_startup(self, /, *, role: Role | None = None) -> Callable[[H], H]: ...
    def on_startup(self, handler: Handler | None = None, /, *, role: Role | None = None) -> Any:
        """Call the decorated function, async or not, with the state before any task runs.

        In the order of registration.  What it raises comes out of `open_system`; then every shutdown
        handler is called.  *role*: only where there are workers, or only where there are clients; a
        system in memory is both.
        """

        def register(handler: H) -> H:
            self.lifespan.add_startup(handler, role)
            return handler

        return register if handler is None else register(handler)

    @overload
    def on_shutdown(self, handler: H, /) -> H: ...
    @overload
    def on_shutdown(self, /, *, role: Role | None = None) -> Callable[[H], H]: ...
    def on_shutdown(self, handler: Handler | None = None, /, *, role: Role | None = None) -> Any:
        """Call the decorated function, async or not, with the state when no task runs any more.

        In the reverse order of registration, after an exception and a cancellation too, shielded for
        5 seconds in all.  One that fails does not keep the others from being called.
        """

        def register(handler: H) -> H:
            self.lifespan.add_shutdown(handler, role)
            return handler

        return register if handler is None else register(handler)

    def with_lifespan(self, opener: Opener, /, *, role: Role | None = None) -> Self:
        """Enter `opener(state)`, an async context manager, round the system.  Returns this broker.

        Entered before all startup handlers, left after all shutdown handlers.
        """
        self.lifespan.add_manager(opener, role)
        return self

    # --- formats ---

    def with_serializer(self, serializer: Serializer, *, also: Iterable[Serializer] = ()) -> Self:
        """Write messages and results in this format (`JSONSerializer()` unless told).

        *also*: formats that are read besides, while there is something left that was written in them.
        Engines write; `InMemoryBroker()` does so only with `encoded=True`.  Returns this broker.
        """
        self.wire = self.wire.written_as(serializer, tuple(also))
        return self

    def with_signing(
        self, keys: Mapping[str, bytes], *, use: str | None = None, accept_unsigned: bool = False
    ) -> Self:
        """Sign what is written, refuse what is not signed: see `actorq.wire.Signing`.

        Returns this broker.
        """
        self.wire = self.wire.signed(Signing(keys, use=use, accept_unsigned=accept_unsigned))
        return self

    def with_encryption(
        self, keys: Mapping[str, bytes], *, use: str | None = None, accept_plain: bool = False
    ) -> Self:
        """Encrypt payloads, refuse those that are not: see `actorq.wire.Encryption`.

        Needs `actorq[crypto]`.  Returns this broker.
        """
        self.wire = self.wire.encrypted(Encryption(keys, use=use, accept_plain=accept_plain))
        return self

    def with_size_limit(self, size_limit: int | None) -> Self:
        """Refuse messages and results of more bytes (4 MiB unless told; None: no limit).

        A broker that keeps no bytes counts those of messages only if it is told this: it encodes
        each to see how large it is.  Returns this broker.
        """
        self.wire = self.wire.limited(size_limit)
        self.counts_bytes = size_limit is not None
        return self

    # --- dependencies ---

    def with_dependency(self, kind: Any, value: Any) -> Self:
        """Give *value* to parameters of the type *kind*: `db: Database = Depends()`.

        *kind* is what they are annotated with: a class, abstract or not, a protocol, a `NewType`, a
        generic such as `Repository[User]`.  (`type[T]` would let type checkers compare the two, and
        refuse abstract classes and protocols.)  Raises `TypeError`.  Returns this broker.
        """
        self.dependencies.supply(kind, value)
        return self

    def with_dependency_grace(self, seconds: float) -> Self:
        """Give the clean-up of an attempt's dependencies so long (10 s unless told).

        Returns this broker.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise ValueError(f"with_dependency_grace() expects seconds >= 0; got {seconds!r}")
        self.dependencies.grace = seconds
        return self

    @property
    def state(self) -> State:
        """What startup handlers leave for tasks, which ask for it: `state: State = Depends()`.

        Put an object of a class of your own here for attributes with types.
        """
        return self.dependencies.state

    @state.setter
    def state(self, state: State) -> None:
        self.dependencies.state = state

    @property
    def dependency_overrides(self) -> MutableMapping[Any, Callable[..., Any]]:
        """What stands in for what: `broker.dependency_overrides[get_db] = get_fake_db`."""
        return self.dependencies.overrides

    @dependency_overrides.setter
    def dependency_overrides(self, overrides: Mapping[Any, Callable[..., Any]]) -> None:
        self.dependencies.replace_overrides(overrides)

    def override(
        self, dependency: Callable[..., Any], stand_in: Callable[..., Any]
    ) -> AbstractContextManager[None]:
        """For the body of `with`, *stand_in* is called wherever *dependency* is asked for."""
        return self.dependencies.overridden(dependency, stand_in)

    # --- declaring tasks ---

    @overload
    def task(  # type: ignore[overload-overlap]  # the more special one comes first
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> SyncTask[P, R]: ...
    @overload
    def task(self, /, *, name: str | None = None, **options: Unpack[Options]) -> TaskDecorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        **options: Any,
    ) -> Any:
        """Make a task of a function and know it: `@broker.task`, `@broker.task(retries=3)`.

        `task.kiq(...)` then enqueues it on this broker's open system.
        """
        checked = decorator_options("@broker.task", options)
        if function is None:
            return TaskDecorator(name, checked, cast("Broker", self))
        return make_task(function, name=name, options=checked, broker=cast("Broker", self))

    def register(self, *tasks: Task[..., Any]) -> Self:
        """Know tasks that were made with `@actorq.task` elsewhere.  Returns this broker."""
        for each in tasks:
            if not isinstance(each, Task):
                raise TaskDefinitionError(f"register() expects tasks; got {each!r}")
            self.tasks.add(each)
        return self

    def open_system_or_raise(self) -> System:
        """The open system of this broker; `SystemClosed` if there is none."""
        if self._system is None or not self._system.is_open:
            raise SystemClosed(
                "this broker's system is not open (yet); enqueue inside "
                "`async with actorq.open_system(broker):`"
            )
        return self._system


def _not_chosen(kind: type, what: str, method: str) -> RuntimeError:
    return RuntimeError(
        f"where {what} is not chosen yet for this {kind.__name__}: call {method}(...), or open it, "
        f"which keeps them in memory"
    )
