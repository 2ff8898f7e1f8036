"""The engine: what a storage must be able to do to be a queue's.

Implemented by each engine's broker.  One call at a time, from the broker actor; each is one step, in
which everything happens or nothing.  Times are Unix seconds on the engine's clock.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from actorq.capability import Capability
from actorq.errors import ActorqError, EngineUnavailable
from actorq.message import Delivery, Fence, TaskMessage
from actorq.protocol import (
    DeadTask,
    Ending,
    Notice,
    Outcome,
    QueuedTask,
    QueueStatistics,
    Settle,
    Settlement,
    WorkerInfo,
)
from actorq.queue_choice import QueueChoice
from actorq.requirements import named, unsupported
from actorq.result import TaskResult
from actorq.sessions import Sessions


if TYPE_CHECKING:
    from actorq.actors.result_backend import ResultBackend

__all__ = [
    "Capability",
    "Claim",
    "DeadTask",
    "Delivery",
    "Ending",
    "Engine",
    "EngineInDoubt",
    "EngineUnavailable",
    "Fence",
    "Notice",
    "Outcome",
    "QueueChoice",
    "QueueStatistics",
    "QueuedTask",
    "Settlement",
    "Step",
    "Store",
    "TaskMessage",
    "Unread",
    "check_engine",
]


class EngineInDoubt(EngineUnavailable):
    """What `perform` was given may have been done or not, and the engine cannot find out now.

    It finds out when `perform` is called with the very same list again; whatever is called before then
    is done after it, or not at all.
    """


class Store(NamedTuple):
    """A step: accept these, as `Engine.store` does."""

    messages: tuple[TaskMessage, ...]
    again: bool = False  #: their ids may have been here before


class Claim(NamedTuple):
    """A step: give a session work, as `Engine.claim` does."""

    session: int
    limit: int


class Unread(NamedTuple):
    """What a claim brought, before anybody has looked into it."""

    number: int  # (`count` is a method of every tuple)
    read: Callable[[], Awaitable[tuple[Delivery, ...]]]


#: What an engine with `grouped` is given to do together.
Step: TypeAlias = Store | Settle | Claim


class Engine:
    """The methods that a `Broker` leaves to its engine.

    **To be written by each**: `store`, `claim`, `settle`, `locate`, `statistics_of_queue`, `claimable`,
    `has_leases`; without SHARING `take_back`, as sessions are kept for it in the process; and with
    SURVIVAL what keeps the `outbox`: `published`.  **With a capability**: each says which; who
    lacks that (`Broker.lacks`) leaves it out, and what is here refuses, or does nothing where nothing is
    right.

    **Who calls**: the broker actor alone, and the next only when the last has returned; nothing else
    may change the storage, unless it is shared, and then each call is one transaction of it.

    **Atomic**: a call does all or nothing, also if it raises, is cancelled or is cut off by Ctrl-C at
    an `await`.  Without an `await` inside, or with one that cannot be cancelled, that is for free.

    **Durable when returned**: what the engine promises to survive (promise 31) must not lose what a
    returned call did.  A call that raised may have done it or not: it is told again, and an id that
    was stored is not stored twice.  A `perform` that does not know yet raises `EngineInDoubt`.

    **Fences** (promise 34): every claim gets a new token, never used twice on this storage, restarts
    included.  A settlement counts if the task is leased, to this session, with this token.

    **What it may raise**: `store` and `replay` an `ActorqError`, which is passed on to the enqueuer:
    nothing was stored.  Every call `EngineUnavailable`, if nothing of it was done: who asked is told,
    and settlements are kept and tried again.  Whatever else is raised here crashes the broker actor:
    it restarts, calls `startup` again, and the enqueuer is told that it is not certain
    (`EnqueueUncertain`).
    """

    #: Seconds that a session's lease lasts, from its last sign of life.
    lease: float
    #: Whether what comes together is done together: `perform` instead of a call for each.
    grouped: bool = False
    #: Whether the next call is made before what the last one claimed is looked into: `perform_unread`.
    #: Worth it where a call is waited for, and the processor is free meanwhile.
    overlaps: bool = False

    # --- its life ---

    async def startup(self) -> None:
        """Begin a life of the broker actor: the first, and one after each crash of it."""

    async def shutdown(self) -> None:
        """End a life.  Not called if the process dies."""

    # --- the way of every task ---

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """Accept all or none; an id that is known, live or ended, is not stored again (31).

        They are ready, in this order, or scheduled if their `eta` is later than *now*.  The ids of
        what stands for each, if a unique key was taken; None: each for itself.  Raises `DuplicateTask`
        where such a conflict is an error, `DuplicateTaskId` if an id is another live call's.
        """
        raise NotImplementedError

    async def claim(self, session: int, limit: int, now: float) -> tuple[Delivery, ...]:
        """Lease at most *limit* ready tasks to a session, the first accepted first (37).

        Nothing if the session has ended.  A claim that finds something renews its lease; one that finds
        nothing does not: the broker asks for workers that have died, too, as long as their sessions last
        (29).  Each delivery has its attempt, from 1 (33), and a new token.
        With BYTES: what cannot be decoded goes to the dead letters and to the outbox (42).
        """
        raise NotImplementedError

    async def settle(
        self, session: int, settlements: Sequence[Settlement], now: float
    ) -> tuple[bool, ...]:
        """Apply a worker's word, as `Ending` says; False for each stale fence, of which nothing is done.

        GIVE_BACK and PARK: the attempt did not count, the next delivery has its number again.  RETRY
        counts a failure.  With CHAINS, DONE stores `then` in the same step.  What a worker reports
        here has its result stored already, or wants none: nothing of it goes to the outbox.
        """
        raise NotImplementedError

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        """With `grouped`: do all these, in this order, in one step of the storage (group commit).

        Answers for each what `store`, `settle` or `claim` returns, or the `ActorqError` that it raises:
        one that is refused spoils no other.  A settlement with an `outcome` (`stores_results_of`) is
        applied together with storing that, or not at all; if it cannot be stored, why is its verdict.
        Afterwards what is asked without `await` is as `refresh` would leave it, which is not called
        where a claim can be made instead.
        """
        return [await self._perform_one(step, now) for step in steps]

    async def perform_unread(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        """With `overlaps`: as `perform`, but the answer to a claim is an `Unread`.

        It is read while the next of these calls is on its way.
        """
        raise NotImplementedError

    async def _perform_one(self, step: Step, now: float) -> Any:
        if isinstance(step, Claim):
            return await self.claim(step.session, step.limit, now)
        if isinstance(step, Settle):
            return await self.settle(step.session, step.settlements, now)
        try:
            return await self.store(step.messages, now)
        except EngineUnavailable:
            raise
        except ActorqError as refusal:
            return refusal

    def stores_results_of(self, backend: ResultBackend) -> bool:
        """Whether *backend* keeps results in this very storage, and `perform` stores them there.

        Then a result and the end of its task are one step, which saves one of two; nothing can come
        between.
        """
        return False

    async def locate(self, task_id: str) -> str:
        """Where a task is: scheduled, ready (or parked, limited, paced), leased, done, dead, unknown."""
        raise NotImplementedError

    async def ended_among(self, task_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of these tasks that are done or dead."""
        # not `ending`, which an engine without CANCELLATION has not
        return tuple([each for each in task_ids if await self.locate(each) in ("done", "dead")])

    async def is_ending(self, task_id: str) -> bool:
        """Whether a task is over for the queue, and its result on its way to the backend.

        Unless overridden: whether it is in the `outbox` of this process.
        """
        return any(outcome.task_id == task_id for outcome in self.outbox())

    async def statistics_of_queue(self) -> QueueStatistics:
        """How many tasks are where."""
        raise NotImplementedError

    def claimable(self) -> bool:
        """Whether a claim might find something; asked often."""
        raise NotImplementedError

    def has_leases(self) -> bool:
        """Whether any job is leased: only then does time pass for leases."""
        raise NotImplementedError

    # --- with SHARING: what other processes do ---

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call *changed* whenever another process may have changed what this one knows; until cancelled.

        Pushed, as soon as that is done; and again within a stated time, for a push may be lost.
        """

    async def refresh(self, now: float) -> None:
        """Look at the storage: what is asked without `await` (`claimable`, `has_notices`, `outbox`,
        ...) answers from then on as things are there.  Called after each `changed`.
        """

    # --- sessions: with SHARING to be written, for they are in the storage ---

    async def open_session(self, worker: str, now: float, queues: QueueChoice | None = None) -> int:
        """A new session for these queues; older ones of this worker end, and lose their jobs (29).

        Its lease lasts `lease` seconds from *now*, or from its last `extend`, or `claim` that found
        something; and longer by each `late` that `lapse` was told since.  *queues* is None without
        QUEUES.
        """
        number = self._sessions.open(worker, now + self.lease)
        await self.take_back()
        return number

    async def extend(self, session: int, now: float) -> float | None:
        """Renew a lease: until when; None if it was lost."""
        return self._sessions.extend(session, now + self.lease)

    async def lapse(self, now: float, late: float) -> None:
        """Take back the jobs of sessions whose lease ran out; those sessions end (29).

        The loop was *late* by that much: every lease is first made longer by it (35).
        """
        if self._sessions.lapse(now, late):
            await self.take_back()

    def has_session(self, session: int) -> bool:
        """Whether a session is still good."""
        return session in self._sessions.good

    async def take_back(self) -> None:
        """Without SHARING: every job whose session is not good any more is ready again (29).

        Its attempt counts; at `options.max_deliveries` attempts that were no requeues it is dead
        instead, with `WorkerLost` in the outbox.  To be called in `startup` too, for the jobs of a
        process that died.
        """
        raise NotImplementedError

    @cached_property
    def _sessions(self) -> Sessions:
        return Sessions()

    def sessions_ended(self) -> int:
        """How many sessions have ended in all: when it changes, somebody is to be told."""
        return self._sessions.ended

    # --- ends that no worker reports ---

    def outbox(self) -> deque[Outcome]:
        """Ends that no worker reports, the oldest first: their results are to be stored.

        Kept here in the process unless overridden: a storage that survives it appends them in `startup`
        again, after `clear()`.
        """
        return self._outbox

    @cached_property
    def _outbox(self) -> deque[Outcome]:
        return deque()

    def report_end(
        self,
        task_id: str,
        error: Exception,
        *,
        attempts: int = 1,
        message: TaskMessage | None = None,
    ) -> None:
        """Put a task that was given up into the `outbox`; *message*, if it can be read, for its labels.

        Calls no method of the storage: the caller stores that this end is still to be told.
        """
        labels = {} if message is None else dict(message.labels)
        result: TaskResult[Any] = TaskResult(
            is_err=True, error=error, labels=labels, attempts=max(attempts, 1)
        )
        ttl = None if message is None else message.options.result_ttl
        self.outbox().append(Outcome(task_id, result, ttl=ttl, message=message))

    async def published(self, count: int) -> None:
        """The first *count* of the outbox are stored in the result backend: take them out.

        A storage that survives the process takes them out there too; if it dies before, they are
        stored again, which changes nothing.
        """
        outbox = self.outbox()
        for _ in range(count):
            outbox.popleft()

    # --- with DELAY, EXPIRY or RATE ---

    def next_due(self) -> float | None:
        """When `promote` has something to do; None if it never has."""
        return None

    async def promote(self, now: float) -> None:
        """Make scheduled tasks ready whose time has come; end what has expired (38)."""

    # --- with CANCELLATION ---

    async def revoke(self, task_id: str, now: float) -> bool | None:
        """Cancel a task: True if it did or had, False if it ended otherwise, None if it is running (36).

        What waits ends at once, with `TaskCancelled` in the outbox.  What runs: a `Notice` with the why
        "cancelled" for its session, and its next settlement but DONE and DEAD ends it so.
        """
        raise unsupported(type(self).__name__, "revoke()", Capability.CANCELLATION)

    async def ending(self, task_id: str) -> Ending | None:
        """How a task ended; None while it is live, or if that is not known."""
        raise unsupported(type(self).__name__, "ending()", Capability.CANCELLATION)

    def has_notices(self) -> bool:
        """Whether anything is to be told to any session."""
        return False

    def take_notices(self, session: int) -> tuple[Notice, ...]:
        """What is to be told to a session; taking it forgets it."""
        return ()

    # --- with PARKING ---

    async def release(self, task_name: str) -> None:
        """A worker knows this task now: what was parked for it is ready (42)."""

    # --- with DEAD_LETTERS ---

    async def dead_tasks(self) -> tuple[DeadTask, ...]:
        """The dead letters, oldest first."""
        raise unsupported(type(self).__name__, "dead_tasks()", Capability.DEAD_LETTERS)

    async def dead_task(self, task_id: str) -> DeadTask | None:
        """One dead letter."""
        raise unsupported(type(self).__name__, "dead_task()", Capability.DEAD_LETTERS)

    async def replay(
        self, pairs: Sequence[tuple[str, TaskMessage]], now: float
    ) -> tuple[str | None, ...]:
        """Each dead letter goes and its message is enqueued, in one step; the id of what stands for it.

        None where there is none (any more).
        """
        raise unsupported(type(self).__name__, "replay()", Capability.DEAD_LETTERS)

    async def purge_dead(self, task_ids: Sequence[str] | None) -> int:
        """Forget dead letters (None: all); how many there were."""
        raise unsupported(type(self).__name__, "purge_dead()", Capability.DEAD_LETTERS)

    # --- with LISTING, WORKERS, PURGE, PAUSE ---

    async def queued_tasks(self, queue: str | None, limit: int) -> tuple[QueuedTask, ...]:
        """Tasks that have not ended, the first accepted first."""
        raise unsupported(type(self).__name__, "queued_tasks()", Capability.LISTING)

    async def workers(self) -> tuple[WorkerInfo, ...]:
        """With WORKERS: whose sessions are good, in the order in which those began, and their jobs.

        Without the jobs' lines and progress, which `System.workers` adds.
        """
        raise unsupported(type(self).__name__, "workers()", Capability.WORKERS)

    async def look(self) -> Mapping[str, str]:
        """With WORKERS: on which line the jobs of other processes sit, by task id.

        Asks them now and waits for their answers, a fraction of a second at most: a worker that blocks
        its loop has none.  It is called from any task, at any time, besides the other calls.
        """
        return {}

    async def purge(self, queue: str, now: float) -> int:
        """Cancel what waits in a queue; how many that were."""
        raise unsupported(type(self).__name__, "purge()", Capability.PURGE)

    async def set_paused(self, queue: str, *, paused: bool) -> None:
        """Give nothing of a queue to workers any more, or do so again."""
        raise unsupported(type(self).__name__, "set_paused()", Capability.PAUSE)


#: What every engine writes.
ALWAYS: Final = (
    *("store", "claim", "settle", "locate", "statistics_of_queue", "claimable", "has_leases"),
)
SESSIONS: Final = ("open_session", "extend", "lapse", "has_session", "sessions_ended")
#: What an engine writes that does not lack the capability.
FOR: Final[Mapping[Capability, tuple[str, ...]]] = {
    Capability.DELAY: ("next_due", "promote"),
    Capability.EXPIRY: ("next_due", "promote"),
    Capability.RATE: ("next_due", "promote"),
    Capability.CANCELLATION: ("revoke", "ending", "has_notices", "take_notices"),
    Capability.SHARING: (*SESSIONS, "listen", "refresh"),
    Capability.PARKING: ("release",),
    Capability.DEAD_LETTERS: ("dead_tasks", "dead_task", "replay", "purge_dead"),
    Capability.LISTING: ("queued_tasks",),
    Capability.WORKERS: ("workers",),
    Capability.PURGE: ("purge",),
    Capability.PAUSE: ("set_paused",),
}


def check_engine(kind: type[Engine], lacks: object) -> None:
    """Raise `TypeError` unless *kind* has the methods of all that it does not declare as lacking."""
    name = kind.__name__
    if not isinstance(lacks, frozenset | set) or not all(
        isinstance(each, Capability) for each in lacks
    ):
        raise TypeError(
            f"{name}.lacks expects a frozenset of capabilities, such as "
            f"frozenset({{Capability.PRIORITY, Capability.RATE}}); got {lacks!r}"
        )
    missing = _missing(kind, ALWAYS)
    if Capability.SHARING in lacks and _missing(kind, SESSIONS):
        missing += _missing(kind, ("take_back",))
    why = dict.fromkeys(missing, "every engine needs it")
    for capability, methods in FOR.items():
        if capability not in lacks:
            for each in _missing(kind, methods):
                why.setdefault(each, f"or declare that it lacks {named(capability)}")
    if why:
        listed = "; ".join(f"{each}() ({reason})" for each, reason in why.items())
        raise TypeError(
            f"{name} does not implement {listed}; see actorq.engine.Engine, and declare what it cannot "
            f"do: `lacks = frozenset({{Capability....}})`"
        )
    for each in (*ALWAYS, "take_back", *[method for methods in FOR.values() for method in methods]):
        ours = inspect.iscoroutinefunction(getattr(Engine, each))
        if inspect.iscoroutinefunction(inspect.unwrap(getattr(kind, each))) is not ours:
            how = "an `async def`" if ours else "a plain `def`"
            raise TypeError(f"{name}.{each}() must be {how} function")


def _missing(kind: type[Engine], methods: Collection[str]) -> list[str]:
    return [each for each in methods if getattr(kind, each) is getattr(Engine, each)]
