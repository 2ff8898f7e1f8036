"""The scheduler in a running system: when it fires, with what, and that it sleeps in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import actorq
from actorq import (
    ActorqError,
    Context,
    DuplicateTask,
    InMemoryBroker,
    InMemoryScheduleSource,
    Middleware,
    OptionError,
    ScheduleNotFound,
    SkipSlot,
    TaskMessage,
    at,
    cron,
    every,
)
from actorq.engines.memory.queue import Queue
from actorq.environment import current_environment, set_environment
from actorq.schedule import At, CatchUp, Every
from actorq.schedule_state import Schedule
from actorq.testing import Tape, crash, simulate
from actorq.testing.simulation import EPOCH
from queue_strategies import INJECTED, QUICK, CrashAtStep, accepted, tapes
from strategies import examples


def test_slots_are_fired_at_their_time_with_their_arguments() -> None:
    """T40, T41, T44, A26: intervals, cron and one-shots side by side."""

    async def main() -> None:
        ran: list[tuple[str, float]] = []
        noon = datetime.fromtimestamp(EPOCH, UTC).replace(second=30)

        @actorq.task(
            schedule=[
                every(25, args=("every",), name="e"),
                cron("* * * * *", kwargs={"what": "cron"}),
                at(noon, args=("at",)),
            ],
            priority=3,
            labels={"own": 1},
        )
        async def work(what: str, ctx: Context = INJECTED) -> None:
            ran.append((what, round(trio.current_time(), 3)))
            assert ctx.labels["own"] == 1
            number = {"every": "e", "cron": "1", "at": "2"}[what]
            assert ctx.labels["schedule_id"] == f"{work.name}/{number}"
            assert ctx.message.options.priority == 3

        async with actorq.open_system(tasks=[work]):
            await trio.sleep(121)
        assert ran == [
            ("every", 25),
            ("at", 30),
            ("every", 50),
            ("cron", 60),
            ("every", 75),
            ("every", 100),
            ("cron", 120),
        ]

    simulate(main)


def test_a_scheduled_task_that_becomes_known_later_is_scheduled_too() -> None:
    """By `register`, or by being enqueued."""

    async def main() -> None:
        ran: list[float] = []

        @actorq.task(schedule=[every(10)])
        async def work() -> None:
            ran.append(round(trio.current_time(), 3))

        async with actorq.open_system() as sys:
            await trio.sleep(5)
            await sys.register(work)
            await sys.register(work)
            await trio.sleep(21)
        assert ran == [15, 25]

    simulate(main)


def test_without_a_schedule_there_is_no_timer() -> None:
    """DESIGN 5: an idle system wakes for nothing; with one, for the next slot only."""

    async def main() -> None:
        @actorq.task(schedule=[at(datetime.fromtimestamp(EPOCH + 50, UTC))])
        async def once() -> None: ...

        async with actorq.open_system() as sys:
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf
            await sys.register(once)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == 50
            await trio.sleep(100)
            await trio.testing.wait_all_tasks_blocked()
            assert trio.lowlevel.current_statistics().seconds_to_next_deadline == math.inf

    simulate(main, limit=math.inf)


@given(st.integers(0, 40), tapes)
def test_a_crash_between_enqueueing_and_noting_it_fires_the_slot_once(
    step: int, tape: Tape
) -> None:
    """40: the slot's own id makes sending it again harmless."""

    class Bomb(trio.abc.Instrument):
        """Crashes the scheduler so many steps after its slot was due."""

        left = step
        sys: actorq.System | None = None

        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if self.sys is not None and trio.current_time() >= 10:
                self.left -= 1
                if self.left < 0:
                    crash(self.sys.actor("scheduler"))
                    self.sys = None

    bomb = Bomb()

    async def main() -> None:
        ran: list[Any] = []
        broker = InMemoryBroker()

        @broker.task(schedule=[every(10, args=(n,), name=f"s{n}") for n in range(3)])
        async def work(n: int) -> None:
            ran.append(n)

        async with actorq.open_system(broker, backoff=QUICK) as sys:
            bomb.sys = sys
            await trio.sleep(15)
            assert sorted(ran) == [0, 1, 2]
            assert len(accepted(broker.queue)) == 3
            await trio.sleep(10)
            assert sorted(ran) == [0, 0, 1, 1, 2, 2]

    simulate(main, tape=tape, instruments=[bomb])


# --- dynamic schedules --------------------------------------------------------------------------


def clock() -> float:
    """Virtual seconds, to the millisecond."""
    return round(trio.current_time(), 3)


def test_a_schedule_that_is_added_fires_at_its_time() -> None:
    """A26: two seconds ahead, while the scheduler sleeps until far later; on the dot, not at a tick."""

    async def main() -> None:
        ran: list[tuple[str, float, str]] = []

        @actorq.task(name="note")
        async def note(what: str, ctx: Context = INJECTED) -> None:
            ran.append((what, clock(), ctx.labels["schedule_id"]))

        async with actorq.open_system() as sys:
            await sys.schedules.add(note, every(3600), "hourly", schedule_id="h")
            await trio.sleep(7.25)
            soon = datetime.fromtimestamp(EPOCH + 9.25, UTC)
            await note.schedule_by_time(sys, at(soon, name="soon"), "soon")
            await trio.sleep(10)
            assert ran == [("soon", 9.25, "note/soon")]
            await sys.schedules.pause("h")
            await trio.sleep(3600)
            await sys.schedules.resume("h")
            await trio.sleep(3600)
            assert ran[1:] == [("hourly", 7200, "h")]
            assert await sys.schedules.remove("h")
            await trio.sleep(7200)
            assert len(ran) == 2
            assert await sys.schedules.list() == ()

    simulate(main, limit=math.inf)


def test_a_one_shot_is_gone_after_it_was_fired_and_a_cron_entry_stays() -> None:
    """T41, T55: sent once, not in the following seconds again; a later one-shot stays too."""

    async def main() -> None:
        ran: list[str] = []

        @actorq.task(name="note")
        async def note(what: str) -> None:
            ran.append(what)

        def moment(seconds: float) -> datetime:
            return datetime.fromtimestamp(EPOCH + seconds, UTC)

        async with actorq.open_system() as sys:
            once = await note.schedule_by_time(sys, moment(5), "once")
            later = await note.schedule_by_time(sys, moment(500), "later")
            past = await note.schedule_by_time(sys, moment(-240), "past")
            minutely = await note.schedule_by_cron(sys, "* * * * *", "cron")
            await trio.sleep(1)
            assert ran == ["past"]  # it was missed, and is caught up with
            await trio.sleep(9)
            assert ran == ["past", "once"]
            assert await once.get() is None
            assert await past.get() is None
            await trio.sleep(60)
            assert ran == ["past", "once", "cron"]
            ids = [info.schedule_id for info in await sys.schedules.list()]
            assert ids == [minutely.schedule_id, later.schedule_id]
            info = await minutely.get()
            assert info is not None
            assert info.last_time == moment(60)
            assert info.last_task_id is not None
            assert await (sys.handle(info.last_task_id)).result() is None

    simulate(main)


def test_declared_one_shots_are_not_listed_after_they_were_fired() -> None:
    """T40, T41: and declaring them again, as each life does, does not begin them anew."""

    async def main() -> None:
        ran: list[float] = []
        broker = InMemoryBroker()
        moment = datetime.fromtimestamp(EPOCH + 5, UTC)
        declared: list[At | Every] = [at(moment, name="once"), every(60, name="more")]

        @broker.task(name="note", schedule=declared)
        async def note() -> None:
            ran.append(clock())

        async with actorq.open_system(broker, backoff=QUICK) as sys:
            await trio.testing.wait_all_tasks_blocked()
            infos = await sys.schedules.list()
            assert [info.schedule_id for info in infos] == ["note/once", "note/more"]
            assert all(info.declared for info in infos)
            await trio.sleep(10)
            crash(sys.actor("scheduler"))
            await trio.sleep(20)
            assert [info.schedule_id for info in await sys.schedules.list()] == ["note/more"]
            with pytest.raises(OptionError, match="is declared by task 'note'"):
                await sys.schedules.remove("note/more")
            with pytest.raises(OptionError, match="is declared by task 'note'"):
                await sys.schedules.add(note, every(5), schedule_id="note/more")
            await sys.schedules.pause("note/more")
            await sys.register(note)
            await trio.sleep(60)
        assert ran == [5]
        async with actorq.open_system(broker) as sys:  # the broker keeps them
            await sys.schedules.resume("note/more")
            await trio.sleep(60)
        assert ran == [5, 120]
        assert note.options.schedule == tuple(declared)

    simulate(main)


def test_a_declaration_that_was_dropped_is_dropped_from_the_source() -> None:
    """Of a task that is known; what is declared by tasks of other programs is theirs."""

    async def main() -> None:
        source = InMemoryScheduleSource()

        async def note() -> None: ...

        first = actorq.task(name="a", schedule=[every(5, name="x"), every(6, name="y")])(note)
        other = actorq.task(name="b", schedule=[every(7)])(note)
        broker = InMemoryBroker().with_schedule_source(source).register(first, other)
        async with actorq.open_system(broker):
            await trio.testing.wait_all_tasks_blocked()
        assert sorted(source.schedules) == ["a/x", "a/y", "b/0"]
        second = actorq.task(name="a", schedule=[every(6, name="y")])(note)
        broker = InMemoryBroker().with_schedule_source(source).register(second)
        async with actorq.open_system(broker):
            await trio.testing.wait_all_tasks_blocked()
        assert sorted(source.schedules) == ["a/y", "b/0"]

    simulate(main)


def test_run_now_is_one_more() -> None:
    """At once, whether paused or not, by the system or by a source; the rhythm stays as it is."""

    async def main() -> None:
        ran: list[float] = []

        @actorq.task(name="note")
        async def note() -> float:
            ran.append(clock())
            return ran[-1]

        async with actorq.open_system() as sys:
            await sys.schedules.add(note, every(60), schedule_id="s")
            await trio.sleep(10)
            handle = await sys.schedules.run_now("s")
            assert await handle.result() == 10
            await sys.schedules.pause("s")
            (source,) = sys._broker.schedule_sources
            task_id = await source.run_now("s")
            await trio.testing.wait_all_tasks_blocked()
            assert await sys.handle(task_id).result() == 10
            await sys.schedules.resume("s")
            await trio.sleep(60)
            assert ran == [10, 10, 60]
            with pytest.raises(ScheduleNotFound):
                await sys.schedules.run_now("nobody")

    simulate(main)


def test_a_schedule_of_an_unknown_task_is_parked_until_a_worker_knows_it() -> None:
    """42, A11: added by name, in a process that does not have the function."""

    async def main() -> None:
        ran: list[int] = []

        @actorq.task(name="stranger")
        async def stranger(n: int) -> None:
            ran.append(n)

        async with actorq.open_system() as sys:
            await sys.schedules.add("stranger", every(10), 7)
            await trio.sleep(25)
            assert (await sys.queue_statistics()).parked == 2
            await sys.register(stranger)
            await sys.wait_idle()
            assert ran == [7, 7]

    simulate(main)


def test_options_of_a_task_hold_for_each_of_its_slots() -> None:
    """T40, T45: labels, priority, delay; and an id of its own for each."""

    async def main() -> None:
        seen: list[tuple[float, Any, int, str]] = []

        @actorq.task(name="note")
        async def note(ctx: Context = INJECTED) -> None:
            options = ctx.message.options
            seen.append((clock(), ctx.labels["own"], options.priority, ctx.task_id))

        async with actorq.open_system() as sys:
            urgent = note.using(labels={"own": [1]}, priority=7, delay=2.5)
            handle = await urgent.schedule_by_interval(sys, every(10, name="n"))
            await trio.sleep(25)
            assert await handle.unschedule()
        assert [each[:3] for each in seen] == [(12.5, [1], 7), (22.5, [1], 7)]
        assert seen[0][3] == "note/note%2Fn@2024-01-01T00:00:10+00:00"
        assert seen[1][3] == "note/note%2Fn@2024-01-01T00:00:20+00:00"
        assert note.options.labels == {}

    simulate(main)


def test_jitter_moves_a_slot_within_its_period() -> None:
    """The task id tells the planned time, so that everybody agrees on it."""

    async def main() -> None:
        ran: list[tuple[float, str]] = []

        @actorq.task(name="note")
        async def note(ctx: Context = INJECTED) -> None:
            ran.append((trio.current_time(), ctx.task_id.rsplit("T", 1)[1]))

        async with actorq.open_system() as sys:
            await sys.schedules.add(note, every(10), jitter=9, schedule_id="s")
            await trio.sleep(100)
        assert [slot for _, slot in ran][:2] == ["00:00:10+00:00", "00:00:20+00:00"]
        late = [at - 10 * (n + 1) for n, (at, _) in enumerate(ran)]
        assert len(late) >= 9
        assert all(0 <= each < 9 for each in late)
        assert max(late) - min(late) > 3

    simulate(main)


# --- overlap ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        ("allow", [("began", 10), ("began", 20), ("began", 30), ("ended", 35), ("began", 40)]),
        ("skip", [("began", 10), ("ended", 35), ("began", 40)]),
        (
            "cancel_previous",
            [
                ("began", 10),
                ("cancelled", 20),
                ("began", 20),
                ("cancelled", 30),
                ("began", 30),
                ("cancelled", 40),
                ("began", 40),
            ],
        ),
    ],
)
def test_overlap_decides_about_a_slot_while_the_one_before_it_runs(
    overlap: str, expected: list[tuple[str, float]]
) -> None:
    """A task of 25 seconds every 10 seconds."""

    async def main() -> None:
        log: list[tuple[str, float]] = []

        @actorq.task(name="slow")
        async def slow() -> None:
            log.append(("began", clock()))
            try:
                await trio.sleep(25)
            except trio.Cancelled:
                log.append(("cancelled", clock()))
                raise
            log.append(("ended", clock()))

        async with actorq.open_system(grace=0) as sys:
            await sys.schedules.add(slow, every(10), schedule_id="s", overlap=overlap)
            await trio.sleep(42)
            assert log == expected

    simulate(main)


@given(overlap=st.sampled_from(["skip", "cancel_previous"]), step=st.integers(0, 60), tape=tapes)
def test_no_two_slots_run_at_a_time_though_the_scheduler_crashes(
    overlap: str, step: int, tape: Tape
) -> None:
    """A25: which slot was the last one is kept in the source, not in the scheduler."""
    bomb = CrashAtStep(step)

    async def main() -> None:
        running = most = 0

        @actorq.task(name="slow")
        async def slow() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await trio.sleep(15)
            finally:
                running -= 1

        async with actorq.open_system(backoff=QUICK, grace=0) as sys:
            await sys.schedules.add(slow, every(10), schedule_id="s", overlap=overlap)
            await trio.sleep(19)
            bomb.arm(sys.actor("scheduler"))
            await trio.sleep(40)
            info = await sys.schedules.get("s")
            assert info is not None
            assert info.last_time is not None
            assert most == 1
            assert running == 1

    simulate(main, tape=tape, instruments=[bomb])


# --- when a slot cannot be enqueued -------------------------------------------------------------


def test_a_hook_may_skip_a_slot() -> None:
    """T46: SkipSlot drops it; any other error keeps it owed, and it is tried again."""

    async def main() -> None:
        asked: list[tuple[str, float]] = []

        class Gate(Middleware):
            def pre_send(self, message: TaskMessage) -> TaskMessage:
                slot = message.task_id.rsplit("T", 1)[1].removesuffix("+00:00")
                asked.append((slot, clock()))
                if slot == "00:00:10":
                    raise SkipSlot("a holiday")
                if slot == "00:00:20" and clock() < 22:
                    raise ValueError("not now")
                return message

        ran: list[float] = []
        broker = InMemoryBroker().with_middlewares(Gate())

        @broker.task(name="note", schedule=[every(10)])
        async def note() -> None:
            ran.append(clock())

        async with actorq.open_system(broker):
            await trio.sleep(31)
        assert ran == [23, 30]
        assert [slot for slot, _ in asked] == ["00:00:10", *["00:00:20"] * 3, "00:00:30"]

    simulate(main)


def test_a_slot_that_is_refused_for_good_is_dropped() -> None:
    """Else it would hold up those after it for ever: the queue knows its unique call already."""

    async def main() -> None:
        ran: list[float] = []
        broker = InMemoryBroker()

        class Refuses(Middleware):
            def pre_send(self, message: TaskMessage) -> TaskMessage:
                if clock() < 15:
                    raise DuplicateTask("there is one")
                return message

        broker.with_middlewares(Refuses())

        @broker.task(name="note", schedule=[every(10)])
        async def note() -> None:
            ran.append(clock())

        async with actorq.open_system(broker):
            await trio.sleep(31)
        assert ran == [20, 30]

    simulate(main)


def test_a_broker_that_is_away_gets_the_slot_when_it_is_back() -> None:
    """A23: once, though it may have been stored before the broker crashed on it."""

    class Away(InMemoryBroker):
        async def store(self, messages: Sequence[TaskMessage], now: float) -> None:
            if 9 < clock() < 14:
                raise ActorqError("no connection")
            await super().store(messages, now)
            if 14 < clock() < 17.5:
                raise RuntimeError("a crash after it was stored")

    async def main() -> None:
        ran: list[tuple[str, float]] = []
        broker = Away()

        @broker.task(name="note", schedule=[every(10), at(datetime.fromtimestamp(EPOCH + 10, UTC))])
        async def note(ctx: Context = INJECTED) -> None:
            ran.append((ctx.task_id[-14:-6], clock()))

        # both are tried at 10, 11 and 13 s; at 17 s, each is stored and crashes the broker
        async with actorq.open_system(broker) as sys:
            await trio.sleep(35)
            assert len(await sys.schedules.list()) == 1
        assert [slot for slot, _ in ran] == ["00:00:10", "00:00:10", "00:00:20", "00:00:30"]
        assert 17 <= ran[0][1] <= ran[1][1] < 20 == ran[2][1]

    simulate(main)


# --- sources that fail --------------------------------------------------------------------------


class Blinks(InMemoryScheduleSource):
    """Fails whatever it is asked, while `away`; *after*: having done it all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.after = False

    def _check(self) -> None:
        if self.away:
            raise ConnectionError("no answer")

    async def startup(self) -> None:
        self._check()

    async def load(self) -> Sequence[Schedule]:
        self._check()
        return await super().load()

    async def fetch(self, schedule_id: str) -> Schedule | None:
        self._check()
        return await super().fetch(schedule_id)

    async def swap(
        self, schedule_id: str, version: str | None, new: Schedule | None, *, announce: bool
    ) -> bool:
        if not self.after:
            self._check()
        done = await super().swap(schedule_id, version, new, announce=announce)
        self._check()
        return done

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        self._check()
        await super().watch(changed)


@given(
    blips=st.lists(st.tuples(st.integers(0, 90), st.integers(1, 15), st.booleans()), max_size=4),
    crashes=st.lists(st.integers(0, 100), max_size=2),
    tape=tapes,
)
def test_40_a_source_that_fails_now_and_then_fires_nothing_twice(
    blips: list[tuple[int, int, bool]], crashes: list[int], tape: Tape
) -> None:
    """40, A24, T47: each slot comes once; another source goes on as if nothing were."""

    async def main() -> None:
        source, well = Blinks(), InMemoryScheduleSource()
        broker = InMemoryBroker().with_schedule_source(source, well)
        ran: list[str] = []
        elsewhere: list[float] = []

        @broker.task(name="note")
        async def note(ctx: Context = INJECTED) -> None:
            ran.append(ctx.task_id)

        @broker.task(name="well")
        async def other() -> None:
            elsewhere.append(clock())

        await source.add(note, every(7, catch_up="all"), schedule_id="s")
        await source.add(note, at(datetime.fromtimestamp(EPOCH + 33, UTC)), schedule_id="o")
        await well.add(other, every(10), schedule_id="w")

        async def blink() -> None:
            for start, length, after in sorted(blips):
                await trio.sleep_until(start)
                source.away, source.after = True, after
                await trio.sleep(length)
                source.away = False

        async def crash_now_and_then(sys: actorq.System) -> None:
            for when in sorted(crashes):
                await trio.sleep_until(when + 0.5)
                crash(sys.actor("scheduler"))

        async with actorq.open_system(broker, backoff=QUICK) as sys, trio.open_nursery() as nursery:
            nursery.start_soon(blink)
            nursery.start_soon(crash_now_and_then, sys)
            await trio.sleep_until(249)  # the last blip ends by 150, the last pause by 180
        assert elsewhere == [10 * k for k in range(1, 25)]
        assert len(ran) == len(set(ran)) == 35 + 1
        assert source.schedules.keys() == {"s"}

    simulate(main, tape=tape)


def test_a_source_that_does_not_start_holds_up_nothing() -> None:
    """T47: it is tried again; and its schedules are caught up with."""

    async def main() -> None:
        ran: list[tuple[str, float]] = []
        source, well = Blinks(), InMemoryScheduleSource()
        broker = InMemoryBroker().with_schedule_source(well, source)

        @broker.task(name="note", schedule=[every(10, args=("declared",))])
        async def note(what: str) -> None:
            ran.append((what, clock()))

        await source.add(note, every(10), "added")
        source.away = True
        async with actorq.open_system(broker):
            await trio.sleep(12)
            assert ran == [("declared", 10)]
            source.away = False
            await trio.sleep(10)
            assert [what for what, _ in ran] == ["declared", "added", "added", "declared"] or [
                what for what, _ in ran
            ] == ["declared", "added", "declared", "added"]

    simulate(main)


# --- several schedulers on one source -----------------------------------------------------------


class SendsTo(InMemoryBroker):
    """Stores in a queue that others store in too."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self._other = queue

    async def store(self, messages: Sequence[TaskMessage], now: float) -> None:
        self._other.enqueue(messages, now)


@given(
    schedulers=st.integers(2, 3),
    period=st.sampled_from([3.0, 7.5]),
    jitter=st.sampled_from([0.0, 2.0]),
    catch_up=st.sampled_from(CatchUp),
    faults=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=3),
    leaps=st.lists(st.sampled_from([0.0, 40.0, -40.0]), min_size=3, max_size=3),
    tape=tapes,
)
@settings(max_examples=examples(40))
def test_40_several_schedulers_on_one_source_fire_each_slot_once(
    schedulers: int,
    period: float,
    jitter: float,
    catch_up: CatchUp,
    faults: list[tuple[int, int]],
    leaps: list[float],
    tape: Tape,
) -> None:
    """40, A22: whoever crashes, whatever their clocks say; each slot is enqueued once.

    All send to one queue, as processes would; nobody works on it.
    """
    sent: list[str] = []
    queue = Queue()

    async def main() -> None:
        source = InMemoryScheduleSource()
        brokers = [SendsTo(queue).with_schedule_source(source) for _ in range(schedulers)]
        for broker in brokers:
            broker.with_middlewares(Counts())

        @actorq.task(name="note")
        async def note() -> None: ...

        await source.add(note, every(period), schedule_id="s", jitter=jitter, catch_up=catch_up)

        async def run(number: int) -> None:
            def wall() -> float:
                now = trio.current_time()
                return EPOCH + now + (leaps[number] if now >= 10 else 0.0)

            set_environment(attrs.evolve(current_environment(), wall=wall))
            async with actorq.open_system(brokers[number], backoff=QUICK) as sys:
                for which, when in sorted(faults, key=lambda fault: fault[1]):
                    if which == number:
                        await trio.sleep_until(when)
                        crash(sys.actor("scheduler"))
                await trio.sleep_until(71)

        async with trio.open_nursery() as nursery:
            for number in range(schedulers):
                nursery.start_soon(run, number)
        fired = sorted(
            datetime.fromisoformat(task_id.rsplit("@", 1)[1]).timestamp() - EPOCH
            for task_id in accepted(queue)
        )
        assert len(fired) == len(set(fired)) > 0
        assert set(fired) <= {period * k for k in range(1, 50)}
        assert set(sent) == accepted(queue)
        if catch_up is CatchUp.ALL or not any(leaps[:schedulers]):
            assert fired == [period * k for k in range(1, len(fired) + 1)]
            assert fired[-1] >= 71 + max(leaps[:schedulers]) - period - jitter
        if not faults and not any(
            leaps[:schedulers]
        ):  # one decides, the others leave it to that one
            assert len(sent) == len(set(sent))

    class Counts(Middleware):
        def post_send(self, message: TaskMessage) -> None:
            sent.append(message.task_id)

    simulate(main, tape=tape)


def test_another_scheduler_takes_over_what_a_dead_one_has_decided() -> None:
    """A25: after the five seconds for which it was left to that one."""

    async def main() -> None:
        source = InMemoryScheduleSource()
        ran: list[float] = []

        @actorq.task(name="note")
        async def note() -> None:
            ran.append(clock())

        class Hangs(Middleware):
            async def pre_send(self, message: TaskMessage) -> TaskMessage:
                await trio.sleep(3600)
                return message

        await source.add(note, every(10), schedule_id="s")
        first = InMemoryBroker().with_schedule_source(source).with_middlewares(Hangs())
        second = InMemoryBroker().with_schedule_source(source).register(note)
        async with trio.open_nursery() as nursery:

            async def die() -> None:
                async with actorq.open_system(first):
                    await trio.sleep(11)

            nursery.start_soon(die)
            await trio.sleep(5)  # so that the first one's timer comes first
            async with actorq.open_system(second):
                await trio.sleep(16)
        assert ran == [15, 20]

    simulate(main)


def test_dynamic_schedules_survive_the_scheduler_and_missed_ones_follow_their_policy() -> None:
    """A25: nobody looked for two minutes; a one-shot fires once, rhythms as they say."""

    async def main() -> None:
        source = InMemoryScheduleSource()
        ran: list[tuple[str, str]] = []

        @actorq.task(name="note")
        async def note(ctx: Context = INJECTED) -> None:
            ran.append((ctx.labels["schedule_id"], ctx.task_id[-14:-6]))

        for policy in CatchUp:
            await source.add(note, every(30), schedule_id=policy.value, catch_up=policy)
        await source.add(note, at(datetime.fromtimestamp(EPOCH + 5, UTC)), schedule_id="once")
        await trio.sleep(125)
        for _ in range(2):  # a restart within the same slot fires nothing again
            broker = InMemoryBroker().with_schedule_source(source).register(note)
            async with actorq.open_system(broker) as sys:
                await trio.sleep(1)
                await sys.wait_idle()
        assert sorted(ran) == [
            ("all", "00:00:30"),
            ("all", "00:01:00"),
            ("all", "00:01:30"),
            ("all", "00:02:00"),
            ("latest", "00:02:00"),
            ("once", "00:00:05"),
            ("skip", "00:02:00"),
        ]

    simulate(main)


def test_with_schedules_that_are_all_paused_or_over_there_is_no_timer() -> None:
    """DESIGN 5: and adding one sets one."""

    async def main() -> None:
        @actorq.task(name="note")
        async def note() -> None: ...

        def next_deadline() -> float:
            return trio.lowlevel.current_statistics().seconds_to_next_deadline

        async with actorq.open_system() as sys:
            await sys.schedules.add(note, every(30), schedule_id="s")
            await trio.testing.wait_all_tasks_blocked()
            assert next_deadline() == 30
            await sys.schedules.pause("s")
            await note.schedule_by_time(sys, datetime.fromtimestamp(EPOCH + 5, UTC))
            await trio.sleep(100)
            await trio.testing.wait_all_tasks_blocked()
            assert next_deadline() == math.inf

    simulate(main, limit=math.inf)


def test_a_task_that_is_held_by_a_limit_has_not_ended() -> None:
    """Overlap: skipped too, though it has not begun; and `unique` may let another stand for a slot."""

    async def main() -> None:
        ran: list[float] = []

        @actorq.task(name="slow", concurrency=1)
        async def slow(seconds: float) -> None:
            ran.append(clock())
            await trio.sleep(seconds)

        async with actorq.open_system(grace=0) as sys:
            await sys.enqueue(slow, 25)
            await sys.schedules.add(slow, every(10), 1, schedule_id="s", overlap="skip")
            await trio.sleep(35)
            assert ran == [0, 25, 30]
            await sys.schedules.remove("s")
            only = slow.using(unique=actorq.Unique(on_conflict="return"))
            first = await sys.enqueue(only, 50)
            await sys.schedules.add(only, every(10), 50, schedule_id="u")
            handle = await sys.schedules.run_now("u")
            assert handle.task_id == first.task_id
            info = await sys.schedules.get("u")
            assert info is not None
            assert info.last_task_id == first.task_id

    simulate(main)


def test_a_source_whose_shutdown_hangs_keeps_no_other_from_being_shut_down() -> None:
    """A source that comes before it was left open."""

    async def main() -> None:
        log: list[str] = []

        class Notes(InMemoryScheduleSource):
            async def shutdown(self) -> None:
                log.append("well")

        class Hangs(InMemoryScheduleSource):
            async def startup(self) -> None:
                await trio.sleep(1)  # it is started last

            async def shutdown(self) -> None:
                log.append("hangs")
                await trio.sleep_forever()

        broker = InMemoryBroker().with_schedule_source(Notes(), Hangs())
        async with actorq.open_system(broker):
            await trio.sleep(2)
        assert log == ["hangs", "well"]

    simulate(main)
