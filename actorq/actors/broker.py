"""The broker: the actor that accepts tasks, leases them to workers, and takes them back.

An engine subclasses `Broker` and writes the storage methods; demand, waking, notices, cancellation
and unreported ends are written here, once.  The user's instance is also where tasks are declared and
the other parts are chosen.  It serves every life; the counter, below, is new each time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack, overload

import attrs
import trio

from actorq.actor import Actor
from actorq.dependencies import Dependencies
from actorq.errors import (
    ActorFailed,
    ActorqError,
    ActorStopped,
    LeaseLost,
    MailboxFull,
    ResultSetError,
    SystemClosed,
    TaskDefinitionError,
)
from actorq.ids import CheckedIds
from actorq.lifespan import Handler, Lifespan, Opener, Role
from actorq.message import Delivery, TaskMessage
from actorq.middleware import Middleware
from actorq.options import Options
from actorq.protocol import (
    Allow,
    Batch,
    BrokerMessage,
    Cancel,
    Count,
    DeadTask,
    EndedUnreported,
    Ending,
    Enqueue,
    Extend,
    GetDead,
    Lease,
    ListDead,
    ListTasks,
    Locate,
    NextNotices,
    Notice,
    OpenSession,
    Outcome,
    Pause,
    Purge,
    PurgeDead,
    QueuedTask,
    QueueStatistics,
    Replay,
    Session,
    SetResults,
    Settle,
    Settlement,
    TaskKnown,
    UnsavedResult,
    WaitIdle,
)
from actorq.queue_choice import QueueChoice
from actorq.ref import Message
from actorq.reply import Reply
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
from actorq.wiring import Wiring


if TYPE_CHECKING:
    from actorq.actors.result_backend import ResultBackend
    from actorq.system import System

log = logging.getLogger("actorq.broker")

#: Tries to store ends that no worker reports, before who waits for them is told of the failure.
PUBLISH_TRIES = 6

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Handler)


@attrs.frozen
class _Due(Message[None]):
    """A scheduled task's time has come."""


@attrs.frozen
class _Sweep(Message[None]):
    """Time to look for leases that have run out."""


@attrs.define
class Demand:
    """What one worker session wants, and has got."""

    deliver: Callable[[Batch], bool]
    lease: Lease
    allowed: int
    sent: int = 0


@attrs.define
class Counter:
    """Who waits at the broker, in one life (pure)."""

    demands: dict[int, Demand] = attrs.field(factory=dict)  #: by session
    listeners: dict[int, Reply[tuple[Notice, ...]]] = attrs.field(factory=dict)  #: by session
    cancels: dict[str, list[Reply[bool]]] = attrs.field(factory=dict)  #: by task id
    idlers: list[tuple[WaitIdle, Reply[None]]] = attrs.field(factory=list)
    due_at: float | None = None  #: when the timer for scheduled tasks is set to
    sweep_at: float | None = None  #: likewise for leases
    publishing: bool = False
    look_at_sessions: bool = False  #: a listener came, or a session ended
    sessions_ended: int = -1  #: how many had ended when we last looked


class Broker(Actor[BrokerMessage]):
    """Declares tasks, and keeps the queue.  Use an engine's: `InMemoryBroker()`."""

    #: Seconds for which a worker's jobs are its own without a sign of life.
    lease: float = 30.0
    #: Whether an engine that keeps no bytes is to count them all the same.
    counts_bytes: bool = False
    _counter: Counter
    _wiring: Wiring

    def __init__(self) -> None:
        self.tasks = TaskRegistry()
        self.result_backend: ResultBackend = self.default_result_backend()
        self.schedule_sources: tuple[ScheduleSource, ...] = (self.default_schedule_source(),)
        self.middlewares: tuple[Middleware, ...] = ()
        self.id_generator: Callable[[], str] | None = None
        self.dependencies = Dependencies()
        self.lifespan = Lifespan()
        self.wire = Wire()  #: messages and results <-> bytes, for engines that keep them as bytes
        self._system: System | None = None
        self._taken = False  #: a system is open with it, or opens or closes

    # --- choosing ---

    def default_result_backend(self) -> ResultBackend:
        """What keeps results unless `with_result_backend` says otherwise."""
        raise NotImplementedError

    def with_result_backend(self, result_backend: ResultBackend) -> Self:
        """Keep results there.  Returns this broker."""
        if not isinstance(result_backend, Actor) or not hasattr(result_backend, "keeps_results"):
            raise TypeError(
                f"with_result_backend() expects a ResultBackend object, such as "
                f"InMemoryResultBackend(); got {result_backend!r}"
            )
        self.result_backend = result_backend
        return self

    def default_schedule_source(self) -> ScheduleSource:
        """What keeps schedules unless `with_schedule_source` says otherwise."""
        raise NotImplementedError

    def with_schedule_source(self, *sources: ScheduleSource) -> Self:
        """Keep schedules there: the first takes what tasks declare, too.  Returns this broker."""
        if not sources or not all(isinstance(each, ScheduleSource) for each in sources):
            raise TypeError(
                f"with_schedule_source() expects ScheduleSource objects, such as "
                f"InMemoryScheduleSource(); got {sources!r}"
            )
        self.schedule_sources = sources
        return self

    def with_middlewares(self, *middlewares: Middleware) -> Self:
        """Add these to the chain, outermost first.  Returns this broker."""
        for middleware in middlewares:
            if not isinstance(middleware, Middleware):
                raise TypeError(
                    f"with_middlewares() expects Middleware objects; got {middleware!r}"
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
            return TaskDecorator(name, checked, self)
        return make_task(function, name=name, options=checked, broker=self)

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
                "this broker's system is not open; enqueue inside "
                "`async with actorq.open_system(broker):`"
            )
        return self._system

    # --- to be written by an engine ---

    async def startup(self) -> None:
        """Begin a life."""

    async def shutdown(self) -> None:
        """End a life."""

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """Accept all or none; an id that is known is not stored again.

        The ids of what stands for each, if a unique key was taken; None: each for itself.  Raises
        `DuplicateTask` where such a conflict is an error.
        """
        raise NotImplementedError

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease ready tasks to a session."""
        raise NotImplementedError

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """Apply a worker's word; False for each stale fence."""
        raise NotImplementedError

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """A new session for these queues; older ones of this worker lose their jobs."""
        raise NotImplementedError

    async def extend(self, session: int, now: float) -> float | None:
        """Renew a lease: until when; None if it was lost."""
        raise NotImplementedError

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """Cancel a task: True if it did or had, False if it ended otherwise, None if it is running."""
        raise NotImplementedError

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended; None while it is live, or if that is not known."""
        raise NotImplementedError

    async def locate(self, task_id: str) -> str:
        """Where a task is."""
        raise NotImplementedError

    async def promote(self, now: float) -> None:
        """Make scheduled tasks ready whose time has come."""
        raise NotImplementedError

    async def lapse(self, now: float, late: float) -> None:
        """Take back the jobs of sessions whose lease ran out; the loop was *late* by that much."""
        raise NotImplementedError

    async def release(self, task_name: str) -> None:
        """A worker knows this task now."""
        raise NotImplementedError

    async def statistics_of_queue(self) -> QueueStatistics:
        """How many tasks are where."""
        raise NotImplementedError

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        raise NotImplementedError

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One dead letter."""
        raise NotImplementedError

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[bool, ...]:
        """Each dead letter goes and its message is enqueued, in one step; False where there is none."""
        raise NotImplementedError

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters (None: all); how many there were."""
        raise NotImplementedError

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        raise NotImplementedError

    async def purge(self, queue: str, now: float) -> int:
        """Cancel what waits in a queue; how many that were."""
        raise NotImplementedError

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        raise NotImplementedError

    def claimable(self) -> bool:
        """Whether a claim might find something."""
        raise NotImplementedError

    def has_session(self, session: int) -> bool:
        """Whether a session is still good."""
        raise NotImplementedError

    def next_due(self) -> float | None:
        """When the next scheduled task is due."""
        raise NotImplementedError

    def has_leases(self) -> bool:
        """Whether any job is leased."""
        raise NotImplementedError

    def sessions_ended(self) -> int:
        """How many sessions have ended in all: when it changes, somebody is to be told."""
        raise NotImplementedError

    def has_notices(self) -> bool:
        """Whether anything is to be told to any session."""
        raise NotImplementedError

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session; taking it forgets it."""
        raise NotImplementedError

    def outbox(self) -> deque[Outcome]:
        """Ends that no worker reports.  Owned by the storage; the publisher takes from the left."""
        raise NotImplementedError

    # --- the actor ---

    async def on_start(self) -> None:
        """Set up a new counter, then `startup`; what was parked for tasks known here is so no more."""
        self._counter = Counter()
        await self.startup()
        for task in self._wiring.tasks:  # a system before this one may not have known it
            await self.release(task.name)
        await self.promote(self._wiring.clock())
        self._arm()
        self._publish()

    async def on_stop(self) -> None:
        """`shutdown`."""
        await self.shutdown()

    async def receive(self, message: BrokerMessage | _Due | _Sweep) -> Any:
        """Answer one message; see `actorq.protocol`."""
        kind = type(message)
        if kind is Enqueue:
            self.linger = True  # who enqueues one by one in a loop makes a batch for the pool
            try:
                return await self.store(message.messages, self._wiring.clock())  # type: ignore[union-attr]
            except ActorqError as refusal:
                self.defer().fail(refusal)
            return None
        if kind is Settle:
            return await self._take_word(message)  # type: ignore[arg-type]
        match message:
            case Extend(session):
                return await self._extend(session)
            case Allow(session, allowance):
                self._allow(session, allowance)
            case OpenSession(worker, deliver, allowance, queues):
                now = self._wiring.clock()
                session = await self.open_session(worker, now, queues)
                self._end_lost_sessions()
                lease = Lease(now + self.lease)
                self._counter.demands[session] = Demand(deliver, lease, allowance)
                return Session(session, self.lease, lease)
            case NextNotices(session):
                self._counter.listeners[session] = self.defer()
                self._counter.look_at_sessions = True
            case Cancel(task_id):
                await self._cancel(task_id)
            case Locate(task_id):
                if any(outcome.task_id == task_id for outcome in self.outbox()):
                    return "ending"
                return await self.locate(task_id)
            case TaskKnown(task_name):
                await self.release(task_name)
            case Count():
                return await self.statistics_of_queue()
            case ListDead(task_name, queue, limit):
                return _chosen(await self.dead_tasks(), task_name, queue, limit)
            case GetDead(task_id):
                return await self.dead_task(task_id)
            case Replay(pairs):
                return await self._replay(pairs)
            case PurgeDead(task_ids):
                return await self.purge_dead(task_ids)
            case ListTasks(queue, limit):
                return await self.queued_tasks(queue, limit)
            case Purge(queue):
                return await self.purge(queue, self._wiring.clock())
            case Pause(queue, paused):
                await self.set_paused(queue, paused=paused)
            case WaitIdle():
                self._counter.idlers.append((message, self.defer()))
            case _Due():
                self._counter.due_at = None
                await self.promote(self._wiring.clock())
            case _Sweep():
                await self._sweep()
        return None

    async def _replay(self, pairs: tuple[tuple[str, TaskMessage], ...]) -> Any:
        try:
            return await self.replay(pairs, self._wiring.clock())
        except ActorqError as refusal:
            self.defer().fail(refusal)
            return None

    async def flush(self) -> None:
        """After a burst: match work with demand, pass on notices, set the timers."""
        counter = self._counter
        self.linger = False
        if self.claimable():
            await self._match()
        ended = self.sessions_ended()
        if ended != counter.sessions_ended:
            counter.sessions_ended = ended
            self._end_lost_sessions()
        if counter.listeners and (counter.look_at_sessions or self.has_notices()):
            counter.look_at_sessions = False
            self._notify()
        self._arm()
        if not counter.publishing and self.outbox():
            self._publish()
        if counter.idlers:
            await self._answer_idlers()

    async def _take_word(self, word: Settle) -> tuple[bool, ...]:
        if word.allowance is not None:
            self._allow(word.session, word.allowance)
        verdicts = await self.settle(word.session, word.settlements, self._wiring.clock())
        if self._counter.cancels:
            await self._answer_cancels()
        return verdicts

    async def _extend(self, session: int) -> bool:
        until = await self.extend(session, self._wiring.clock())
        demand = self._counter.demands.get(session)
        if until is None or demand is None:
            return False
        demand.lease.until = until
        return True

    def _end_lost_sessions(self) -> None:
        """In the step in which jobs change hands: nothing may be stored for the old holder."""
        demands = self._counter.demands
        for session in [each for each in demands if not self.has_session(each)]:
            demands.pop(session).lease.lost = True
            self._counter.look_at_sessions = True

    def _allow(self, session: int, allowance: int) -> None:
        demand = self._counter.demands.get(session)
        if demand is not None:
            demand.allowed = allowance

    async def _match(self) -> None:
        """Send ready tasks to the sessions that want some, each session in its turn."""
        demands = self._counter.demands
        now = self._wiring.clock()
        for session, demand in tuple(demands.items()):
            wanted = demand.allowed - demand.sent
            if wanted <= 0:
                continue
            deliveries = await self.claim(session, wanted, now)
            if not deliveries:
                continue
            demand.sent += len(deliveries)
            demand.lease.until = now + self.lease
            if not demand.deliver(Batch(session, deliveries, demand.lease)):
                # the worker is gone: its next session, or the lease's end, frees them
                demand.allowed = demand.sent
            if len(demands) > 1:  # to the back of the queue
                demands[session] = demands.pop(session)
            if not self.claimable():
                return

    def _notify(self) -> None:
        listeners = self._counter.listeners
        for session in tuple(listeners):
            notices = self.take_notices(session)
            if notices:
                listeners.pop(session).send(notices)
            elif not self.has_session(session):
                listeners.pop(session).fail(LeaseLost(f"session {session} has ended"))

    # --- cancellation ---

    async def _cancel(self, task_id: str) -> None:
        reply = self.defer()
        took_effect = await self.revoke(task_id, self._wiring.clock())
        if took_effect is False:
            reply.send(False)
        else:  # running, or its end is not published yet: answered when waiters can see it
            self._counter.cancels.setdefault(task_id, []).append(reply)
            await self._answer_cancels()

    async def _answer_cancels(self) -> None:
        unpublished = {outcome.task_id for outcome in self.outbox()}
        for task_id in tuple(self._counter.cancels):
            ending = await self.ending(task_id)
            if ending is not None and task_id not in unpublished:
                for reply in self._counter.cancels.pop(task_id):
                    reply.send(ending is Ending.CANCELLED)

    # --- ends that no worker reports ---

    def _publish(self) -> None:
        if self.outbox() and not self._counter.publishing:
            self._counter.publishing = True
            self.start_soon(self._publisher, name="broker: publish ends")

    async def _publisher(self) -> None:
        """Store in the result backend what the outbox holds; taken out only once it is stored."""
        outbox = self.outbox()
        failures = 0
        while outbox:
            batch = tuple(outbox)[:100]
            try:
                verdicts = await self._wiring.results.ask(SetResults(batch))
            except ActorFailed:
                continue  # it restarts, and handles the next ask when it is up
            refused = [
                (outcome.task_id, verdict)
                for outcome, verdict in zip(batch, verdicts, strict=True)
                if isinstance(verdict, ResultSetError)
            ]
            if refused:
                failures += 1
                log.error("the result backend fails; %d ends wait to be stored", len(outbox))
                if failures < PUBLISH_TRIES:
                    await trio.sleep(0.1 * 2 ** (failures - 1))
                    continue
            failures = 0
            for task_id, verdict in refused:  # given up: who waits hears why
                await self._wiring.results.tell(UnsavedResult(task_id, verdict))
            for _ in batch:
                outbox.popleft()
            self._tell_middlewares(batch)
            await self._answer_cancels()
        self._counter.publishing = False
        if self._counter.idlers:
            await self._answer_idlers()

    def _tell_middlewares(self, ended: tuple[Outcome, ...]) -> None:
        """No worker's slot runs the hooks of these."""
        if self._wiring.hooks.isdisjoint(("on_cancelled", "on_dead")):
            return
        try:
            self._wiring.middleware.tell_nowait(EndedUnreported(ended))
        except (MailboxFull, ActorStopped):
            log.warning("no middleware hears how %d tasks ended", len(ended))

    # --- time ---

    def _arm(self) -> None:
        """Set the timers that are needed; an idle broker has none."""
        counter = self._counter
        due = self.next_due()
        if due != counter.due_at:
            counter.due_at = due
            if due is None:
                self.cancel_timer("due")
            else:
                self.set_timer("due", max(0.0, due - self._wiring.clock()), _Due())  # type: ignore[arg-type]
        if counter.sweep_at is None and self.has_leases():
            counter.sweep_at = self._wiring.clock() + self.lease / 3
            self.set_timer("sweep", self.lease / 3, _Sweep())  # type: ignore[arg-type]

    async def _sweep(self) -> None:
        now = self._wiring.clock()
        expected, self._counter.sweep_at = self._counter.sweep_at, None
        # promise 35: if the loop stood still, renewals could not come in either
        late = 0.0 if expected is None else max(0.0, now - expected)
        await self.lapse(now, late)
        self._end_lost_sessions()
        if self._counter.cancels:
            await self._answer_cancels()

    async def _answer_idlers(self) -> None:
        counts = await self.statistics_of_queue()
        busy = counts.ready - counts.parked + counts.leased + len(self.outbox())
        still: list[tuple[WaitIdle, Reply[None]]] = []
        for wait, reply in self._counter.idlers:
            if reply.abandoned:
                continue
            if busy or (wait.scheduled and counts.scheduled):
                still.append((wait, reply))
            else:
                reply.send(None)
        self._counter.idlers = still


def _chosen(
    dead: tuple[DeadTask, ...], task_name: str | None, queue: str | None, limit: int | None
) -> tuple[DeadTask, ...]:
    found = [
        each
        for each in dead
        if task_name in (None, each.message.task_name)
        and queue in (None, each.message.options.queue)
    ]
    return tuple(found[:limit])
