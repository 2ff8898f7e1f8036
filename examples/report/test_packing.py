"""A project that reports what its tests show: `python -m actorq.testing report examples/report`."""

from collections.abc import Sequence

import pytest
from hypothesis import given

import actorq
from actorq.message import TaskMessage
from actorq.testing import BrokerContract, Mutant, Tape, schedules, simulate


@pytest.mark.promise("every order is packed")
@given(tape=schedules())
def test_every_order_is_packed(tape: Tape) -> None:
    packed: list[int] = []

    @actorq.task
    async def pack(order: int) -> None:
        packed.append(order)

    async def program() -> None:
        async with actorq.open_system() as sys:
            await sys.enqueue_many(pack, [(order,) for order in range(10)])
            await sys.wait_idle()
        assert sorted(packed) == list(range(10))

    simulate(program, tape=tape)


class Careless(actorq.InMemoryBroker):
    """Loses the last task of each batch."""

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        return await super().store(messages[:-1], now)


class TestOurBroker(BrokerContract):
    factory = actorq.InMemoryBroker
    simulated = True


def test_a_careless_broker_would_be_noticed() -> None:
    careless = Mutant(
        name="careless",
        promise=31,
        breaks="loses the last task of each batch",
        contract=BrokerContract,
        factory=Careless,
    )
    assert careless.caught()
