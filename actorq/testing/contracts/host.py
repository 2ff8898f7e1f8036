"""The host: broker objects without a system, so that a test can drive an engine by itself.

What a broker gets from a system in real life (its clock, its formats) it gets from here.  Time is an
argument of every call, so it passes when the test says so, and nothing waits.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, TypeVarTuple, cast

import trio

from actorq.actors.broker import Broker
from actorq.chain import Chain
from actorq.clock import EngineClock
from actorq.limits import Pace, Permit
from actorq.message import Delivery, Fence, TaskMessage, Terms
from actorq.options import DEFAULT_QUEUE, TaskOptions
from actorq.protocol import Ending, Notice, QueueStatistics, Settlement
from actorq.queue_choice import QueueChoice
from actorq.result import TaskResult
from actorq.task import TaskRegistry
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.simulation import EPOCH, simulate, who_is_where
from actorq.unique import UniqueKey
from actorq.wiring import Wiring


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


C = TypeVar("C", bound="EngineContract")
Ts = TypeVarTuple("Ts")

#: Why a ready task is held there.
HELD: Final = frozenset({"limited", "paced"})


class Bench:
    """One broker object: the methods of its engine, with the host's time."""

    def __init__(self, host: Host, broker: Broker) -> None:
        self.host = host
        self.broker = broker

    @property
    def lease(self) -> float:
        """Seconds."""
        return self.broker.lease

    async def enqueue(self, *messages: TaskMessage) -> list[str]:
        """The id of what stands for each."""
        answer = await self.broker.store(messages, self.host.now)
        return [message.task_id for message in messages] if answer is None else list(answer)

    async def session(self, worker: str = "w", queues: QueueChoice | None = None) -> int:
        """A new session of *worker*."""
        return await self.broker.open_session(worker, self.host.now, queues)

    async def claim(self, session: int, limit: int = 100) -> list[Delivery]:
        """As many as there are, up to *limit*; an engine may give them in smaller batches."""
        found: list[Delivery] = []
        while len(found) < limit:
            batch = await self.broker.claim(session, limit - len(found), self.host.now)
            if not batch:
                break
            found.extend(batch)
        return found

    async def take(self, session: int, limit: int = 100) -> list[str]:
        """The ids of what is claimed."""
        return [delivery.fence.task_id for delivery in await self.claim(session, limit)]

    async def settle(
        self, session: int, ending: Ending, *of: Delivery | Fence, **said: Any
    ) -> list[bool]:
        """Say this of each delivery; what the engine answers."""
        if ending is Ending.DEAD:
            said = {"reason": "the test says so", **said}
        fences = [cast("Fence", getattr(each, "fence", each)) for each in of]
        words = [Settlement(fence, ending, **said) for fence in fences]
        return list(await self.broker.settle(session, words, self.host.now))

    async def extend(self, session: int) -> float | None:
        """Renew its lease."""
        return await self.broker.extend(session, self.host.now)

    async def cancel(self, task_id: str) -> bool | None:
        """Cancel a task."""
        return await self.broker.revoke(task_id, self.host.now)

    async def look(self) -> None:
        """What the broker actor does when a timer says that time has passed, or `listen` calls."""
        await self.broker.refresh(self.host.now)
        await self.broker.promote(self.host.now)
        await self.broker.lapse(self.host.now, 0.0)

    async def where(self, *task_ids: str) -> list[str]:
        """Where each is; what a limit holds back is ready."""
        found = [await self.broker.locate(task_id) for task_id in task_ids]
        return ["ready" if each in HELD else each for each in found]

    async def counts(self) -> QueueStatistics:
        """How many tasks are where."""
        return await self.broker.statistics_of_queue()

    async def told(self) -> dict[str, TaskResult[Any]]:
        """The ends that waiters are to be told, by task id; they are taken out of the outbox."""
        outcomes = tuple(self.broker.outbox())
        await self.broker.published(len(outcomes))
        return {outcome.task_id: outcome.result for outcome in outcomes}

    async def error_told(self, task_id: str) -> Exception | None:
        """What who waits for this task is told, and nobody but the queue tells."""
        result = (await self.told()).get(task_id)
        return None if result is None else result.error

    async def notices(self, session: int) -> list[Notice]:
        """What a session is told; on a shared storage, after having looked there."""
        await self.look()
        return list(self.broker.take_notices(session))


class Host:
    """One storage, the broker objects on it, and the time."""

    def __init__(self, make: Callable[[], Broker], kill: Callable[[Broker], None]) -> None:
        self.now = EPOCH
        self.benches: list[Bench] = []
        self._make = make
        self._kill = kill

    @property
    def first(self) -> Bench:
        """The object that was opened first, of those that are open."""
        return self.benches[0]

    async def open(self) -> Bench:
        """One more broker object, as another process would have it."""
        broker = self._make()
        if not isinstance(broker, Broker):
            raise TypeError(
                f"the contract's factory is to make a Broker: `factory = MyBroker`; it made {broker!r}"
            )
        broker._wiring = self._wiring(broker)
        await broker.startup()
        bench = Bench(self, broker)
        self.benches.append(bench)
        return bench

    async def close(self, bench: Bench) -> None:
        """Its system is closed."""
        self.benches.remove(bench)
        await bench.broker.shutdown()

    async def crash_actor(self, bench: Bench) -> None:
        """The broker actor crashes and is started again: another life of the same object."""
        await bench.broker.shutdown()
        await bench.broker.startup()

    async def crash_process(self, bench: Bench) -> Bench:
        """Its process dies without a word, and another one comes in its place."""
        self.benches.remove(bench)
        self._kill(bench.broker)
        return await self.open()

    async def wait(self, seconds: float) -> None:
        """Let time pass, and let every object look at it."""
        self.now += seconds
        for bench in self.benches:
            await bench.look()

    def _wiring(self, broker: Broker) -> Wiring:
        chain = Chain(())
        return Wiring(
            clock=cast("EngineClock", lambda: self.now),
            random=random.Random(0),
            tasks=TaskRegistry(),
            chain=chain,
            hooks=chain.hooks,
            wire=broker.wire,
            dependencies=broker.dependencies,
        )


class EngineContract(Contract):
    """What the parts of `BrokerContract` share."""

    _kind = Broker

    #: The engine has no threads, files or sockets: whole systems run in virtual time.
    simulated: bool = False
    #: Seconds after which a test gives up, and says who waits where.
    limit: float = 60.0

    def kill(self, broker: Broker) -> None:
        """Do what the operating system does when the process of *broker* dies.

        Override it if an object holds what another process could not share: close sockets, give locks
        back.  Nothing may be written any more.
        """

    def drive(self, test: Callable[[Host], Awaitable[None]]) -> None:
        """Run *test* with one broker object open, on Trio's real clock."""
        with new_folder() as folder:

            async def main() -> None:
                async with hosted(
                    Host(lambda: cast("Broker", self.make(folder)), self.kill)
                ) as host:
                    await test(host)

            trio.run(bounded, self.limit, main)


@asynccontextmanager
async def hosted(host: Host) -> AsyncIterator[Host]:
    """With one object open; at the end all are closed."""
    await host.open()
    try:
        yield host
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
            for bench in tuple(host.benches):
                await host.close(bench)


async def bounded(seconds: float, test: Callable[[], Awaitable[None]]) -> None:
    """Run *test*; if it does not end, say who waits where."""
    found = ""

    async def watch() -> None:
        nonlocal found
        await trio.sleep(seconds)
        found = who_is_where()
        nursery.cancel_scope.cancel("the contract's test takes too long")

    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, name="the contract's watchdog")
        try:
            await test()
        except Exception as error:  # noqa: BLE001 - raised below, naked
            failure = error
        nursery.cancel_scope.cancel("the contract's test has ended")
    if found:
        raise AssertionError(f"the test did not end within {seconds:g} seconds:\n{found}")
    if failure is not None:
        raise naked(failure)


def naked(error: Exception) -> Exception:
    """The first of those that a nursery has put into a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def on_engine(test: Callable[[C, Host], Awaitable[None]]) -> Callable[[C], None]:
    """A test that drives the engine: gets a `Host` with one broker object open."""

    def driven(self: C) -> None:
        async def main(host: Host) -> None:
            await test(self, host)

        self.drive(main)

    # not functools.wraps: pytest would take `host` for a fixture
    driven.__name__ = driven.__qualname__ = test.__name__
    driven.__doc__ = test.__doc__
    driven.__module__ = test.__module__
    return driven


def call(
    task_id: str,
    *args: Any,
    name: str = "add",
    queue: str = DEFAULT_QUEUE,
    priority: int = 0,
    eta: float | None = None,
    deliveries: int | None = None,
    expires_at: float | None = None,
    unique: UniqueKey | None = None,
    permits: tuple[Permit, ...] = (),
    paces: tuple[Pace, ...] = (),
    chain: tuple[TaskMessage, ...] = (),
    labels: dict[str, Any] | None = None,
) -> TaskMessage:
    """One call of a task, with what is said of it."""
    options = TaskOptions(
        queue=queue, priority=priority, deliveries=deliveries, labels=labels or {}
    )
    terms = None
    if expires_at is not None or unique is not None or permits or paces or chain:
        terms = Terms(
            expires_at=expires_at, unique=unique, permits=permits, paces=paces, chain=chain
        )
    return TaskMessage(task_id, name, args or (1,), {}, options, eta, EPOCH, terms)


def run_program(
    program: Callable[[*Ts], Awaitable[None]], *args: *Ts, simulated: bool, limit: float
) -> None:
    """Run a program in virtual time, or else on the real clock within *limit* seconds."""
    if simulated:
        simulate(program, *args)
        return

    async def main() -> None:
        await program(*args)

    trio.run(bounded, limit, main)
