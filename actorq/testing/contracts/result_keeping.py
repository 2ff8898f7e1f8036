"""What a result backend keeps, until when, and over which deaths: promise 28."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from actorq.capability import Capability
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.testing.contracts.contract import new_folder, promised
from actorq.testing.contracts.real_time import let_pass, run_in_real_time
from actorq.testing.contracts.result_run import (
    KEPT,
    SURVIVES,
    StoreContract,
    Users,
    must_find,
    must_miss,
)
from actorq.testing.contracts.result_users import open_results
from actorq.testing.contracts.result_values import FULL, ODD_IDS, errors, failure
from actorq.testing.promises import broken


class KeepsResults(StoreContract):
    """A part of `ResultBackendContract`."""

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
