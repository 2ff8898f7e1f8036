"""The worker processes of one system: where tasks with `executor="process"` run.

Started when they are needed, kept for the next task, killed when theirs is cancelled, and none of them
outlives the system.
"""

from __future__ import annotations

import logging
import os
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import trio

from actorq.captured_log import CapturedLog
from actorq.errors import TaskDefinitionError, UnsupportedOption, WorkerProcessDied
from actorq.import_name import ImportName
from actorq.message import TaskMessage
from actorq.process_child import begin, call
from actorq.remote_error import load_error
from actorq.task import Task


if TYPE_CHECKING:
    from trio_parallel import WorkerContext

log = logging.getLogger("actorq.processes")

#: Seconds after which an idle process ends by itself, and those that it has to end at the close.
IDLE = 300.0
GRACE = 1.0


class Processes:
    """At most *limit* worker processes."""

    def __init__(self, limit: int | None = None) -> None:
        #: who has a token may run; waiting for one is no part of an attempt
        self.free = trio.CapacityLimiter(limit or _cpus())
        self._open: WorkerContext | None = None
        self._stack = AsyncExitStack()

    async def run(
        self, task: Task[..., Any], message: TaskMessage, captured: CapturedLog | None
    ) -> Any:
        """Run the call of *message* in a process; what it returns.  Raises what it raises.

        `WorkerProcessDied` if the process dies under it.  If this is cancelled, the process is killed.
        """
        from trio_parallel import BrokenWorkerError

        name = check_process(task)
        context = await self._context()
        try:
            outcome = await context.run_sync(
                call,
                tuple(name),
                message.args,
                message.kwargs,
                captured is not None,
                kill_on_cancel=True,
                limiter=_NO_LIMIT,
            )
        except BrokenWorkerError as broken:
            raise WorkerProcessDied(task.name, _exit_code(broken)) from None
        if captured is not None and outcome["log"]:
            captured.add(outcome["log"])
        if "exit" in outcome:
            raise WorkerProcessDied(task.name, outcome["exit"])
        if "error" in outcome:
            raise load_error(outcome["error"], _types_of(task, message))
        return task.signature.return_load(outcome["value"])

    async def _context(self) -> WorkerContext:
        if self._open is None:
            from trio_parallel import open_worker_context

            manager = open_worker_context(idle_timeout=IDLE, init=begin, grace_period=GRACE)
            self._open = await self._stack.enter_async_context(manager)
        return self._open

    async def aclose(self) -> None:
        """End the idle processes; those that do not end within a second are killed."""
        if self._open is None:
            return
        from trio_parallel import BrokenWorkerError

        try:
            await self._stack.aclose()
        except BrokenWorkerError as broken:
            log.warning("a worker process did not end as it should: %s", broken.args[0])


def _types_of(task: Task[..., Any], message: TaskMessage) -> tuple[type[Exception], ...]:
    """What the function may raise as itself: what callers are told, and what the retries look at."""
    policy = task.options.retry_policy  # its filters do not travel with a call
    declared = (*task.options.raises, *message.options.raises)
    return (*declared, *(policy.retry_on or ()), *policy.give_up_on)


#: `Processes.free` is held already.
_NO_LIMIT: Any = nullcontext()


def check_process(task: Task[..., Any]) -> ImportName:
    """The name by which a process will find *task*'s function.

    Raises `TaskDefinitionError` if it would not find it, and `UnsupportedOption` if processes need
    something that is not installed.
    """
    try:
        import trio_parallel  # noqa: F401
    except ImportError:
        raise UnsupportedOption(
            f"task {task.name!r}: executor='process' needs trio-parallel: "
            f'pip install "actorq[process]"'
        ) from None
    if task.signature.injected:
        raise TaskDefinitionError(
            f"task {task.name!r}: executor='process' runs the function in another process, where "
            f"nothing can be injected ({', '.join(task.signature.injected)}); pass what it needs as "
            f"arguments, or let an async task prepare it and enqueue this one"
        )
    name = ImportName.of(task.function)
    try:
        found = name.find()
    except (ImportError, AttributeError) as error:
        found = error
    if (found.function if isinstance(found, Task) else found) is not task.function:
        raise TaskDefinitionError(
            f"task {task.name!r}: executor='process' imports the function in another process as "
            f"{name}, and that is {found!r}; give the function a name of its own at the top of its "
            f"module, and let @task be the outermost decorator"
        )
    return name


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _exit_code(broken: Exception) -> int | None:
    process = broken.args[-1] if broken.args else None
    code = getattr(process, "exitcode", None)
    return code if isinstance(code, int) else None
