"""What the tests of the queue as a whole draw from, and what they look with."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio
from hypothesis import strategies as st

import actorq
from actorq.engines.memory.broker import InMemoryBroker
from actorq.engines.memory.queue import Held, Queue, State
from actorq.ref import ActorRef
from actorq.restart import Backoff
from actorq.testing import crash, schedules


#: What injects the context; one for all, for it is a mark and nothing more.
INJECTED: Final[Any] = actorq.Depends()

#: Schedules long enough for the programs here.
tapes = schedules(max_size=120)

#: A back-off without waiting, for tests that are not about it.
QUICK: Final = Backoff(base=0, jitter=0)

#: The actors of a queue, in the order in which they start.
ACTORS: Final = ("results", "broker", "middleware", "pool", "scheduler")

ACKS: Final = ("when_received", "when_executed", "when_saved")

#: Virtual seconds at which drawn programs have their faults; jobs take 0 to 5 seconds.
MOMENTS: Final = st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.7, 2.0, 3.5])


@attrs.frozen
class Crash:
    """Crash an actor at a moment."""

    at: float
    actor: str


#: As many as the queue's supervisor puts up with.
crashes = st.lists(st.builds(Crash, MOMENTS, st.sampled_from(ACTORS)), max_size=3)


async def crash_as_planned(sys: actorq.System, plan: list[Crash]) -> None:
    """Crash the actors at their moments."""
    for each in sorted(plan, key=lambda crash: crash.at):
        await trio.sleep_until(each.at)
        crash(sys.actor(each.actor))


async def enqueue_for_sure(
    sys: actorq.System, task: actorq.Task[..., Any], *args: Any
) -> actorq.TaskHandle[Any]:
    """Enqueue; after an uncertain answer again, under the same id (promise 31)."""
    while True:
        try:
            return await sys.enqueue(task, *args)
        except actorq.EnqueueUncertain:
            assert task.options.task_id is not None


@attrs.define
class Log:
    """What jobs did, kept outside of any actor."""

    starts: Counter[Any] = attrs.field(factory=Counter)
    ends: Counter[Any] = attrs.field(factory=Counter)
    order: list[Any] = attrs.field(factory=list)  #: of the starts
    started_at: dict[Any, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    attempts: dict[Any, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    running: int = 0
    most_running: int = 0

    async def job(self, key: Any, seconds: float | None, attempt: int = 0) -> Any:
        """Take *seconds* (None: no checkpoint at all), and note it."""
        self.starts[key] += 1
        self.order.append(key)
        self.started_at[key].append(trio.current_time())
        self.attempts[key].append(attempt)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if seconds is not None:
                await trio.sleep(seconds)
        finally:
            self.running -= 1
        self.ends[key] += 1
        return key


class FixedRandom(random.Random):
    """Always throws the same."""

    def __init__(self, u: float) -> None:
        super().__init__(0)
        self.u = u

    def random(self) -> float:
        """*u*."""
        return self.u


class Everywhere(trio.abc.Instrument):
    """Calls *look* after every step of every task."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self.failure: BaseException | None = None
        self.steps = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Once a step; Trio drops an instrument that raises, so the first failure is kept."""
        self.steps += 1
        if self.failure is None:
            try:
                self._look()
            except BaseException as error:
                self.failure = error

    def check(self) -> None:
        """Raise what was found."""
        assert self.steps, "the instrument never ran"
        if self.failure is not None:
            raise self.failure


class CrashAtStep(trio.abc.Instrument):
    """Crashes an actor after step number *step* of the program, counted from `arm`."""

    def __init__(self, step: int) -> None:
        self._left = step
        self._ref: ActorRef[Any] | None = None

    def arm(self, ref: ActorRef[Any]) -> None:
        """Begin to count."""
        self._ref = ref

    @property
    def spent(self) -> bool:
        """The crash was set off."""
        return self._left < 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count."""
        if self._ref is not None and self._left >= 0:
            self._left -= 1
            if self._left < 0:
                crash(self._ref)


def check_conservation(queue: Queue) -> None:
    """Promise 30 of one queue, now; cheap enough to be asked after every step of a program."""
    states = Counter(entry.state for entry in queue.live.values())
    counts = queue.statistics()
    assert states[State.SCHEDULED] == counts.scheduled
    assert states[State.READY] == counts.ready
    assert states[State.LEASED] == counts.leased
    assert states.total() == len(queue.live)  # none of them is done or dead
    held = [task_id for session in queue.sessions.values() for task_id in session.held]
    assert len(held) == len(set(held)) == counts.leased
    assert (
        sum(entry.held is Held.PARKED for entry in queue.live.values())
        == counts.parked
        <= counts.ready
    )
    assert not queue.live.keys() & queue.done.keys()
    assert not queue.live.keys() & queue.dead.keys()
    assert not queue.done.keys() & queue.dead.keys()


def accepted(queue: Queue) -> set[str]:
    """Every id that this queue knows."""
    return {*queue.live, *queue.done, *queue.dead}


class LosesRenewals(InMemoryBroker):
    """Takes every renewal for a fact and does nothing about it: leases lapse under busy workers."""

    deaf = True

    async def extend(self, session: int, now: float) -> float | None:
        """Say that it was extended."""
        if not self.deaf:
            return await super().extend(session, now)
        return now + self.lease if session in self.queue.sessions else None
