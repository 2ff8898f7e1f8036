"""Whose results and whose progress a backend refuses: promise 34."""

from __future__ import annotations

from typing import Any

from actorq.errors import StaleResult
from actorq.progress import TaskProgress
from actorq.protocol import Lease, Outcome
from actorq.result import TaskResult
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.result_run import KEPT, StoreContract, Users, must_find
from actorq.testing.contracts.result_users import lost
from actorq.testing.promises import broken


class FencesResults(StoreContract):
    """A part of `ResultBackendContract`."""

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
