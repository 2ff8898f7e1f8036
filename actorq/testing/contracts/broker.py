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


class BrokerContract(
    RunsSystems, AnswersRequests, OrdersTasks, LimitsTasks, LeasesTasks, KeepsTasks
):  # run from the right
    """Promises 28 to 39, 41 to 43 and 53 of one engine.

    *factory* makes a broker: a class, or a function.  If it takes an argument, that is an empty folder
    of the test's own; called again with the same folder it makes what another process would have on the
    same storage.  What the broker declares in `lacks` is skipped by name.

    *simulated*: whole systems run in virtual time; for an engine without threads, files and sockets.
    *limit*: seconds after which a test gives up.  `kill(broker)`: what happens when its process dies.
    """
