"""The system: a queue of five actors round a body; what `open_system` opens.

Owns the tree `queue` (rest_for_one: result backend, broker, middleware chain, worker pool, scheduler)
under the kernel's root, and the client's side: binding calls, sending them, handing out handles.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any, ParamSpec, TypeVar, get_args

import trio

from actorq.actors.broker import Broker
from actorq.actors.middleware import MiddlewareChain
from actorq.actors.result_backend import ResultBackend
from actorq.actors.scheduler import Scheduler, TaskAdded
from actorq.actors.worker_pool import GetPoolStatistics, IsHeld, PoolStatistics, WorkerPool
from actorq.call import Call, Enqueueable, Step
from actorq.call_message import message_of
from actorq.capability import Capability
from actorq.chain import Chain
from actorq.clock import EngineClock
from actorq.composition.methods import Composition
from actorq.composition.prepared import Prepared
from actorq.engine import check_engine
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.results import InMemoryResultBackend
from actorq.engines.memory.schedules import InMemoryScheduleSource
from actorq.environment import current_environment
from actorq.errors import (
    ActorFailed,
    ActorStopped,
    ArgumentsError,
    EngineUnavailable,
    EnqueueUncertain,
    SystemClosed,
    SystemFailed,
    TaskDefinitionError,
)
from actorq.handle import TaskHandle, ask_again
from actorq.ids import is_text
from actorq.job import current_slot
from actorq.kernel import Kernel, open_kernel
from actorq.lifespan import BOTH, SystemRole
from actorq.message import TaskId, TaskMessage, check_fields
from actorq.operations import Operations
from actorq.processes import Processes, check_process
from actorq.protocol import (
    AreUp,
    Enqueue,
    TaskKnown,
    WaitIdle,
)
from actorq.queue_choice import QueueChoice
from actorq.ref import ActorRef
from actorq.requirements import unsupported
from actorq.restart import Backoff, Strategy
from actorq.schedule_state import Slot
from actorq.schedules import Schedules
from actorq.state import State
from actorq.supervisor import ActorSpec, SupervisorSpec
from actorq.task import Task
from actorq.wiring import Wiring


log = logging.getLogger("actorq.system")

P = ParamSpec("P")
R = TypeVar("R")

QUEUE = "queue"


class System(Composition, Operations, Kernel):
    """An open queue.  Made by `open_system`."""

    def __init__(
        self,
        broker: Broker,
        concurrency: int,
        processes: int | None = None,
        queues: QueueChoice | None = None,
        role: SystemRole | None = None,
    ) -> None:
        environment = current_environment()
        super().__init__(environment)
        self._broker = broker
        self._new_id = broker.id_generator or environment.new_id
        self.schedules = Schedules(self, broker.schedule_sources)
        self._has_scheduler = role in (None, "scheduler")
        self._scheduler: ActorRef[TaskAdded]
        chain = Chain(broker.middlewares)
        #: sends messages; raises as `enqueue` does
        self._send = self._send_through_hooks if chain.hooks else self._store
        self.wiring = Wiring(
            clock=EngineClock(environment.wall),
            random=environment.random,
            tasks=broker.tasks.copy(),
            chain=chain,
            hooks=chain.hooks,
            wire=broker.wire,
            dependencies=broker.dependencies,
            processes=Processes(processes),
            engine=type(broker).__name__,
            lacks=broker.lacks,
            system=self,
            one_step=broker.stores_results_of(broker.result_backend),
            overlaps=broker.overlaps,
            has_workers=role in (None, "worker"),
        )
        self._pool: ActorRef[GetPoolStatistics | IsHeld]
        self._concurrency = concurrency
        self._queues = queues
        # the broker's, not the system's: who opens it again takes over at once what was held
        self._worker = broker.worker = broker.worker or environment.new_worker()

    @property
    def state(self) -> State:
        """The application's state, which is its broker's: what tasks get with `Depends()`."""
        return self.wiring.dependencies.state

    # --- enqueueing ---

    async def enqueue(
        self, task: Enqueueable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> TaskHandle[R]:
        """Enqueue one call of *task*; when this has returned, the broker has accepted it.

        *task* may be a chain, `enqueue(a | b | c, ...)`, or a call, `enqueue(a.call(...) | b)`: the
        handle is that of the last step.

        Always a checkpoint.  Raises `ArgumentsError` or `NotSerializable` if the arguments do not fit,
        `SystemClosed`, what a middleware's `pre_send` raises, and `EnqueueUncertain` if the broker
        crashed on it; in every other case nothing was stored.
        """
        if not isinstance(task, Task):
            prepared = self._prepare("enqueue", task, args, kwargs)
            (task_id,) = await self._submit([prepared])
            handle: TaskHandle[R] = TaskHandle(self, task_id, prepared.task, known=True)
            if len(prepared.tasks) > 1:
                handle._know_steps(prepared.task_ids[:-1], prepared.tasks)
            return handle
        if self._check(task, "enqueue"):
            await self._announce(task)
        message = task.message(
            args, kwargs, task_id=task.options.task_id or self._new_id(), now=self.wiring.clock()
        )
        stand_ins = await self._send((message,), task.options.task_id is not None)
        task_id = message.task_id if stand_ins is None else stand_ins[0]
        return TaskHandle(self, task_id, task, known=True)

    async def enqueue_many(
        self, task: Task[..., R], calls: Iterable[Sequence[Any] | Mapping[str, Any]]
    ) -> list[TaskHandle[R]]:
        """Enqueue many calls of *task* in one hop: all are accepted, or none.

        Each call is a tuple (or list) of positional arguments or a mapping of keyword arguments:
        `enqueue_many(resize, [("a.png", 64), ("b.png", 64)])`.  Raises as `enqueue` does.
        """
        if self._check(task, "enqueue_many"):
            await self._announce(task)
        if task.options.task_id is not None:
            raise ValueError("enqueue_many() cannot give one task_id to many calls; use enqueue()")
        if not isinstance(calls, Iterable):
            raise TypeError(
                f"enqueue_many() expects the arguments of each call in a list, such as [(1,), (2,)]; "
                f"got {calls!r}"
            )
        new_id, now = self._new_id, self.wiring.clock()
        messages: list[TaskMessage] = []
        for call in calls:
            if isinstance(call, tuple | list):
                message = task.message(tuple(call), _NONE, task_id=new_id(), now=now)
            elif isinstance(call, Mapping):
                message = task.message((), call, task_id=new_id(), now=now)
            else:
                raise TypeError(
                    f"enqueue_many() expects the arguments of each call as a tuple or a mapping, "
                    f"such as [(1,), (2,)]; got {call!r}"
                )
            messages.append(message)
        ids = await self._send_all(tuple(messages))
        return [TaskHandle(self, task_id, task, known=True) for task_id in ids]

    async def send(self, message: TaskMessage) -> TaskHandle[Any]:
        """Enqueue a message that was made elsewhere, as `TaskMessage.from_dict` reads it.

        Its task need not be known here: it waits until a worker knows it (promise 42).
        """
        if not isinstance(message, TaskMessage):
            raise TypeError(f"send() expects a TaskMessage; got {message!r}")
        check_fields(message)
        if current_slot.get() is None:
            self._check_open("send")
        (task_id,) = await self._send_all((message,), again=True)
        return TaskHandle(self, task_id, self.wiring.tasks.get(message.task_name), known=True)

    async def send_encoded(self, data: bytes) -> TaskHandle[Any]:
        """Enqueue a message that was made elsewhere and is still bytes: see "The wire format".

        Read as this system's broker reads: its format, its keys, its size limit.  Always a checkpoint.
        Raises `EnvelopeError` that says why these bytes are no message, and as `send` does.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(
                f"send_encoded() expects bytes, such as b'{{\"task_id\": ...}}'; got "
                f"{type(data).__name__} (for a TaskMessage there is send())"
            )
        return await self.send(self._broker.wire.decode_message(bytes(data)))

    def handle(self, task_id: TaskId, task: Task[..., R] | None = None) -> TaskHandle[R]:
        """The handle of a task that was enqueued earlier, by its id.

        With *task*, results are read as it declares them.
        """
        if not isinstance(task_id, str):
            raise TypeError(f"handle() expects the id of a task, a str; got {task_id!r}")
        if not is_text(task_id):
            raise ValueError(
                f"handle() expects the id of a task, which UTF-8 can write; got {task_id!r}"
            )
        if task is not None and not isinstance(task, Task):
            raise TypeError(f"handle() expects a task made with @actorq.task; got {task!r}")
        return TaskHandle(self, task_id, task, known=False)

    async def register(self, task: Task[..., Any]) -> None:
        """Let the workers of this system know *task*, as enqueueing it does."""
        if self._check(task, "register"):
            await self._announce(task)
        await trio.lowlevel.checkpoint()

    @property
    def keeps_results(self) -> bool:
        """Whether the result backend keeps anything."""
        return self._broker.result_backend.keeps_results

    def _prepare(
        self,
        what: str,
        work: Enqueueable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Prepared:
        if not isinstance(work, Enqueueable):
            raise _not_a_task(work, what)
        if isinstance(work, Call) and (args or kwargs):
            raise ArgumentsError(f"{work!r} has all its arguments; {what}() takes no more of them")
        if isinstance(work, Step) and (len(args) != 1 or kwargs):
            raise ArgumentsError(f"{work!r} lacks one argument, its first: {what}(step, value)")
        call = work.call(*args, **kwargs)
        tasks = (call.task, *[step.task for step in call.following])
        news = tuple([task for task in tasks if self._check(task, what)])
        message = message_of(call, self._new_id(), self.wiring.clock())
        return Prepared(message, call.last, tasks, news)

    async def _submit(self, batch: Sequence[Prepared]) -> tuple[str, ...]:
        for prepared in batch:
            for task in prepared.news:
                await self._announce(task)
        again = any(prepared.task.options.task_id is not None for prepared in batch)
        messages = tuple([prepared.message for prepared in batch])
        task_ids = await self._send_all(messages, again=again)
        return tuple(
            [
                prepared.task_ids[-1] if task_id == prepared.message.task_id else task_id
                for prepared, task_id in zip(batch, task_ids, strict=True)
            ]
        )

    async def _send_all(
        self, messages: tuple[TaskMessage, ...], *, again: bool = False
    ) -> tuple[TaskId, ...]:
        stand_ins = await self._send(messages, again) if messages else None
        return stand_ins or tuple([message.task_id for message in messages])

    def _fresh_id(self) -> TaskId:
        return self._new_id()

    async def _look(self) -> Mapping[TaskId, str]:
        return await self._broker.look()

    def _check(self, task: Task[..., Any], what: str) -> bool:
        """Refuse what cannot be enqueued; True if the task is new here, and must be announced."""
        if not isinstance(task, Task):
            raise _not_a_task(task, what)
        if self._body_done.is_set() and current_slot.get() is None:
            self._check_open(what)  # a job may go on to enqueue while the pool drains
        known = self.wiring.tasks.get(task.name)
        if known is task:
            return False
        if known is None:
            self.wiring.dependencies.recipe_of(task)
            if task.options.executor == "process":
                check_process(task)
        return self.wiring.tasks.add(
            task
        )  # a copy made by using() is no news; a conflict is refused

    async def _announce(self, task: Task[..., Any]) -> None:
        """Tell who waits for *task*: the broker may have parked some, the scheduler plans others."""
        try:
            if self.wiring.has_workers:
                await self.wiring.broker.tell(TaskKnown(task.name))
            if task.options.schedule and self._has_scheduler:
                await self._scheduler.tell(TaskAdded(task))
        except BaseException as error:
            # cut off in between: the next call that brings it tells of it again
            self.wiring.tasks.forget(task.name)
            if isinstance(error, ActorStopped):
                raise SystemClosed(f"the system is closing ({error})") from None
            raise

    async def _store(
        self, messages: tuple[TaskMessage, ...], again: bool = False
    ) -> tuple[TaskId, ...] | None:
        try:
            return await self.wiring.broker.ask(Enqueue(messages, again))
        except ActorFailed as failed:
            raise EnqueueUncertain(tuple(each.task_id for each in messages)) from failed
        except ActorStopped as stopped:
            raise _closing(stopped) from None

    async def _send_through_hooks(
        self, messages: tuple[TaskMessage, ...], again: bool = False
    ) -> tuple[TaskId, ...] | None:
        """Send by way of the middlewares: their hooks run here, in the enqueuer's task."""
        chain, hooks = self.wiring.chain, self.wiring.hooks
        if chain.life is None:
            await self._wait_for_middlewares()
        with chain.around_send(messages) if "around_send" in hooks else nullcontext():
            if "pre_send" in hooks:
                messages = await chain.pre_send(messages)
            stand_ins = await self._store(messages, again)
            if "post_send" in hooks:
                await chain.post_send(_stored(messages, stand_ins))
        return stand_ins

    async def _wait_for_middlewares(self) -> None:
        while self.wiring.chain.life is None:
            try:
                await self.wiring.middleware.ask(AreUp())
            except ActorFailed:
                continue  # it restarts; the next ask waits for that
            except ActorStopped as stopped:
                raise _closing(stopped) from None

    async def _fire(self, slot: Slot) -> TaskId:
        """Enqueue one slot of a schedule, under an id that only this slot has; what stands for it."""
        stand_ins = await self._send((slot.message(self.wiring.clock()),))
        return slot.task_id if stand_ins is None else stand_ins[0]

    async def _holds(self, task_id: TaskId) -> bool:
        """Whether this system's own pool has the task in its hands."""
        if not self.wiring.has_workers:
            return False
        try:
            return await ask_again(self._pool, IsHeld(task_id))
        except SystemClosed:
            return False  # it drains

    # --- looking ---

    async def wait_idle(self, *, scheduled: bool = False) -> None:
        """Wait until no task is ready or running (with *scheduled*: nor waits for its time).

        Always a checkpoint.  Raises `RuntimeError` inside a task, which would wait for itself.
        """
        if current_slot.get() is not None:
            raise RuntimeError(
                "wait_idle() inside a task would wait for that task itself; wait for what you need: "
                "`await handle.result()`"
            )
        await ask_again(self.wiring.broker, WaitIdle(scheduled))

    async def pool_statistics(self) -> PoolStatistics:
        """How busy the worker pool is.  Always a checkpoint.  All 0 where there is none."""
        if not self.wiring.has_workers:
            await trio.lowlevel.checkpoint()
            return PoolStatistics(concurrency=0, held=0, suspended=0, slots=0)
        return await ask_again(self._pool, GetPoolStatistics())

    def hurry(self) -> None:
        """Give running tasks no grace: when the system closes, and now if it closes already.

        They are cancelled and given back, as at the end of the grace.  Any task may call this, from
        outside of the body as well: what closes waits there.
        """
        self._root.child_supervisor(QUEUE).hurry("pool")

    def actor(self, name: str) -> ActorRef[Any]:
        """The ref of one of the queue's actors: results, broker, middleware, pool or scheduler.

        The last two are there only in a system of their role.
        """
        return self._root.child_supervisor(QUEUE).ref(name)

    # --- the tree ---

    def _queue_spec(self, grace: float, backoff: Backoff) -> SupervisorSpec:
        broker, wiring = self._broker, self.wiring
        results = broker.result_backend
        results._wiring = broker._wiring = wiring
        capacity = 10_000
        children = [
            ActorSpec(lambda: results, "results", capacity=capacity),
            ActorSpec(lambda: broker, "broker", capacity=capacity),
            ActorSpec(lambda: MiddlewareChain(wiring.chain, self), "middleware"),
        ]
        if wiring.has_workers:
            children.append(
                ActorSpec(
                    lambda: WorkerPool(wiring, self._concurrency, self._worker, self._queues),
                    "pool",
                    drain=grace,
                )
            )
        if self._has_scheduler:
            children.append(
                ActorSpec(
                    lambda: Scheduler(
                        broker.schedule_sources,
                        wiring,
                        self.environment.wall,
                        self._fire,
                        me=self.schedules.scheduler,
                    ),
                    "scheduler",
                )
            )
        return SupervisorSpec(
            name=QUEUE,
            strategy=Strategy.REST_FOR_ONE,
            backoff=backoff,
            children=tuple(children),
        )

    def label(self, task: trio.lowlevel.Task) -> str:
        """The job that *task* runs, if it runs one; else the task's name."""
        slot = task.context.get(current_slot)
        job = None if slot is None else slot.job  # read once: the watchdog asks from its thread
        if job is None:
            return task.name
        message = job.message
        return f"task {message.task_name} ({message.task_id})"

    def _wire(self) -> None:
        """The cells exist as soon as the tree is built, before anything runs."""
        self._broker._system = self  # not sooner: who enqueues by it needs them
        self.wiring.results = self.actor("results")
        self.wiring.broker = self.actor("broker")
        self.wiring.middleware = self.actor("middleware")
        if self.wiring.has_workers:
            self._pool = self.actor("pool")
        if self._has_scheduler:
            self._scheduler = self.actor("scheduler")


_NONE: Mapping[str, Any] = {}


def _stored(
    messages: tuple[TaskMessage, ...], stand_ins: tuple[TaskId, ...] | None
) -> tuple[TaskMessage, ...]:
    """Without those for which others stand."""
    if stand_ins is None:
        return messages
    both = zip(messages, stand_ins, strict=True)
    return tuple([message for message, task_id in both if message.task_id == task_id])


def _closing(stopped: ActorStopped) -> SystemClosed:
    return SystemClosed(f"the system is closing; nothing was enqueued ({stopped})")


def _not_a_task(given: object, what: str) -> Exception:
    if inspect.iscoroutine(given):
        name = given.__name__
        given.close()  # or Python warns that it was never awaited
        return TypeError(
            f"{what}() got a coroutine; pass the task and its arguments: "
            f"{what}({name}, ...), not {what}({name}(...))"
        )
    if callable(given):
        name = getattr(given, "__name__", repr(given))
        return TypeError(
            f"{what}() got the plain function {name!r}; make it a task with @actorq.task (or "
            f"@broker.task) where it is defined"
        )
    return TypeError(f"{what}() expects a task made with @actorq.task; got {given!r}")


def _check_backend(backend: ResultBackend) -> None:
    kind = type(backend)
    if not isinstance(backend, ResultBackend):
        raise TypeError(f"not a result backend: {backend!r}")
    for name in ("set_result", "get_result", "is_result_ready", "delete_result"):
        method = getattr(kind, name)
        if method is getattr(ResultBackend, name):
            raise TypeError(f"{kind.__name__} has no {name}(): write `async def {name}(self, ...)`")
        if not inspect.iscoroutinefunction(inspect.unwrap(method)):
            raise TypeError(f"{kind.__name__}.{name}() must be an `async def` function")
    if backend._life is not None:
        raise SystemClosed(
            f"this {kind.__name__} is open in another system already; make one for each broker"
        )


def _check_trio() -> None:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        raise RuntimeError(
            "open_system() expects to run in Trio: start the program with trio.run(main), not with "
            "asyncio.run(main())"
        ) from None


def _check_seconds(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{name} expects seconds >= 0; got {value!r}")


def _roles(role: SystemRole | None, broker: Broker) -> frozenset[str]:
    """Whose lifespan handlers run."""
    if role is None:
        return BOTH
    if role not in get_args(SystemRole):
        raise ValueError(
            f"open_system(role=...) expects 'client', 'worker', 'scheduler', or nothing for all of "
            f"them; got {role!r}"
        )
    if role != "worker" and Capability.SHARING in broker.lacks:
        raise unsupported(type(broker).__name__, f"open_system(role={role!r})", Capability.SHARING)
    return frozenset({role})


@asynccontextmanager
async def open_system(
    broker: Broker | None = None,
    *,
    tasks: Iterable[Task[..., Any]] = (),
    role: SystemRole | None = None,
    concurrency: int = 100,
    processes: int | None = None,
    queues: Sequence[str] | Mapping[str, float] | None = None,
    grace: float = 30.0,
    shutdown_timeout: float | None = None,
    intensity: int = 3,
    period: float = 30.0,
    backoff: Backoff | None = None,
) -> AsyncIterator[System]:
    """Open a task queue for the body of `async with`; in memory, unless a *broker* says otherwise.

    *tasks*: further tasks to know (those with a `schedule`, above all).  *role*: what this process is
    there for, if others share its queue: "client" only enqueues and waits, "worker" runs tasks,
    "scheduler" enqueues what schedules say; all of it unless told.  *concurrency*: tasks that run
    at a time.  *processes*: worker processes for tasks with `executor="process"`, at most (as many as
    this program may use processors unless told).  *queues*: those that its workers serve: names in
    strict order, or a mapping of names to weights; all unless told.  *grace*: seconds that running
    tasks have to finish when the body ends; what has not begun is given back.  *shutdown_timeout*:
    seconds for the whole shutdown (*grace* + 10 unless told).  *intensity*, *period*, *backoff*: the
    restarts that your own actors, started with `sys.spawn`, may have, and how soon.

    Raises `EngineUnavailable` if the broker's or the result backend's storage cannot be opened.
    Surfaces the body's own exception, naked, if nothing else failed; `SystemFailed` from a group if an
    actor's failure ended the system.  When it has exited, nothing of it runs any more.
    """
    _check_trio()
    if broker is None:
        broker = InMemoryBroker()
    if not isinstance(broker, Broker):
        raise TypeError(
            f"open_system() expects a broker object, such as InMemoryBroker(), or nothing; "
            f"got {broker!r}"
        )
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency expects a whole number >= 1; got {concurrency!r}")
    if processes is not None and (
        isinstance(processes, bool) or not isinstance(processes, int) or processes < 1
    ):
        raise ValueError(f"processes expects a whole number >= 1 or None; got {processes!r}")
    _check_seconds("grace", grace)
    if shutdown_timeout is None:
        shutdown_timeout = grace + 10.0
    _check_seconds("shutdown_timeout", shutdown_timeout)
    if broker._taken:
        raise SystemClosed(
            "this broker is open in another system already; make one broker for each open_system()"
        )
    check_engine(type(broker), broker.lacks)
    broker.fill_in(InMemoryResultBackend, InMemoryScheduleSource)
    _check_backend(broker.result_backend)
    for middleware in broker.middlewares:
        if middleware._system is not None and middleware._system.is_open:
            raise SystemClosed(
                f"this {type(middleware).__name__} is open in another system already; make one for "
                f"each broker"
            )
    roles = _roles(role, broker)
    choice = None if queues is None else QueueChoice.read(queues)
    if choice is not None and Capability.QUEUES in broker.lacks:
        raise unsupported(type(broker).__name__, "open_system(queues=...)", Capability.QUEUES)
    system = System(broker, concurrency, processes, choice, role)
    if not isinstance(tasks, Iterable):
        raise TypeError(f"open_system(tasks=...) expects a list of tasks; got {tasks!r}")
    for task in tasks:
        if not isinstance(task, Task):
            raise TaskDefinitionError(f"open_system(tasks=...) expects tasks; got {task!r}")
        system.wiring.tasks.add(task)
    for task in system.wiring.tasks:
        broker.dependencies.recipe_of(task)
        if task.options.executor == "process":
            check_process(task)
    backoff = backoff or Backoff()
    broker._taken = True
    refused: EngineUnavailable | None = None
    opened = False
    try:
        async with broker.lifespan.run(broker.state, roles):
            try:
                async with open_kernel(
                    system,
                    subtrees=(system._queue_spec(grace, backoff),),
                    intensity=intensity,
                    period=period,
                    backoff=backoff,
                    shutdown_timeout=min(shutdown_timeout, math.inf),
                ):
                    opened = True
                    yield system
            except SystemFailed as failed:
                refused = None if opened else _why_it_is_unavailable(failed)
                if refused is None:
                    raise
            finally:
                broker._system = None
                await system.wiring.processes.aclose()
            if refused is not None:
                raise refused
    finally:
        broker._taken = False


def _why_it_is_unavailable(failed: BaseException) -> EngineUnavailable | None:
    """What an engine that could not be opened said: the tree above it tells nothing more."""
    if isinstance(failed, EngineUnavailable):
        return failed
    if isinstance(failed, BaseExceptionGroup):
        inner = [_why_it_is_unavailable(each) for each in failed.exceptions]
        return inner[0] if len(inner) == 1 else None
    return None if failed.__cause__ is None else _why_it_is_unavailable(failed.__cause__)
