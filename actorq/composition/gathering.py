"""Gathering: results in the order of the calls, all at once."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from actorq.call import Call
from actorq.composition.nursery import Watched, open_task_nursery
from actorq.composition.started import StartedHandle
from actorq.handle import TaskHandle
from actorq.job import slot_given_back
from actorq.result import TaskResult


if TYPE_CHECKING:
    from actorq.system import System


def check_concurrency(concurrency: object) -> None:
    """A whole number, 1 or more."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency expects a whole number >= 1; got {concurrency!r}")


def watched_of(
    system: System, what: str, work: Call[Any] | TaskHandle[Any], then: Callable[[Any], None]
) -> Watched:
    """A call is to be enqueued; a handle's task was, by somebody who will decide about it."""
    if isinstance(work, TaskHandle):
        return Watched(work, None, then, ours=False)
    if not isinstance(work, Call):
        raise _no_call(what, work)
    prepared = system._prepare(what, work, (), {})
    return Watched(StartedHandle(system, prepared), prepared, then)


def _no_call(what: str, given: object) -> TypeError:
    if inspect.iscoroutine(given):
        given.close()  # or Python warns that it was never awaited
    return TypeError(
        f"{what}() expects calls, such as resize.call('a.png', 64), or handles; got {given!r}"
    )


async def gather(
    system: System,
    work: Sequence[Call[Any] | TaskHandle[Any]],
    *,
    concurrency: int | None,
    return_results: bool,
) -> tuple[Any, ...]:
    """See `System.gather`."""
    if concurrency is not None:
        check_concurrency(concurrency)
    found: list[Any] = [None] * len(work)
    room = None if concurrency is None else trio.Semaphore(concurrency)

    def keeps(place: int, *, enqueued: bool) -> Callable[[TaskResult[Any]], None]:
        def keep(result: TaskResult[Any]) -> None:
            if room is not None and enqueued:
                room.release()
            found[place] = result if return_results else result.raise_for_error().return_value

        return keep

    # all arguments are checked before anything is enqueued
    all_watched = [
        watched_of(system, "gather", each, keeps(place, enqueued=isinstance(each, Call)))
        for place, each in enumerate(work)
    ]
    async with slot_given_back(), open_task_nursery(system) as jobs:
        await jobs._start([each for each in all_watched if each.prepared is None])
        waiting = deque(each for each in all_watched if each.prepared is not None)
        while waiting:
            await jobs._start(await _next_batch(waiting, room))
    return tuple(found)


async def _next_batch(waiting: deque[Watched], room: trio.Semaphore | None) -> list[Watched]:
    """As many as there is room for, and at least one."""
    if room is None:
        batch = list(waiting)
        waiting.clear()
        return batch
    await room.acquire()
    batch = [waiting.popleft()]
    while waiting and room.value:
        room.acquire_nowait()
        batch.append(waiting.popleft())
    return batch
