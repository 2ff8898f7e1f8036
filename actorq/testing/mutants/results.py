"""Result backends that break one promise each: `ResultBackendContract` must catch them all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import attrs
import trio

from actorq.actors.result_backend import Desk, News, ProgressLog
from actorq.engines.memory.results import InMemoryResultBackend, ResultTable
from actorq.errors import ResultGetError, TaskFailed
from actorq.progress import TaskProgress
from actorq.protocol import Outcome, SetProgress
from actorq.result import TaskResult
from actorq.testing.contracts.result_users import held
from actorq.testing.contracts.results import ResultBackendContract
from actorq.testing.mutants.mutant import Mutant


@attrs.define
class _Disk:
    """What stands for a disk that several processes have."""

    table: ResultTable = attrs.field(factory=lambda: ResultTable(-1))
    given_up: dict[str, Exception] = attrs.field(factory=dict)
    listeners: dict[Callable[[], None], object] = attrs.field(factory=dict)

    def told(self, by: object) -> None:
        """All others hear that something has changed."""
        for changed, who in tuple(self.listeners.items()):
            if who is not by:
                changed()


#: One for each folder that is still there.
_DISKS: dict[Path, _Disk] = {}


class OnDisk(InMemoryResultBackend):
    """Nothing is wrong with it: survives the process, as far as a test can tell, and is shared."""

    lacks = frozenset()

    def __init__(self, folder: Path) -> None:
        for gone in [each for each in _DISKS if not each.exists()]:
            del _DISKS[gone]
        self.on = _DISKS.setdefault(folder, _Disk())
        self.told: dict[str, TaskProgress] = {}
        super().__init__(-1, table=self.on.table)

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """And tell the others."""
        await super().set_result(task_id, result)
        self.on.told(self)

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        """And tell the others."""
        await super().set_progress(task_id, progress)
        self.told[task_id] = progress
        self.on.told(self)

    async def give_up(self, task_id: str, error: Exception) -> None:
        """And tell the others."""
        self.on.given_up[task_id] = error
        self.on.told(self)

    async def listen(self, changed: Callable[[], None]) -> None:
        """Be told."""
        self.on.listeners[changed] = self
        try:
            await trio.sleep_forever()
        finally:
            del self.on.listeners[changed]

    async def why_gone(self, task_id: str) -> str | None:
        """What was given up, too."""
        error = self.on.given_up.get(task_id)
        return self.is_gone(task_id) if error is None else str(error)

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """All that is there; of progress what was not told before."""
        table = self.on.table
        progress = [(each, table.progress[each]) for each in read if each in table.progress]
        untold = [each for each in progress if self.told.get(each[0]) is not each[1]]
        self.told.update(untold)
        return News(
            [(each, table.results[each]) for each in (*awaited, *read) if each in table.results],
            untold,
            [(each, error) for each, error in self.on.given_up.items() if each in awaited],
        )


class TakesEarlier(InMemoryResultBackend):
    """The queue's order of attempts is none of its business."""

    def stored_attempt(self, task_id: str) -> int:
        """Nobody's."""
        return 0


class ForgetsAttemptsInACrash(InMemoryResultBackend):
    """Knows in this life only whose result it keeps."""

    async def startup(self) -> None:
        """Begin anew."""
        self.attempts: dict[str, int] = {}

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Remember whose it is."""
        await super().set_result(task_id, result)
        self.attempts[task_id] = result.attempts

    def stored_attempt(self, task_id: str) -> int:
        """As far as this life knows."""
        return self.attempts.get(task_id, 0)


class TrustsLostLeases(InMemoryResultBackend):
    """Does not look whether the job is still the worker's."""

    async def _set_results(self, outcomes: tuple[Outcome, ...]) -> tuple[Exception | None, ...]:
        return await super()._set_results(tuple([each._replace(lease=None) for each in outcomes]))


class TakesLateProgress(InMemoryResultBackend):
    """Progress of a job that is somebody else's by now."""

    async def _set_progress(self, message: SetProgress) -> None:
        await super()._set_progress(attrs.evolve(message, lease=held()))


class RefusesTheRest(InMemoryResultBackend):
    """One stale result, and none of its batch is stored."""

    async def _set_results(self, outcomes: tuple[Outcome, ...]) -> tuple[Exception | None, ...]:
        now = self._wiring.clock()
        for lost in [each.lease for each in outcomes if each.lease and not each.lease.holds(now)]:
            outcomes = tuple([each._replace(lease=lost) for each in outcomes])
        return await super()._set_results(outcomes)


class _WakesNobody(Desk):
    def wake(self, task_id: str, result: TaskResult[Any]) -> None:
        """They wait on."""


class _WakesOne(Desk):
    def wake(self, task_id: str, result: TaskResult[Any]) -> None:
        waiters = self.waiters.pop(task_id, [])
        if waiters:
            self.waiters[task_id] = waiters[:1]
        super().wake(task_id, result)
        if waiters[1:]:
            self.waiters[task_id] = waiters[1:]


class WakesNobody(InMemoryResultBackend):
    """Who waits does so for ever."""

    async def startup(self) -> None:
        """With its own desk."""
        self._desk = _WakesNobody()


class WakesOne(InMemoryResultBackend):
    """The others wait for ever."""

    async def startup(self) -> None:
        """With its own desk."""
        self._desk = _WakesOne()


class ReadyTooEarly(InMemoryResultBackend):
    """A task that has said how far it is counts as ready."""

    async def is_result_ready(self, task_id: str) -> bool:
        """Too early."""
        return task_id in self.table.results or task_id in self.table.progress


class LosesOnRestart(InMemoryResultBackend):
    """What it keeps belongs to one life."""

    async def startup(self) -> None:
        """Begin anew."""
        self.table = ResultTable(-1)


class FoldsCase(InMemoryResultBackend):
    """Like a file system that takes "A" for "a"."""

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Under another id."""
        await super().set_result(task_id.lower(), result)

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """Of another id."""
        try:
            return await super().get_result(task_id.lower(), with_logs)
        except ResultGetError:
            raise ResultGetError(f"there is no result of task {task_id!r}") from None

    async def is_result_ready(self, task_id: str) -> bool:
        """Of another id."""
        return await super().is_result_ready(task_id.lower())

    async def delete_result(self, task_id: str) -> None:
        """Of another id."""
        await super().delete_result(task_id.lower())


class BringsDeletedBack(InMemoryResultBackend):
    """Deleting holds until the next life."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.everything: dict[str, TaskResult[Any]] = {}

    async def startup(self) -> None:
        """Read the journal again, which knows nothing of deletions."""
        self.table.results.update(self.everything)

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """Into the journal too."""
        await super().set_result(task_id, result)
        self.everything[task_id] = result


class FlattensErrors(InMemoryResultBackend):
    """Every error becomes a `TaskFailed`."""

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """With another error."""
        result = await super().get_result(task_id, with_logs)
        if result.error is None:
            return result
        kind = type(result.error).__qualname__
        return attrs.evolve(result, error=TaskFailed(kind, str(result.error)))


class CutsLargeOnes(InMemoryResultBackend):
    """A column of 64 KB, and no error when that is too short."""

    async def get_result(self, task_id: str, with_logs: bool = True) -> TaskResult[Any]:
        """As much as was kept."""
        result = await super().get_result(task_id, with_logs)
        value = result.return_value
        return attrs.evolve(result, return_value=value[:65536] if isinstance(value, str) else value)


class _NewestFirst(ProgressLog):
    def after(self, number: int) -> tuple[int, TaskProgress] | None:
        """The newest, and never what was before."""
        newest = self.updates[-1] if self.updates else None
        return newest if newest is not None and newest[0] > number else None


class _LateDesk(Desk):
    def log_of(self, task_id: str) -> ProgressLog:
        found = super().log_of(task_id)
        if not isinstance(found, _NewestFirst):
            found = self.logs[task_id] = _NewestFirst(deque(found.updates, 64), found.ended)
        return found


class SkipsProgress(InMemoryResultBackend):
    """Who comes late is told the newest progress only."""

    async def startup(self) -> None:
        """With its own desk."""
        self._desk = _LateDesk()


class KeepsFirstProgress(InMemoryResultBackend):
    """What was reported first stays."""

    async def set_progress(self, task_id: str, progress: TaskProgress) -> None:
        """Only once."""
        self.table.progress.setdefault(task_id, progress)


class StoresLate(OnDisk):
    """Writes a result when the next one comes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.disk, self.table = self.table, ResultTable(-1)
        self.table.results.update(self.disk.results)
        self.last: tuple[str, TaskResult[Any]] | None = None

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """The one before it reaches the disk."""
        await super().set_result(task_id, result)
        if self.last is not None:
            self.disk.put(*self.last)
        self.last = task_id, result

    async def delete_result(self, task_id: str) -> None:
        """From both."""
        await super().delete_result(task_id)
        self.disk.delete(task_id)


class KeepsToItself(OnDisk):
    """Shares the disk, and tells nobody."""

    async def listen(self, changed: Callable[[], None]) -> None:
        """Hear nothing."""
        await trio.sleep_forever()


class HearsResultsOnly(OnDisk):
    """Progress is for who reports it."""

    async def news(self, awaited: Collection[str], read: Collection[str]) -> News:
        """Without progress."""
        return attrs.evolve(await super().news(awaited, read), progress=())


class GivesUpAlone(OnDisk):
    """Who waits in another process does so for ever."""

    async def give_up(self, task_id: str, error: Exception) -> None:
        """Tell nobody."""


class CountsAlone(OnDisk):
    """Knows the attempts of its own process only."""

    async def startup(self) -> None:
        """Begin to count."""
        self.attempts: dict[str, int] = {}

    async def set_result(self, task_id: str, result: TaskResult[Any]) -> None:
        """And count."""
        await super().set_result(task_id, result)
        self.attempts[task_id] = result.attempts

    def stored_attempt(self, task_id: str) -> int:
        """As far as it has counted."""
        return self.attempts.get(task_id, 0)


def _mutant(name: str, promise: int, breaks: str, factory: Any) -> Mutant:
    return Mutant(f"results: {name}", promise, breaks, ResultBackendContract, factory)


RESULTS: tuple[Mutant, ...] = (
    _mutant("takes earlier", 34, "a result is replaced by an earlier attempt's", TakesEarlier),
    _mutant(
        "forgets attempts",
        34,
        "a result is replaced by an earlier attempt's after a crash",
        ForgetsAttemptsInACrash,
    ),
    _mutant("trusts lost leases", 34, "a lost lease's result is taken", TrustsLostLeases),
    _mutant("takes late progress", 34, "a lost lease's progress is taken", TakesLateProgress),
    _mutant("refuses the rest", 34, "a stale result takes others with it", RefusesTheRest),
    _mutant("wakes nobody", 43, "a waiter is not woken", WakesNobody),
    _mutant("wakes one", 43, "of several waiters one is woken", WakesOne),
    _mutant("ready too early", 43, "it is ready before it is readable", ReadyTooEarly),
    _mutant("loses on restart", 28, "a crash of the actor loses results", LosesOnRestart),
    _mutant("folds case", 28, "ids are the same in upper and lower case", FoldsCase),
    _mutant("brings deleted back", 28, "what was deleted comes back", BringsDeletedBack),
    _mutant("flattens errors", 28, "an error comes back as another type", FlattensErrors),
    _mutant("cuts large ones", 28, "a large result comes back cut", CutsLargeOnes),
    _mutant("stores late", 28, "the last result is lost with the process", StoresLate),
    _mutant("keeps to itself", 43, "nobody hears what another process stores", KeepsToItself),
    _mutant("hears results only", 43, "progress of another process is not heard", HearsResultsOnly),
    _mutant(
        "gives up alone", 43, "who waits elsewhere for what is given up, waits on", GivesUpAlone
    ),
    _mutant(
        "trusts its own count", 34, "another process's attempts count for nothing", CountsAlone
    ),
    _mutant("skips progress", 2, "a reader misses updates", SkipsProgress),
    _mutant("keeps first progress", 2, "the latest progress is an older one", KeepsFirstProgress),
)
