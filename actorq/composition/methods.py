"""The methods of a system that combine tasks, typed."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from actorq.call import Call, Enqueueable, Takes
from actorq.composition.completed import Completed, open_completed
from actorq.composition.gathering import gather
from actorq.composition.nursery import TaskNursery, open_task_nursery
from actorq.handle import TaskHandle
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.composition.prepared import Prepared
    from actorq.system import System

R = TypeVar("R")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")
R5 = TypeVar("R5")
X = TypeVar("X")


class Composition:
    """What `System` has for work that consists of several tasks."""

    # --- what a system does for it ---

    @property
    @abstractmethod
    def keeps_results(self) -> bool:
        """Whether the result backend keeps anything."""

    @abstractmethod
    def _prepare(
        self,
        what: str,
        work: Enqueueable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Prepared:
        """Check a call, and make its message."""

    @abstractmethod
    async def _submit(self, batch: Sequence[Prepared]) -> tuple[str, ...]:
        """Enqueue all of these, or none; the ids under which they are known."""

    # --- what users call ---

    def open_task_nursery(
        self, *, grace: float = math.inf
    ) -> AbstractAsyncContextManager[TaskNursery]:
        """A block that waits for the tasks that it starts, and leaves none behind.

        As Trio's nurseries: when a task fails, or the block's body, the others are cancelled, on
        whatever worker they are, and the failures are raised as an `ExceptionGroup`; so they are if
        the block is cancelled from outside.  When it has exited, every task has ended.

        *grace*: seconds to wait for a cancelled task that does not end (for ever, unless told); then
        `TaskLeftBehind` is among the failures, as it is when the system goes down meanwhile.
        Inside a job, the job's slot is free for others while the block waits.
        """
        return open_task_nursery(cast("System", self), grace=grace)

    @overload
    async def gather(
        self, a: Call[R1] | TaskHandle[R1], /, *, concurrency: int | None = None
    ) -> tuple[R1]: ...
    @overload
    async def gather(
        self,
        a: Call[R1] | TaskHandle[R1],
        b: Call[R2] | TaskHandle[R2],
        /,
        *,
        concurrency: int | None = None,
    ) -> tuple[R1, R2]: ...
    @overload
    async def gather(
        self,
        a: Call[R1] | TaskHandle[R1],
        b: Call[R2] | TaskHandle[R2],
        c: Call[R3] | TaskHandle[R3],
        /,
        *,
        concurrency: int | None = None,
    ) -> tuple[R1, R2, R3]: ...
    @overload
    async def gather(
        self,
        a: Call[R1] | TaskHandle[R1],
        b: Call[R2] | TaskHandle[R2],
        c: Call[R3] | TaskHandle[R3],
        d: Call[R4] | TaskHandle[R4],
        /,
        *,
        concurrency: int | None = None,
    ) -> tuple[R1, R2, R3, R4]: ...
    @overload
    async def gather(
        self,
        a: Call[R1] | TaskHandle[R1],
        b: Call[R2] | TaskHandle[R2],
        c: Call[R3] | TaskHandle[R3],
        d: Call[R4] | TaskHandle[R4],
        e: Call[R5] | TaskHandle[R5],
        /,
        *,
        concurrency: int | None = None,
    ) -> tuple[R1, R2, R3, R4, R5]: ...
    @overload
    async def gather(
        self, *work: Call[R] | TaskHandle[R], concurrency: int | None = None
    ) -> tuple[R, ...]: ...
    @overload
    async def gather(
        self,
        *work: Call[R] | TaskHandle[R],
        concurrency: int | None = None,
        return_results: Literal[True],
    ) -> tuple[TaskResult[R], ...]: ...
    async def gather(
        self,
        *work: Call[Any] | TaskHandle[Any],
        concurrency: int | None = None,
        return_results: bool = False,
    ) -> tuple[Any, ...]:
        """Enqueue these calls and wait for all; their values, in the order of the calls.

        Always a checkpoint.  Takes handles too.  When one fails, the calls that have not ended are
        cancelled, and what failed is raised as an `ExceptionGroup`; so they are if this is cancelled,
        by a timeout for example.  Handles are only waited for: who enqueued them decides.

        *concurrency*: at most so many of the calls at a time; without it all are accepted in one hop,
        or none.  *return_results*: a `TaskResult` for each, failed or not; nothing is raised then.
        """
        return await gather(
            cast("System", self), work, concurrency=concurrency, return_results=return_results
        )

    @overload
    def map(
        self, work: Takes[X, R], items: Iterable[X] | AsyncIterable[X], *, concurrency: int = 100
    ) -> AbstractAsyncContextManager[Completed[X, R]]: ...
    @overload
    def map(
        self,
        work: Takes[X, R],
        items: Iterable[X] | AsyncIterable[X],
        *,
        concurrency: int = 100,
        return_results: Literal[True],
    ) -> AbstractAsyncContextManager[Completed[X, TaskResult[R]]]: ...
    def map(
        self,
        work: Takes[Any, Any],
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        concurrency: int = 100,
        return_results: bool = False,
    ) -> AbstractAsyncContextManager[Completed[Any, Any]]:
        """A task for each item: `async with sys.map(resize, photos) as done: async for ... in done`.

        Pairs of an item and its value come as the tasks end.  No more than *concurrency* tasks are
        begun and not yet taken from the iterator, and *items* is read no further, so it may be
        endless, or an async iterator.  When a task fails, or the block is left, those that have not
        ended are cancelled; failures are raised by the block, as an `ExceptionGroup`.

        *return_results*: pairs of an item and its `TaskResult`, failed or not.
        """
        if not isinstance(work, Enqueueable):
            raise TypeError(f"map() expects a task and the items; got {work!r}")
        if isinstance(work, Call):
            raise TypeError(
                f"map() expects a task that takes the items; {work!r} has all its arguments "
                f"(`task.step(...)` has those after the first)"
            )
        return open_completed(
            cast("System", self),
            "map",
            items,
            work.call,
            concurrency=concurrency,
            return_results=return_results,
        )

    @overload
    def as_completed(
        self, work: Iterable[Call[R]], *, concurrency: int = 100
    ) -> AbstractAsyncContextManager[Completed[Call[R], R]]: ...
    @overload
    def as_completed(
        self, work: Iterable[TaskHandle[R]], *, concurrency: int = 100
    ) -> AbstractAsyncContextManager[Completed[TaskHandle[R], R]]: ...
    @overload
    def as_completed(
        self, work: Iterable[Call[R]], *, concurrency: int = 100, return_results: Literal[True]
    ) -> AbstractAsyncContextManager[Completed[Call[R], TaskResult[R]]]: ...
    @overload
    def as_completed(
        self,
        work: Iterable[TaskHandle[R]],
        *,
        concurrency: int = 100,
        return_results: Literal[True],
    ) -> AbstractAsyncContextManager[Completed[TaskHandle[R], TaskResult[R]]]: ...
    def as_completed(
        self,
        work: Iterable[Call[Any]] | Iterable[TaskHandle[Any]],
        *,
        concurrency: int = 100,
        return_results: bool = False,
    ) -> AbstractAsyncContextManager[Completed[Any, Any]]:
        """As `map`, for calls, or for handles: pairs of each and its value, as the tasks end."""
        return open_completed(
            cast("System", self),
            "as_completed",
            work,
            lambda each: each,
            concurrency=concurrency,
            return_results=return_results,
        )
