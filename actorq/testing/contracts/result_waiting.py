"""Who waits for a result, and who reads progress: promises 2, 14 and 43."""

from __future__ import annotations

from actorq.capability import Capability
from actorq.progress import TaskProgress
from actorq.result import TaskResult
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.result_run import KEPT, StoreContract, Users
from actorq.testing.promises import broken


class WakesWaiters(StoreContract):
    """A part of `ResultBackendContract`."""

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
