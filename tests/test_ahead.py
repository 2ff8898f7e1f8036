"""Work is fetched ahead as far as it pays, and nothing is hoarded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import open_system
from actorq.ahead import PATIENCE, Ahead
from actorq.engine import Claim, Step
from actorq.protocol import Ending, Settle
from actorq.testing import Tape, simulate
from strategies import examples, tapes
from together import Together


SLACK = 1e-6


class TestHowFar:
    """The arithmetic."""

    def of(self, each: float, call: float, *, limit: int = 100) -> int:
        """What is fetched ahead by who runs a hundred jobs one after the other, in *each* seconds."""
        ahead, now = Ahead(limit), 0.0
        for _ in range(20):
            ahead.come(now)
            now += 100 * each
            ahead.ended(100, now, all_have=True)
            ahead.answered(call)
            now += call
        return ahead.jobs()

    def test_quick_jobs_are_fetched_ahead(self) -> None:
        assert self.of(each=20e-6, call=4e-3) == 100

    def test_slow_jobs_are_not(self) -> None:
        assert self.of(each=0.1, call=4e-3) == 0

    def test_what_lies_between_gets_half(self) -> None:
        assert self.of(each=0.1e-3, call=4e-3) == 50

    def test_an_engine_that_answers_at_once_needs_nothing(self) -> None:
        assert self.of(each=20e-6, call=0.0) == 0

    def test_idleness_does_not_count(self) -> None:
        ahead = Ahead(100)
        for began in (0.0, 100.0, 200.0, 300.0, 400.0):
            ahead.come(began)
            ahead.ended(100, began + 2e-3, all_have=True)
            ahead.answered(4e-3)
        assert ahead.jobs() == 100

    def test_who_misjudged_begins_anew(self) -> None:
        ahead = Ahead(100, rate=1e6, call=1.0)
        ahead.misjudged()
        assert ahead.jobs() == 0

    @given(
        limit=st.integers(0, 1000),
        seen=st.lists(st.tuples(st.floats(0, 10), st.integers(1, 1000), st.floats(0, 10))),
    )
    def test_never_more_than_the_limit(
        self, limit: int, seen: list[tuple[float, int, float]]
    ) -> None:
        ahead, now = Ahead(limit), 0.0
        for passed, count, call in seen:
            ahead.come(now)
            now += passed
            ahead.ended(count, now, all_have=count % 2 == 0)
            ahead.answered(call)
            assert 0 <= ahead.jobs() <= limit


@attrs.frozen
class Event:
    """Of a task."""

    at: float
    task_id: str
    what: str


class Watched(Together):
    """Knows when what was claimed, and given back; others claim in between."""

    def __init__(self, seconds: float) -> None:
        super().__init__(overlaps=True, seconds=seconds)
        self.events: list[Event] = []

    async def perform(self, steps: Sequence[Step], now: float) -> Sequence[Any]:
        answers = await super().perform(steps, now)
        for step, answer in zip(steps, answers, strict=True):
            if isinstance(step, Claim):
                for each in answer:
                    self.note(each.fence.task_id, "claimed")
            elif isinstance(step, Settle):
                for each in step.settlements:
                    if each.ending is Ending.GIVE_BACK:
                        self.note(each.fence.task_id, "back")
        return answers

    def note(self, task_id: str, what: str) -> None:
        """It has happened just now."""
        self.events.append(Event(trio.current_time(), task_id, what))


QUICK_AND_SLOW = st.lists(
    st.one_of(st.just((40, 0.0)), st.just((10, 0.002)), st.just((3, 5.0)), st.just((20, 0.03))),
    min_size=1,
    max_size=6,
)


@given(
    drawn=QUICK_AND_SLOW,
    seconds=st.sampled_from([0.001, 0.004, 0.02]),
    concurrency=st.integers(1, 12),
    tape=tapes,
)
@settings(max_examples=examples(80))
def test_what_is_fetched_ahead_begins_soon_or_goes_back(
    drawn: list[tuple[int, float]], seconds: float, concurrency: int, tape: Tape
) -> None:
    """No worker keeps for longer than a moment what others could begin; and no slot runs two jobs."""
    broker = Watched(seconds)
    running = 0
    most = 0
    attempts: list[int] = []

    @actorq.task
    async def work(length: float, context: actorq.Context = actorq.Depends()) -> None:
        nonlocal running, most
        broker.note(context.task_id, "begun")
        attempts.append(context.attempt)
        running += 1
        most = max(most, running)
        await trio.sleep(length)
        running -= 1

    async def main() -> None:
        async with open_system(broker, concurrency=concurrency) as sys:
            await sys.register(work)
            for count, length in drawn:
                await sys.enqueue_many(work, [(length,)] * count)
            await sys.wait_idle()

    simulate(main, tape=tape)
    total = sum(count for count, _ in drawn)
    begun = [each for each in broker.events if each.what == "begun"]
    assert len(begun) == len({each.task_id for each in begun}) == total
    assert set(attempts) == {1}, "what went back counted as an attempt"
    assert most <= concurrency
    # its word may come while a call is on its way, and goes with the next
    bound = PATIENCE + 3 * seconds + SLACK
    since: dict[str, float] = {}
    for each in broker.events:
        if each.what == "claimed":
            since[each.task_id] = each.at
        else:
            waited = each.at - since.pop(each.task_id)
            assert waited <= bound, f"{each.task_id} waited for {waited} s to be {each.what}"


def test_quick_jobs_run_while_the_next_call_is_on_its_way() -> None:
    """Else worker and engine would take turns."""
    broker = Watched(0.004)
    idle: list[int] = []

    @actorq.task
    async def work() -> None:
        await trio.sleep(0.001)

    async def main() -> None:
        async with open_system(broker, concurrency=10) as sys:
            await sys.register(work)
            await sys.enqueue_many(work, [()] * 1000)
            began = trio.current_time()
            await sys.wait_idle()
            idle.append(round((trio.current_time() - began) / 0.004))

    simulate(main)
    # 100 portions of 10 that a call of 4 ms each brings; in turns it would be 125
    assert idle[0] <= 110
