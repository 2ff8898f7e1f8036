"""A schedule's states against a naive model, over drawn clocks, restarts and crashes."""

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
from actorq.message import TaskMessage, Terms
from actorq.schedule import CatchUp, Trigger, at, cron, every
from actorq.schedule_state import PATIENCE, Rules, Schedule, Slot
from actorq.schedule_table import ScheduleTable


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


def call(trigger: Trigger, name: str = "tick") -> TaskMessage:
    """What a trigger's slots enqueue."""
    return TaskMessage("", name, trigger.args, trigger.kwargs, enqueued_at=START)


@define
class Table:
    """Schedules, and the one scheduler that looks after them; the table says when."""

    rules: Rules = field(factory=Rules)
    me: str = "me"
    states: dict[str, Schedule] = field(factory=dict)
    index: ScheduleTable = field(factory=lambda: ScheduleTable("me"))

    def add(self, key: str, trigger: Trigger, now: float) -> None:
        known = self.states.get(key)
        if known is None:
            self._put(Schedule.new(key, trigger, call(trigger), now))
        else:
            self._put(known.renewed(trigger, call(trigger), now))

    def remove(self, key: str) -> None:
        self.states.pop(key, None)
        self.index.remove(key)

    def due(self, now: float) -> list[Slot]:
        for key in self.index.take_due(now):
            try:
                self._put(self.states[key].decided(self.me, now, self.rules))
            except RuntimeError:
                self._put(self.states[key])
                raise
        owed = [slot for schedule in self.states.values() for slot in schedule.owed]
        return sorted(owed, key=lambda slot: (slot.planned, slot.schedule_id))

    def fired(self, slot: Slot) -> None:
        if slot.schedule_id in self.states:
            self._put(self.states[slot.schedule_id].noted(slot, fired=True))

    def next_wakeup(self, now: float) -> float | None:
        look = self.index.next_look()
        return None if look is None else max(now, look)

    def _put(self, schedule: Schedule) -> None:
        self.states[schedule.id] = schedule
        self.index.put(schedule)


@define
class Broker:
    """Accepts a task id once, as every engine does."""

    accepted: dict[str, Slot] = field(factory=dict)
    sent: int = 0

    def enqueue(self, slot: Slot) -> None:
        self.sent += 1
        self.accepted.setdefault(slot.task_id, slot)

    def planned(self, schedule_id: str = "a") -> list[float]:
        return [s.planned for s in self.accepted.values() if s.schedule_id == schedule_id]


def run(table: Table, broker: Broker, now: float) -> list[float]:
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


def play(table: Table, broker: Broker, trigger: Trigger, drawn: list[Step]) -> float:
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
    latest = play(Table(Rules(CatchUp.ALL, limit=10**6)), broker, trigger, drawn)
    assert broker.planned() == every_slot(trigger, START, latest)


@given(triggers, st.lists(steps, max_size=12), st.sampled_from(CatchUp))
@settings(deadline=None)
def test_40_a_fired_slot_never_comes_back(
    trigger: Trigger, drawn: list[float], policy: CatchUp
) -> None:
    """40. Under each policy, over clocks that are set back too, no slot is handed out twice."""
    table, broker = Table(Rules(policy, limit=3)), Broker()
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
    table, broker = Table(), Broker()
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
    table, broker = Table(Rules(CatchUp.ALL, limit=limit)), Broker()
    table.add("a", trigger, START)
    assert run(table, broker, START + pause) == every_slot(trigger, START, START + pause)[-limit:]


@given(triggers, steps, st.integers(0, 100))
@settings(deadline=None)
def test_40_skip_fires_nothing_late(trigger: Trigger, pause: float, grace: int) -> None:
    """40. A missed slot is dropped; one that is late by the grace or less was not missed."""
    table, broker = Table(Rules(CatchUp.SKIP, grace=grace)), Broker()
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
    tables = [Table(Rules(CatchUp.ALL, limit=10**6)) for _ in range(3)]
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


def labelled(schedule_id: str, trigger: Trigger) -> TaskMessage:
    """As the schedule of that id has it."""
    return call(trigger).with_labels(schedule_id=schedule_id)


def seen(slot: Slot) -> tuple[object, ...]:
    """What two slots that are the same have in common."""
    return slot.task_id, slot.planned, slot.call.args, slot.call.labels


@define
class Naive:
    """A schedule that walks through its slots one by one."""

    trigger: Trigger
    activated: float
    decided: float
    owed: list[Slot] = field(factory=list)

    def walk(self, schedule_id: str, now: float, rules: Rules) -> None:
        missed: list[float] = []
        while not self.owed:
            slot = self.trigger.next_after(self.decided, self.activated)
            if slot is None or slot > now:
                break
            self.decided = slot
            missed.append(slot)
        policy = self.trigger.catch_up or rules.catch_up
        missed = missed[-rules.limit :] if policy is CatchUp.ALL else missed[-1:]
        if policy is CatchUp.SKIP:
            missed = [slot for slot in missed if now - slot <= rules.grace]
        self.owed += [
            Slot(schedule_id, slot, labelled(schedule_id, self.trigger)) for slot in missed
        ]


class TableAgainstModel(RuleBasedStateMachine):
    """Several schedules, added, replaced and removed while the clock jumps and enqueues fail."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.table = Table(Rules(CatchUp.ALL, limit=4, grace=60))
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
            known.walk(key, self.now, self.table.rules)
        owed = [slot for known in self.model.values() for slot in known.owed]
        owed.sort(key=lambda slot: (slot.planned, slot.schedule_id))
        assert [seen(slot) for slot in self.handed] == [seen(slot) for slot in owed]

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
        assert len(self.table.index) == len(self.model)


TestTableAgainstModel = TableAgainstModel.TestCase
TestTableAgainstModel.settings = settings(deadline=None, stateful_step_count=30)


# --- examples -----------------------------------------------------------------------------------


def test_an_empty_table_needs_no_timer() -> None:
    """Nor does one whose schedules have ended."""
    table = Table()
    assert table.next_wakeup(START) is None
    assert table.due(START) == []
    table.add("a", at(datetime.fromtimestamp(START + 5, UTC)), START)
    table.add("b", cron("0 0 */31 * MON#2"), START)
    assert table.next_wakeup(START) == START + 5
    run(table, Broker(), START + 5)
    assert table.next_wakeup(START + 5) is None
    assert table.states["a"].is_over
    assert len(table.index) == 2


def test_a_slot_is_owed_until_it_is_fired() -> None:
    """A scheduler that crashed between due() and the enqueue finds it again, and it alone."""
    table = Table()
    table.add("a", every(60), START)
    (slot,) = table.due(START + 60)
    table.add("a", every(60), START + 200)
    assert [seen(each) for each in table.due(START + 200)] == [seen(slot)]
    assert table.next_wakeup(START + 200) == START + 200
    table.fired(slot)
    table.fired(slot)
    assert [s.planned for s in table.due(START + 200)] == [START + 180]


def test_an_instant_past_at_activation_fires_once() -> None:
    """At once, however often the schedule is added; under SKIP it counts as missed."""
    trigger = at(datetime.fromtimestamp(START - 3600, UTC))
    table, broker = Table(), Broker()
    for _ in range(3):
        table.add("a", trigger, START)
        run(table, broker, START)
    assert broker.planned() == [START - 3600]
    assert broker.sent == 1
    skipping = Table(Rules("skip"))
    skipping.add("a", trigger, START)
    assert skipping.due(START) == []
    assert skipping.next_wakeup(START) is None


def test_a_clock_set_back_waits_for_the_next_slot() -> None:
    """The slots of the hour that is lived twice have been fired."""
    table, broker = Table(), Broker()
    table.add("a", every(60), START)
    assert run(table, broker, START + 60) == [START + 60]
    assert run(table, broker, START - 3600) == []
    assert table.next_wakeup(START - 3600) == START + 120
    assert run(table, broker, START + 119) == []
    assert run(table, broker, START + 120) == [START + 120]


def test_new_arguments_hold_from_the_next_slot_on() -> None:
    """An owed slot may be enqueued already; its task id with other arguments would be refused."""
    table = Table()
    table.add("a", every(60, args=(1,)), START)
    (old,) = table.due(START + 60)
    table.add("a", every(60, args=(2,)), START + 70)
    assert table.due(START + 70)[0].call.args == (1,)
    table.fired(old)
    assert table.due(START + 120)[0].call.args == (2,)


def test_a_new_rhythm_starts_afresh() -> None:
    """From the moment at which it was added, and what the old one owed is still owed."""
    table = Table()
    table.add("a", every(60), START)
    (old,) = table.due(START + 60)
    table.add("a", every(1000), START + 70)
    assert [seen(each) for each in table.due(START + 80)] == [seen(old)]
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
    table = Table()
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
    table = Table(Rules(policy, limit=10))
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


def slot_of(task_name: str, schedule_id: str, planned: float) -> Slot:
    """A slot of no matter which rhythm."""
    return Slot(schedule_id, planned, call(every(5), task_name))


def test_a_task_id_names_task_schedule_and_instant() -> None:
    """T45: readable in a log, the same in every process, and different for anything else."""
    slot = slot_of("app:tidy", "nightly", START + 0.25)
    assert slot.task_id == "app:tidy/nightly@2026-10-24T12:00:00.250000+00:00"
    assert slot_of("a/b", "c", START).task_id != slot_of("a", "b/c", START).task_id


@given(st.lists(st.tuples(st.text(), st.text(), st.integers(0, 10**6)), unique=True, max_size=8))
def test_different_slots_have_different_task_ids(names: list[tuple[str, str, int]]) -> None:
    """Whatever characters the names are made of."""
    ids = {slot_of(task, key, START + s / 1000).task_id for task, key, s in names}
    assert len(ids) == len(names)


def test_removed_schedules_leave_no_heap_behind() -> None:
    """Entries of slots that are years away are swept out now and then."""
    table = Table()
    table.add("kept", every(50), START)
    for n in range(1000):
        table.add(f"brief {n}", every(10**9), START)
        table.remove(f"brief {n}")
    assert len(table.index) == 1
    assert len(table.index._heap) < 100
    assert table.next_wakeup(START) == START + 50


def test_wrong_limits_are_refused() -> None:
    """A table that can fire nothing is a mistake."""
    with pytest.raises(OptionError, match="limit >= 1"):
        Rules(limit=0)
    with pytest.raises(OptionError, match="'skip', 'latest' or 'all'"):
        Rules("some")
    with pytest.raises(OptionError, match="grace >= 0"):
        Rules(grace=-1)


# --- jitter -------------------------------------------------------------------------------------

periods = st.sampled_from([300, 1000, 2700.5])
jittered = st.one_of(
    periods.flatmap(
        lambda period: st.builds(every, st.just(period), jitter=st.floats(0, period * 0.999))
    ),
    st.builds(
        cron,
        st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 0-4 * * *"]),
        tz=st.just("Europe/Berlin"),
        jitter=st.floats(0, 1e6),
    ),
)


@given(jittered, st.text(max_size=5), st.floats(0, 1e6))
def test_40_jitter_is_the_same_for_everybody_and_less_than_the_period(
    trigger: Trigger, schedule_id: str, ahead: float
) -> None:
    """40. A slot is fired at its time or later, and before the next one."""
    slot = trigger.next_after(START + ahead, START)
    assert slot is not None
    at = trigger.fires_at(slot, schedule_id, START)
    following = trigger.next_after(slot, START)
    assert following is not None
    assert slot <= at < following
    assert at <= slot + trigger.jitter
    assert at == trigger.fires_at(slot, schedule_id, START)


def test_jitter_spreads_schedules_and_slots() -> None:
    """Else it would be of no use: a thousand schedules of one rhythm come over the whole of it."""
    trigger = every(1000, jitter=500)
    late = [trigger.fires_at(START + 1000, f"s{n}", START) - START - 1000 for n in range(1000)]
    assert 0 <= min(late) < 10
    assert 490 < max(late) < 500
    assert 200 < sum(late) / 1000 < 300
    slots = [START + 1000 * k for k in range(1, 1000)]
    assert len({trigger.fires_at(slot, "one", START) - slot for slot in slots}) > 900


@given(jittered, step_lists)
@settings(deadline=None)
def test_40_with_jitter_each_slot_is_due_exactly_once(trigger: Trigger, drawn: list[Step]) -> None:
    """40. Under ALL each slot whose time has come is accepted once, and none before."""
    broker = Broker()
    latest = play(Table(Rules(CatchUp.ALL, limit=10**6)), broker, trigger, drawn)
    passed = every_slot(trigger, START, latest)
    assert broker.planned() == [s for s in passed if trigger.fires_at(s, "a", START) <= latest]


@given(jittered, steps, st.sampled_from(CatchUp))
def test_40_jitter_is_no_lateness(trigger: Trigger, pause: float, policy: CatchUp) -> None:
    """40. A slot that is fired at its jittered moment was not missed, and after a pause the newest
    one that is due is fired, if any is."""
    table, broker = Table(Rules(policy, grace=0)), Broker()
    table.add("a", trigger, START)
    wakeup = table.next_wakeup(START)
    assert wakeup is not None
    assert len(run(table, broker, wakeup)) == 1
    due = [
        slot
        for slot in every_slot(trigger, START, wakeup + pause)
        if trigger.fires_at(slot, "a", START) <= wakeup + pause
    ]
    run(table, broker, wakeup + pause)
    if policy is CatchUp.LATEST:
        assert broker.planned() == list(dict.fromkeys([due[0], due[-1]]))


# --- pausing, running now -----------------------------------------------------------------------


def test_a_pause_drops_what_is_owed_and_what_goes_by() -> None:
    """And then the rhythm goes on as if nothing had been."""
    table = Table()
    table.add("a", every(60), START)
    assert len(table.due(START + 60)) == 1
    table._put(table.states["a"].pausing())
    assert table.due(START + 300) == []
    assert table.next_wakeup(START + 300) is None
    table._put(table.states["a"].resuming(START + 330))
    assert table.due(START + 330) == []
    assert table.next_wakeup(START + 330) == START + 360
    # neither goes back when the clock does
    table._put(table.states["a"].pausing().resuming(START))
    assert table.next_wakeup(START) == START + 360


def test_run_now_owes_one_more_and_changes_nothing_else() -> None:
    """Under an id that no slot has, though the schedule be paused."""
    table, broker = Table(), Broker()
    table.add("a", every(60), START)
    table._put(table.states["a"].pausing().running_now(START + 60, "7"))
    (slot,) = table.due(START + 60)
    assert slot.task_id == "tick/a@2026-10-24T12:01:00+00:00/7"
    run(table, broker, START + 60)
    assert table.next_wakeup(START + 60) is None
    table._put(table.states["a"].resuming(START + 61))
    assert table.next_wakeup(START + 61) == START + 120


# --- several schedulers, one source -------------------------------------------------------------


def test_what_one_scheduler_has_decided_is_left_to_it_for_a_while() -> None:
    """Then another takes over: the first one may be dead."""
    schedule = Schedule.new("a", every(60), call(every(60)), START)
    now = START + 60
    decided = schedule.decided("one", now, Rules())
    assert decided.look_at("one") == 0
    assert decided.look_at("two") == now + PATIENCE
    assert decided.decided("one", now, Rules()) is decided
    taken = decided.decided("two", now + PATIENCE, Rules())
    assert taken.owed == decided.owed
    assert taken.look_at("two") == 0
    assert taken.look_at("one") == now + 2 * PATIENCE


def test_noting_again_changes_nothing() -> None:
    """By another scheduler, of a slot that is not the newest, or of one that was dropped."""
    schedule = Schedule.new("a", every(60, catch_up="all"), call(every(60)), START)
    schedule = schedule.decided("one", START + 130, Rules())
    first, second = schedule.owed
    noted = schedule.noted(first, fired=True).noted(second, fired=True)
    assert (noted.owed, noted.previous) == ((), second.task_id)
    assert noted.noted(first, fired=True) is noted
    assert noted.noted(second, fired=False) is noted
    # fired by one, then dropped by another: it was enqueued, and the next one must know of it
    assert schedule.noted(first, fired=False).noted(first, fired=True).previous == first.task_id


# --- what is enqueued ---------------------------------------------------------------------------


def test_times_of_a_call_count_from_its_slot() -> None:
    """A delay and an expiry hold for each slot's task, not for the first."""
    message = TaskMessage(
        "", "tick", eta=START + 5, enqueued_at=START, terms=Terms(expires_at=START + 30)
    )
    made = Slot("a", START + 60, message).message(START + 61)
    assert (made.enqueued_at, made.eta) == (START + 61, START + 66)
    assert made.terms is not None
    assert made.terms.expires_at == START + 91
