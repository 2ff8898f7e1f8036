"""The schedule table against a naive model, over drawn clocks, restarts and crashes."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorq.errors import OptionError
from actorq.schedule import CatchUp, Trigger, at, cron, every
from actorq.schedule_table import ScheduleTable, Slot


START = datetime(
    2026, 10, 24, 12, tzinfo=UTC
).timestamp()  # the night in which Berlin's hour repeats
IDS = ["a", "b", "c"]

triggers = st.one_of(
    st.builds(every, st.sampled_from([300, 1000, 2700.5])),
    st.builds(
        cron,
        st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 0-4 * * *"]),
        tz=st.sampled_from(["UTC", "Europe/Berlin"]),
    ),
    st.integers(-3600, 86400).map(lambda s: at(datetime.fromtimestamp(START + s, UTC))),
)
steps = st.integers(0, 3600) | st.integers(0, 100_000) | st.floats(0, 1000)


@define
class Broker:
    """Accepts a task id once, as every engine does."""

    accepted: dict[str, Slot] = field(factory=dict)
    sent: int = 0

    def enqueue(self, slot: Slot) -> None:
        self.sent += 1
        self.accepted.setdefault(slot.task_id("tick"), slot)

    def planned(self, schedule_id: str = "a") -> list[float]:
        return [s.planned for s in self.accepted.values() if s.schedule_id == schedule_id]


def run(table: ScheduleTable, broker: Broker, now: float) -> list[float]:
    """One life of a scheduler that is not disturbed."""
    slots = table.due(now)
    for slot in slots:
        broker.enqueue(slot)
        table.fired(slot)
    return [slot.planned for slot in slots]


def every_slot(trigger: Trigger, activated: float, upto: float) -> list[float]:
    """Found by walking from one to the next."""
    slots: list[float] = []
    slot = trigger.next_after(trigger.since(activated), activated)
    while slot is not None and slot <= upto:
        slots.append(slot)
        slot = trigger.next_after(slot, activated)
    return slots


# --- promise 40 ---------------------------------------------------------------------------------


@frozen
class Step:
    """The clock moves, back too; then a scheduler runs and may crash before or after an enqueue."""

    move: float
    looks: bool  #: False: a pause, nobody asks the table
    crash_after: int  #: how many slots are enqueued before it crashes
    said_fired: bool  #: whether the last of them was reported before the crash


step_lists = st.lists(
    st.builds(
        Step,
        steps | st.integers(-100_000, 0),
        st.booleans(),
        st.integers(0, 3) | st.just(10**6),
        st.booleans(),
    ),
    max_size=12,
)


def play(table: ScheduleTable, broker: Broker, trigger: Trigger, drawn: list[Step]) -> float:
    """Returns the latest moment at which the table was asked; the scheduler ends in good health."""
    now = latest = START
    table.add("a", trigger, now)
    for step in drawn:
        now += step.move
        if not step.looks:
            continue
        latest = max(latest, now)
        table.add("a", trigger, now)  # each life of a scheduler adds its schedules again
        for n, slot in enumerate(table.due(now)):
            if n >= step.crash_after:
                break
            broker.enqueue(slot)
            if n + 1 < step.crash_after or step.said_fired:
                table.fired(slot)
    while run(table, broker, latest):
        pass
    return latest


@given(triggers, step_lists)
@settings(deadline=None)
def test_40_each_schedule_slot_is_due_exactly_once(trigger: Trigger, drawn: list[Step]) -> None:
    """40. Under ALL each slot that has passed is accepted once, whatever crashes or pauses."""
    broker = Broker()
    latest = play(ScheduleTable(CatchUp.ALL, limit=10**6), broker, trigger, drawn)
    assert broker.planned() == every_slot(trigger, START, latest)


@given(triggers, st.lists(steps, max_size=12), st.sampled_from(CatchUp))
@settings(deadline=None)
def test_40_a_fired_slot_never_comes_back(
    trigger: Trigger, drawn: list[float], policy: CatchUp
) -> None:
    """40. Under each policy, over clocks that are set back too, no slot is handed out twice."""
    table, broker = ScheduleTable(policy, limit=3), Broker()
    table.add("a", trigger, START)
    now = START
    handed: list[float] = []
    for step in drawn:
        for moment in (now + step, now + step / 2, now + step):
            table.add("a", trigger, moment)
            handed += run(table, broker, moment)
        now += step
    assert len(handed) == len(set(handed))
    assert handed == sorted(handed)
    assert set(handed) <= set(every_slot(trigger, START, now))


@given(triggers, steps)
@settings(deadline=None)
def test_40_latest_fires_the_newest_missed_slot_and_goes_on(trigger: Trigger, pause: float) -> None:
    """40. One slot after a pause, whatever its length, then the rhythm as if there were none."""
    table, broker = ScheduleTable(), Broker()
    table.add("a", trigger, START)
    now = START + pause
    missed = every_slot(trigger, START, now)
    assert run(table, broker, now) == missed[-1:]
    assert run(table, broker, now) == []
    following = trigger.next_after(now, START)
    assert table.next_wakeup(now) == following
    if following is not None:
        assert run(table, broker, following) == [following]


@given(triggers, steps, st.integers(1, 5))
@settings(deadline=None)
def test_40_all_fires_the_newest_up_to_the_limit(
    trigger: Trigger, pause: float, limit: int
) -> None:
    """40. The oldest are dropped where there are more than the table's limit."""
    table, broker = ScheduleTable(CatchUp.ALL, limit=limit), Broker()
    table.add("a", trigger, START)
    assert run(table, broker, START + pause) == every_slot(trigger, START, START + pause)[-limit:]


@given(triggers, steps, st.integers(0, 100))
@settings(deadline=None)
def test_40_skip_fires_nothing_late(trigger: Trigger, pause: float, grace: int) -> None:
    """40. A missed slot is dropped; one that is late by the grace or less was not missed."""
    table, broker = ScheduleTable(CatchUp.SKIP, grace=grace), Broker()
    table.add("a", trigger, START)
    now = START + pause
    latest = every_slot(trigger, START, now)[-1:]
    assert run(table, broker, now) == [slot for slot in latest if now - slot <= grace]
    assert table.next_wakeup(now) == trigger.next_after(max(now, trigger.since(START)), START)


@given(st.lists(st.tuples(st.integers(0, 2), steps), max_size=20))
@settings(deadline=None)
def test_40_any_number_of_schedulers_agree_on_the_slots(looks: list[tuple[int, float]]) -> None:
    """40. Tables that know nothing of each other fill one broker, and each slot is there once."""
    trigger = cron("*/15 * * * *", tz="Europe/Berlin")
    tables = [ScheduleTable(CatchUp.ALL, limit=10**6) for _ in range(3)]
    broker, now = Broker(), START
    for table in tables:
        table.add("a", trigger, START)
    for which, step in looks:
        now += step
        run(tables[which], broker, now)
    for table in tables:
        run(table, broker, now)
    assert sorted(broker.planned()) == every_slot(trigger, START, now)
    assert broker.sent == 3 * len(broker.accepted)


# --- the model ----------------------------------------------------------------------------------


@define
class Naive:
    """A schedule that walks through its slots one by one."""

    trigger: Trigger
    activated: float
    decided: float
    owed: list[Slot] = field(factory=list)

    def walk(self, schedule_id: str, now: float, policy: CatchUp, limit: int, grace: float) -> None:
        missed: list[float] = []
        while not self.owed:
            slot = self.trigger.next_after(self.decided, self.activated)
            if slot is None or slot > now:
                break
            self.decided = slot
            missed.append(slot)
        policy = self.trigger.catch_up or policy
        missed = missed[-limit:] if policy is CatchUp.ALL else missed[-1:]
        if policy is CatchUp.SKIP:
            missed = [slot for slot in missed if now - slot <= grace]
        self.owed += [Slot(schedule_id, slot, self.trigger) for slot in missed]


class TableAgainstModel(RuleBasedStateMachine):
    """Several schedules, added, replaced and removed while the clock jumps and enqueues fail."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.table = ScheduleTable(CatchUp.ALL, limit=4, grace=60)
        self.model: dict[str, Naive] = {}
        self.handed: list[Slot] = []

    @rule(key=st.sampled_from(IDS), trigger=triggers, policy=st.none() | st.sampled_from(CatchUp))
    def add(self, key: str, trigger: Trigger, policy: CatchUp | None) -> None:
        trigger = every(700, catch_up=policy) if policy else trigger
        self.table.add(key, trigger, self.now)
        known = self.model.get(key)
        if known is not None and known.trigger.ticks_like(trigger):
            known.trigger = trigger
        else:
            fresh = Naive(trigger, self.now, trigger.since(self.now), known.owed if known else [])
            self.model[key] = fresh

    @rule()
    def restart_of_the_scheduler(self) -> None:
        for key, known in self.model.items():
            self.table.add(key, known.trigger, self.now)

    @rule(key=st.sampled_from(IDS))
    def remove(self, key: str) -> None:
        self.table.remove(key)
        self.model.pop(key, None)

    @rule(step=steps)
    def clock_goes_on(self, step: float) -> None:
        self.now += step

    @rule(step=steps)
    def clock_is_set_back(self, step: float) -> None:
        self.now -= step

    @rule()
    def clock_reaches_the_wakeup(self) -> None:
        self.now = self.table.next_wakeup(self.now) or self.now

    @rule()
    def due(self) -> None:
        self.handed = self.table.due(self.now)
        for key, known in self.model.items():
            known.walk(key, self.now, self.table.catch_up, self.table.limit, self.table.grace)
        owed = [slot for known in self.model.values() for slot in known.owed]
        assert self.handed == sorted(owed, key=lambda slot: (slot.planned, slot.schedule_id))

    @precondition(lambda self: self.handed)
    @rule(data=st.data())
    def fired(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.handed))  # again, or of a removed schedule: no matter
        self.table.fired(slot)
        known = self.model.get(slot.schedule_id)
        if known is not None:
            known.owed = [other for other in known.owed if other.planned != slot.planned]

    @invariant()
    def wakes_up_for_the_next_slot(self) -> None:
        expected = math.inf
        for known in self.model.values():
            slot = known.trigger.next_after(known.decided, known.activated)
            expected = min(expected, self.now if known.owed else slot or math.inf)
        wakeup = self.table.next_wakeup(self.now)
        assert wakeup == (None if expected == math.inf else max(self.now, expected))
        assert len(self.table) == len(self.model)


TestTableAgainstModel = TableAgainstModel.TestCase
TestTableAgainstModel.settings = settings(deadline=None, stateful_step_count=30)


# --- examples -----------------------------------------------------------------------------------


def test_an_empty_table_needs_no_timer() -> None:
    """Nor does one whose schedules have ended."""
    table = ScheduleTable()
    assert table.next_wakeup(START) is None
    assert table.due(START) == []
    table.add("a", at(datetime.fromtimestamp(START + 5, UTC)), START)
    table.add("b", cron("0 0 */31 * MON#2"), START)
    assert table.next_wakeup(START) == START + 5
    run(table, Broker(), START + 5)
    assert table.next_wakeup(START + 5) is None
    assert "a" in table
    assert len(table) == 2


def test_a_slot_is_owed_until_it_is_fired() -> None:
    """A scheduler that crashed between due() and the enqueue finds it again, and it alone."""
    table = ScheduleTable()
    table.add("a", every(60), START)
    (slot,) = table.due(START + 60)
    table.add("a", every(60), START + 200)
    assert table.due(START + 200) == [slot]
    assert table.next_wakeup(START + 200) == START + 200
    table.fired(slot)
    table.fired(slot)
    assert [s.planned for s in table.due(START + 200)] == [START + 180]


def test_an_instant_past_at_activation_fires_once() -> None:
    """At once, however often the schedule is added; under SKIP it counts as missed."""
    trigger = at(datetime.fromtimestamp(START - 3600, UTC))
    table, broker = ScheduleTable(), Broker()
    for _ in range(3):
        table.add("a", trigger, START)
        run(table, broker, START)
    assert broker.planned() == [START - 3600]
    assert broker.sent == 1
    skipping = ScheduleTable("skip")
    skipping.add("a", trigger, START)
    assert skipping.due(START) == []
    assert skipping.next_wakeup(START) is None


def test_a_clock_set_back_waits_for_the_next_slot() -> None:
    """The slots of the hour that is lived twice have been fired."""
    table, broker = ScheduleTable(), Broker()
    table.add("a", every(60), START)
    assert run(table, broker, START + 60) == [START + 60]
    assert run(table, broker, START - 3600) == []
    assert table.next_wakeup(START - 3600) == START + 120
    assert run(table, broker, START + 119) == []
    assert run(table, broker, START + 120) == [START + 120]


def test_new_arguments_hold_from_the_next_slot_on() -> None:
    """An owed slot may be enqueued already; its task id with other arguments would be refused."""
    table = ScheduleTable()
    table.add("a", every(60, args=(1,)), START)
    (old,) = table.due(START + 60)
    table.add("a", every(60, args=(2,)), START + 70)
    assert table.due(START + 70)[0].trigger.args == (1,)
    table.fired(old)
    assert table.due(START + 120)[0].trigger.args == (2,)


def test_a_new_rhythm_starts_afresh() -> None:
    """From the moment at which it was added, and what the old one owed is still owed."""
    table = ScheduleTable()
    table.add("a", every(60), START)
    (old,) = table.due(START + 60)
    table.add("a", every(1000), START + 70)
    assert table.due(START + 80) == [old]
    table.fired(old)
    assert table.next_wakeup(START + 80) == START + 1070


def test_a_trigger_that_raises_loses_no_slot() -> None:
    """The scheduler crashes with its error; the next incarnation finds everything as it was."""

    @frozen
    class Flaky(Trigger):
        healthy: list[bool] = field(factory=list)

        def next_after(self, moment: float, activated: float) -> float | None:
            if moment > START and not self.healthy:
                raise RuntimeError("no calendar")
            return moment + 60

    trigger = Flaky()
    table = ScheduleTable()
    table.add("a", trigger, START)
    with pytest.raises(RuntimeError):
        table.due(START + 60)
    trigger.healthy.append(True)
    assert [slot.planned for slot in table.due(START + 60)] == [START + 60]


@pytest.mark.parametrize(
    "make",
    [lambda: every(1), lambda: cron("* * * * * *"), lambda: cron("* * 1 1 *")],
    ids=["every second", "cron, every second", "every minute of new year's day"],
)
@pytest.mark.parametrize("policy", list(CatchUp))
def test_a_long_pause_costs_no_more_than_a_short_one(
    make: Callable[[], Trigger], policy: CatchUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years of slots are not walked through, be they evenly spaced or not."""
    trigger = make()
    table = ScheduleTable(policy, limit=10)
    table.add("a", trigger, START)
    kind, asked = type(trigger), 0
    answer = kind.next_after

    def counted(self: Trigger, moment: float, activated: float) -> float | None:
        nonlocal asked
        asked += 1
        return answer(self, moment, activated)

    monkeypatch.setattr(kind, "next_after", counted)
    now = START + 10 * 365 * 86400
    slots = table.due(now)
    assert asked <= 120
    if policy is not CatchUp.SKIP:
        following = trigger.next_after(slots[-1].planned, START)
        assert following is not None
        assert following > now


def test_a_task_id_names_task_schedule_and_instant() -> None:
    """Readable in a log, the same in every process, and different for anything else."""
    slot = Slot("nightly", START + 0.25, every(5))
    assert slot.task_id("app:tidy") == "app:tidy/nightly@2026-10-24T12:00:00.250000+00:00"
    assert Slot("c", START, every(5)).task_id("a/b") != Slot("b/c", START, every(5)).task_id("a")


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 10**6)), unique=True, max_size=8))
def test_different_slots_have_different_task_ids(names: list[tuple[str, str, int]]) -> None:
    """Whatever characters the names are made of."""
    ids = {Slot(key, START + s / 1000, every(5)).task_id(task) for task, key, s in names}
    assert len(ids) == len(names)


def test_removed_schedules_leave_no_heap_behind() -> None:
    """Entries of slots that are years away are swept out now and then."""
    table = ScheduleTable()
    table.add("kept", every(50), START)
    for n in range(1000):
        table.add(f"brief {n}", every(10**9), START)
        table.remove(f"brief {n}")
    assert len(table) == 1
    assert len(table._heap) < 100
    assert table.next_wakeup(START) == START + 50


def test_wrong_limits_are_refused() -> None:
    """A table that can fire nothing is a mistake."""
    with pytest.raises(OptionError, match="limit >= 1"):
        ScheduleTable(limit=0)
    with pytest.raises(OptionError, match="'skip', 'latest' or 'all'"):
        ScheduleTable("some")
    with pytest.raises(OptionError, match="grace >= 0"):
        ScheduleTable(grace=-1)
