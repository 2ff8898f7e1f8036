"""Who waits for whom: read off the frames at which tasks are parked, and off Trio's own statistics.

Changes nothing.  What it does not recognize is told by its line alone.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import trio

import actorq
from actorq.actors import worker_pool
from actorq.cell import running_cell
from actorq.handle import TaskHandle
from actorq.job import current_slot
from actorq.ref import ActorRef
from actorq.supervisor import Supervisor
from actorq.testing.brief import brief, brief_id, cut


if TYPE_CHECKING:
    from actorq.testing.recorder import Recorder

Task: TypeAlias = trio.lowlevel.Task
_Found: TypeAlias = tuple[str, tuple[Task, ...]]

_TRIO: Final = os.path.dirname(trio.__file__)
_LIBRARY: Final = (_TRIO, os.path.dirname(actorq.__file__), contextlib.__file__)
_PYTEST_TRIO: Final = os.sep + os.path.join("pytest_trio", "")
_TIME: Final = "time to pass"
_CHILDREN: Final = "its nursery's tasks"
_MOST: Final = 60  #: lines of any list


@attrs.frozen
class Wait:
    """What one task waits for."""

    task: Task
    name: str
    what: str  #: in words
    on: tuple[Task, ...] = ()  #: those that could end it, as far as that can be seen
    where: str = ""  #: the innermost line that is neither Trio's nor actorq's
    idle: bool = False  #: actorq's own, and no work to do

    @property
    def is_nursery_s(self) -> bool:
        """For the end of a nursery, and for nothing else."""
        return self.what.startswith(_CHILDREN)


def waits_for_thread(task: trio.lowlevel.Task) -> bool:
    """Whether *task* has given work to a thread, and has not taken the answer."""
    frames = [frame.f_code for frame, _ in task.iter_await_frames()]
    return trio.to_thread.run_sync.__code__ in frames


def waits_below(
    root: Task | None,
    recorder: Recorder,
    is_frozen: Callable[[Task | None], bool],
    limit: float = math.inf,
) -> tuple[Wait, ...]:
    """What each task below *root* waits for, Trio's own tasks excepted.

    *limit* is the simulation's own deadline, of which there is nothing to tell.
    """
    tasks = [task for _, task in in_order_below(root) if not _is_trio_s(task)]
    reader = _Reader(tasks, recorder, limit)
    waits = {
        task: Wait(task, recorder.name_of(task), "nothing: its process was killed or stopped")
        if is_frozen(task)
        else reader.read(task)
        for task in tasks
    }
    for task, wait in reversed(waits.items()):  # who waits for somebody at work is at work
        if wait.idle and any(not waits[other].idle for other in wait.on if other in waits):
            waits[task] = attrs.evolve(wait, idle=False)
    return tuple(waits.values())


def told(waits: tuple[Wait, ...]) -> str:
    """Circles first, then chains, then everybody who waits for something in particular."""
    by_task = {wait.task: wait for wait in waits}
    circles = list(_circles(waits, by_task))
    lines = []
    for circle in circles:
        lines.append(f"circle: {' → '.join([each.name for each in [*circle, circle[0]]])}")
        lines += [f"  {each.name} waits for {each.what}" for each in circle]
    if not circles:
        for chain in _chains(waits, by_task):
            links = " → ".join(each.name for each in chain)
            lines.append(f"chain: {links}, which waits for {chain[-1].what}")
    busy = [wait for wait in waits if not wait.idle][:_MOST]
    width = max([len(wait.name) for wait in busy], default=0)
    lines += ["who waits for whom:"] if busy else []
    for wait in busy:
        where = wait.where and f", in {wait.where}"
        lines.append(f"  {wait.name:<{width}}  waits for {wait.what}{where}")
    idle = [wait.name for wait in waits if wait.idle]
    if idle and busy:
        lines.append(f"  idle: {cut(', '.join(idle), 200)}")
    return "\n".join(lines)


def _circles(waits: tuple[Wait, ...], by_task: dict[Task, Wait]) -> Iterator[list[Wait]]:
    """Each circle of waits once."""
    done: set[Task] = set()
    for start in waits:
        path: list[Task] = []
        branches = [iter([start.task])]
        while branches:
            task = next(branches[-1], None)
            if task is None:
                branches.pop()
                if path:
                    done.add(path.pop())
            elif task in path:
                yield [by_task[each] for each in path[path.index(task) :]]
            elif task not in done and task in by_task:
                path.append(task)
                branches.append(iter(by_task[task].on))


def _chains(waits: tuple[Wait, ...], by_task: dict[Task, Wait]) -> Iterator[list[Wait]]:
    """From those for whom nobody waits, down to who waits for nobody; if there are no circles."""
    waited_for = {task for wait in waits for task in wait.on}
    left = 8
    for start in waits:
        if start.task in waited_for or not start.on:
            continue
        stack = [[start]]
        while stack and left:
            chain = stack.pop()
            after = [by_task[task] for task in chain[-1].on if task in by_task]
            after = [wait for wait in after if not wait.idle]
            if after:
                stack += [[*chain, wait] for wait in reversed(after)]
            elif len(chain) > 1:
                left -= 1
                yield chain


def in_order_below(task: Task | None, depth: int = 0) -> Iterator[tuple[int, Task]]:
    """*task* and all below it, each with its depth, siblings in the order of their creation."""
    if task is not None:
        yield depth, task
        for nursery in task.child_nurseries:
            for child in _in_order(nursery.child_tasks):
                yield from in_order_below(child, depth + 1)


def _is_trio_s(task: Task) -> bool:
    code = getattr(task.coro, "cr_code", None)
    return code is not None and code.co_filename.startswith(_TRIO)


class _Reader:
    """Reads frames, knowing all tasks there are."""

    def __init__(self, tasks: list[Task], recorder: Recorder, limit: float) -> None:
        self._recorder = recorder
        self._limit = limit
        self._jobs: dict[str, Task] = {}  #: by task id: in which slot it runs
        for task in tasks:
            slot = task.context.get(current_slot)
            if slot is not None and slot.job is not None and isinstance(slot, worker_pool.Slot):
                self._jobs.setdefault(slot.job.message.task_id, task)

    def read(self, task: Task) -> Wait:
        name = self._recorder.name_of(task)
        frames, theirs = _innermost(task)
        ours = theirs is None and (_is_actorq_s(task) or _PYTEST_TRIO in _outermost(task))
        where = "" if theirs is None else _place(theirs)
        for table in (_WHOLE, _SENDS, _PARTS):
            for frame in frames:
                found = table.get(frame.f_code)
                if found is not None:
                    what, on = found(self, frame)
                    idle = ours and (not on or found is _Reader.children)
                    return Wait(task, name, what + self._until(task, what), on, where, idle)
        what = "its next step" if task._abort_func is None else f"something{self._until(task)}"
        return Wait(task, name, what, where=where, idle=ours)

    def _until(self, task: Task, what: str = "") -> str:
        deadline = task._cancel_status.effective_deadline()
        if deadline == -math.inf:
            return ", though cancelled"
        if deadline >= self._limit:
            return ", for ever" if what == _TIME else ""
        return f", until {deadline:.3f}"

    # --- actors and tasks of a queue ---

    def answer(self, frame: FrameType) -> _Found:
        known: dict[str, Any] = frame.f_locals
        cell, message, reply = known["self"]._cell, known["message"], known.get("reply")
        name = self._recorder.name_of_actor(cell)
        what = f"the answer of {name} to {brief(message, 60)}"
        if reply is not None and reply._owner is not None:
            return f"{what}, which {name} put off", ()
        if cell.loop_task is None:
            return f"{what}, which is {cell.state}", ()
        return what, (cell.loop_task,)

    def room(self, frame: FrameType) -> _Found:
        cell = frame.f_locals["self"]._cell
        on = () if cell.loop_task is None else (cell.loop_task,)
        full = f"{cell.mailbox.queued} of {cell.mailbox.capacity}"
        return f"room in the mailbox of {self._recorder.name_of_actor(cell)} ({full})", on

    def end_of_actor(self, frame: FrameType) -> _Found:
        cell = frame.f_locals["self"]._cell
        on = () if cell.loop_task is None else (cell.loop_task,)
        return f"the end of actor {self._recorder.name_of_actor(cell)}", on

    def end_of_child(self, frame: FrameType) -> _Found:
        child = frame.f_locals.get("child")
        if child is None or child.task is None:
            return "an actor to end", ()
        return f"{child.node.name} to end", (child.task,)

    def result(self, frame: FrameType) -> _Found:
        handle: TaskHandle[Any] = frame.f_locals["self"]
        job = self._jobs.get(handle.task_id)
        if job is not None:
            return f"the result of {self._recorder.name_of(job)}, which runs", (job,)
        locate = getattr(getattr(handle._system._broker, "queue", None), "locate", None)
        place = f" ({locate(handle.task_id)})" if callable(locate) else ""
        return f"the result of {brief_id(handle.task_id)}{place}", ()

    def slot(self, _frame: FrameType) -> _Found:
        return "a free slot, to go on", ()

    # --- Trio's ---

    def children(self, frame: FrameType) -> _Found:
        children = _in_order(frame.f_locals["self"].child_tasks)
        return f"{_CHILDREN}: {self._names(children)}", children

    def sleep(self, _frame: FrameType) -> _Found:
        return _TIME, ()

    def lock(self, frame: FrameType) -> _Found:
        owner = frame.f_locals["self"].statistics().owner
        if owner is None:
            return "a lock", ()
        return f"a lock that {self._recorder.name_of(owner)} holds", (owner,)

    def limiter(self, frame: FrameType) -> _Found:
        known = frame.f_locals["self"].statistics()
        borrowers = _in_order(each for each in known.borrowers if isinstance(each, Task))
        return f"a capacity limiter that {self._names(borrowers) or 'others'} used up", borrowers

    def semaphore(self, _frame: FrameType) -> _Found:
        return "a semaphore", ()

    def condition(self, _frame: FrameType) -> _Found:
        return "a condition to be notified", ()

    def event(self, _frame: FrameType) -> _Found:
        return "an event to be set", ()

    def channel(self, frame: FrameType) -> _Found:
        known = frame.f_locals["self"].statistics()
        return f"a channel to be sent to ({_count(known.open_send_channels, 'sender')})", ()

    def channel_s_room(self, frame: FrameType) -> _Found:
        known = frame.f_locals["self"].statistics()
        return f"room in a channel ({_count(known.open_receive_channels, 'receiver')})", ()

    def thread(self, _frame: FrameType) -> _Found:
        return "a thread", ()

    def _names(self, tasks: tuple[Task, ...]) -> str:
        more = f" and {len(tasks) - 4} more" if len(tasks) > 4 else ""
        return ", ".join(self._recorder.name_of(task) for task in tasks[:4]) + more


def _in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    return tuple(sorted(tasks, key=lambda task: task._counter))


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} open {what}{'' if number == 1 else 's'}"


def _innermost(task: Task) -> tuple[list[FrameType], FrameType | None]:
    """Trio's and actorq's frames, innermost first, and the one that called them; None if none did."""
    frames: list[FrameType] = []
    for frame, _ in reversed(list(task.iter_await_frames())):
        file = frame.f_code.co_filename
        if not (file.startswith(_LIBRARY) or _PYTEST_TRIO in file):
            return frames, frame
        frames.append(frame)
    return frames, None


def _outermost(task: Task) -> str:
    return str(getattr(getattr(task.coro, "cr_code", None), "co_filename", ""))


def _place(frame: FrameType) -> str:
    code = frame.f_code
    path = os.path.relpath(code.co_filename)
    path = code.co_filename if path.startswith("..") else path
    return f"{code.co_qualname.rpartition('<locals>.')[2]} ({path}:{frame.f_lineno})"


def _is_actorq_s(task: Task) -> bool:
    return task.name.startswith("actorq:") or task.context.get(running_cell) is not None


_Read: TypeAlias = Callable[[_Reader, FrameType], _Found]


def _code(function: Any) -> CodeType:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code: CodeType = function.__code__
    return code


#: What is waited for as a whole, before the parts that it consists of.
_WHOLE: Final[dict[CodeType, _Read]] = {
    TaskHandle.result.__code__: _Reader.result,
    TaskHandle.wait_result.__code__: _Reader.result,
    ActorRef.stopped.__code__: _Reader.end_of_actor,
    Supervisor._stop.__code__: _Reader.end_of_child,
    worker_pool.WorkerPool.resume.__code__: _Reader.slot,
    trio.to_thread.run_sync.__code__: _Reader.thread,
}
_SENDS: Final[dict[CodeType, _Read]] = {
    _code(ActorRef._send): _Reader.room,
    _code(ActorRef.ask): _Reader.answer,
    _code(ActorRef._ask_from_actor): _Reader.answer,
}
_PARTS: Final[dict[CodeType, _Read]] = {
    _code(trio.Nursery._nested_child_finished): _Reader.children,
    _code(trio.Lock.acquire): _Reader.lock,
    _code(trio.CapacityLimiter.acquire_on_behalf_of): _Reader.limiter,
    _code(trio.Semaphore.acquire): _Reader.semaphore,
    _code(trio.Condition.wait): _Reader.condition,
    _code(trio.Event.wait): _Reader.event,
    _code(trio.MemoryReceiveChannel.receive): _Reader.channel,
    _code(trio.MemorySendChannel.send): _Reader.channel_s_room,
    _code(trio.sleep_forever): _Reader.sleep,
}
