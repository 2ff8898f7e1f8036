"""Several schedulers on one source: each slot is enqueued once.

They send to one queue, as processes would, and nobody works on it.  Wall clock and Trio's clock leap
together, from one moment to the next; at each the schedulers are given the time that they need.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from actorq.capability import Capability
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.queue import Queue
from actorq.environment import current_environment, set_environment
from actorq.message import TaskMessage
from actorq.middleware import Middleware
from actorq.restart import Backoff
from actorq.schedule import CatchUp, every
from actorq.schedule_source import ScheduleSource
from actorq.system import open_system
from actorq.task import task
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.contracts.real_time import let_pass, run_in_real_time
from actorq.testing.faults import crash
from actorq.testing.promises import broken
from actorq.testing.simulation import EPOCH
from actorq.testing.tape import Tape, schedules


@task(name="note")
async def note() -> None:
    """Not run here."""


class SendsTo(InMemoryBroker):
    """What it is given is stored in a queue that others send to as well."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._other = queue

    async def store(self, messages: Sequence[TaskMessage], now: float) -> tuple[str, ...] | None:
        """There."""
        return self._other.enqueue(messages, now)


class Counts(Middleware):
    """What was sent, by whomever."""

    def __init__(self, sent: list[str]) -> None:
        self.sent = sent

    def post_send(self, message: TaskMessage) -> None:
        """Note it."""
        self.sent.append(message.task_id)


@attrs.frozen
class Plan:
    """What happens in one race."""

    schedulers: int
    period: float
    jitter: float
    catch_up: CatchUp
    leaps: list[float]  #: seconds from one moment to the next
    faults: list[
        tuple[int, int, bool]
    ]  #: at which moment, which scheduler, its process or it alone
    tape: Tape


plans = st.builds(
    Plan,
    st.integers(1, 3),
    st.sampled_from([3.0, 7.5]),
    st.sampled_from([0.0, 2.0]),
    st.sampled_from(CatchUp),
    st.lists(st.sampled_from([0.5, 3.0, 7.5, 40.0]), min_size=3, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2), st.booleans()), max_size=3),
    schedules(200),
)


class Race:
    """One race."""

    def __init__(self, plan: Plan, contract: type[Contract], folder: Path) -> None:
        self.plan = plan
        self.queue = Queue()
        self.sent: list[str] = []
        self.shared = Capability.SHARING in contract.lacks()
        self._contract = contract
        self._folder = folder
        self._source: ScheduleSource | None = None

    def source(self) -> ScheduleSource:
        """Each process has its own, if several can share the storage."""
        source = self._source if self.shared else None
        if source is None:
            source = self._source = self._contract.make(self._folder)
        return source

    async def main(self) -> None:
        """All of it."""
        plan = self.plan
        set_environment(
            attrs.evolve(current_environment(), wall=lambda: EPOCH + trio.current_time())
        )
        source = self.source()
        await source.startup()
        await source.add(
            note,
            every(plan.period),
            schedule_id="s",
            jitter=plan.jitter,
            catch_up=plan.catch_up,
        )
        began = await source.fetch("s")
        assert began is not None
        async with trio.open_nursery() as nursery:
            lives = [await nursery.start(self._process) for _ in range(plan.schedulers)]
            for moment, leap in enumerate(plan.leaps):
                let_pass(leap)
                for when, number, whole in plan.faults:
                    if when == moment and number < plan.schedulers:
                        scope, scheduler = lives[number]
                        if whole:
                            scope.cancel("the process dies")
                            lives[number] = await nursery.start(self._process)
                        else:
                            crash(scheduler)
                await self._until_done(source)
            nursery.cancel_scope.cancel("the race is over")
        self._judge(began.activated)
        await source.shutdown()

    async def _process(self, task_status: trio.TaskStatus[tuple[trio.CancelScope, object]]) -> None:
        broker = SendsTo(self.queue).with_schedule_source(self.source())
        broker.with_middlewares(Counts(self.sent))
        with trio.CancelScope() as scope:
            async with open_system(broker, backoff=Backoff(base=0, jitter=0)) as system:
                task_status.started((scope, system.actor("scheduler")))
                await trio.sleep_forever()

    async def _until_done(self, source: ScheduleSource) -> None:
        """What is due by now is fired, or dropped."""
        until = EPOCH + trio.current_time()
        schedule = await source.fetch("s")
        for turn in range(5000):
            if schedule is None:
                raise broken(40, "the schedule is gone")
            if not schedule.owed and (schedule.due is None or schedule.due > until):
                return
            await trio.sleep(0.001)
            if self.plan.faults and turn % 50 == 49:
                let_pass(1)  # what a dead scheduler has decided is left to it for a while
            schedule = await source.fetch("s")
        raise broken(40, f"a slot is due and not fired, though the schedulers run: {schedule}")

    def _judge(self, activated: float) -> None:
        plan, sent = self.plan, set(self.sent)
        fired = sorted(
            datetime.fromisoformat(task_id.rpartition("@")[2]).timestamp() for task_id in sent
        )
        planned = [activated + plan.period * k for k in range(1, 1000)]
        slots = [round((at - activated) / plan.period) - 1 for at in fired]
        if any(abs(planned[k] - at) > 1e-3 for k, at in zip(slots, fired, strict=True)):
            raise broken(40, f"what was never planned was fired: {fired}, from {activated}")
        if plan.catch_up is CatchUp.ALL and slots != list(range(len(slots))):
            raise broken(40, f"not each slot was fired, though all are caught up with: {slots}")
        if not plan.faults and len(self.sent) != len(sent):
            raise broken(
                40, f"{len(self.sent)} were sent for {len(sent)} slots, and nobody crashed"
            )
        stored = {*self.queue.live, *self.queue.done, *self.queue.dead}
        if stored != sent:
            raise broken(40, f"sent is {sorted(sent)}, the queue has {sorted(stored)}")


def race(contract: type[Contract], limit: float) -> None:
    """Draw plans and run them; in the `thorough` profile more of them."""

    @settings(
        max_examples=max(10, settings().max_examples // 5),
        deadline=None,
        report_multiple_bugs=False,
    )
    @given(plans)
    def run(plan: Plan) -> None:
        with new_folder() as folder:
            run_in_real_time(Race(plan, contract, folder).main, limit=limit, tape=plan.tape)

    run()
