"""What every schedule source must do; a source's own tests subclass it and say how to make one.

`class TestMine(ScheduleSourceSuite): make_source = staticmethod(MySource)`
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import pytest
import trio
import trio.testing

import actorq
from actorq.errors import ArgumentsError, NotSerializable, OptionError, ScheduleNotFound
from actorq.schedule import at, cron, every
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Rules
from actorq.testing import EPOCH, simulate


@actorq.task(name="greet")
async def greet(name: str, times: int = 1) -> str:
    """Not run here."""
    return name * times


class ScheduleSourceSuite:
    """The conformance tests."""

    make_source: Callable[[], ScheduleSource]

    def test_what_is_added_is_listed_the_next_one_first(self) -> None:
        """T40, T55: rhythm, arguments and times, for people too."""

        async def main() -> None:
            source = self.make_source()
            assert await source.list() == ()
            await greet.schedule_by_cron(source, "30 2 * * *", "nightly")
            hourly = await source.add(greet, every(3600, name="hourly"), "x", kwargs={"times": 2})
            await source.add("stranger", at(datetime(2024, 1, 1, 1, 30, tzinfo=UTC)))
            infos = await source.list()
            assert [(info.task_name, info.description) for info in infos] == [
                ("greet", "every hour"),
                ("stranger", "once, at 2024-01-01 01:30:00+00:00"),
                ("greet", "At 02:30 every day (UTC)"),
            ]
            info = await hourly.get()
            assert info == infos[0]
            assert info is not None
            assert info.schedule_id == "greet/hourly"
            assert (info.args, dict(info.kwargs)) == (("x",), {"times": 2})
            assert info.next_time == datetime(2024, 1, 1, 1, tzinfo=UTC)
            assert info.upcoming(2) == [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (1, 2)]
            assert infos[1].upcoming() == [datetime(2024, 1, 1, 1, 30, tzinfo=UTC)]
            assert (info.last_time, info.last_task_id, info.owed) == (None, None, 0)
            assert not info.paused
            assert not info.declared

        simulate(main)

    def test_ids_are_given_named_or_new(self) -> None:
        """Two schedules without a name are two."""

        async def main() -> None:
            source = self.make_source()
            one = await greet.schedule_by_interval(source, 5, "a")
            two = await greet.schedule_by_interval(source, 5, "a")
            named = await greet.schedule_by_interval(source, every(5, name="n"), "a")
            given = await source.add(greet, every(5, name="n"), "a", schedule_id="mine")
            assert one.schedule_id != two.schedule_id
            assert (named.schedule_id, given.schedule_id) == ("greet/n", "mine")
            assert len(await source.list()) == 4

        simulate(main)

    def test_adding_an_id_again_renews_it(self) -> None:
        """So a program may add its schedules at each start: the same rhythm keeps its progress."""

        async def main() -> None:
            source = self.make_source()
            await source.add(greet, every(60), "a", schedule_id="s")
            await trio.sleep(50)
            again = await source.add(greet, every(60), "b", schedule_id="s", overlap="skip")
            info = await again.get()
            assert info is not None
            assert info.args == ("b",)
            assert info.next_time == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
            assert info.trigger.overlap == "skip"
            await source.add(greet, every(30), "b", schedule_id="s")
            info = await again.get()
            assert info is not None
            assert info.next_time == datetime(2024, 1, 1, 0, 1, 20, tzinfo=UTC)
            assert len(await source.list()) == 1

        simulate(main)

    def test_what_cannot_be_scheduled_is_refused_where_it_is_added(self) -> None:
        """T45: a task id of one's own among it; and nothing was added then."""

        async def main() -> None:
            source = self.make_source()
            with pytest.raises(ArgumentsError, match="greet"):
                await source.add(greet, every(5), 7)
            with pytest.raises(NotSerializable):
                await source.add("stranger", every(5), object())
            with pytest.raises(OptionError, match="task_id cannot hold for a schedule"):
                await source.add(greet.using(task_id="one"), every(5), "a")
            eta = datetime(2030, 1, 1, tzinfo=UTC)
            with pytest.raises(OptionError, match="eta cannot hold for a schedule"):
                await source.add(greet.using(eta=eta), every(5), "a")
            with pytest.raises(OptionError, match="arguments were given twice"):
                await source.add(greet, every(5, args=("a",)), "b")
            with pytest.raises(OptionError, match="needs a trigger, such as"):
                await source.add(greet, 5, "a")  # type: ignore[arg-type]
            with pytest.raises(OptionError, match="no slot in the next fifty years"):
                await source.add(greet, cron("0 0 */31 * MON#2"), "a")
            with pytest.raises(OptionError, match="jitter must be less than the period"):
                await source.add(greet, every(5), "a", jitter=5)
            with pytest.raises(TypeError, match="needs a task made with @actorq"):
                await source.add(greet.function, every(5), "a")  # type: ignore[arg-type]
            assert await source.list() == ()

        simulate(main)

    def test_pause_resume_and_remove(self) -> None:
        """T55: what is paused says so; what is gone is gone, and says so too."""

        async def main() -> None:
            source = self.make_source()
            handle = await greet.schedule_by_interval(source, 60, "a")
            await handle.pause()
            await handle.pause()
            info = await handle.get()
            assert info is not None
            assert info.paused
            assert info.next_time is None
            assert info.upcoming() == []
            await trio.sleep(90)
            await handle.resume()
            await handle.resume()
            info = await handle.get()
            assert info is not None
            assert info.next_time == datetime(2024, 1, 1, 0, 2, tzinfo=UTC)
            assert await handle.unschedule()
            assert not await handle.unschedule()
            assert await handle.get() is None
            for verb in (source.pause, source.resume, source.run_now):
                with pytest.raises(ScheduleNotFound, match="never added here"):
                    await verb(handle.schedule_id)

        simulate(main)

    def test_a_state_is_put_only_in_place_of_the_one_that_was_seen(self) -> None:
        """What several schedulers lean on: of any number that try, one succeeds."""

        async def main() -> None:
            source = self.make_source()
            await source.add(greet, every(60), "a", schedule_id="s")
            seen = await source.fetch("s")
            assert seen is not None
            moves = [seen.decided(f"m{n}", EPOCH + 60, Rules()) for n in range(5)]
            done: list[bool] = []

            async def move(number: int) -> None:
                new = attrs.evolve(moves[number], version=f"v{number}")
                done.append(await source.swap("s", seen.version, new, announce=False))

            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(move, number)
            assert done.count(True) == 1
            kept = await source.fetch("s")
            assert kept is not None
            assert kept.version.startswith("v")
            assert not await source.swap("s", None, seen, announce=False)  # it is there
            assert not await source.swap("s", seen.version, None, announce=False)
            assert await source.swap("s", kept.version, None, announce=False)
            assert await source.fetch("s") is None
            assert not await source.swap("s", kept.version, None, announce=False)
            assert await source.swap("s", None, seen, announce=False)
            loaded = [(each.id, each.version) for each in await source.load()]
            assert loaded == [("s", seen.version)]

        simulate(main)

    def test_concurrent_changes_are_all_made(self) -> None:
        """Each is made to what the one before it left."""

        async def main() -> None:
            source = self.make_source()
            await source.add(greet, every(60), "a", schedule_id="s")

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(source.run_now, "s")
                nursery.start_soon(source.add, greet, every(60), "b")
            info = await source.get("s")
            assert info is not None
            assert info.owed == 5

        simulate(main)

    def test_who_watches_is_told_of_changes_by_others(self) -> None:
        """A26: and not of a scheduler's own progress."""

        async def main() -> None:
            source = self.make_source()
            await source.startup()
            heard: list[str | None] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(source.watch, heard.append)
                await trio.testing.wait_all_tasks_blocked()
                assert heard[:1] == [None]
                del heard[:]
                handle = await source.add(greet, every(60), "a", schedule_id="s")
                await handle.pause()
                await source.change("s", lambda known: known and known.resuming(EPOCH))
                await handle.unschedule()
                await trio.testing.wait_all_tasks_blocked()
                assert heard in (["s"] * 3, [None] * 3)
                nursery.cancel_scope.cancel("heard enough")
            await source.shutdown()

        simulate(main)
