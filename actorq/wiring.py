"""The wiring: what each of a queue's actors gets to know of the others.

Made by the system when it opens; refs stay valid over restarts, so it is the same for every life.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs

from actorq.capability import Capability
from actorq.chain import Chain
from actorq.clock import EngineClock
from actorq.dependencies import Dependencies
from actorq.message import TaskId
from actorq.processes import Processes
from actorq.protocol import BrokerMessage, MiddlewareMessage, ResultMessage
from actorq.ref import ActorRef
from actorq.task import TaskRegistry
from actorq.wire import Wire


if TYPE_CHECKING:
    from actorq.system import System


@attrs.define
class Wiring:
    """Refs, clock, dice and tasks."""

    clock: EngineClock
    random: random.Random
    tasks: TaskRegistry
    chain: Chain  #: the middlewares' hooks
    hooks: frozenset[str]  #: those of them that somebody implements
    dependencies: Dependencies = attrs.field(factory=Dependencies)
    wire: Wire = attrs.field(factory=Wire)  #: what is kept as bytes is written and read by it
    results: ActorRef[ResultMessage] = attrs.field(init=False)
    broker: ActorRef[BrokerMessage] = attrs.field(init=False)
    middleware: ActorRef[MiddlewareMessage] = attrs.field(init=False)
    processes: Processes = attrs.field(factory=Processes)
    engine: str = "the engine"  #: its broker's class, for errors
    lacks: frozenset[Capability] = frozenset()  #: what it cannot do
    system: System | None = None
    #: Results live in the broker's own storage: they are stored in the step that settles (`Settlement`).
    one_step: bool = False
    #: The next call to the engine is made before what the last one brought is looked into.
    overlaps: bool = False
    has_workers: bool = True  #: this system runs tasks
    #: Ended with a worker, by the queue's count; the word of it is on its way to the results, or lost.
    orphans: set[TaskId] = attrs.field(factory=set)
    #: How often it was doubted that a result comes: what was said before of who lives may be over.
    doubts: int = 0
