"""A broker in a whole system: what needs actors to be seen, promises 28, 29, 32, 36, 43 and 53."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import trio

from actorq.actors.broker import Broker
from actorq.capability import Capability
from actorq.context import Context
from actorq.depends import Depends
from actorq.errors import EnqueueUncertain, TaskCancelled
from actorq.handle import TaskHandle
from actorq.restart import Backoff
from actorq.retry import RetryPolicy
from actorq.system import System, open_system
from actorq.task import Task, task
from actorq.testing.contracts.contract import new_folder, promised
from actorq.testing.contracts.host import EngineContract, run_program
from actorq.testing.faults import crash
from actorq.testing.promises import expect


#: No waiting between two lives.
_AT_ONCE = Backoff(base=0, jitter=0)
_CONTEXT: Any = Depends()


class RunsSystems(EngineContract):
    """A part of `BrokerContract`."""

    def run_system(self, program: Callable[[Broker], Awaitable[None]]) -> None:
        """Run *program* with a new broker."""
        with new_folder() as folder:

            async def main() -> None:
                await program(cast("Broker", self.make(folder)))

            run_program(main, simulated=self.simulated, limit=self.limit)

    @promised(43)
    def test_a_waiter_is_woken_by_the_result(self) -> None:
        """43: of a task that is running, of one that has ended; no time goes by."""

        async def program(broker: Broker) -> None:
            gate = trio.Event()

            @task
            async def double(n: int) -> int:
                await gate.wait()
                return 2 * n

            async with open_system(broker) as sys:
                handles = [await sys.enqueue(double, n) for n in range(5)]
                began = trio.current_time()
                found: list[int] = []

                async def wait_for(handle: TaskHandle[int]) -> None:
                    found.append(await handle.result())

                async with trio.open_nursery() as nursery:
                    for handle in handles:
                        nursery.start_soon(wait_for, handle)
                    gate.set()
                expect(43, sorted(found) == [0, 2, 4, 6, 8], f"five waited, and heard {found}")
                expect(43, await handles[0].result() == 0, "who comes later does not hear it")
                if self.simulated:
                    waited = trio.current_time() - began
                    expect(43, waited == 0, f"the waiters slept for {waited} s")

        self.run_system(program)

    @promised(28, 31)
    def test_a_crash_of_the_broker_loses_no_task(self) -> None:
        """28: enqueued, running and ended: each is done, whenever the broker actor crashes."""

        async def program(broker: Broker) -> None:
            ran: list[int] = []

            @task
            async def work(n: int) -> int:
                await trio.lowlevel.checkpoint()
                ran.append(n)
                return n

            async with open_system(broker, backoff=_AT_ONCE) as sys:
                handles = []
                for n in range(9):
                    handles.append(await surely(sys, work.using(task_id=f"t{n}"), n))
                    if n % 4 == 1:
                        crash(sys.actor("broker"))
                found = [await handle.result() for handle in handles]
                expect(28, found == list(range(9)), f"nine tasks; their results are {found}")
                expect(28, set(ran) == set(range(9)), f"of nine tasks these ran: {ran}")

        self.run_system(program)

    @promised(32, 33)
    def test_a_crash_of_the_pool_runs_its_jobs_again(self) -> None:
        """32: at least once: what was running runs again, with attempt + 1."""

        async def program(broker: Broker) -> None:
            attempts: list[int] = []
            begun = trio.Event()

            @task
            async def work(ctx: Context = _CONTEXT) -> int:
                attempts.append(ctx.attempt)
                if ctx.attempt == 1:
                    begun.set()
                    await trio.sleep_forever()
                return ctx.attempt

            async with open_system(broker, backoff=_AT_ONCE) as sys:
                handle = await sys.enqueue(work)
                await begun.wait()
                crash(sys.actor("pool"))
                expect(32, await handle.result() == 2, "it was not run again")
                expect(33, attempts == [1, 2], f"the attempts were {attempts}")

        self.run_system(program)

    @promised(33)
    def test_a_failed_attempt_is_tried_again(self) -> None:
        """33: as often as was allowed, and no more."""

        async def program(broker: Broker) -> None:
            attempts: list[int] = []

            @task(retries=RetryPolicy(retries=2, base=0))
            async def fail(ctx: Context = _CONTEXT) -> int:
                attempts.append(ctx.attempt)
                raise ValueError(ctx.attempt)

            async with open_system(broker) as sys:
                result = await (await sys.enqueue(fail)).wait_result()
                expect(33, attempts == [1, 2, 3], f"with 2 retries the attempts were {attempts}")
                expect(33, result.attempts == 3, f"its result says {result.attempts} attempts")

        self.run_system(program)

    @promised(36, needs={Capability.CANCELLATION})
    def test_a_running_job_is_cancelled(self) -> None:
        """36: its scope is cancelled, its waiter gets `TaskCancelled`, the answer is True."""

        async def program(broker: Broker) -> None:
            begun = trio.Event()
            unwound: list[bool] = []

            @task
            async def work() -> None:
                try:
                    begun.set()
                    await trio.sleep_forever()
                finally:
                    unwound.append(True)

            async with open_system(broker) as sys:
                handle = await sys.enqueue(work)
                await begun.wait()
                expect(36, await handle.cancel() is True, "a running job was cancelled: not True")
                expect(36, unwound == [True], "a job that was cancelled was not unwound")
                error = (await handle.wait_result()).error
                expect(36, isinstance(error, TaskCancelled), f"its waiter gets {error!r}")

        self.run_system(program)

    @promised(53)
    def test_a_shutdown_gives_back_what_has_not_begun(self) -> None:
        """53: the running job ends; the others are there for the next system, no attempt burned."""

        async def program(broker: Broker) -> None:
            gate, begun = trio.Event(), trio.Event()
            attempts: dict[int, int] = {}

            @task
            async def work(n: int, ctx: Context = _CONTEXT) -> int:
                attempts[n] = ctx.attempt
                begun.set()
                await gate.wait()
                return n

            async with open_system(broker, concurrency=1) as sys:
                handles = [await sys.enqueue(work, n) for n in range(3)]
                await begun.wait()
                gate.set()
            expect(53, 0 in attempts, "the running job was not finished")
            async with open_system(broker, tasks=[work]) as sys:
                again = [sys.handle(handle.task_id, work) for handle in handles]
                found = [await handle.result() for handle in again]
                expect(53, found == [0, 1, 2], f"after a shutdown the results are {found}")
            burned = {n: attempt for n, attempt in attempts.items() if attempt != 1}
            expect(53, not burned, f"a shutdown burned attempts: {attempts}")

        self.run_system(program)


async def surely(sys: System, work: Task[..., Any], n: int) -> TaskHandle[Any]:
    """Enqueue; after an uncertain answer again, under the same id."""
    while True:
        try:
            return await sys.enqueue(work, n)
        except EnqueueUncertain:
            continue
