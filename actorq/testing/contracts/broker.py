"""`BrokerContract`: what every engine must do, as a suite to subclass.

class TestMine(BrokerContract):
    factory = MyBroker
"""

from __future__ import annotations

from actorq.testing.contracts.broker_keeping import KeepsTasks
from actorq.testing.contracts.broker_leases import LeasesTasks
from actorq.testing.contracts.broker_limits import LimitsTasks
from actorq.testing.contracts.broker_order import OrdersTasks
from actorq.testing.contracts.broker_requests import AnswersRequests
from actorq.testing.contracts.broker_systems import RunsSystems
from actorq.testing.contracts.contract import promised


class BrokerContract(
    RunsSystems, AnswersRequests, OrdersTasks, LimitsTasks, LeasesTasks, KeepsTasks
):  # run from the right
    """Promises 28 to 39, 41 to 43 and 53 of one engine.

    *factory* makes a broker: a class, or a function.  If it takes an argument, that is an empty folder
    of the test's own; called again with the same folder it makes what another process would have on the
    same storage.  What the broker declares in `lacks` is skipped by name.

    *simulated*: whole systems run in virtual time; for an engine without threads, files and sockets.
    *limit*: seconds after which a test gives up.  `kill(broker)`: what happens when its process dies.
    *max_examples* and *steps*: how many programs are drawn to compare the engine with the reference,
    and how long they are; as many as Hypothesis's profile says (100, if it says nothing), and 40.
    """

    max_examples: int | None = None
    steps: int = 40

    @promised(28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 41, 42)
    def test_it_behaves_like_the_reference(self) -> None:
        """28 to 42: in drawn programs, with crashes, after each step.  Needs Hypothesis."""
        from actorq.testing.contracts.broker_machine.machine import run_broker_machine

        run_broker_machine(self, self.max_examples, self.steps)
