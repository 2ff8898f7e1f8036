"""One attempt: how a task's function is called, once its delivery is in a worker's hands.

Round the function, from the outside: the middlewares, the captured log, the timeout, the values that the
worker fills in, the executor.
Holds nothing of its own; the worker pool calls it in the job's cancel scope.
"""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import attrs
import trio

from actorq.captured_log import CapturedLog
from actorq.context import Context
from actorq.dependencies import Dependencies
from actorq.dependency_resolver import call_with_dependencies
from actorq.errors import TaskTimeout
from actorq.processes import Processes
from actorq.task import Task
from actorq.whereabouts import sits_in


@attrs.frozen
class Attempt:
    """What is needed to call a function that is more than a plain `async def`."""

    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context
    timeout: float | None
    threads: trio.CapacityLimiter
    dependencies: Dependencies
    processes: Processes
    captured: CapturedLog | None = None
    by_deadline: bool = False  #: the timeout is what its enqueuer's deadline leaves

    async def run(
        self, around: Callable[[Context], AbstractContextManager[None]] | None = None
    ) -> Any:
        """Call the function, *around* it the middlewares; what it returns.

        Raises what it raises, or `TaskTimeout`.
        """
        if around is None:
            return await self._with_log()
        with around(self.context):
            return await self._with_log()

    async def _with_log(self) -> Any:
        """Keep what it logs, if that is wanted."""
        if self.captured is None:
            return await self._in_its_place()
        with self.captured.capturing():
            return await self._in_its_place()

    async def _in_its_place(self) -> Any:
        """Wait until there is a process, if it needs one: that is no part of its time."""
        if self.task.options.executor != "process":
            return await self._limited()
        async with self.processes.free:
            return await self._limited()

    async def _limited(self) -> Any:
        if self.timeout is None:
            return await self._with_values(math.inf)
        with trio.move_on_after(self.timeout) as limit:
            return await self._with_values(limit.deadline)
        raise self._too_late()

    async def _with_values(self, deadline: float) -> Any:
        """Fill in what is injected."""
        if not self.task.injected:
            return await self._in_time(self.kwargs, deadline)
        recipe = self.dependencies.recipe_of(self.task)
        if not recipe.steps:  # the context, or something else that is there already
            return await self._in_time({**self.kwargs, **recipe.ready(self.context)}, deadline)

        async def call(values: dict[str, Any]) -> Any:
            return await self._in_time({**self.kwargs, **values}, deadline)

        return await call_with_dependencies(recipe, self.context, self.dependencies.grace, call)

    async def _in_time(self, kwargs: dict[str, Any], deadline: float) -> Any:
        """Run the function; the clean-up of what it was given is not counted."""
        value = await self._execute(kwargs)
        # a thread cannot be cancelled, and a function can swallow its cancellation
        if deadline < math.inf and trio.current_time() >= deadline:
            raise self._too_late()
        return value

    def _too_late(self) -> TaskTimeout:
        if self.by_deadline:
            return TaskTimeout(
                f"task {self.task.name} was stopped after {self.timeout:g} s at its enqueuer's deadline"
            )
        return TaskTimeout(
            f"task {self.task.name} ran longer than its timeout of {self.timeout:g} s"
        )

    async def _execute(self, kwargs: dict[str, Any]) -> Any:
        """Run the function where it belongs."""
        task, args = self.task, self.args
        if task.options.executor == "process":
            return await self.processes.run(task, self.context.message, self.captured)
        if task.is_async:
            value = task.function(*args, **kwargs)
        else:
            value = await self._in_a_thread(kwargs)
        # By what it is: a decorator may make a plain function of an async one, or the other way round.
        return await value if inspect.isawaitable(value) else value

    async def _in_a_thread(self, kwargs: dict[str, Any]) -> Any:
        """Run a plain function.

        A thread cannot be killed: cancellation waits for its end, and
        `trio.from_thread.check_cancelled()` in the function makes that soon.
        """
        task = trio.lowlevel.current_task()

        def call() -> tuple[Any]:
            sits_in[task] = threading.get_ident()
            try:
                return (self.task.function(*self.args, **kwargs),)  # Trio lets no coroutine through
            finally:
                del sits_in[task]

        (value,) = await trio.to_thread.run_sync(
            call, limiter=self.threads, abandon_on_cancel=False
        )
        return value
