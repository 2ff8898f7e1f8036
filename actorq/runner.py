"""The runner: how a slot runs one job, and what it sees to when the function has ended.

Holds nothing of the job: what came of it is left there, for `conclude` to judge.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from types import TracebackType

import attrs
import trio

from actorq import attempt, dependency_resolver, processes
from actorq.attempt import Attempt
from actorq.capability import Capability
from actorq.captured_log import CapturedLog
from actorq.chain import ChainDown, is_signal
from actorq.conclusion import conclude, give_up
from actorq.context import Context
from actorq.errors import (
    ArgumentsError,
    EngineUnavailable,
    NotSerializable,
    ResultBackendError,
    StaleResult,
    TaskTimeout,
)
from actorq.job import Job
from actorq.message import TaskMessage
from actorq.middleware import AFTER_EXECUTE
from actorq.options import AckMode
from actorq.progress import TaskProgress
from actorq.protocol import Ending, SetProgress, Settlement
from actorq.reporter import Pool, Reporter
from actorq.requirements import no_pause, of_main, unknown_task
from actorq.serialization import dump
from actorq.wiring import Wiring


log = logging.getLogger("actorq.worker")

_WHEN_RECEIVED = AckMode.WHEN_RECEIVED
_GOES_ON = (Ending.RETRY, Ending.REQUEUE)


class _Hold:
    """What a running task may do with its delivery."""

    __slots__ = ("_job", "_refuse_pause", "_reporter")

    def __init__(
        self, job: Job, reporter: Reporter, refuse_pause: Callable[[Job, float], Exception | None]
    ) -> None:
        self._job = job
        self._reporter = reporter
        self._refuse_pause = refuse_pause

    @property
    def is_acked(self) -> bool:
        return self._job.acked

    async def acknowledge(self) -> None:
        await self._reporter.acknowledge(self._job)

    async def put_back(self, delay: float) -> None:
        await trio.lowlevel.checkpoint()
        refusal = self._refuse_pause(self._job, delay)
        if refusal is not None:
            raise refusal
        self._job.requeue = delay


class Runner:
    """Runs the jobs of one life of a pool, each in the slot that calls it."""

    def __init__(self, pool: Pool, wiring: Wiring, reporter: Reporter) -> None:
        self._pool = pool
        self._wiring = wiring
        self._reporter = reporter
        hooks = wiring.hooks
        self._around = wiring.chain.around_execute if "around_execute" in hooks else None
        self._hears_of_ends = not hooks.isdisjoint(AFTER_EXECUTE)
        # the slots bound it; and a suspended job keeps its thread
        self.threads = trio.CapacityLimiter(math.inf)

    async def perform(self, job: Job, scope: trio.CancelScope) -> None:
        """Run the job's function; what came of it is left in the job."""
        message = job.message
        job.begun = True
        task = job.task = self._wiring.tasks.get(message.task_name)
        if task is None:
            if Capability.PARKING in self._wiring.lacks:
                give_up(job, unknown_task(self._wiring.engine, message.task_name))
                return
            name = message.task_name
            log.warning("task %r is not known here; it is parked%s", name, of_main(name))
            job.settlement = Settlement(job.fence, Ending.PARK)
            return
        options = message.options
        if options.ack is _WHEN_RECEIVED:
            # at most once: the queue forgets the task before it runs
            ending = Ending.CANCELLED if job.cancelled else Ending.DONE
            job.settlement = Settlement(job.fence, ending)
            if not await self._reporter.settle_early([job]):
                return
            # a request that came since was answered with no: the task had been taken
            job.cancelled = ending is Ending.CANCELLED
        job.began = self._wiring.clock()
        try:
            if "pre_execute" in self._wiring.hooks:
                try:
                    message = await self._wiring.chain.pre_execute(message)
                except ChainDown:
                    if job.acked:
                        raise
                    # the chain crashed: not the task's fault, and we restart with it
                    job.settlement = Settlement(job.fence, Ending.GIVE_BACK)
                    return
                job.message = message
            args, kwargs = task.signature.load(message.args, message.kwargs)
            job.scope = scope
            if job.cancelled or job.lost:
                scope.cancel("actorq: cancelled before it began")
                await trio.lowlevel.checkpoint()  # promise 36: not even up to its first await
            around = self._around
            if options.is_bare and task.is_bare and message.terms is None:
                if around is None:
                    value = await task.function(*args, **kwargs)
                else:
                    with around(self._context_of(job, message)):
                        value = await task.function(*args, **kwargs)
            else:
                context = self._context_of(job, message)
                if options.capture_logs:
                    job.captured = CapturedLog()
                timeout, by_deadline = _limit(message, job.began)
                whole = Attempt(
                    task,
                    args,
                    kwargs,
                    context,
                    timeout,
                    self.threads,
                    self._wiring.dependencies,
                    self._wiring.processes,
                    job.captured,
                    by_deadline,
                )
                value = await whole.run(around)
            job.scope = None
            job.value = task.signature.return_dump(value)
        except (ArgumentsError, NotSerializable) as unfit:
            job.error = unfit
            job.final = job.scope is None  # not the function's doing: it would be the same again
        except Exception as raised:  # noqa: BLE001 - a task may raise whatever it likes
            # not by its own method, which is its author's code
            job.error = raised
            BaseException.with_traceback(raised, _users_part(raised.__traceback__))
        except BaseException as raised:
            if is_signal(raised) and not _is_stray(raised):
                raise
            job.error = RuntimeError(f"the task raised {type(raised).__name__}, no Exception")
            job.error.__cause__ = raised
        job.scope = None

    def judge(self, job: Job) -> bool:
        """See what follows from how the job ended; True if there are hooks to hear of it."""
        if job.task is None and job.error is not None:
            return self._hears_of_ends  # unknown, and not to be parked
        if job.task is None or (job.settlement is not None and not job.acked):
            return False  # it was not even begun
        conclude(job, self._wiring.clock(), self._wiring.random)
        if job.settlement is not None and job.settlement.delay:
            refusal = self._refuse_pause(job, job.settlement.delay)
            if refusal is not None:
                give_up(job, refusal)
        if self._hears_of_ends:
            return True
        _close(job)
        return False

    def _refuse_pause(self, job: Job, pause: float) -> Exception | None:
        """Why the engine cannot wait before the next attempt; None if it can, or need not."""
        if not pause or Capability.DELAY not in self._wiring.lacks:
            return None
        return no_pause(self._wiring.engine, job.message.task_name, pause)

    async def run_hooks(self, job: Job) -> None:
        """Run the hooks that hear of how an attempt ended."""
        assert job.result is not None
        settlement = job.settlement
        retried = settlement is not None and settlement.ending is Ending.RETRY
        await self._wiring.chain.after_execute(
            job.message,
            job.result,
            job.error,
            settlement.delay if settlement is not None and retried else None,
            cancelled=job.cancelled,
        )
        _close(job)

    def _context_of(self, job: Job, message: TaskMessage) -> Context:
        warned = False

        async def report(progress: TaskProgress) -> None:
            nonlocal warned
            if job.lost:
                raise StaleResult(f"this attempt of task {message.task_id} has lost its lease")
            plain = attrs.evolve(progress, meta=dump(progress.meta))
            try:
                await self._wiring.results.ask(
                    SetProgress(message.task_id, plain, job.fence.attempt, self._pool.lease)
                )
            except ResultBackendError as failed:
                if not isinstance(failed.__cause__, EngineUnavailable):
                    raise
                # a full disk is no fault of the task's, and the next progress replaces this one
                level = logging.DEBUG if warned else logging.WARNING
                warned = True
                why = failed.__cause__
                log.log(level, "a progress of task %s is lost: %s", message.task_id, why)
            else:
                warned = False

        hold = _Hold(job, self._reporter, self._refuse_pause)
        return Context(message, job.fence, report, self._wiring.system, hold)


def _limit(message: TaskMessage, now: float) -> tuple[float | None, bool]:
    """Seconds that the attempt may take; and whether it is its enqueuer's deadline that says so."""
    timeout = message.options.timeout
    if message.terms is None or message.terms.deadline is None:
        return timeout, False
    left = message.terms.deadline - now
    if timeout is not None and timeout <= left:
        return timeout, False
    if left <= 0:
        raise TaskTimeout(
            f"task {message.task_name} was not begun: its enqueuer's deadline had passed"
        )
    return left, True


def _close(job: Job) -> None:
    job.error = None  # its traceback keeps the function's frames alive
    if job.unstored is not None or (
        job.settlement is not None and job.settlement.ending in _GOES_ON
    ):
        job.result = None  # the last attempt's is the task's


def _is_stray(error: BaseException) -> bool:
    """A `Cancelled` of some other time and place, raised again: nothing cancels this task now."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_stray(each) for each in error.exceptions if is_signal(each))
    return isinstance(error, trio.Cancelled) and trio.current_effective_deadline() > -math.inf


def _users_part(traceback: TracebackType | None) -> TracebackType | None:
    """From the task's function on: how it was called tells its author nothing."""
    users = traceback
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename in _OURS:
            users = traceback.tb_next
        traceback = traceback.tb_next
    return users


_OURS = {__file__, attempt.__file__, dependency_resolver.__file__, processes.__file__}
