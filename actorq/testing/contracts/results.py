"""What every result backend must do, whatever it keeps results in.

Subclass `ResultBackendContract`, say how to make your backend, and pytest runs it:

    class TestMine(ResultBackendContract):
        factory = MyBackend

Real clock, no sleeping: a backend may use threads, files and sockets.  Of a store promise 28 says:
what was stored is found, as it was, nothing else is, and what was deleted stays away.
"""

from __future__ import annotations

import unittest
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import trio
import trio.testing

from actorq.actors.result_backend import ResultBackend
from actorq.capability import Capability
from actorq.context import Context
from actorq.depends import Depends
from actorq.engines.memory.broker import InMemoryBroker
from actorq.errors import ResultGetError, StaleResult, TaskFailed
from actorq.handle import TaskHandle
from actorq.progress import TaskProgress
from actorq.protocol import Lease, Outcome
from actorq.result import TaskResult
from actorq.system import open_system
from actorq.testing.contracts.contract import Contract, new_folder, promised
from actorq.testing.contracts.real_time import let_pass, run_in_real_time
from actorq.testing.contracts.result_users import ResultUsers, lost, open_results
from actorq.testing.contracts.result_values import FULL, ODD_IDS, difference, errors, failure
from actorq.testing.promises import broken


Users: TypeAlias = ResultUsers
KEPT = frozenset({Capability.RESULTS})
SURVIVES = KEPT | {Capability.SURVIVAL}


class OwnError(Exception):
    """Of a type that only the task's module knows."""


async def must_find(users: Users, task_id: str, kept: TaskResult[Any], when: str = "") -> None:
    """Raise unless *kept* is stored; promise 28."""
    if not await users.is_ready(task_id):
        raise broken(28, f"the result of {task_id!r} is not there{when}")
    try:
        found = await users.get(task_id)
    except ResultGetError as error:
        raise broken(28, f"the result of {task_id!r} cannot be had{when}: {error}") from error
    wrong = difference(kept, found)
    if wrong is not None:
        raise broken(28, f"the result of {task_id!r} is another one{when}: {wrong}")


async def must_miss(users: Users, task_id: str, when: str) -> None:
    """Raise if a result of this task, or progress, is to be had; promise 28."""
    if await users.is_ready(task_id):
        raise broken(28, f"a result of {task_id!r} is there {when}")
    try:
        found = await users.get(task_id)
    except ResultGetError:
        return
    raise broken(28, f"{found!r} is there as the result of {task_id!r} {when}")


class ResultBackendContract(Contract):
    """Subclass it: `class TestMine(ResultBackendContract): factory = MyBackend`.

    What *factory* makes must be new and empty.  What the backend declares in `lacks` is skipped, and
    so is nearly all for one that keeps nothing.
    """

    factory: Callable[..., ResultBackend]
    #: Seconds that a test may take; `Stuck` then says who waits for what.
    limit: float = 30.0

    @classmethod
    def lacks(cls) -> frozenset[Capability]:
        """What the backend declares, and what follows from `keeps_results`."""
        with new_folder() as folder:
            backend = cls.make(folder)
        lacks: frozenset[Capability] = frozenset(backend.lacks)
        return lacks if backend.keeps_results else lacks | {Capability.RESULTS}

    def run(self, test: Callable[[Users], Awaitable[None]]) -> None:
        """Run *test* with users of a new backend."""

        async def main(folder: Path) -> None:
            async with open_results(self.make(folder)) as users:
                await test(users)

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)

    # --- storing and finding ---

    @promised(28, needs=KEPT)
    def test_what_was_set_can_be_got(self) -> None:
        """Every field survives, and the log is left out if told so."""

        async def test(users: Users) -> None:
            await must_miss(users, "a", "before it was stored")
            assert await users.put("a", FULL) is None
            await must_find(users, "a", FULL)
            assert (await users.get("a", with_logs=False)).log is None
            await must_find(users, "a", FULL)

        self.run(test)

    @promised(28, needs=KEPT)
    def test_ids_that_differ_are_kept_apart(self) -> None:
        """In letter case, in slashes, in length, in how an accent is written."""

        async def test(users: Users) -> None:
            for n, task_id in enumerate(ODD_IDS):
                await must_miss(users, task_id, "before it was stored")
                assert await users.put(task_id, TaskResult(return_value=n)) is None
                await must_find(users, task_id, TaskResult(return_value=n))
            for n, task_id in enumerate(ODD_IDS):
                await must_find(users, task_id, TaskResult(return_value=n), " any more")
            for n, task_id in enumerate(ODD_IDS):
                if n % 2:
                    await users.delete(task_id)
            for n, task_id in enumerate(ODD_IDS):
                if n % 2:
                    await must_miss(users, task_id, "after it was deleted")
                else:
                    why = " since others were deleted"
                    await must_find(users, task_id, TaskResult(return_value=n), why)

        self.run(test)

    @promised(28, needs=KEPT)
    def test_errors_come_back_as_themselves(self) -> None:
        """Builtin ones, actorq's own, groups; with causes, notes and the worker's traceback."""

        async def test(users: Users) -> None:
            for n, error in enumerate(errors()):
                task_id, failed = f"task-{n}", failure(error)
                assert await users.put(task_id, failed) is None
                await must_find(users, task_id, failed)
                try:
                    await users.system.handle(task_id).result()
                except type(error):
                    continue
                raise broken(28, f"result() of {task_id!r} did not raise {error!r}")

        self.run(test)

    @promised(28, needs=KEPT)
    def test_large_results_come_back_whole(self) -> None:
        """A megabyte of text, a list of many, a deep nest."""
        nest: list[Any] = []
        for _ in range(50):
            nest = [nest]

        async def test(users: Users) -> None:
            for n, value in enumerate(["ž" * 500_000, list(range(20_000)), nest]):
                kept: TaskResult[Any] = TaskResult(return_value=value, log="line\n" * 1000)
                assert await users.put(f"task-{n}", kept) is None
                await must_find(users, f"task-{n}", kept)

        self.run(test)

    @promised(28, needs=KEPT)
    def test_what_is_not_there_is_said(self) -> None:
        """`ResultGetError`, which is a LookupError and names the task; and nothing crashes."""

        async def test(users: Users) -> None:
            await must_miss(users, "nothing-here", "though none was stored")
            named = False
            try:
                await users.get("nothing-here")
            except LookupError as error:
                named = "nothing-here" in str(error)
            assert named, "the ResultGetError should name the task"
            if await users.progress("nothing-here") is not None:
                raise broken(28, "there is progress of a task that reported none")
            await users.delete("nothing-here")
            restarts = users.ref.statistics().restarts
            assert restarts == 0, f"the backend's actor crashed {restarts} times"

        self.run(test)

    @promised(28, needs=KEPT)
    def test_what_was_deleted_is_gone(self) -> None:
        """Result and progress; deleting twice is harmless; it can be set again, by any attempt."""

        async def test(users: Users) -> None:
            await users.report("a", TaskProgress(progress=0.5))
            assert await users.put("a", TaskResult(return_value=1, attempts=2)) is None
            for _ in range(2):
                await users.delete("a")
                await must_miss(users, "a", "after it was deleted")
                if await users.progress("a") is not None:
                    raise broken(28, "progress of 'a' is there after its result was deleted")
            again: TaskResult[Any] = TaskResult(return_value=2)
            assert await users.put("a", again) is None
            await must_find(users, "a", again)

        self.run(test)

    @promised(28, needs=KEPT)
    def test_a_result_with_a_time_to_live_ends_with_it(self) -> None:
        """And one that replaces it lives as long as itself says."""

        async def test(users: Users) -> None:
            await users.put("short", TaskResult(return_value=1), ttl=5)
            await users.put("long", TaskResult(return_value=2), ttl=5)
            await users.put("long", TaskResult(return_value=3), ttl=500)
            await users.put("ever", TaskResult(return_value=4), ttl=5)
            await users.put("ever", TaskResult(return_value=5))
            await must_find(users, "short", TaskResult(return_value=1), " before its time")
            let_pass(6)
            for _ in range(1000):
                if not await users.is_ready("short"):
                    break
                await trio.lowlevel.checkpoint()
            await must_miss(users, "short", "after its time to live")
            await must_find(users, "long", TaskResult(return_value=3), " before its time")
            await must_find(users, "ever", TaskResult(return_value=5), " before its time")

        self.run(test)

    # --- fences ---

    @promised(34, needs=KEPT)
    def test_a_later_attempt_replaces_and_an_earlier_one_is_refused(self) -> None:
        """The same one may be stored again: it is, when it is not known whether it was."""

        async def test(users: Users) -> None:
            for attempt, taken in [(2, True), (3, True), (1, False), (2, False), (3, True)]:
                result: TaskResult[Any] = TaskResult(return_value=attempt, attempts=attempt)
                verdict = await users.put("a", result)
                if verdict is not None and not isinstance(verdict, StaleResult):
                    raise verdict
                if taken and verdict is not None:
                    raise broken(34, f"attempt {attempt} was refused, though none later was stored")
                kept = (await users.get("a")).attempts
                if kept != max(attempt, 3 if not taken else 0) or (not taken and not verdict):
                    raise broken(34, f"attempt {attempt} of 'a' was taken after attempt 3")
            await users.crash()
            if await users.put("a", TaskResult(return_value=2, attempts=2)) is None:
                raise broken(34, "attempt 2 was taken after attempt 3, since the actor restarted")

        self.run(test)

    @promised(34, needs=KEPT)
    def test_progress_of_an_attempt_that_is_over_is_refused(self) -> None:
        """Its result is stored, or a later one's is."""

        async def test(users: Users) -> None:
            await users.put("a", TaskResult(attempts=2))
            for attempt in (1, 2):
                try:
                    await users.report("a", TaskProgress(progress=0.9), attempt)
                except StaleResult:
                    continue
                raise broken(34, f"progress of attempt {attempt} was taken after result 2")
            await users.report("a", TaskProgress(progress=0.1), 3)

        self.run(test)

    @promised(34, needs=KEPT)
    def test_a_result_under_a_lost_lease_is_refused(self) -> None:
        """Taken away, or lapsed; and its progress."""

        async def test(users: Users) -> None:
            for lease in (lost(), Lease(0.0)):
                verdict = await users.put("a", TaskResult(return_value=1), lease)
                if not isinstance(verdict, StaleResult) or await users.is_ready("a"):
                    raise broken(34, "the result of an attempt whose lease was lost was taken")
                try:
                    await users.report("a", TaskProgress(), 1, lease)
                except StaleResult:
                    pass
                else:
                    raise broken(34, "progress of an attempt whose lease was lost was taken")
            if await users.progress("a") is not None:
                raise broken(34, "progress of an attempt whose lease was lost is kept")

        self.run(test)

    @promised(34, needs=KEPT)
    def test_one_stale_result_spoils_no_other(self) -> None:
        """Of several that are stored at once, each has its own verdict."""

        async def test(users: Users) -> None:
            outcomes = [
                Outcome("a", TaskResult(return_value=1)),
                Outcome("b", TaskResult(return_value=2), lost()),
                Outcome("c", TaskResult(return_value=3)),
            ]
            verdicts = await users.put_all(outcomes)
            stale = [isinstance(each, StaleResult) for each in verdicts]
            if stale != [False, True, False]:
                raise broken(34, f"of three results the second was stale; the verdicts: {verdicts}")
            await must_find(users, "a", TaskResult(return_value=1))
            await must_find(users, "c", TaskResult(return_value=3))

        self.run(test)

    # --- waiting ---

    @promised(43, needs=KEPT)
    def test_waiters_are_woken_each_by_its_own_task(self) -> None:
        """Several tasks, several waiters; those who come later are answered at once."""

        async def test(users: Users) -> None:
            await users.report("a", TaskProgress(progress=0.5))
            for task_id in ("a", "b", "a", "c", "d", "a"):
                await users.waiter(task_id)
            for task_id in ("b", "a", "c", "d"):
                woken = [waiter for waiter in users.waiters if not waiter.waits]
                for waiter in users.waiters:
                    if waiter.task_id == task_id and waiter in woken:
                        answer = waiter.error or waiter.result
                        raise broken(43, f"who waits for {task_id!r} got, too early: {answer!r}")
                await users.put(task_id, TaskResult(return_value=task_id.upper()))
                await users.quiet()
                await users.waiter(task_id)
                for waiter in users.waiters:
                    if waiter.task_id == task_id and waiter.waits:
                        raise broken(
                            43, f"the result of {task_id!r} is stored; who waits, waits on"
                        )
            for waiter in users.waiters:
                if waiter.result is None or waiter.result.return_value != waiter.task_id.upper():
                    answer = waiter.error or waiter.result
                    raise broken(43, f"who waited for {waiter.task_id!r} got {answer!r}")

        self.run(test)

    @promised(14, 43, needs=KEPT)
    def test_a_waiter_that_gave_up_disturbs_nobody(self) -> None:
        """Ten give up, one is left."""

        async def test(users: Users) -> None:
            for _ in range(10):
                (await users.waiter("a")).scope.cancel("it gives up")
            waiter = await users.waiter("a")
            assert await users.put("a", TaskResult(return_value=1)) is None
            await users.quiet()
            if waiter.result is None:
                raise broken(43, "ten who waited gave up; the eleventh was not woken")

        self.run(test)

    # --- progress ---

    @promised(2)
    def test_progress_round_trip(self) -> None:
        """The latest counts; every field survives."""
        full = TaskProgress(0.5, "half", 5, 10, {"list": [1, None], "text": "ž"})

        async def test(users: Users) -> None:
            await users.report("a", TaskProgress(progress=0.1))
            await users.report("a", full)
            await users.report("b", TaskProgress())
            for task_id, latest in [("a", full), ("b", TaskProgress())]:
                found = await users.progress(task_id)
                if found != latest:
                    raise broken(2, f"{latest} was reported last of {task_id!r}; found {found}")

        self.run(test)

    @promised(2, needs=KEPT)
    def test_readers_get_every_update_in_order(self) -> None:
        """Pushed, whether they were there before, came in between or at the end."""
        said = [TaskProgress(n / 20, "at it", n, 20) for n in range(20)]

        async def test(users: Users) -> None:
            for n, progress in enumerate(said):
                if n in (0, 7):
                    await users.reader("a")
                await users.report("a", progress)
                await users.report("b", TaskProgress())
            await users.quiet()
            await users.put("a", TaskResult())
            await users.reader("a")
            for reader in users.readers:
                if reader.seen != said:
                    seen = [each.current for each in reader.seen]
                    raise broken(2, f"20 updates were reported in order; a reader saw {seen}")
                if not reader.ended:
                    raise broken(43, "the task has ended; who reads its progress waits on")

        self.run(test)

    @promised(43, needs=KEPT)
    def test_a_reader_of_a_task_that_ended_ends(self) -> None:
        """Without any progress too."""

        async def test(users: Users) -> None:
            waiting = await users.reader("a")
            await users.put("a", TaskResult(return_value=1))
            await users.quiet()
            late = await users.reader("a")
            if not (waiting.ended and late.ended):
                raise broken(43, "the task has ended; who reads its progress waits on")

        self.run(test)

    @promised(28, needs={Capability.PROGRESS})
    def test_progress_outlives_the_actor(self) -> None:
        """A backend that does not store it says `lacks = frozenset({Capability.PROGRESS})`."""

        async def test(users: Users) -> None:
            await users.report("a", TaskProgress(progress=0.5))
            await users.crash()
            found = await users.progress("a")
            if found != TaskProgress(progress=0.5):
                raise broken(28, f"the actor restarted; the progress that it knew is {found} now")

        self.run(test)

    # --- lives ---

    @promised(28, needs=KEPT)
    def test_a_crash_of_the_actor_loses_no_result(self) -> None:
        """And brings none back."""

        async def test(users: Users) -> None:
            await users.put("a", FULL)
            await users.put("b", TaskResult(return_value=1))
            await users.delete("b")
            for _ in range(2):
                await users.crash()
                await must_find(users, "a", FULL, " any more: the actor restarted")
                await must_miss(users, "b", "after it was deleted and the actor restarted")

        self.run(test)

    @promised(28, 43, needs=KEPT)
    def test_who_waits_goes_on_waiting_over_a_crash(self) -> None:
        """And so does who reads progress."""

        async def test(users: Users) -> None:
            waiter, reader = await users.waiter("a"), await users.reader("a")
            await users.report("a", TaskProgress(progress=0.1))
            await users.crash()
            await users.report("a", TaskProgress(progress=0.2))
            await users.put("a", TaskResult(return_value=1))
            await users.quiet()
            if waiter.result is None:
                raise broken(43, "who waited when the actor crashed was not woken")
            if [each.progress for each in reader.seen] != [0.1, 0.2] or not reader.ended:
                raise broken(43, f"who read progress when the actor crashed saw {reader.seen}")

        self.run(test)

    @promised(28, needs=SURVIVES)
    def test_what_is_kept_elsewhere_outlives_the_process(self) -> None:
        """A second backend on the same storage finds what the first stored, and no more."""

        async def main(folder: Path) -> None:
            async with open_results(self.make(folder)) as users:
                await users.put("a", FULL)
                await users.report("b", TaskProgress(progress=0.5))
                await users.put("c", TaskResult())
                await users.delete("c")
                await users.put("last", failure(ValueError(1)))
            async with open_results(self.make(folder)) as users:
                when = " any more: this is the next process"
                await must_find(users, "a", FULL, when)
                await must_find(users, "last", failure(ValueError(1)), when)
                await must_miss(users, "c", "in the next process, though it was deleted")
                if (await users.waiter("a")).waits:
                    raise broken(43, "the result is stored; who waits in the next process waits on")
                if Capability.PROGRESS not in self.lacks():
                    found = await users.progress("b")
                    if found != TaskProgress(progress=0.5):
                        raise broken(28, f"progress 0.5 was stored; the next process finds {found}")

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)

    @promised(28, needs=SURVIVES | {Capability.SHARING})
    def test_another_process_finds_it_at_once(self) -> None:
        """As it does after this one was killed: nothing is stored only at the end."""

        async def main(folder: Path) -> None:
            async with open_results(self.make(folder)) as one:
                await one.put("a", FULL)
                async with open_results(self.make(folder)) as other:
                    await must_find(other, "a", FULL, " for another process")
                    await other.put("b", TaskResult(return_value=1))
                    await must_find(one, "b", TaskResult(return_value=1), " for another process")
                    await other.delete("a")
                    await must_miss(one, "a", "after another process deleted it")

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)

    # --- in a program ---

    @promised(28, 43, needs=KEPT)
    def test_a_program_gets_its_results_and_its_progress(self) -> None:
        """Through workers and handles; one error is of a type that is not known here."""
        run_in_new_folder(self.make, _program, self.limit)

    # --- a backend that keeps nothing ---

    @promised()
    def test_a_backend_that_keeps_nothing_says_so_at_once(self) -> None:
        """No wait, no None that looks like a success."""
        if Capability.RESULTS not in self.lacks():
            raise unittest.SkipTest("it keeps results")

        async def test(users: Users) -> None:
            assert await users.put("a", TaskResult(return_value=1)) is None
            assert not await users.is_ready("a"), "it keeps no results, and one is ready"
            for task_id in ("a", "b"):
                waiter = await users.waiter(task_id)
                if not isinstance(waiter.error, ResultGetError):
                    raise broken(43, f"nothing is kept, and who waits got {waiter.result!r}")
            await must_miss(users, "a", "though nothing is kept")

        self.run(test)

    # --- everything at once ---

    @promised(2, 28, 34, 43, needs=KEPT)
    def test_it_does_what_a_dictionary_does(self) -> None:
        """Drawn operations, on it and on a model; crashes and new processes among them."""
        from actorq.testing.contracts.result_machine import run_result_machine

        run_result_machine(type(self))


def run_in_new_folder(
    make: Callable[[Path], Any], test: Callable[[Any], Awaitable[None]], limit: float
) -> None:
    """Run *test* in real time with what *make* makes."""
    with new_folder() as folder:
        run_in_real_time(test, make(folder), limit=limit)


async def _program(backend: ResultBackend) -> None:
    broker = InMemoryBroker().with_result_backend(backend)
    go = trio.Event()

    @broker.task
    async def work(count: int, ctx: Context = Depends()) -> str:
        await go.wait()
        for n in range(1, count + 1):
            await ctx.set_progress(TaskProgress(n / count, "at it", n, count))
        return "done"

    @broker.task
    async def fail() -> None:
        raise OwnError("mine")

    async def read(handle: TaskHandle[str], into: list[int | None]) -> None:
        into += [each.current async for each in handle.progress()]

    early: list[int | None] = []
    late: list[int | None] = []
    async with open_system(broker) as system:
        handle = await system.enqueue(work, 20)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, handle, early)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
            assert await handle.result() == "done"
        await read(handle, late)
        await read(system.handle(handle.task_id), late)
        if early != list(range(1, 21)) or late not in ([], 2 * early):
            raise broken(43, f"of 20 updates a reader saw {early}, and one who came late {late}")
        failed = await system.enqueue(fail)
        for _ in range(2):
            try:
                await failed.result()
            except TaskFailed as error:
                told = (error.type_name.rpartition(".")[2], error.message)
                if told != ("OwnError", "mine") or "raise OwnError" not in error.remote_traceback:
                    raise broken(28, f"OwnError('mine') was raised; {error!r} came back") from error
            else:
                raise broken(28, "OwnError('mine') was raised, and result() returned")
