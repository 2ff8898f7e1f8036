"""The result backend against a dictionary: a Hypothesis state machine.

The backend runs in a real system and in real time; each answer is compared with the model's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
)

from actorq.actors.result_backend import PROGRESS_KEPT
from actorq.capability import Capability
from actorq.environment import current_environment, set_environment
from actorq.errors import ResultGetError, StaleResult, WorkerLost
from actorq.progress import TaskProgress
from actorq.protocol import Outcome
from actorq.result import TaskResult
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.contracts.drawn import run_drawn
from actorq.testing.contracts.result_model import Model
from actorq.testing.contracts.result_users import Reader, ResultUsers, Waiter, lost, open_results
from actorq.testing.contracts.result_values import ODD_IDS, difference, errors, failure
from actorq.testing.machine import TrioMachine
from actorq.testing.promises import broken


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
numbers = st.integers(0, len(errors()) - 1)
failures = numbers.map(lambda n: failure(errors()[n]))
successes = plain.map(lambda value: TaskResult(return_value=value))
attempts = st.integers(1, 3)
results = st.builds(
    lambda result, attempt, log: attrs.evolve(result, attempts=attempt, log=log),
    successes | failures,
    attempts,
    st.none() | texts,
)
progresses = st.builds(
    TaskProgress, st.sampled_from([0.0, 0.25, 1.0]), texts, st.none() | st.integers(0, 9)
)
IDS = 4
ids = st.integers(0, IDS - 1)
leases = st.sampled_from([True, True, True, False])  #: whether it holds


class ResultMachine(TrioMachine):
    """The rules; the subject is its subclass's."""

    contract: type[Contract]
    limit = 30.0

    def __init__(self) -> None:
        self.model = Model()
        self.crashes = 0
        self.now = 0.0  #: as far as leaps go
        self.expected: list[tuple[Reader, list[TaskProgress]]] = []
        #: Of readers that came late: the latest before, which they may be told if it is shared.
        self.earlier: dict[int, TaskProgress | None] = {}
        self._folders = new_folder()
        self.folder: Path = self._folders.__enter__()
        self.lacks = self.contract.lacks()
        super().__init__()

    def new_clock(self) -> trio.testing.MockClock:
        """As fast as the real one: threads are waited for."""
        return trio.testing.MockClock(rate=1.0)

    def teardown(self) -> None:
        """And the folder."""
        try:
            self.call(self._end)
            super().teardown()
        finally:
            self._folders.__exit__(None, None, None)

    # --- the process ---

    @initialize(names=st.lists(st.sampled_from(ODD_IDS), min_size=IDS, max_size=IDS, unique=True))
    def begin(self, names: list[str]) -> None:
        """The first process; a few ids, so that much happens to each."""
        self.names = names
        self.call(self._begin)

    async def _begin(self) -> None:
        self._over = trio.Event()
        self._left = trio.Event()
        self.users: ResultUsers = await self.nursery.start(self._live)

    async def _live(self, task_status: trio.TaskStatus[ResultUsers]) -> None:
        # the wall clock has leapt with Trio's, for the next process too
        here = current_environment()
        set_environment(attrs.evolve(here, wall=lambda: time.time() + self.now))
        try:
            async with open_results(self.contract.make(self.folder)) as users:
                task_status.started(users)
                await self._over.wait()
        finally:
            self._left.set()

    async def _end(self) -> None:
        if hasattr(self, "users"):
            self._over.set()
            await self._left.wait()

    @property
    def survives(self) -> bool:
        """Whether there can be another process."""
        return Capability.SURVIVAL not in self.lacks

    @precondition(lambda self: self.survives)
    @rule()
    def another_process(self) -> None:
        """What was stored is there; attempts need not be remembered, nor when results end."""

        async def restart() -> None:
            await self._end()
            await self._begin()

        self.call(restart)
        self.crashes = 0
        self.expected.clear()
        self.earlier.clear()
        self.model.new_life()
        self.model.attempts = dict.fromkeys(self.model.attempts)
        if not self.users.backend.keeps_terms:
            self.model.ends.clear()
        if Capability.PROGRESS in self.lacks:
            self.model.latest.clear()
        self.look_at_everything()

    @precondition(lambda self: self.crashes < 3)
    @rule()
    def crash(self) -> None:
        """Who waits goes on.  A fourth within half a minute would end the system."""
        self.crashes += 1
        self.call(self.users.crash)
        self.model.new_life()
        if Capability.PROGRESS in self.lacks:
            self.model.latest.clear()
        self.look_at_everything()

    # --- results ---

    @rule(which=ids, result=results, holds=leases, ttl=st.sampled_from([None, None, None, 50.0]))
    def put(self, which: int, result: TaskResult[Any], holds: bool, ttl: float | None) -> None:
        """One result."""
        self._put([(which, result, holds, ttl)])

    @rule(
        batch=st.lists(
            st.tuples(ids, results, leases, st.none()),
            min_size=2,
            max_size=4,
            unique_by=lambda o: o[0],
        )
    )
    def put_many(self, batch: list[tuple[int, TaskResult[Any], bool, float | None]]) -> None:
        """Several at once."""
        self._put(batch)

    def _put(self, batch: list[tuple[int, TaskResult[Any], bool, float | None]]) -> None:
        batch = [
            (which, self._told_by_a_worker(self.names[which], result), holds, ttl)
            for which, result, holds, ttl in batch
        ]
        outcomes = [
            Outcome(self.names[which], result, None if holds else lost(), ttl)
            for which, result, holds, ttl in batch
        ]
        verdicts = self.call(self.users.put_all, outcomes)
        for (which, result, holds, ttl), verdict in zip(batch, verdicts, strict=True):
            task_id = self.names[which]
            if verdict is not None and not isinstance(verdict, StaleResult):
                raise broken(28, f"the result of {task_id!r} could not be stored: {verdict}")
            known = self.model.attempts.get(task_id, 0)
            if holds and known is None:  # told by another process: it may be known, or not
                stale = verdict is not None
            else:
                stale = not holds or result.attempts < (known or 0)
            if stale is not (verdict is not None):
                what = f"attempt {result.attempts} of {task_id!r}, {known} is stored, {holds=}"
                raise broken(34, f"{what}: {'refused' if verdict else 'taken'}")
            if not stale and not self._stands(task_id, result):
                end = None if ttl is None else self.now + ttl
                self.model.put(task_id, result, end)
        self.everybody_heard()

    def _told_by_a_worker(self, task_id: str, result: TaskResult[Any]) -> TaskResult[Any]:
        """Not that it was lost, if it may be known or not that it had stored a result before."""
        told_by_another = self.model.attempts.get(task_id, 0) is None
        if told_by_another and type(result.error) is WorkerLost:
            return attrs.evolve(result, error=ValueError("lost"))
        return result

    def _stands(self, task_id: str, result: TaskResult[Any]) -> bool:
        """What is stored is that of a worker which died afterwards: it is not replaced."""
        known = self.model.attempts.get(task_id)
        return known == result.attempts and type(result.error) is WorkerLost

    @rule(which=ids)
    def delete(self, which: int) -> None:
        """There or not."""
        task_id = self.names[which]
        self.call(self.users.delete, task_id)
        self.model.delete(task_id)
        self.look_at(task_id)

    @rule(seconds=st.sampled_from([1, 60]))
    def let_time_pass(self, seconds: float) -> None:
        """Results with a time to live end."""
        self._clock.jump(seconds)
        self.now += seconds
        if seconds > 30:
            self.crashes = 0
        ended = [task_id for task_id, end in self.model.ends.items() if end <= self.now]

        async def until_gone() -> None:
            for task_id in ended:
                for _ in range(1000):
                    if not await self.users.is_ready(task_id):
                        break
                    await trio.lowlevel.checkpoint()

        self.call(until_gone)
        for task_id in ended:
            self.model.delete(task_id)
        self.look_at_everything()

    # --- progress ---

    @rule(which=ids, progress=progresses, attempt=attempts, holds=leases)
    def report(self, which: int, progress: TaskProgress, attempt: int, holds: bool) -> None:
        """By an attempt that runs, or has ended."""
        task_id = self.names[which]
        known = self.model.attempts.get(task_id, 0)
        stale = not holds or (known is not None and attempt <= known)
        try:
            self.call(self.users.report, task_id, progress, attempt, None if holds else lost())
        except StaleResult:
            if known is None or stale or attempt < self.model.reported.get(task_id, 0):
                return
            raise broken(
                34, f"progress of attempt {attempt} was refused, {known} is stored"
            ) from None
        if stale:
            raise broken(
                34, f"progress of attempt {attempt} was taken, {known} is stored, {holds=}"
            )
        self.model.latest[task_id] = progress
        self.model.reported[task_id] = attempt
        log = self.model.logs.setdefault(task_id, [])
        log.append(progress)
        del log[:-PROGRESS_KEPT]
        for reader, expected in self.expected:
            if reader.task_id == task_id and not reader.ended:
                expected.append(progress)
        self.everybody_heard()

    # --- who waits ---

    @rule(which=ids)
    def wait(self, which: int) -> None:
        """For a result that is there, or comes."""
        task_id = self.names[which]
        if task_id not in self.model.deleted:
            self.call(self.users.waiter, task_id)
            self.everybody_heard()

    @rule(which=ids)
    def read(self, which: int) -> None:
        """Progress, from the oldest that is kept."""
        task_id = self.names[which]
        if task_id not in self.model.deleted:
            seen = list(self.model.logs.get(task_id, ()))
            reader = self.call(self.users.reader, task_id)
            if not seen and Capability.SHARING not in self.lacks:
                self.earlier[id(reader)] = self.model.latest.get(task_id)
            self.expected.append((reader, seen))
            self.everybody_heard()

    @rule(which=ids)
    def give_up(self, which: int) -> None:
        """One of those who wait."""
        waiting: list[Waiter | Reader] = [each for each in self.users.waiters if each.waits]
        waiting += [reader for reader in self.users.readers if not reader.ended]
        if which < len(waiting):
            someone = waiting[which]
            someone.scope.cancel("it gives up")
            if isinstance(someone, Waiter):
                self.users.waiters.remove(someone)
            else:
                self.users.readers.remove(someone)
                self.expected = [each for each in self.expected if each[0] is not someone]

    # --- comparing ---

    def everybody_heard(self) -> None:
        """Who waits for what is there has it; who waits for something else waits."""
        self.call(self.users.quiet)
        for waiter in tuple(self.users.waiters):
            kept = self.model.results.get(waiter.task_id)
            if kept is None:
                if not waiter.waits:
                    got = waiter.error or waiter.result
                    raise broken(43, f"{waiter.task_id!r} has no result, and who waits got {got!r}")
                continue
            if waiter.result is None:
                error = waiter.error or "nothing"
                raise broken(43, f"{waiter.task_id!r} has a result, and who waits got {error}")
            wrong = difference(kept, waiter.result)
            if wrong is not None:
                raise broken(28, f"who waits for {waiter.task_id!r} got another one: {wrong}")
            self.users.waiters.remove(waiter)
        for reader, expected in tuple(self.expected):
            if reader.error is not None:
                raise broken(43, f"who reads progress of {reader.task_id!r} got {reader.error!r}")
            if reader.seen not in (expected, [self.earlier.get(id(reader)), *expected]):
                what = f"progress of {reader.task_id!r} was {expected}"
                raise broken(2, f"{what}; a reader saw {reader.seen}")
            ends = reader.task_id in self.model.over or reader.task_id in self.model.results
            if reader.ended is not ends:
                what = "waits on" if ends else "was told of the end"
                raise broken(43, f"{ends=} of {reader.task_id!r}; who reads its progress {what}")
            if ends:
                self.users.readers.remove(reader)
                self.expected.remove((reader, expected))

    @rule()
    def look_at_everything(self) -> None:
        """All of the ids."""
        for task_id in self.names:
            self.look_at(task_id, with_logs=True)
        self.everybody_heard()

    @rule(which=ids)
    def look_without_logs(self, which: int) -> None:
        """Who asks for no log gets none."""
        self.look_at(self.names[which], with_logs=False)

    def look_at(self, task_id: str, *, with_logs: bool = True) -> None:
        """Ready, result and progress of one task."""
        kept = self.model.results.get(task_id)
        ready = self.call(self.users.is_ready, task_id)
        if ready is not (kept is not None):
            raise broken(28, f"is_ready({task_id!r}) says {ready}, stored is {kept!r}")
        try:
            found = self.call(lambda: self.users.get(task_id, with_logs=with_logs))
        except ResultGetError as error:
            if kept is not None:
                raise broken(28, f"the result of {task_id!r} cannot be had: {error}") from error
        else:
            if kept is None:
                raise broken(28, f"there is no result of {task_id!r}; found {found!r}")
            wrong = difference(kept if with_logs else attrs.evolve(kept, log=None), found)
            if wrong is not None:
                raise broken(28, f"the result of {task_id!r} is another one: {wrong}")
        latest = self.call(self.users.progress, task_id)
        if latest != self.model.latest.get(task_id):
            what = f"{self.model.latest.get(task_id)} was reported last of {task_id!r}"
            raise broken(2, f"{what}; found {latest}")


def run_result_machine(contract: type[Contract]) -> None:
    """Run it on *contract*'s subject; in the `thorough` profile more of it."""
    run_drawn(ResultMachine, contract, steps=30)
