"""Results in the order in which tasks end, for as many tasks as you like, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import trio

from actorq.call import Call
from actorq.composition.gathering import check_concurrency, watched_of
from actorq.composition.nursery import TaskNursery, open_task_nursery
from actorq.handle import TaskHandle
from actorq.job import slot_given_back
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.system import System

K = TypeVar("K")
V = TypeVar("V")


class Completed(Generic[K, V]):
    """Iterates over what has ended, as pairs.  Made by `sys.map(...)` and `sys.as_completed(...)`."""

    def __init__(self, ended: trio.MemoryReceiveChannel[tuple[K, V]], room: trio.Semaphore) -> None:
        self._ended = ended
        self._room = room
        self._kept: deque[tuple[K, V]] = deque()  #: received by who was cancelled before it had it

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[K, V]:
        await trio.lowlevel.checkpoint()
        try:
            pair = self._next()
            if pair is None:
                pair = await self._receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self._room.release()
        return pair

    async def _receive(self) -> tuple[K, V]:
        pair = None
        try:
            async with slot_given_back():
                pair = await self._ended.receive()
        except BaseException:
            if pair is not None:  # cancelled while it waited for its slot: the next one gets it
                self._kept.append(pair)
            raise
        return pair

    def _next(self) -> tuple[K, V] | None:
        if self._kept:
            return self._kept.popleft()
        try:
            return self._ended.receive_nowait()
        except trio.WouldBlock:
            return None


@asynccontextmanager
async def open_completed(
    system: System,
    what: str,
    items: Iterable[Any] | AsyncIterable[Any],
    to_work: Callable[[Any], Call[Any] | TaskHandle[Any]],
    *,
    concurrency: int,
    return_results: bool,
) -> AsyncIterator[Completed[Any, Any]]:
    """Begin with *items*; *to_work* makes of each the call, or the handle, that it stands for.

    No more than *concurrency* are begun and not yet taken by who iterates, and *items* is read no
    further than that.
    """
    check_concurrency(concurrency)
    if not isinstance(items, Iterable | AsyncIterable):
        raise TypeError(f"{what}() expects a list, or anything to iterate over; got {items!r}")
    room = trio.Semaphore(concurrency)
    send, receive = trio.open_memory_channel[tuple[Any, Any]](concurrency)

    def sends(item: Any, mine: trio.MemorySendChannel[Any]) -> Callable[[TaskResult[Any]], None]:
        def then(result: TaskResult[Any]) -> None:
            with mine:
                value = result if return_results else result.raise_for_error().return_value
                mine.send_nowait((item, value))

        return then

    async def begin(jobs: TaskNursery, item: Any) -> None:
        await jobs._start([watched_of(system, what, to_work(item), sends(item, send.clone()))])
        await room.acquire()

    async def feed(jobs: TaskNursery) -> None:
        with send:
            await room.acquire()  # before the next item is asked for
            if not isinstance(items, AsyncIterable):
                for item in items:
                    await begin(jobs, item)
                return
            async with AsyncExitStack() as stack:
                if isinstance(items, AsyncGenerator):
                    await stack.enter_async_context(aclosing(items))
                async for item in items:
                    await begin(jobs, item)

    async with open_task_nursery(system) as jobs:
        jobs._tasks.start_soon(feed, jobs, name=f"feeds sys.{what}()")
        yield Completed(receive, room)
        jobs.cancel_scope.cancel(f"the block of sys.{what}() was left")
