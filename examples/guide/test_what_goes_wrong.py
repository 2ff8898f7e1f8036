"""Faults, one by one and drawn: run it with `pytest examples/guide/test_what_goes_wrong.py`."""

import attrs
import pytest
import trio
from hypothesis import given, settings

import actorq
from actorq.protocol import Enqueue, Settle
from actorq.testing import (
    Crash,
    Delay,
    Fault,
    FaultForbidden,
    LoseAnswer,
    Stall,
    Tape,
    delay,
    drop,
    duplicate,
    fail_call,
    faults,
    inject,
    schedules,
    simulate,
    stall,
)


@actorq.task(retries=2)
async def thumbnail(photo: str) -> str:
    await trio.sleep(60)
    return f"{photo}, small"


def test_an_answer_that_is_lost() -> None:
    async def program() -> int:
        once = thumbnail.using(task_id="cat")
        async with actorq.open_system() as sys:
            drop(sys.actor("broker"), of=Enqueue, answer=True)
            with pytest.raises(actorq.EnqueueUncertain):
                await sys.enqueue(once, "cat.jpg")  # stored, and we do not know it
            handle = await sys.enqueue(once, "cat.jpg")  # the same id again: harmless
            assert await handle.result() == "cat.jpg, small"
            return (await sys.queue_statistics()).done

    assert simulate(program) == 1


def test_a_backend_that_fails_once() -> None:
    async def program() -> None:
        broker = actorq.InMemoryBroker()
        fail_call(broker.result_backend, "set_result", error=OSError("disk full"))
        async with actorq.open_system(broker) as sys:
            handle = await sys.enqueue(thumbnail, "cat.jpg")
            assert await handle.result() == "cat.jpg, small"  # it is stored again
        assert trio.current_time() == pytest.approx(60.1)

    simulate(program)


def test_a_worker_that_stands_still_for_too_long() -> None:
    async def program() -> actorq.TaskResult[str]:
        async with actorq.open_system() as sys:
            handle = await sys.enqueue(thumbnail, "cat.jpg")
            await trio.sleep(10)
            stall(sys.actor("pool"), 45)  # longer than its lease of 30 seconds
            return await handle.wait_result()

    assert simulate(program).attempts == 2


@attrs.frozen
class Deposit(actorq.Message[int]):
    cents: int


class Account(actorq.Actor[Deposit]):
    def __init__(self) -> None:
        self.cents = 0

    async def receive(self, message: Deposit) -> int:
        self.cents += message.cents
        return self.cents


def test_late_messages_of_your_own_actors() -> None:
    async def program() -> None:
        async with actorq.open_kernel() as kernel:
            account = await kernel.spawn(Account)
            delay(account, 5.0)
            await account.tell(Deposit(100))  # on its way for five seconds
            assert await account.ask(Deposit(1)) == 101  # and what we send waits behind it
            assert trio.current_time() == 5
            with pytest.raises(FaultForbidden, match="promise 5"):
                duplicate(account, of=Deposit)  # twice the money

    simulate(program)


def test_a_plan() -> None:
    async def program() -> None:
        plan = [
            Crash("pool", at=10.0),
            Delay("broker", 2.0, of=Settle),
            LoseAnswer("results", "set_result"),
            Stall("pool", 45.0, at=500.0),
        ]
        async with actorq.open_system() as sys, inject(sys, plan) as injection:
            handle = await sys.enqueue(thumbnail, "cat.jpg")
            assert await handle.result() == "cat.jpg, small"
            await sys.wait_idle()
        assert injection.missed == [Stall("pool", 45.0, at=500.0)]

    simulate(program)


@given(plan=faults(horizon=60.0), tape=schedules())
@settings(max_examples=20)
def test_whatever_goes_wrong_there_is_a_thumbnail(plan: list[Fault], tape: Tape) -> None:
    async def program() -> None:
        async with actorq.open_system() as sys, inject(sys, plan):
            once = thumbnail.using(task_id="cat")
            while True:
                try:
                    handle = await sys.enqueue(once, "cat.jpg")
                    assert await handle.result() == "cat.jpg, small"
                    break
                except actorq.EnqueueUncertain:
                    continue  # twice is harmless: it has an id of its own
                except (actorq.ResultGetError, actorq.ResultIsReadyError):
                    continue  # the backend said that it had failed

    simulate(program, tape=tape)
