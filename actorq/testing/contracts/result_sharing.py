"""A result backend that several processes have at once: promises 34 and 43 across them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from actorq.capability import Capability
from actorq.errors import ResultGetError, ResultSetError, StaleResult
from actorq.progress import TaskProgress
from actorq.protocol import UnsavedResult
from actorq.result import TaskResult
from actorq.testing.contracts.contract import new_folder, promised
from actorq.testing.contracts.real_time import let_pass, run_in_real_time
from actorq.testing.contracts.result_run import SURVIVES, StoreContract, Users
from actorq.testing.contracts.result_users import open_results
from actorq.testing.promises import broken


SHARED = SURVIVES | {Capability.SHARING}


async def soon(happened: Callable[[], object]) -> bool:
    """Whether it happens by the time that a backend needs which looks now and then only."""
    for _ in range(1000):
        if happened():
            return True
        await trio.sleep(0.001)
        let_pass(0.1)
    return False


class SharesResults(StoreContract):
    """A part of `ResultBackendContract`."""

    def run_on_two(self, test: Callable[[Users, Users], Awaitable[None]]) -> None:
        """Run *test* with the users of two backends on one storage, as two processes have them."""

        async def main(folder: Path) -> None:
            async with (
                open_results(self.make(folder)) as one,
                open_results(self.make(folder)) as other,
            ):
                await test(one, other)

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)

    @promised(43, needs=SHARED)
    def test_who_waits_in_one_process_is_woken_by_another(self) -> None:
        """Many tasks, several waiters; each gets its own result, whichever process stores it."""
        ids = [f"task-{n}" for n in range(30)]

        async def test(one: Users, other: Users) -> None:
            for task_id in (*ids, *ids[:5]):
                await one.waiter(task_id)
            await other.waiter(ids[0])
            for n, task_id in enumerate(ids):
                by = one if n % 5 == 1 else other
                assert await by.put(task_id, TaskResult(return_value=n)) is None
            waiters = [*one.waiters, *other.waiters]
            if not await soon(lambda: not any(waiter.waits for waiter in waiters)):
                late = sorted({waiter.task_id for waiter in waiters if waiter.waits})
                raise broken(
                    43, f"another process stored {', '.join(late)}; who waits here, waits on"
                )
            for waiter in waiters:
                if waiter.result != TaskResult(return_value=ids.index(waiter.task_id)):
                    answer = waiter.error or waiter.result
                    raise broken(43, f"who waited for {waiter.task_id!r} got {answer!r}")

        self.run_on_two(test)

    @promised(43, needs=SHARED | {Capability.PROGRESS})
    def test_who_reads_progress_sees_what_another_process_reports(self) -> None:
        """The latest, if not all before it; what was reported earlier, too; and the end."""

        async def test(one: Users, other: Users) -> None:
            await other.report("a", TaskProgress(progress=0.1))
            reader = await one.reader("a")
            for share in (0.1, 0.5, 0.9):
                await other.report("a", TaskProgress(progress=share))

                def seen(share: float = share) -> bool:
                    return bool(reader.seen) and reader.seen[-1].progress == share

                if not await soon(seen):
                    found = [each.progress for each in reader.seen]
                    raise broken(43, f"another process reported {share}; who reads saw {found}")
            await other.put("a", TaskResult())
            if not await soon(lambda: reader.ended):
                raise broken(43, "another process stored the result; who reads progress waits on")
            shares = [each.progress for each in reader.seen]
            if shares != sorted(shares):
                raise broken(
                    43, f"progress was reported in order; a reader in between saw {shares}"
                )

        self.run_on_two(test)

    @promised(43, needs=SHARED)
    def test_who_waits_for_a_result_that_was_given_up_elsewhere_is_told(self) -> None:
        """Who waits already, and who comes later."""

        async def test(one: Users, other: Users) -> None:
            waiter = await one.waiter("a")
            await other.ref.tell(UnsavedResult("a", ResultSetError("the disk is full")))
            if not await soon(lambda: not waiter.waits):
                raise broken(43, "another process gave the result up; who waits here, waits on")
            late = await one.waiter("a")
            for each in (waiter, late):
                told = each.error
                if not isinstance(told, ResultGetError) or "the disk is full" not in str(told):
                    answer = each.error or each.result
                    raise broken(43, f"the result was given up elsewhere; a waiter got {answer!r}")

        self.run_on_two(test)

    @promised(34, needs=SHARED)
    def test_an_attempt_that_another_process_overtook_is_refused(self) -> None:
        """Its result and its progress: the storage knows, whoever stored what is later."""

        async def test(one: Users, other: Users) -> None:
            assert await one.put("a", TaskResult(return_value=1, attempts=1)) is None
            assert await other.put("a", TaskResult(return_value=2, attempts=2)) is None
            verdict = await one.put("a", TaskResult(return_value=1, attempts=1))
            for users in (one, other):
                if (await users.get("a")).return_value != 2:
                    raise broken(34, "another process stored attempt 2; attempt 1 replaced it")
            if not isinstance(verdict, StaleResult):
                raise broken(34, "another process stored attempt 2; attempt 1 was not refused")
            try:
                await one.report("a", TaskProgress(progress=0.5), 2)
            except StaleResult:
                return
            raise broken(34, "another process stored attempt 2; then progress of it was taken")

        self.run_on_two(test)
