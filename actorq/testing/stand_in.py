"""The stand-in: an app's broker, kept in memory for one test.

Takes over what the app says of its queue (tasks, middlewares, dependencies, lifespan, format) and none
of what keeps it.  While its system is open, the app's own `task.kiq(...)` goes there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorq.actors.broker import Broker
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.results import DummyResultBackend
from actorq.errors import SystemClosed


if TYPE_CHECKING:
    from actorq.system import System

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


class StandIn(InMemoryBroker):
    """An empty in-memory broker that stands for *original*.  Made by `in_memory`."""

    def __init__(self, original: Broker) -> None:
        self.original: Broker | None = None  # until all is set up, what is said here stays here
        super().__init__(lease=original.lease, encoded=getattr(original, "encoded", True))
        self.counts_bytes = original.counts_bytes
        self.lacks |= original.lacks
        self.tasks = original.tasks.copy()
        self.middlewares = original.middlewares
        self.id_generator = original.id_generator
        self.dependencies = original.dependencies  # the same: overrides may be set on either
        self.lifespan = original.lifespan
        self.wire = original.wire
        chosen = original._result_backend
        if chosen is not None and not chosen.keeps_results:
            self.with_result_backend(DummyResultBackend())
        self.original = original

    @property
    def _system(self) -> System | None:
        return self._open_system

    @_system.setter
    def _system(self, system: System | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._open_system = system
        if self.original is not None:
            self.original._system = system

    @property
    def _taken(self) -> bool:
        if self.original is not None:
            return self._is_taken or self.original._taken
        return self._is_taken

    @_taken.setter
    def _taken(self, taken: bool) -> None:
        self._is_taken = taken
        if self.original is not None:
            self.original._taken = taken

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def in_memory(broker: Broker) -> InMemoryBroker:
    """An empty in-memory broker with the tasks, middlewares, dependencies, and lifespan of *broker*.

    For tests of an app whose module-level broker keeps its queue elsewhere, or keeps it from test to
    test: `async with actorq.open_system(in_memory(app.broker)) as sys`.  While that is open,
    `task.kiq(...)` of the app's tasks enqueues there, and *broker* itself cannot be opened.
    Dependencies are shared: an override may be set on either.  Messages and results are written and
    read as *broker*'s format, keys and size limit say; what its engine `lacks`, this one refuses.
    The result backend and the schedules are new, and in memory.

    An app with two brokers has two systems: open a stand-in of each.  Raises `TypeError`, and
    `SystemClosed` if *broker* is open.
    """
    if not isinstance(broker, Broker):
        raise TypeError(f"in_memory() expects a broker object, such as app.broker; got {broker!r}")
    if isinstance(broker, StandIn) and broker.original is not None:
        broker = broker.original
    if broker._taken:
        raise SystemClosed(
            "in_memory() cannot stand for a broker that is open: its tasks' kiq() would go to two "
            "places; close its system first, or use that"
        )
    # errors name the kind of broker
    kind = type(f"in_memory({type(broker).__name__})", (StandIn,), {})
    stand_in: StandIn = kind(broker)
    return stand_in
