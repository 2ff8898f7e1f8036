"""The methods of a system for whoever operates it: looking into its queues, and the dead letters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from actorq.errors import (
    ActorFailed,
    ActorStopped,
    DeadTaskNotFound,
    EnqueueUncertain,
    SystemClosed,
)
from actorq.handle import TaskHandle, ask_again
from actorq.ids import is_text
from actorq.job import Job, current_slot
from actorq.message import TaskId, TaskMessage
from actorq.progress import TaskProgress
from actorq.protocol import (
    Count,
    DeadTask,
    GetDead,
    GetProgress,
    ListDead,
    ListTasks,
    ListWorkers,
    Pause,
    Purge,
    PurgeDead,
    QueuedTask,
    QueueStatistics,
    Replay,
    WorkerInfo,
)
from actorq.serialization import dump
from actorq.whereabouts import line_of_job, tasks_below
from actorq.wiring import Wiring


if TYPE_CHECKING:
    from actorq.system import System


class Operations:
    """What `System` has for its operators."""

    wiring: Wiring

    @abstractmethod
    def _fresh_id(self) -> TaskId:
        """An id for a new task."""

    @abstractmethod
    async def _look(self) -> Mapping[TaskId, str]:
        """On which line the jobs of other processes sit."""

    # --- queues ---

    async def queue_statistics(self) -> QueueStatistics:
        """How many tasks are where.  Always a checkpoint."""
        return await ask_again(self.wiring.broker, Count())

    async def queued_tasks(
        self, *, queue: str | None = None, limit: int = 100
    ) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first enqueued first; at most *limit*.

        Always a checkpoint.
        """
        if queue is not None:
            _check_name(queue, "queued_tasks")
        _check_limit(limit, "queued_tasks")
        return await ask_again(self.wiring.broker, ListTasks(queue, limit))

    async def workers(self, *, look: bool = False) -> tuple[WorkerInfo, ...]:
        """The workers of all processes, and the tasks that each of them has in its hands.

        With *look*, each job says on which line it sits, and its latest progress.  That costs the
        workers something at each call, and nothing while nobody looks.  Always a checkpoint.
        """
        lines = {**await self._look(), **self.lines_of_jobs()} if look else {}
        began = {job.fence.task_id: job.began or None for job, _ in self._jobs_here()}
        found = await ask_again(self.wiring.broker, ListWorkers())
        latest: dict[TaskId, TaskProgress | None] = {}
        if look:
            for task_id in [job.task_id for worker in found for job in worker.jobs]:
                latest[task_id] = await ask_again(self.wiring.results, GetProgress(task_id))
        return tuple(
            [
                attrs.evolve(
                    worker,
                    jobs=tuple(
                        [
                            attrs.evolve(
                                job,
                                since=began.get(job.task_id, job.since),
                                line=lines.get(job.task_id, ""),
                                progress=latest.get(job.task_id),
                            )
                            for job in worker.jobs
                        ]
                    ),
                )
                for worker in found
            ]
        )

    def lines_of_jobs(self) -> dict[TaskId, str]:
        """On which line each job of this process sits: `function (file:line)`, by task id."""
        lines: dict[TaskId, str] = {}
        for job, task in self._jobs_here():
            lines.setdefault(job.fence.task_id, line_of_job(task))  # the outermost task comes first
        return lines

    def _jobs_here(self) -> Iterator[tuple[Job, trio.lowlevel.Task]]:
        """The jobs that run in this process, each with every Trio task that runs for it."""
        for _, task in tasks_below(trio.lowlevel.current_root_task()):
            slot = task.context.get(current_slot)
            if slot is not None and slot.job is not None:
                yield slot.job, task

    async def pause(self, queue: str) -> None:
        """Give no more tasks of *queue* to workers; what runs goes on.  Always a checkpoint."""
        _check_name(queue, "pause")
        await ask_again(self.wiring.broker, Pause(queue, paused=True))

    async def resume(self, queue: str) -> None:
        """Give tasks of *queue* to workers again.  Always a checkpoint."""
        _check_name(queue, "resume")
        await ask_again(self.wiring.broker, Pause(queue, paused=False))

    async def purge(self, queue: str) -> int:
        """Cancel every task that waits in *queue*; how many there were.  Always a checkpoint.

        Who waits for one of them gets `TaskCancelled`.  What runs goes on.
        """
        _check_name(queue, "purge")
        return await ask_again(self.wiring.broker, Purge(queue))

    # --- dead letters ---

    async def dead_tasks(
        self, *, task: str | None = None, queue: str | None = None, limit: int | None = None
    ) -> tuple[DeadTask, ...]:
        """The tasks that failed for good, oldest first; of one task, by its name, or of one queue.

        Always a checkpoint.
        """
        _check_filters(task, queue, "dead_tasks")
        if limit is not None:
            _check_limit(limit, "dead_tasks")
        return await ask_again(self.wiring.broker, ListDead(task, queue, limit))

    async def dead_task(self, task_id: TaskId) -> DeadTask:
        """One of them: its message, its reason, its error and traceback.

        Always a checkpoint.  Raises `DeadTaskNotFound`.
        """
        _check_id(task_id, "dead_task")
        found = await ask_again(self.wiring.broker, GetDead(task_id))
        if found is None:
            raise _not_found(task_id)
        return found

    async def replay(
        self,
        task_id: TaskId,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> TaskHandle[Any]:
        """Enqueue a dead letter again, under a new id, with other arguments if you say so.

        The letter goes in the step in which the task is enqueued, so it is replayed once, whoever
        else tries.  What was said of the call holds again, except when it was to start or to expire;
        the label `replay_of` names the old id.  If another task stands for it, as its unique key is
        taken, the handle is that one's.  Middlewares' send hooks do not run: they have.

        Always a checkpoint.  Raises `DeadTaskNotFound`, `ArgumentsError` if the new arguments do not
        fit, `DuplicateTask` if its unique key is taken, and as `enqueue` does.
        """
        _check_id(task_id, "replay")
        letter = await self.dead_task(task_id)
        message = self._again(letter)
        if args is not None or kwargs is not None:
            message = self._edited(message, letter, args, kwargs)
        (replayed,) = await self._replay([(task_id, message)])
        if replayed is None:
            raise _not_found(task_id)
        return replayed

    async def replay_all(
        self,
        task_ids: Iterable[TaskId] | None = None,
        *,
        task: str | None = None,
        queue: str | None = None,
    ) -> list[TaskHandle[Any]]:
        """Replay these dead letters, or all; or all of one task, or of one queue.

        Always a checkpoint.  Ids that are no dead letters (any more) are passed over.
        """
        chosen = _chosen(task_ids, "replay_all")
        _check_filters(task, queue, "replay_all")
        letters = await self.dead_tasks(task=task, queue=queue)
        if chosen is not None:
            wanted = set(chosen)
            letters = tuple([letter for letter in letters if letter.task_id in wanted])
        replayed = await self._replay([(each.task_id, self._again(each)) for each in letters])
        return [handle for handle in replayed if handle is not None]

    async def purge_dead(self, task_ids: Iterable[TaskId] | None = None) -> int:
        """Forget these dead letters, or all; how many there were.  Always a checkpoint."""
        chosen = _chosen(task_ids, "purge_dead")
        return await ask_again(self.wiring.broker, PurgeDead(chosen))

    def _again(self, letter: DeadTask) -> TaskMessage:
        old = letter.message
        message = attrs.evolve(
            old, task_id=self._fresh_id(), eta=None, enqueued_at=self.wiring.clock()
        ).with_labels(replay_of=old.task_id)
        if old.terms is None:
            return message
        return attrs.evolve(message, terms=attrs.evolve(old.terms, expires_at=None, deadline=None))

    def _edited(
        self,
        message: TaskMessage,
        letter: DeadTask,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
    ) -> TaskMessage:
        if args is not None and (isinstance(args, str) or not isinstance(args, Sequence)):
            raise TypeError(f"replay(args=...) expects a list or a tuple; got {args!r}")
        if kwargs is not None and not isinstance(kwargs, Mapping):
            raise TypeError(f"replay(kwargs=...) expects a dictionary; got {kwargs!r}")
        given: tuple[tuple[Any, ...], Mapping[str, Any]] = (
            letter.message.args if args is None else tuple(args),
            letter.message.kwargs if kwargs is None else kwargs,
        )
        task = self.wiring.tasks.get(message.task_name)
        if task is None:  # its workers will say whether they fit
            return attrs.evolve(
                message, args=tuple(dump(list(given[0]))), kwargs=dump(dict(given[1]))
            )
        plain_args, plain_kwargs = task.signature.bind(*given, name=task.name)
        return attrs.evolve(message, args=plain_args, kwargs=plain_kwargs)

    async def _replay(
        self, pairs: list[tuple[TaskId, TaskMessage]]
    ) -> list[TaskHandle[Any] | None]:
        try:
            replayed = await self.wiring.broker.ask(Replay(tuple(pairs)))
        except ActorFailed as failed:
            raise EnqueueUncertain(tuple([message.task_id for _, message in pairs])) from failed
        except ActorStopped as stopped:
            raise SystemClosed(f"the system is closing; nothing was replayed ({stopped})") from None
        system: System = self  # type: ignore[assignment]
        return [
            TaskHandle(system, its_id, self.wiring.tasks.get(message.task_name), known=True)
            if its_id is not None
            else None
            for (_, message), its_id in zip(pairs, replayed, strict=True)
        ]


# What does not fit is refused here: in an actor it would be a crash.


def _check_name(queue: str, what: str) -> None:
    if not isinstance(queue, str) or not queue:
        raise TypeError(f"{what}() expects the name of a queue, such as 'default'; got {queue!r}")
    _check_text(queue, what)


def _check_text(text: str, what: str) -> None:
    if not is_text(text):
        raise ValueError(f"{what}() expects what UTF-8 can write; got {text!r}")


def _check_filters(task: object, queue: str | None, what: str) -> None:
    if task is not None and not isinstance(task, str):
        name = getattr(task, "name", None)
        advice = f"; write task={name!r}" if isinstance(name, str) else ""
        raise TypeError(f"{what}(task=...) expects the name of a task; got {task!r}{advice}")
    if queue is not None:
        _check_name(queue, what)


def _check_limit(limit: int, what: str) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(f"{what}(limit=...) expects a whole number >= 0; got {limit!r}")
    if limit < 0:
        raise ValueError(f"{what}(limit=...) expects a whole number >= 0; got {limit}")


def _check_id(task_id: TaskId, what: str) -> None:
    if not isinstance(task_id, str):
        raise TypeError(f"{what}() expects the id of a task, a str; got {task_id!r}")
    _check_text(task_id, what)


def _chosen(task_ids: Iterable[TaskId] | None, what: str) -> tuple[TaskId, ...] | None:
    if task_ids is None:
        return None
    if isinstance(task_ids, str):
        raise TypeError(f"{what}() expects a list of ids; write {what}([{task_ids!r}])")
    if not isinstance(task_ids, Iterable):
        raise TypeError(f"{what}() expects a list of ids, or nothing for all; got {task_ids!r}")
    chosen = tuple(task_ids)
    for task_id in chosen:
        _check_id(task_id, what)
    return chosen


def _not_found(task_id: TaskId) -> DeadTaskNotFound:
    return DeadTaskNotFound(
        f"there is no dead letter of task {task_id!r}: it did not fail for good, or was replayed or "
        f"purged; `await sys.dead_tasks()` lists what there is"
    )
