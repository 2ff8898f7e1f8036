"""Running one task by itself: its dependencies, its middlewares, its timeout, and no queue.

What runs it is what runs it in a worker (`Runner`, `Chain`, `conclude`); the doubles here stand for
what a worker would report to.  The arguments and the return value travel as bytes, as they do there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar

import trio

from actorq.actors.middleware import MiddlewareChain
from actorq.chain import Chain
from actorq.clock import EngineClock
from actorq.conclusion import conclude
from actorq.configuration import Configuration
from actorq.dependencies import Dependencies
from actorq.environment import current_environment
from actorq.errors import Requeued
from actorq.job import Job
from actorq.message import Delivery, Fence
from actorq.progress import TaskProgress
from actorq.protocol import Ending, Lease, SetProgress
from actorq.result import TaskResult
from actorq.runner import Runner
from actorq.task import Task, TaskRegistry
from actorq.wire import Wire
from actorq.wiring import Wiring


if TYPE_CHECKING:
    from actorq.actors.broker import Broker

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

P = ParamSpec("P")
R = TypeVar("R")


async def run_task(task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run one attempt of *task* here and now, as a worker would; what its function returns.

    As a worker does it: arguments are checked and travel as bytes, dependencies are injected (with the
    broker's overrides), every hook of its middlewares runs, `ctx.set_progress` works, the timeout holds,
    and the return value comes back as `handle.result()` would bring it.  The broker is the one that the
    task was declared with, and its lifespan is run round the task, unless its system is open: then that
    is used, and `ctx.system` and `kiq()` enqueue there.

    What it does not do: there is no queue, so nothing is retried, delayed, scheduled, limited or kept,
    and chains end after the first step.  Say options with `task.using(...)`; for the attempt number,
    another broker, the progress that was made and the decision on a retry, see `TaskRun`.

    Raises the task's own exception itself, `TaskTimeout`, `ArgumentsError`, `NotSerializable`.  Works
    on a real clock, too.  Always a checkpoint.
    """
    return await TaskRun(task)(*args, **kwargs)


class TaskRun(Generic[P, R]):
    """One attempt of *task*, to be run by calling it as `run_task` would; then it knows how that went.

    *attempt*: which attempt it is, from 1; those before it have failed.  *broker*: whose middlewares
    and dependencies hold (the one that the task was declared with).
    """

    def __init__(self, task: Task[P, R], *, attempt: int = 1, broker: Broker | None = None) -> None:
        if not isinstance(task, Task):
            raise TypeError(
                f"run_task() expects a task made with @actorq.task, and its arguments after it: "
                f"run_task(task, 1, 2); got {task!r}"
            )
        if isinstance(attempt, bool) or not isinstance(attempt, int) or attempt < 1:
            raise ValueError(f"attempt expects a whole number >= 1; got {attempt!r}")
        if broker is not None and not isinstance(broker, Configuration):
            raise TypeError(f"broker expects a broker object, such as app.broker; got {broker!r}")
        self.task = task
        self.attempt = attempt
        self.broker = broker or task.broker
        self.progress: list[TaskProgress] = []  #: what it said of how far it is, in order
        self.acked = False  #: it said `ctx.ack()`, or its ack mode did
        #: what would have been stored; None: nothing, it raised `NoResult` or will be tried again
        self.result: TaskResult[Any] | None = None
        self.ending: Ending | None = None  #: what would become of the task; None: it has not run
        self.retry_in: float | None = None  #: seconds after which it would be tried again

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it; see `run_task`."""
        if self.ending is not None:
            raise RuntimeError("this TaskRun has run; make one for each attempt")
        async with AsyncExitStack() as stack:
            value: R = await self._run(stack, args, kwargs)
        if self._error is not None:
            raise self._error
        return value

    async def _run(
        self, stack: AsyncExitStack, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        wiring = await stack.enter_async_context(_wired(self.broker, self))
        wiring.tasks.add(self.task)
        wire, chain = wiring.wire, wiring.chain
        task_id = self.task.options.task_id or current_environment().new_id()
        message = self.task.message(args, kwargs, task_id=task_id, now=wiring.clock())
        with chain.around_send((message,)):
            (message,) = await chain.pre_send((message,))
            message = wire.decode_message(wire.encode_message(message))
            await chain.post_send((message,))
        fence = Fence(message.task_id, self.attempt, token=1)
        job = Job(Delivery(message, fence, failures=self.attempt - 1))
        runner = Runner(_NoPool(), wiring, _Acknowledging(self))  # type: ignore[arg-type]
        with trio.CancelScope() as scope:
            await runner.perform(job, scope)
        raised = job.error
        conclude(job, wiring.clock(), wiring.random)
        self._error = raised or job.error or _as_said(job)
        value = self._keep(job, wire)
        if chain.hooks:
            await runner.run_hooks(job)
        if self.result is not None:
            await chain.post_save(job.message, self.result)
        await trio.lowlevel.checkpoint()
        return value

    def _keep(self, job: Job, wire: Wire) -> Any:
        settlement = job.settlement
        assert settlement is not None
        assert job.result is not None
        self.ending = settlement.ending
        if self.ending in (Ending.RETRY, Ending.REQUEUE):
            self.retry_in = settlement.delay
        elif job.unstored is None:
            data = wire.encode_result(job.fence.task_id, job.result)
            declared = self.task.options.raises
            self.result = wire.decode_result(data, job.fence.task_id, declared)
            return self.task.signature.return_load(self.result.return_value)
        return None

    _error: Exception | None = None


def _as_said(job: Job) -> Exception | None:
    """It swallowed the `Requeued` that `ctx.requeue()` raises."""
    if job.requeue is not None and not job.acked:
        return Requeued(f"task {job.fence.task_id} goes back to its queue")
    return None


@asynccontextmanager
async def _wired(broker: Broker | None, run: TaskRun[..., Any]) -> AsyncIterator[Wiring]:
    """What a runner needs of *broker*: its open system's, or its own opened for this one task."""
    if broker is None:
        async with _closing(_wiring(run, Chain(()), Dependencies(), Wire(), _NoSystem())) as bare:
            yield bare
        return
    dependencies, wire, system = broker.dependencies, broker.wire, broker._system
    if system is not None and system.is_open:
        chain = system.wiring.chain
        async with _closing(_wiring(run, chain, dependencies, wire, system)) as shared:
            yield shared
        return
    chain = Chain(broker.middlewares)
    wiring = _wiring(run, chain, dependencies, wire, _NoSystem())
    async with broker.lifespan.run(broker.state), _closing(wiring):
        middlewares = MiddlewareChain(chain, None)
        await middlewares.on_start()
        try:
            yield wiring
        finally:
            with trio.move_on_after(CLEANUP, shield=True):
                await middlewares.on_stop()


@asynccontextmanager
async def _closing(wiring: Wiring) -> AsyncIterator[Wiring]:
    """End the worker processes that it started."""
    try:
        yield wiring
    finally:
        await wiring.processes.aclose()


CLEANUP = 5.0  #: seconds that the middlewares have to shut down


def _wiring(
    run: TaskRun[..., Any],
    chain: Chain,
    dependencies: Dependencies,
    wire: Wire,
    system: Any,
) -> Wiring:
    environment = current_environment()
    wiring = Wiring(
        clock=EngineClock(environment.wall),
        random=environment.random,
        tasks=TaskRegistry(),
        chain=chain,
        hooks=chain.hooks,
        dependencies=dependencies,
        wire=wire,
        system=system,
    )
    wiring.results = _Results(run)  # type: ignore[assignment]
    return wiring


# --- doubles --------------------------------------------------------------------------------------


class _NoSystem:
    """In the place of `ctx.system`: says what is missing when somebody uses it."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(
            f"ctx.system.{name}: run_task() runs a task without a queue; if it is to enqueue others, "
            f"open the system of its broker round run_task(), such as with the fixture actorq_system"
        )


class _Results:
    """In the place of the result backend: notes the progress."""

    def __init__(self, run: TaskRun[..., Any]) -> None:
        self._run = run

    async def ask(self, message: SetProgress) -> None:
        await trio.lowlevel.checkpoint()
        self._run.progress.append(message.progress)


class _NoPool:
    """In the place of the worker pool: a lease that does not end."""

    lease = Lease(float("inf"))


class _Acknowledging:
    """In the place of the reporter: takes every acknowledgement."""

    def __init__(self, run: TaskRun[..., Any]) -> None:
        self._run = run

    async def settle_early(self, jobs: list[Job]) -> bool:
        """See `Reporter.settle_early`."""
        await trio.lowlevel.checkpoint()
        for job in jobs:
            job.acked = self._run.acked = True
        return True

    async def acknowledge(self, job: Job) -> None:
        """See `Reporter.acknowledge`."""
        await self.settle_early([job])
