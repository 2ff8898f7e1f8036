"""What every result backend must do, whatever it keeps results in.

Subclass `ResultBackendContract`, say how to make your backend, and pytest runs it:

    class TestMine(ResultBackendContract):
        factory = MyBackend

Real clock, no sleeping: a backend may use threads, files and sockets.  Of a store promise 28 says:
what was stored is found, as it was, nothing else is, and what was deleted stays away.
"""

from __future__ import annotations

import unittest

from actorq.capability import Capability
from actorq.errors import ResultGetError
from actorq.result import TaskResult
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.result_fences import FencesResults
from actorq.testing.contracts.result_keeping import KeepsResults
from actorq.testing.contracts.result_programs import ServesPrograms
from actorq.testing.contracts.result_run import KEPT, Users, must_miss
from actorq.testing.contracts.result_sharing import SharesResults
from actorq.testing.contracts.result_waiting import WakesWaiters
from actorq.testing.promises import broken


class ResultBackendContract(
    ServesPrograms, SharesResults, WakesWaiters, FencesResults, KeepsResults
):  # run from the right
    """Subclass it: `class TestMine(ResultBackendContract): factory = MyBackend`.

    What *factory* makes must be new and empty.  What the backend declares in `lacks` is skipped, and
    so is nearly all for one that keeps nothing.
    """

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

    @promised(2, 28, 34, 43, needs=KEPT)
    def test_it_does_what_a_dictionary_does(self) -> None:
        """Drawn operations, on it and on a model; crashes and new processes among them."""
        from actorq.testing.contracts.result_machine import run_result_machine

        run_result_machine(type(self))
