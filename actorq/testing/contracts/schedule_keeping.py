"""What users add to a schedule source, change in it and read of it: promise 40."""

from __future__ import annotations

from typing import Any

import attrs

from actorq.errors import ArgumentsError, NotSerializable, OptionError, ScheduleNotFound
from actorq.retry import RetryPolicy
from actorq.schedule import CatchUp, Overlap, at, every
from actorq.schedule_state import Rules, Schedule
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.result_values import ODD_IDS
from actorq.testing.contracts.schedule_run import Source, SourceContract, moment, must_find, refused
from actorq.testing.contracts.schedule_users import Wall, greet
from actorq.testing.promises import broken


class KeepsSchedules(SourceContract):
    """A part of `ScheduleSourceContract`."""

    @promised(40)
    def test_what_is_added_is_listed_the_next_one_first(self) -> None:
        """Rhythm, arguments and times, for people too."""

        async def test(source: Source, _wall: Wall) -> None:
            assert await source.list() == (), "a new source is not empty"
            await greet.schedule_by_interval(source, every(86400, name="daily"), "nightly")
            hourly = await source.add(greet, every(3600, name="hourly"), "x", kwargs={"times": 2})
            await source.add("stranger", at(moment(1, 30)))
            infos = await source.list()
            told = [(info.task_name, info.description) for info in infos]
            if told != [
                ("greet", "every hour"),
                ("stranger", "once, at 2024-01-01 01:30:00+00:00"),
                ("greet", "every day"),
            ]:
                raise broken(40, f"of three schedules that were added these are listed: {told}")
            info = await hourly.get()
            assert info == infos[0]
            assert info is not None
            assert info.schedule_id == "greet/hourly"
            assert (info.args, dict(info.kwargs)) == (("x",), {"times": 2})
            assert info.next_time == moment(1)
            assert info.upcoming(2) == [moment(1), moment(2)]
            assert infos[1].upcoming() == [moment(1, 30)]
            assert (info.last_time, info.last_task_id, info.owed) == (None, None, 0)
            assert not info.paused
            assert not info.declared

        self.run(test)

    @promised(40)
    def test_ids_are_given_named_or_new(self) -> None:
        """Two schedules without a name are two; ids that differ are kept apart, however odd."""

        async def test(source: Source, _wall: Wall) -> None:
            one = await greet.schedule_by_interval(source, 5, "a")
            two = await greet.schedule_by_interval(source, 5, "a")
            named = await greet.schedule_by_interval(source, every(5, name="n"), "a")
            given = await source.add(greet, every(5, name="n"), "a", schedule_id="mine")
            assert one.schedule_id != two.schedule_id
            assert (named.schedule_id, given.schedule_id) == ("greet/n", "mine")
            for n, schedule_id in enumerate(ODD_IDS):
                await source.add(greet, every(100 + n), "a", schedule_id=schedule_id)
            for n, schedule_id in enumerate(ODD_IDS):
                found = await source.fetch(schedule_id)
                added = every(100 + n, args=("a",))
                if found is None or found.id != schedule_id or found.trigger != added:
                    raise broken(40, f"schedule {schedule_id!r} was added; found is {found}")
            assert len(await source.list()) == 4 + len(ODD_IDS)

        self.run(test)

    @promised(40)
    def test_every_kind_of_state_comes_back(self) -> None:
        """Triggers, policies, options, what is owed, who holds it."""
        task = greet.using(priority=3, labels={"a": [1]}, retries=RetryPolicy.linear(2), expires=60)
        states: list[Schedule] = []

        async def test(source: Source, wall: Wall) -> None:
            for n, trigger in enumerate(
                [
                    every(60.5, name="ž", catch_up=CatchUp.ALL, jitter=0.25),
                    every(1e7, overlap=Overlap.SKIP),
                    at(moment(1, 30), catch_up="skip"),
                    at(moment(0).replace(year=2023), overlap=Overlap.CANCEL_PREVIOUS),
                ]
            ):
                await source.add(task, trigger, "ž🐎", schedule_id=f"s{n}")
                await source.run_now(f"s{n}")
                wall.now += 200

                def decide(known: Schedule | None) -> Schedule:
                    assert known is not None
                    noted = known.noted(known.owed[0], fired=True)
                    return attrs.evolve(noted, declared=True).decided("me", wall.now, Rules())

                kept = await source.change(f"s{n}", decide)
                assert kept is not None
                states.append(kept)
            for kept in states:
                await must_find(source, kept)

        self.run(test)

    @promised(40)
    def test_adding_an_id_again_renews_it(self) -> None:
        """So a program may add its schedules at each start: the same rhythm keeps its progress."""

        async def test(source: Source, wall: Wall) -> None:
            await source.add(greet, every(60), "a", schedule_id="s")
            wall.now += 50
            again = await source.add(greet, every(60), "b", schedule_id="s", overlap="skip")
            info = await again.get()
            assert info is not None
            assert info.args == ("b",)
            assert info.next_time == moment(0, 1)
            assert info.trigger.overlap == "skip"
            await source.add(greet, every(30), "b", schedule_id="s")
            info = await again.get()
            assert info is not None
            assert info.next_time == moment(0, 1, 20)
            assert len(await source.list()) == 1

        self.run(test)

    @promised()
    def test_what_cannot_be_scheduled_is_refused_where_it_is_added(self) -> None:
        """A task id of one's own among it; and nothing was added then."""
        wrong: Any = 5
        bare_function: Any = greet.function

        async def test(source: Source, _wall: Wall) -> None:
            with refused(ArgumentsError, "greet"):
                await source.add(greet, every(5), 7)
            with refused(NotSerializable, ""):
                await source.add("stranger", every(5), object())
            with refused(OptionError, "task_id cannot hold for a schedule"):
                await source.add(greet.using(task_id="one"), every(5), "a")
            with refused(OptionError, "eta cannot hold for a schedule"):
                await source.add(greet.using(eta=moment(1)), every(5), "a")
            with refused(OptionError, "arguments were given twice"):
                await source.add(greet, every(5, args=("a",)), "b")
            with refused(OptionError, "needs a trigger, such as"):
                await source.add(greet, wrong, "a")
            with refused(OptionError, "jitter must be less than the period"):
                await source.add(greet, every(5), "a", jitter=5)
            with refused(TypeError, "needs a task made with @actorq"):
                await source.add(bare_function, every(5), "a")
            assert await source.list() == ()

        self.run(test)

    @promised(40)
    def test_pause_resume_and_remove(self) -> None:
        """What is paused says so; what is gone is gone, and says so too."""

        async def test(source: Source, wall: Wall) -> None:
            handle = await greet.schedule_by_interval(source, 60, "a")
            await handle.pause()
            await handle.pause()
            info = await handle.get()
            if info is None or not info.paused:
                raise broken(40, f"the schedule was paused; it says {info}")
            assert info.next_time is None
            assert info.upcoming() == []
            wall.now += 90
            await handle.resume()
            await handle.resume()
            info = await handle.get()
            if info is None or info.next_time != moment(0, 2):
                raise broken(40, f"the schedule was resumed; it says {info}")
            assert await handle.unschedule()
            assert not await handle.unschedule()
            if await handle.get() is not None or await source.load():
                raise broken(40, "the schedule was removed, and is there")
            for verb in (source.pause, source.resume, source.run_now):
                with refused(ScheduleNotFound, "never added here"):
                    await verb(handle.schedule_id)

        self.run(test)
