"""The schedule source against a dictionary: a Hypothesis state machine.

Users and schedulers do up to three things at a time; what comes of it must be what would have come of
them one after the other, in some order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from actorq.capability import Capability
from actorq.errors import ScheduleNotFound
from actorq.schedule import Trigger, at, every
from actorq.schedule_source import ScheduleSource, call_of
from actorq.schedule_state import Rules, Schedule
from actorq.testing.contracts.contract import Contract, new_folder
from actorq.testing.contracts.drawn import run_drawn
from actorq.testing.contracts.result_values import ODD_IDS
from actorq.testing.contracts.schedule_users import Listener, Wall, bare, greet
from actorq.testing.machine import TrioMachine
from actorq.testing.promises import broken
from actorq.testing.simulation import EPOCH
from actorq.testing.tape import Tape, schedules


IDS = 3
Known = dict[str, Schedule]

triggers = st.sampled_from(
    [
        *(every(60), every(60, jitter=5), every(7), every(60, catch_up="all")),
        *(at(datetime.fromtimestamp(EPOCH + s, UTC)) for s in (-5, 30, 3000)),
    ]
)


@attrs.frozen
class Step:
    """One thing that somebody does: to the source, and to the model."""

    verb: str
    which: int
    trigger: Trigger
    name: str

    async def take(self, source: ScheduleSource, key: str, now: float) -> object:
        """The answer."""
        try:
            match self.verb:
                case "add":
                    await source.add(greet, self.trigger, self.name, schedule_id=key)
                case "pause":
                    await source.pause(key)
                case "resume":
                    await source.resume(key)
                case "run now":
                    await source.run_now(key)
                case "remove":
                    return await source.remove(key)
                case "decide":
                    await source.change(key, lambda known: self._decided(known, now))
                case "note":
                    await source.change(key, self._noted)
        except ScheduleNotFound:
            return "not found"
        return None

    def foretell(self, model: Known, key: str, now: float) -> object:
        """The same, to a dictionary."""
        known = model.get(key)
        answer: object = None
        new: Schedule | None = known
        if self.verb == "add":
            trigger = attrs.evolve(self.trigger, args=(self.name,))
            call = call_of(greet, trigger, now)
            if known is None:
                new = Schedule.new(key, trigger, call, now)
            else:
                new = known.renewed(trigger, call, now)
        elif self.verb == "remove":
            new, answer = None, known is not None
        elif self.verb == "decide":
            new = self._decided(known, now)
        elif self.verb == "note":
            new = self._noted(known)
        elif known is None:
            answer = "not found"
        elif self.verb == "pause":
            new = known.pausing()
        elif self.verb == "resume":
            new = known.resuming(now)
        else:
            new = known.running_now(now, "token")
        if new is None or new.is_over:
            model.pop(key, None)
        else:
            model[key] = new
        return answer

    def _decided(self, known: Schedule | None, now: float) -> Schedule | None:
        return known and known.decided(self.name, now, Rules(limit=3))

    def _noted(self, known: Schedule | None) -> Schedule | None:
        return known.noted(known.owed[0], fired=True) if known and known.owed else known


VERBS = ["add", "add", "pause", "resume", "run now", "remove", "decide", "note"]
steps = st.builds(
    Step, st.sampled_from(VERBS), st.integers(0, IDS - 1), triggers, st.sampled_from(["me", "you"])
)


class ScheduleMachine(TrioMachine):
    """The rules; the subject is its subclass's."""

    contract: type[Contract]
    limit = 100_000.0  #: who does not hear a thing waits for a while that is made to pass

    def __init__(self) -> None:
        self.model: Known = {}
        self.wall = Wall()
        self._folders = new_folder()
        self.folder: Path = self._folders.__enter__()
        lacks = self.contract.lacks()
        self.survives = Capability.SURVIVAL not in lacks
        self.sharing = self.survives and Capability.SHARING not in lacks
        super().__init__()

    def new_clock(self) -> trio.testing.MockClock:
        """As fast as the real one: threads are waited for."""
        return trio.testing.MockClock(rate=1.0)

    def teardown(self) -> None:
        """And the folder."""
        try:
            self.call(self._end)
            super().teardown()
        finally:
            self._folders.__exit__(None, None, None)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Time stands unless a rule lets it pass."""
        self.wall.enter()
        yield None

    @initialize(
        names=st.lists(st.sampled_from(ODD_IDS), min_size=IDS, max_size=IDS, unique=True),
        tape=schedules(50),
    )
    def begin(self, names: list[str], tape: Tape) -> None:
        """The first process, with somebody who watches."""
        self.names = names
        self.play(tape)
        self.call(self._begin)

    async def _begin(self) -> None:
        self.source: ScheduleSource = self.contract.make(self.folder)
        #: the other users' process, if there can be one
        self.other = self.contract.make(self.folder) if self.sharing else self.source
        await self.source.startup()
        self.listener = Listener(self.source)
        self._watching = trio.CancelScope()
        self.nursery.start_soon(self._watch)
        await self.listener.must_hear(None, "a source says None when it begins to listen")
        self.listener.forget()

    async def _end(self) -> None:
        if hasattr(self, "listener"):
            self._watching.cancel("the process ends")
            await trio.testing.wait_all_tasks_blocked()
            await self.source.shutdown()

    async def _watch(self) -> None:
        with self._watching:
            await self.listener.watch()

    @precondition(lambda self: self.survives)
    @rule()
    def another_process(self) -> None:
        """It finds what was stored."""

        async def restart() -> None:
            await self._end()
            await self._begin()

        self.call(restart)
        self.take([])

    @rule(seconds=st.sampled_from([1, 20, 70, 700]))
    def let_time_pass(self, seconds: float) -> None:
        """Slots become due."""
        self.wall.now += seconds

    @rule(batch=st.lists(steps, min_size=1, max_size=3))
    def take(self, batch: list[Step]) -> None:
        """Several users at once."""
        before = dict(self.model)
        found, answers = self.call(self._take, batch)
        outcomes = [self._foretell(batch, order) for order in permutations(range(len(batch)))]
        seen = ({key: bare(schedule) for key, schedule in found.items()}, answers)
        if seen not in outcomes:
            what = [f"{step.verb} {self.names[step.which]!r}" for step in batch]
            raise broken(
                40,
                f"{what or 'nothing'} was done to {_told(before)}; it left {seen}, "
                f"which no order of them leaves: {outcomes[0]}, ...",
            )
        self.model = found
        for step in batch:
            key = self.names[step.which]
            one, other = before.get(key), found.get(key)
            changed = (one and one.version) != (other and other.version)
            verbs = {each.verb for each in batch if each.which == step.which}
            if changed and not verbs & {"decide", "note"}:  # a scheduler's progress is not told
                self.call(self.listener.must_hear, key, f"{step.verb} {key!r} was done")
        self.listener.forget()

    def _foretell(self, batch: list[Step], order: tuple[int, ...]) -> tuple[Any, list[object]]:
        model, answers = dict(self.model), [None] * len(batch)
        told: list[object] = list(answers)
        for n in order:
            told[n] = batch[n].foretell(model, self.names[batch[n].which], self.wall.now)
        return {key: bare(schedule) for key, schedule in model.items()}, told

    async def _take(self, batch: list[Step]) -> tuple[Known, list[object]]:
        answers: list[object] = [None] * len(batch)

        async def take(n: int, step: Step) -> None:
            source = self.other if n % 2 else self.source
            answers[n] = await step.take(source, self.names[step.which], self.wall.now)

        async with trio.open_nursery() as nursery:
            for n, step in enumerate(batch):
                nursery.start_soon(take, n, step)
        found = {schedule.id: schedule for schedule in await self.source.load()}
        for key in self.names:
            alone = await self.other.fetch(key)
            both = [each and each.to_dict() for each in (alone, found.get(key))]
            if both[0] != both[1]:
                raise broken(40, f"fetch({key!r}) gives {both[0]}, load() gives {both[1]}")
        return found, answers


def _told(known: Known) -> dict[str, Any]:
    return {key: bare(schedule) for key, schedule in known.items()}


def run_schedule_machine(contract: type[Contract]) -> None:
    """Run it on *contract*'s subject; in the `thorough` profile more of it."""
    run_drawn(ScheduleMachine, contract, steps=20)
