"""What the five actors of a queue say to one another.

Kept apart from the actors, so that none of them imports a sibling.  Values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import attrs

from actorq.message import Delivery, Fence, TaskId, TaskMessage
from actorq.progress import TaskProgress
from actorq.queue_choice import QueueChoice
from actorq.ref import Message
from actorq.result import TaskResult


# --- to the broker ------------------------------------------------------------------------------


@attrs.frozen
class Enqueue(Message[tuple[TaskId, ...] | None]):
    """Accept these, all or none.  An id that was accepted before is not stored again.

    Answers with the ids of the tasks that stand for them; None: each for itself.  Another id stands for
    a message whose unique key was taken.  `DuplicateTask` if it says that such a conflict is an error.
    """

    messages: tuple[TaskMessage, ...]
    again: bool = False  #: their ids are the sender's own: they may have been here before


@attrs.frozen
class OpenSession(Message["Session"]):
    """Begin to work: *deliver* is called with tasks, at most *allowance* until told otherwise.

    It is called in the step in which they are leased, and answers False if nobody takes them any more.
    An older session of the same worker ends: its jobs become available.
    """

    worker: str
    deliver: Callable[[Batch], bool]
    allowance: int
    queues: QueueChoice | None = None  #: None: all, in turn
    portion: int | None = None  #: claimed at once, at most; None: as many as *allowance*


class Lease:
    """A session's lease, as it stands: one for all its jobs.

    The one mutable thing that actors share.  The broker moves `until` and sets `lost` in the very step
    in which the jobs change hands; who is about to store something for a job looks at it in the step
    in which it stores.  So a stale result is refused without asking anybody (promise 34).
    """

    __slots__ = ("lost", "until")

    def __init__(self, until: float) -> None:
        self.until = until  #: on the engine's clock
        self.lost = False

    def holds(self, now: float) -> bool:
        """Whether the jobs are still the session's."""
        return not self.lost and now < self.until


class Session(NamedTuple):
    """A worker's standing with the broker."""

    id: int
    seconds: float  #: how long the lease lasts without renewal
    lease: Lease


class Batch(NamedTuple):
    """Tasks for a worker."""

    session: int
    deliveries: tuple[Delivery, ...]
    lease: Lease


@attrs.frozen
class Allow(Message[None]):
    """Demand: send until *allowance* tasks have been sent in this session, all told.

    Counted from the session's beginning and not from now, so that it means the same whatever is on
    its way: the broker never sends more than the worker has slots for.
    """

    session: int
    allowance: int


class Ending(Enum):
    """What becomes of a delivery."""

    DONE = "done"  #: it ended; its result is stored, or was not wanted
    CANCELLED = "cancelled"  #: it was cancelled while it ran
    EXPIRED = "expired"  #: its time to start went by
    RETRY = "retry"  #: the attempt failed; again after `delay`
    DEAD = "dead"  #: it failed for good: to the dead letters with `reason`
    GIVE_BACK = "give_back"  #: not done, and not its fault: the attempt does not count
    REQUEUE = "requeue"  #: the attempt put the task back itself; again after `delay`, no failure
    PARK = "park"  #: nobody here knows the task: held until somebody does


class Settlement(NamedTuple):
    """A worker's word on one delivery."""

    fence: Fence
    ending: Ending
    delay: float = 0.0  #: seconds, for RETRY and REQUEUE
    reason: str = ""  #: for DEAD
    error: dict[str, Any] | None = None  #: for DEAD: the error as plain data
    then: tuple[TaskMessage, ...] = ()  #: for DONE: enqueued in the same step
    outcome: Outcome | None = None  #: with `Wiring.one_step`: its result, stored in the same step
    early: bool = False  #: acknowledged before it has ended, or before its result is stored


@attrs.frozen
class Settle(Message[tuple[bool | Exception, ...]]):
    """End these deliveries; False for each whose lease was lost: it is refused (promise 34).

    An exception says why its `outcome` could not be stored: then it is not settled either.
    *allowance*, if there is one, is as in `Allow`.
    """

    session: int
    settlements: tuple[Settlement, ...]
    allowance: int | None = None


@attrs.frozen
class Extend(Message[bool]):
    """Renew the lease of a session and all its jobs; False if it was lost."""

    session: int


@attrs.frozen
class NextNotices(Message[tuple["Notice", ...]]):
    """Answered when the broker has something to say about this session's jobs."""

    session: int


class Notice(NamedTuple):
    """The broker's word on a running job."""

    fence: Fence
    why: str  #: "cancelled" | "lease lost"


@attrs.frozen
class Cancel(Message[bool]):
    """Cancel a task; answered when it is settled whether that took effect (promise 36)."""

    task_id: TaskId


@attrs.frozen
class Locate(Message[str]):
    """Where a task is, in a word.

    scheduled | ready (or why it is held there: parked | limited | paced) | leased | ending | done |
    dead | unknown.
    "ending": it has ended, and its result is on its way to the backend.
    """

    task_id: TaskId


@attrs.frozen
class TaskKnown(Message[None]):
    """A worker knows this task from now on: release what was parked for it."""

    task_name: str


@attrs.frozen
class Count(Message["QueueStatistics"]):
    """How many tasks are where."""


@attrs.frozen
class WaitIdle(Message[None]):
    """Answered when nothing is ready or leased, and with *scheduled*, nothing scheduled either."""

    scheduled: bool = False


@attrs.frozen
class ListDead(Message[tuple["DeadTask", ...]]):
    """The dead-lettered tasks, oldest first."""

    task_name: str | None = None
    queue: str | None = None
    limit: int | None = None


@attrs.frozen
class GetDead(Message["DeadTask | None"]):
    """One of them; None if there is none of that id."""

    task_id: TaskId


@attrs.frozen
class Replay(Message[tuple[TaskId | None, ...]]):
    """For each pair: the dead letter goes, and the message is enqueued, in one step.

    Answers with the id of what stands for each message, as `Enqueue` does.  None where there was no such
    dead letter (any more): nothing is enqueued then.
    """

    pairs: tuple[tuple[TaskId, TaskMessage], ...]


@attrs.frozen
class PurgeDead(Message[int]):
    """Forget these dead letters; how many there were.  None: all of them."""

    task_ids: tuple[TaskId, ...] | None = None


@attrs.frozen
class ListTasks(Message[tuple["QueuedTask", ...]]):
    """Tasks that have not ended, oldest enqueued first."""

    queue: str | None = None
    limit: int = 100


@attrs.frozen
class ListWorkers(Message[tuple["WorkerInfo", ...]]):
    """The workers whose sessions are good, and what each of them runs."""


@attrs.frozen
class Purge(Message[int]):
    """Cancel every task of a queue that waits; how many there were."""

    queue: str


@attrs.frozen
class Pause(Message[None]):
    """Give no more tasks of a queue to workers, or do so again."""

    queue: str
    paused: bool


@attrs.frozen
class QueuedTask:
    """A task that has not ended."""

    message: TaskMessage
    state: str  #: as `Locate` has it
    attempts: int  #: begun so far


@attrs.frozen
class RunningJob:
    """A task in a worker's hands."""

    task_id: TaskId
    task_name: str
    queue: str
    attempt: int
    since: float | None = None  #: Unix seconds at which the worker got it; None: not known
    line: str = ""  #: where it sits, `function (file:line)`, if that was asked for and answered
    progress: TaskProgress | None = None  #: the latest, if that was asked for


@attrs.frozen
class WorkerInfo:
    """A worker whose session is good."""

    name: str
    session: int
    pid: int | None  #: None: the engine does not know
    host: str
    queues: QueueChoice | None  #: those that it serves; None: all
    since: float | None  #: Unix seconds at which its session began
    seen: float | None  #: Unix seconds of its last sign of life; one with nothing to do gives none
    jobs: tuple[RunningJob, ...] = ()  #: the oldest delivery first


@attrs.frozen
class QueueStatistics:
    """How many tasks are where, at one moment."""

    scheduled: int  #: wait for their time
    ready: int  #: wait for a worker
    parked: int  #: of the ready ones, wait for a worker that knows them
    limited: int  #: of the ready ones, wait for a concurrency limit or a rate
    leased: int  #: are with a worker
    done: int  #: ended, since the engine began
    dead: int  #: are in the dead letters
    refused: int  #: stale settlements refused, since the engine began
    queues: Mapping[str, int] = attrs.field(factory=dict)  #: the ready ones by queue
    paused: frozenset[str] = frozenset()  #: queues that give out nothing


@attrs.frozen
class DeadTask:
    """A task in the dead letters."""

    message: TaskMessage
    reason: str
    attempts: int
    error: dict[str, Any] | None = None  #: the last error as plain data
    died_at: float = 0.0  #: Unix seconds

    @property
    def task_id(self) -> TaskId:
        """Its id."""
        return self.message.task_id

    @property
    def traceback(self) -> str:
        """The traceback of the last error, as the worker saw it; empty if there is none."""
        return "" if self.error is None else str(self.error.get("traceback") or "")


BrokerMessage = (
    Enqueue
    | OpenSession
    | Allow
    | Settle
    | Extend
    | NextNotices
    | Cancel
    | Locate
    | TaskKnown
    | Count
    | WaitIdle
    | ListDead
    | GetDead
    | Replay
    | PurgeDead
    | ListTasks
    | ListWorkers
    | Purge
    | Pause
)


# --- to the result backend ----------------------------------------------------------------------


class Outcome(NamedTuple):
    """A result on its way to the backend."""

    task_id: TaskId
    result: TaskResult[Any]
    lease: Lease | None = None  #: under which it was made; refused if that is lost when handled
    ttl: float | None = None  #: seconds that it is kept; None: as long as the backend likes
    message: TaskMessage | None = None  #: of an end that no worker reports: for the middlewares


@attrs.frozen
class SetResults(Message[tuple[Exception | None, ...]]):
    """Store these; for each None, or why it was not stored."""

    outcomes: tuple[Outcome, ...]
    last: bool = False  #: nobody hears the answer and tries again: who waits is told instead


@attrs.frozen
class ResultsStored(Message[None]):
    """The broker has stored these, in the step in which it settled them: wake who waits."""

    outcomes: tuple[Outcome, ...]


@attrs.frozen
class UnsavedResult(Message[None]):
    """This task's result could not be stored: tell who waits for it, now and later."""

    task_id: TaskId
    error: Exception


@attrs.frozen
class DoubtResults(Message[None]):
    """A worker died with these acknowledged, or about to be: their results may never come.

    Who waits for one finds out at the broker whether the task is live.
    """

    task_ids: tuple[TaskId, ...]


@attrs.frozen
class EndedBefore(Message[None]):
    """These had ended when they were sent again: a result that is not there now may never come.

    Who waits for one already goes on; who comes from now on finds out at the broker.
    """

    task_ids: tuple[TaskId, ...]


@attrs.frozen
class GetResult(Message[TaskResult[Any]]):
    """The stored result; `ResultGetError` if there is none."""

    task_id: TaskId
    with_logs: bool = True


@attrs.frozen
class WaitResult(Message[TaskResult[Any] | None]):
    """The result, when it is there.  `ResultGetError` at once if it never will be.

    None means: it may never come (it may have been evicted, or be lost with its worker); find out
    whether the task is live, and if so ask again with *live*; *doubts*: how many the wiring counted
    before that was asked (None: it is live whatever was doubted since).
    """

    task_id: TaskId
    with_logs: bool = True
    live: bool = False
    doubts: int | None = None


@attrs.frozen
class IsResultReady(Message[bool]):
    """Whether a result is stored."""

    task_id: TaskId


@attrs.frozen
class DeleteResult(Message[None]):
    """Forget a result and its progress."""

    task_id: TaskId


@attrs.frozen
class SetProgress(Message[None]):
    """Store and publish a progress; `StaleResult` if the lease had lapsed."""

    task_id: TaskId
    progress: TaskProgress
    attempt: int
    lease: Lease


@attrs.frozen
class GetProgress(Message[TaskProgress | None]):
    """The latest progress, if there is any."""

    task_id: TaskId


class Doubt(Enum):
    """No answer yet: find out whether the task is live, and ask again."""

    DOUBT = "doubt"


@attrs.frozen
class NextProgress(Message[tuple[int, TaskProgress] | Doubt | None]):
    """The first progress after number *after* (-1: the oldest kept); None when the task ended.

    *live*: whether the task is; None if that is not known.  Then, or if it was doubted since *doubts*
    were counted (see `WaitResult`), the answer may be a `Doubt`.
    """

    task_id: TaskId
    after: int = -1
    live: bool | None = None
    doubts: int | None = None


ResultMessage = (
    SetResults
    | ResultsStored
    | UnsavedResult
    | DoubtResults
    | EndedBefore
    | GetResult
    | WaitResult
    | IsResultReady
    | DeleteResult
    | SetProgress
    | GetProgress
    | NextProgress
)


# --- to the middleware chain --------------------------------------------------------------------


@attrs.frozen
class AreUp(Message[None]):
    """Answered when the middlewares are up: a restart is waited for."""


@attrs.frozen
class EndedUnreported(Message[None]):
    """These ended, and no worker saw it: run `on_cancelled` or `on_dead`."""

    outcomes: tuple[Outcome, ...]


MiddlewareMessage = AreUp | EndedUnreported
