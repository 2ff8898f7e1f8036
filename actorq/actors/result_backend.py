"""The result backend: the actor that keeps results and progress, and wakes who waits for them.

A user's backend subclasses `ResultBackend` and writes where things are kept; waiting, waking, fencing
and progress streams are written here, once.  The instance that the user made serves every life:
`startup` begins each, `shutdown` ends it; the desk, below, is new each time.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import attrs

from actorq.actor import Actor
from actorq.capability import Capability
from actorq.errors import (
    EngineUnavailable,
    ResultBackendError,
    ResultGetError,
    ResultIsReadyError,
    ResultSetError,
    StaleResult,
    WorkerLost,
)
from actorq.progress import TaskProgress
from actorq.protocol import (
    DeleteResult,
    Doubt,
    DoubtResults,
    EndedBefore,
    GetProgress,
    GetResult,
    IsResultReady,
    NextProgress,
    Outcome,
    ResultMessage,
    ResultsStored,
    SetProgress,
    SetResults,
    UnsavedResult,
    WaitResult,
)
from actorq.ref import Message
from actorq.reply import Reply
from actorq.result import TaskResult
from actorq.wire import Wire
from actorq.wiring import Wiring


log = logging.getLogger("actorq.results")

#: Progress updates of a task that a slow reader may lag behind.
PROGRESS_KEPT = 64
#: Tasks whose progress, and whose last attempt, is remembered here.
TASKS_KEPT = 10_000
#: Seconds before a storage that could not say what is new is asked again.
LOOK_PAUSE = 1.0
#: Seconds before it is noted again that a result is not stored, if that could not be noted.
UNSAVED_PAUSE = 1.0


@attrs.define
class ProgressLog:
    """The latest updates of one task, numbered upwards."""

    updates: deque[tuple[int, TaskProgress]] = attrs.field(
        factory=lambda: deque(maxlen=PROGRESS_KEPT)
    )
    ended: bool = False
    look: int = -1  #: how many changes `news` had heard of when it brought the last of them

    def after(self, number: int) -> tuple[int, TaskProgress] | None:
        """The first update after *number*."""
        for update in self.updates:
            if update[0] > number:
                return update
        return None


@attrs.define
class Ledger:
    """What a backend remembers over all its lives."""

    #: Results that will not come: with the reason; None: that may not come, the broker knows.
    doubts: OrderedDict[str, Exception | None] = attrs.field(factory=OrderedDict)
    #: Over all tasks and lives: a reader from an earlier life misses nothing of the next.
    numbers: Iterator[int] = attrs.field(factory=itertools.count)
    #: Results with a time to live: when each ends; the heap has places of replaced ones as well.
    ends: dict[str, float] = attrs.field(factory=dict)
    ending: list[tuple[float, str]] = attrs.field(factory=list)
    many_ends: int = 1024  #: from which on those are looked for that went another way
    #: Whose result is stored, of the latest tasks: an earlier attempt's comes too late (promise 34).
    attempts: OrderedDict[str, int] = attrs.field(factory=OrderedDict)

    def note_attempt(self, task_id: str, attempt: int) -> None:
        """Remember whose result is stored."""
        self.attempts[task_id] = attempt
        if len(self.attempts) > TASKS_KEPT:
            self.attempts.popitem(last=False)

    def note_end(self, task_id: str, ttl: float | None, now: float) -> None:
        """A result was stored; it may replace one with another time to live."""
        if ttl is None:
            self.ends.pop(task_id, None)
            return
        self.ends[task_id] = now + ttl
        heapq.heappush(self.ending, (now + ttl, task_id))

    def drop_ends(self, is_gone: Callable[[str], object]) -> None:
        """Forget the ends of results that were evicted, replaced or deleted before."""
        self.ends = {task_id: end for task_id, end in self.ends.items() if not is_gone(task_id)}
        self.ending = [(end, task_id) for task_id, end in self.ends.items()]
        heapq.heapify(self.ending)
        self.many_ends = max(1024, 2 * len(self.ending))

    def next_end(self) -> float | None:
        """When the next result ends; None if none does."""
        while self.ending and self.ends.get(self.ending[0][1]) != self.ending[0][0]:
            heapq.heappop(self.ending)
        return self.ending[0][0] if self.ending else None

    def take_ended(self, now: float) -> list[str]:
        """The results whose time to live is over."""
        ended = []
        while (due := self.next_end()) is not None and due <= now:
            _, task_id = heapq.heappop(self.ending)
            del self.ends[task_id]
            ended.append(task_id)
        return ended

    def doubt(self, task_id: str, error: Exception | None) -> None:
        """Remember, and forget the oldest doubt if there are too many."""
        self.doubts[task_id] = error
        if len(self.doubts) > TASKS_KEPT:
            self.doubts.popitem(last=False)


@attrs.frozen
class News:
    """What has been stored, by this process or another, that somebody here waits for."""

    results: Sequence[tuple[str, TaskResult[Any]]] = ()
    progress: Sequence[tuple[str, TaskProgress]] = ()
    #: No result will come of these: with the reason; None: the broker knows whether they live.
    given_up: Sequence[tuple[str, Exception | None]] = ()


@attrs.frozen
class _Changed(Message[None]):
    """Another process may have stored something."""


@attrs.frozen
class _End(Message[None]):
    """Results have outlived their time."""


def join(waiting: list[Reply[Any]], reply: Reply[Any]) -> None:
    """Add *reply*; whenever the list has doubled, drop who has given up meanwhile."""
    if len(waiting) >= 8 and len(waiting) & (len(waiting) - 1) == 0:
        waiting[:] = [each for each in waiting if not each.abandoned]
    waiting.append(reply)


@attrs.define
class Desk:
    """Who waits for what, in one life (pure)."""

    waiters: dict[str, list[Reply[TaskResult[Any] | None]]] = attrs.field(factory=dict)
    readers: dict[str, list[Reply[tuple[int, TaskProgress] | Doubt | None]]] = attrs.field(
        factory=dict
    )
    logs: OrderedDict[str, ProgressLog] = attrs.field(factory=OrderedDict)

    def log_of(self, task_id: str) -> ProgressLog:
        """The progress log of a task; a new one pushes out the oldest."""
        found = self.logs.get(task_id)
        if found is None:
            found = self.logs[task_id] = ProgressLog()
            if len(self.logs) > TASKS_KEPT:
                self.logs.popitem(last=False)
        return found

    def wake(self, task_id: str, result: TaskResult[Any]) -> None:
        """The task has ended: answer who waits for its result or its next progress."""
        waiters = self.waiters.pop(task_id, None)
        if waiters is not None:
            for reply in waiters:
                reply.send(result)
        if self.logs or self.readers:
            ended = self.logs.get(task_id)
            if ended is not None:
                ended.ended = True
            for reader in self.readers.pop(task_id, ()):
                reader.send(None)

    def park(self, task_id: str, reply: Reply[Any]) -> None:
        """Keep *reply* until the task ends.  Who gave up meanwhile is dropped on the way."""
        join(self.waiters.setdefault(task_id, []), reply)


class ResultBackend(Actor[ResultMessage]):
    """Where results and progress are kept.  Subclass it; see "Writing your own result backend".

    The methods answer the actor's messages, one at a time.  What they raise is no crash: it reaches
    who asked, and a result that could not be stored is tried again.
    """

    #: False for a backend that keeps nothing: waiting is then refused at once.
    keeps_results: bool = True
    #: What it cannot do: the contract skips that by name.
    lacks: frozenset[Capability] = frozenset()
    #: Whether the storage itself ends results whose time to live is over, and knows the attempt of
    #: each: `set_results` is told of both.  Else this object remembers, which another process cannot.
    keeps_terms: bool = False
    _desk: Desk
    _has_no_news = False  #: since a try that failed, which was said
    _changed = False  #: a `_Changed` is on its way
    _changes = 0  #: how often `listen` has said so
    _looked = -1  #: how often it had when `news` was asked last
    _ledger: Ledger | None = None
    _cannot = False  #: its storage could not do the latest call, and that was said
    _wiring: Wiring
    #: Who has begun to wait, and nobody has looked for them yet.
    _begun: list[tuple[WaitResult, Reply[TaskResult[Any] | None]]]

    @property
    def wire(self) -> Wire:
        """Results as bytes and back, as the broker was told: for a backend that stores bytes."""
        return self._wiring.wire

    # --- to be written by a subclass ---

    async def startup(self) -> None:
        """Begin a life: connect, open, make folders."""

    async def shutdown(self) -> None:
        """End a life: what `startup` opened."""

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Store *result*; it may replace one of an earlier attempt.

        A storage that several processes share raises `StaleResult` if it has a later attempt's, found
        out in the step in which it stores: a process may have stood still since its lease was checked.
        """
        raise NotImplementedError

    async def set_results(self, outcomes: Sequence[Outcome]) -> Sequence[Exception | None]:
        """Store these together; for each None, or why it was not stored: `StaleResult`, or a failure.

        Written by a storage in which a batch costs less than its parts.  Raises if none was stored.
        """
        verdicts: list[Exception | None] = []
        for task_id, result, *_ in outcomes:
            try:
                await self.set_result(task_id, result)
            except Exception as error:  # noqa: BLE001 - the caller logs it, and tells who asked
                verdicts.append(error)
            else:
                verdicts.append(None)
        return verdicts

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """The stored result; raise `ResultGetError` if there is none."""
        raise NotImplementedError

    async def is_result_ready(self, task_id: str) -> bool:
        """Whether a result is stored."""
        raise NotImplementedError

    async def delete_result(self, task_id: str) -> None:
        """Forget a result and its progress; nothing happens if there is none."""
        raise NotImplementedError

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        """Store the latest progress.  A backend without this still pushes progress to readers."""

    async def take_progress(self, task_id: str, progress: TaskProgress, attempt: int) -> None:
        """`set_progress`, by this attempt.

        Written by a storage that several processes share: it raises `StaleResult` if a later attempt
        has begun there, or its own has ended, found out in the step in which it stores.
        """
        await self.set_progress(task_id, progress)

    async def get_progress(self, task_id: str) -> TaskProgress | None:
        """The latest progress, if there is any."""
        found = self._desk.logs.get(task_id)
        return found.updates[-1][1] if found is not None and found.updates else None

    def is_gone(self, task_id: str) -> str | None:
        """Why the result, which was stored once, cannot be had any more; None if that is not known."""
        return None

    async def why_gone(self, task_id: str) -> str | None:
        """As `is_gone`, for a storage that has to be asked; it also knows what `give_up` told."""
        return self.is_gone(task_id)

    # --- of a storage that several processes share ---

    async def give_up(self, task_id: str, error: Exception) -> None:
        """No result of this task will come: who waits in other processes is to hear of it."""

    async def listen(self, changed: Callable[[], None]) -> None:
        """Call *changed* whenever another process may have stored something; until cancelled.

        Pushed, as soon as it is stored; and again within a stated time, for a push may be lost (43).
        """

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """What is new since the last call, of the tasks whose result is *awaited* or progress *read*.

        Called after `changed`.  What was new already when it was first asked for, too.
        """
        return News()

    async def look_up(self, task_ids: Collection[str]) -> News:
        """Those of the results that are there, and as `given_up` those that are gone.

        Written by a storage in which one look for many costs less than one for each: who begins to
        wait together is answered together.
        """
        raise NotImplementedError

    def may_have_forgotten(self) -> bool:
        """Whether `is_gone` may answer None for a result that was stored and evicted."""
        return False

    def stored_attempt(self, task_id: str) -> int:
        """The attempt whose result is stored; 0 if none is known."""
        return 0 if self._ledger is None else self._ledger.attempts.get(task_id, 0)

    # --- the actor ---

    @property
    def _listens(self) -> bool:
        return type(self).listen is not ResultBackend.listen

    async def on_start(self) -> None:
        """Set up a new desk, then `startup`."""
        self._desk = Desk()
        self._ledger = self._ledger or Ledger()
        self._changed = False
        self._begun = []
        await self.startup()
        if self._listens:
            self.start_soon(self.listen, self._note_change, name="results: listen")
        if self._ledger.ends:
            self._set_alarm(self._wiring.clock())

    async def on_stop(self) -> None:
        """`shutdown`."""
        await self.shutdown()

    async def receive(self, message: ResultMessage | _End | _Changed) -> Any:
        """Answer one message; see `actorq.protocol`."""
        kind = type(message)
        if kind is SetResults:
            assert isinstance(message, SetResults)
            if self._begun:
                await self._look_for_begun()
            verdicts = await self._set_results(message.outcomes)
            if message.last:
                for outcome, verdict in zip(message.outcomes, verdicts, strict=True):
                    if isinstance(verdict, ResultSetError):
                        self._fail_waiters(outcome.task_id, verdict)
            return verdicts
        try:
            if kind is WaitResult:
                return await self._wait_result(message)  # type: ignore[arg-type]
            if self._begun:
                await self._look_for_begun()  # what came before comes first
            match message:
                case GetResult(task_id, with_logs):
                    return await self._get_result(task_id, with_logs)
                case IsResultReady(task_id):
                    return await self._is_ready(task_id)
                case SetProgress():
                    await self._set_progress(message)
                case NextProgress():
                    return await self._next_progress(message)
                case GetProgress(task_id):
                    return await self._guard(self.get_progress(task_id), ResultGetError, task_id)
                case DeleteResult(task_id):
                    await self._guard(self.delete_result(task_id), ResultBackendError, task_id)
                    ledger = self._ledger
                    assert ledger is not None
                    ledger.ends.pop(task_id, None)
                    self._forget(task_id)
                case ResultsStored(outcomes):
                    for outcome in outcomes:
                        self._note_stored(outcome, self._wiring.clock())
                case _Changed():
                    await self._take_news()
                case UnsavedResult(task_id, error):
                    self._fail_waiters(task_id, error)
                    if not await self._gave_up(message):
                        return None
                    if task_id in self._desk.logs:  # nothing else would drop its progress
                        call = self.delete_result(task_id)
                        await self._guard(call, ResultBackendError, task_id)
                case _End():
                    await self._drop_ended()
                case DoubtResults(task_ids):
                    for task_id in task_ids:
                        self._doubt(task_id)
                case EndedBefore(task_ids):
                    for task_id in task_ids:
                        if not (task_id in self._known_doubts or await self._is_ready(task_id)):
                            self._note_doubt(task_id)
        except ResultBackendError as error:
            self.defer().fail(error)  # a refusal: the actor lives
        return None

    async def flush(self) -> None:
        """After a burst: look for what those want who have begun to wait."""
        if self._begun:
            await self._look_for_begun()

    async def _gave_up(self, message: UnsavedResult) -> bool:
        """Note it for those in other processes; later, if the storage cannot be had just now (43)."""
        task_id, error = message.task_id, message.error
        try:
            await self._guard(self.give_up(task_id, error), ResultBackendError, task_id)
        except ResultBackendError as failed:
            if not isinstance(failed.__cause__, EngineUnavailable):
                raise
            self.set_timer(f"unsaved {task_id}", UNSAVED_PAUSE, message)
            return False
        return True

    def _set_alarm(self, now: float) -> None:
        assert self._ledger is not None
        due = self._ledger.next_end()
        if due is None:
            self.cancel_timer("end of results")
        else:
            self.set_timer("end of results", max(0.0, due - now), _End())  # type: ignore[arg-type]

    async def _drop_ended(self) -> None:
        assert self._ledger is not None
        now = self._wiring.clock()
        for task_id in self._ledger.take_ended(now):
            try:
                if not self.keeps_terms:
                    await self.delete_result(task_id)
            except Exception:
                log.exception("%s kept %s longer than it should", type(self).__name__, task_id)
            self._forget(task_id)
        self._set_alarm(now)

    def _forget(self, task_id: str) -> None:
        """Its result was deleted."""
        assert self._ledger is not None
        self._ledger.attempts.pop(task_id, None)
        self._desk.logs.pop(task_id, None)

    async def _guard(self, call: Any, kind: type[ResultBackendError], task_id: str) -> Any:
        """Await a subclass's method; whatever it raises becomes a refusal of *kind*."""
        try:
            answer = await call
        except ResultBackendError:
            raise
        except Exception as error:
            failure = kind(
                f"{type(self).__name__} failed for task {task_id!r}: {type(error).__name__}: {error}"
            )
            if not isinstance(error, EngineUnavailable):
                log.exception("%s", failure)
            else:  # a stack would hide what it says, and a line for each call what else is said
                if not self._cannot:
                    log.error("%s; this is not said again until it works", failure)  # noqa: TRY400
                self._cannot = True
            raise failure from error
        if self._cannot:
            self._cannot = False
            log.info("%s works again", type(self).__name__)
        return answer

    # --- what other processes store ---

    def _note_change(self) -> None:
        """Called by `listen`; many calls before we look are one."""
        self._changes += 1
        if self._desk.waiters or self._desk.readers:
            self._look_again()

    def _look_again(self) -> None:
        if not self._changed:
            self._changed = True
            self.set_timer("changed", 0.0, _Changed())  # type: ignore[arg-type]

    async def _take_news(self) -> None:
        self._changed = False
        self._looked = self._changes
        desk = self._desk
        try:
            news = await self.news(desk.waiters.keys(), desk.readers.keys())
        except Exception as failure:
            said = f"{type(self).__name__} cannot say what is new; asking again: {failure}"
            if not isinstance(failure, EngineUnavailable):
                log.exception("%s", said)
            elif not self._has_no_news:  # a stack would hide what it says, and a line for each try
                log.error("%s (which is not said again until it works)", said)  # noqa: TRY400
                self._has_no_news = True
            self._changed = True  # the word of it was heard: nobody says it again
            self.set_timer("changed", LOOK_PAUSE, _Changed())  # type: ignore[arg-type]
            return
        if self._has_no_news:
            self._has_no_news = False
            log.info("%s says what is new again", type(self).__name__)
        for task_id, progress in news.progress:
            desk.log_of(task_id).look = self._looked
            self._push(task_id, progress)
        for task_id, result in news.results:
            desk.wake(task_id, result)
        for task_id, error in news.given_up:
            if error is None:
                self._doubt(task_id)
            else:
                self._fail_waiters(task_id, error)

    async def _set_results(self, outcomes: tuple[Outcome, ...]) -> tuple[Exception | None, ...]:
        if type(self).set_results is not ResultBackend.set_results:
            return await self._set_together(outcomes)
        wake = self._desk.wake
        remembers = type(self).stored_attempt is ResultBackend.stored_attempt
        now = self._wiring.clock()
        verdicts: list[Exception | None] = []
        ledger = self._ledger
        assert ledger is not None
        for task_id, result, lease, ttl, _ in outcomes:
            # by the time it is now: storing those before it may have taken longer than a lease
            lost = lease is not None and not lease.holds(self._wiring.clock())
            stored = self.stored_attempt(task_id)
            if lost or result.attempts < stored:
                verdicts.append(StaleResult(f"attempt {result.attempts} of {task_id!r} is stale"))
                continue
            if result.attempts == stored and type(result.error) is WorkerLost:
                verdicts.append(None)  # the worker had stored it before it died: that stands
                continue
            try:
                await self.set_result(task_id, result)
            except StaleResult as stale:
                verdicts.append(stale)
                continue
            except Exception as error:  # noqa: BLE001 - it is logged, and told
                verdicts.append(self._set_failure(task_id, error))
                continue
            if ttl is not None or ledger.ends:
                ledger.note_end(task_id, ttl, now)
            if remembers:
                ledger.note_attempt(task_id, result.attempts)
            if self._known_doubts:
                self._known_doubts.pop(task_id, None)
            if self._wiring.orphans:
                self._wiring.orphans.discard(task_id)
            wake(task_id, result)
            verdicts.append(None)
        if ledger.ending:  # once for all of them; whoever crashes before this sets it at the start
            if len(ledger.ending) >= ledger.many_ends:
                ledger.drop_ends(self.is_gone)
            self._set_alarm(now)
        return tuple(verdicts)

    async def _set_together(self, outcomes: tuple[Outcome, ...]) -> tuple[Exception | None, ...]:
        now = self._wiring.clock()
        verdicts: dict[int, Exception | None] = {}
        for number, outcome in enumerate(outcomes):
            if outcome.lease is not None and not outcome.lease.holds(now):
                attempt = outcome.result.attempts
                verdicts[number] = StaleResult(f"attempt {attempt} of {outcome.task_id!r} is stale")
        fresh = [number for number in range(len(outcomes)) if number not in verdicts]
        try:
            said = await self.set_results([outcomes[number] for number in fresh])
        except Exception as error:  # noqa: BLE001 - each of them is told
            said = [error] * len(fresh)
        for number, verdict in zip(fresh, said, strict=True):
            outcome = outcomes[number]
            if verdict is None:
                self._note_stored(outcome, now)
            elif not isinstance(verdict, StaleResult):
                verdict = self._set_failure(outcome.task_id, verdict)
            verdicts[number] = verdict
        return tuple([verdicts[number] for number in range(len(outcomes))])

    def _set_failure(self, task_id: str, error: Exception) -> ResultSetError:
        name = type(self).__name__
        # that the engine is unavailable says all; a stack for each result would hide it
        stack = None if isinstance(error, EngineUnavailable) else error
        log.error("%s could not store the result of %s: %s", name, task_id, error, exc_info=stack)
        failure = ResultSetError(
            f"{name}.set_result failed for task {task_id!r}: {type(error).__name__}: {error}"
        )
        failure.__cause__ = error
        return failure

    def _note_stored(self, outcome: Outcome, now: float) -> None:
        """A result is stored: wake who waits, forget what was feared."""
        task_id, result, _, ttl, _ = outcome
        ledger = self._ledger
        assert ledger is not None
        if not self.keeps_terms:
            ledger.note_attempt(task_id, result.attempts)
        # who keeps terms ends results by itself; what readers are told of their progress is ours
        if ttl is not None or ledger.ends:
            ledger.note_end(task_id, ttl, now)
            self._set_alarm(now)
        if self._known_doubts:
            self._known_doubts.pop(task_id, None)
        if self._wiring.orphans:
            self._wiring.orphans.discard(task_id)
        self._desk.wake(task_id, result)

    async def _wait_result(self, wait: WaitResult) -> TaskResult[Any] | None:
        task_id = wait.task_id
        if not self.keeps_results:
            raise ResultGetError(
                f"{type(self).__name__} keeps no results, so there is nothing to wait for; open the "
                f"system with a backend that does: broker.with_result_backend(InMemoryResultBackend())"
            )
        if type(self).look_up is not ResultBackend.look_up:
            self._begun.append((wait, self.defer()))
            return None
        changes = self._changes
        if await self._is_ready(task_id):
            return await self._get_result(task_id, wait.with_logs)
        gone = await self.why_gone(task_id)
        if gone is not None:
            raise ResultGetError(gone)
        self._wait_on(wait, self.defer())
        if self._changes != changes:  # while we looked: nobody was there to be told
            self._look_again()
        return None

    def _wait_on(self, wait: WaitResult, reply: Reply[TaskResult[Any] | None]) -> None:
        """There is no result yet: will there be one?"""
        task_id = wait.task_id
        if not (wait.live and self._is_certain(wait.doubts)):
            if task_id in self._known_doubts:
                error = self._known_doubts[task_id]
                if error is None or wait.live:
                    reply.send(None)
                else:
                    reply.fail(_unsaved(task_id, error))
                return
            if task_id in self._wiring.orphans or self.may_have_forgotten():
                reply.send(None)
                return
        self._desk.park(task_id, reply)

    async def _look_for_begun(self) -> None:
        """Those who have begun to wait since the last look, in one look for all."""
        begun, self._begun = self._begun, []
        changes = self._changes
        try:
            news = await self.look_up({wait.task_id for wait, _ in begun})
        except Exception as error:  # noqa: BLE001 - each of them is told
            for wait, reply in begun:
                reply.fail(self._no_look(wait.task_id, error))
            return
        found = dict(news.results)
        gone = dict(news.given_up)
        for wait, reply in begun:
            result = found.get(wait.task_id)
            if result is not None:
                wanted = wait.with_logs or result.log is None
                reply.send(result if wanted else attrs.evolve(result, log=None))
                continue
            why = gone.get(wait.task_id)
            if why is not None:
                reply.fail(_unsaved(wait.task_id, why))
            else:
                self._wait_on(wait, reply)
        if self._changes != changes and self._desk.waiters:  # as in `_wait_result`
            self._look_again()

    def _no_look(self, task_id: str, error: Exception) -> ResultGetError:
        failure = ResultGetError(
            f"{type(self).__name__} could not look for the result of task {task_id!r}: "
            f"{type(error).__name__}: {error}"
        )
        failure.__cause__ = error
        return failure

    async def _get_result(self, task_id: str, with_logs: bool) -> TaskResult[Any]:
        try:
            result = await self.get_result(task_id, with_logs)
        except ResultGetError:
            gone = await self.why_gone(task_id)
            if gone is not None:
                raise ResultGetError(gone) from None
            self._raise_unsaved(task_id)
            raise
        except Exception as error:
            raise ResultGetError(
                f"{type(self).__name__}.get_result failed for task {task_id!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(result, TaskResult):
            raise ResultGetError(
                f"{type(self).__name__}.get_result must return a TaskResult; for task {task_id!r} it "
                f"returned {result!r}"
            )
        return result

    async def _is_ready(self, task_id: str) -> bool:
        try:
            return await self.is_result_ready(task_id)
        except Exception as error:
            raise ResultIsReadyError(
                f"{type(self).__name__}.is_result_ready failed for task {task_id!r}: "
                f"{type(error).__name__}: {error}"
            ) from error

    async def _set_progress(self, message: SetProgress) -> None:
        task_id = message.task_id
        lost = not message.lease.holds(self._wiring.clock())
        if lost or message.attempt <= self.stored_attempt(task_id):
            raise StaleResult(f"progress of attempt {message.attempt} of {task_id!r} is stale")
        stored = self.take_progress(task_id, message.progress, message.attempt)
        await self._guard(stored, ResultBackendError, task_id)
        self._push(task_id, message.progress)

    def _push(self, task_id: str, progress: TaskProgress) -> None:
        assert self._ledger is not None
        update = (next(self._ledger.numbers), progress)
        self._desk.log_of(task_id).updates.append(update)
        for reader in self._desk.readers.pop(task_id, ()):
            reader.send(update)

    async def _next_progress(
        self, message: NextProgress
    ) -> tuple[int, TaskProgress] | Doubt | None:
        task_id, live = message.task_id, message.live
        found = self._desk.logs.get(task_id)
        if found is not None:
            update = found.after(message.after)
            if update is not None:
                return update
            if found.ended:
                return await self._last_progress(message)
        changes = self._changes
        if live is False or await self._is_ready(task_id) or await self.why_gone(task_id):
            return await self._last_progress(message)
        if live is None or not self._is_certain(message.doubts):
            if live is None and self._known_doubts.get(task_id) is not None:
                return None
            orphaned = task_id in self._known_doubts or task_id in self._wiring.orphans
            if orphaned or self.may_have_forgotten():
                return Doubt.DOUBT
        join(self._desk.readers.setdefault(task_id, []), self.defer())
        # others may have reported before it came, or while it was on its way with what it was told
        behind = found is None or found.look != self._changes
        if self._changes != changes or (behind and self._listens):
            self._look_again()
        return None

    async def _last_progress(self, message: NextProgress) -> tuple[int, TaskProgress] | None:
        """What was reported elsewhere just before the end, whose word came first, if ever."""
        if not self._listens:
            return None
        self._desk.readers.setdefault(message.task_id, [])
        await self._take_news()
        if not self._desk.readers.get(message.task_id, True):
            del self._desk.readers[message.task_id]
        found = self._desk.logs.get(message.task_id)
        return None if found is None else found.after(message.after)

    # --- results that may never come ---

    @property
    def _known_doubts(self) -> OrderedDict[str, Exception | None]:
        assert self._ledger is not None
        return self._ledger.doubts

    def _is_certain(self, doubts: int | None) -> bool:
        """Nothing was doubted since the broker was asked."""
        return doubts is None or doubts == self._wiring.doubts

    def _fail_waiters(self, task_id: str, error: Exception) -> None:
        self._note_doubt(task_id, error)
        self._wiring.orphans.discard(task_id)
        for reply in self._desk.waiters.pop(task_id, ()):
            reply.fail(_unsaved(task_id, error))
        for reader in self._desk.readers.pop(task_id, ()):
            reader.send(None)

    def _note_doubt(self, task_id: str, error: Exception | None = None) -> None:
        assert self._ledger is not None
        self._ledger.doubt(task_id, error)
        self._wiring.doubts += 1

    def _doubt(self, task_id: str) -> None:
        self._note_doubt(task_id, self._known_doubts.get(task_id))
        self._wiring.orphans.discard(task_id)
        for reply in self._desk.waiters.pop(task_id, ()):
            reply.send(None)
        for reader in self._desk.readers.pop(task_id, ()):
            reader.send(Doubt.DOUBT)

    def _raise_unsaved(self, task_id: str) -> None:
        error = self._known_doubts.get(task_id)
        if error is not None:
            raise _unsaved(task_id, error)


def _unsaved(task_id: str, error: Exception) -> ResultGetError:
    if isinstance(error, ResultGetError):
        return ResultGetError(*error.args)  # there is none: nothing has failed
    failure = ResultGetError(f"the result of task {task_id!r} could not be stored: {error}")
    failure.__cause__ = error
    return failure
