"""What every schedule source must do, whatever it keeps schedules in.

Subclass `ScheduleSourceContract`, say how to make your source, and pytest runs it:

    class TestMine(ScheduleSourceContract):
        factory = MySource

Real clock, no sleeping: a source may use threads, files and sockets.  A source has one promise to
keep, 40: each slot is enqueued once.  What it forgets, undoes or mixes up would break that.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import trio
import trio.testing

from actorq.capability import Capability
from actorq.errors import ArgumentsError, NotSerializable, OptionError, ScheduleNotFound
from actorq.retry import RetryPolicy
from actorq.schedule import CatchUp, Overlap, at, every
from actorq.schedule_source import ScheduleSource
from actorq.schedule_state import Rules, Schedule
from actorq.testing.contracts.contract import Contract, new_folder, promised
from actorq.testing.contracts.real_time import run_in_real_time
from actorq.testing.contracts.result_values import ODD_IDS
from actorq.testing.contracts.schedule_users import Listener, Storage, Wall, bare, greet
from actorq.testing.promises import broken
from actorq.testing.simulation import EPOCH


Source: TypeAlias = ScheduleSource
SURVIVES = frozenset({Capability.SURVIVAL})


def moment(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """On the first of January 2024, when these tests begin."""
    return datetime(2024, 1, 1, hour, minute, second, tzinfo=UTC)


@contextmanager
def refused(kind: type[Exception], text: str) -> Iterator[None]:
    """The body must raise an error of this type that matches *text*."""
    try:
        yield
    except kind as error:
        if re.search(text, str(error)):
            return
        raise AssertionError(f"expected an error like {text!r}; got {error!r}") from error
    raise AssertionError(f"expected {kind.__name__} like {text!r}; nothing was raised")


async def must_find(source: Source, kept: Schedule, when: str = "") -> None:
    """Raise unless *source* gives this state back, alone and among all; promise 40."""
    found = await source.fetch(kept.id)
    among = [each for each in await source.load() if each.id == kept.id]
    for where, each in [("fetch", found), ("load", among[0] if among else None)]:
        if each is None:
            raise broken(40, f"schedule {kept.id!r} is not found by {where}{when}")
        if each.to_dict() != kept.to_dict():
            one, other = kept.to_dict(), each.to_dict()
            wrong = {name: (one[name], other[name]) for name in one if one[name] != other[name]}
            raise broken(
                40, f"schedule {kept.id!r} came back another one by {where}{when}: {wrong}"
            )
    if len(among) > 1:
        raise broken(40, f"schedule {kept.id!r} is there {len(among)} times{when}")


class ScheduleSourceContract(Contract):
    """Subclass it: `class TestMine(ScheduleSourceContract): factory = MySource`.

    What *factory* makes must be new and empty.  What the source declares in `lacks` is skipped.
    """

    factory: Callable[..., ScheduleSource]
    #: Seconds that a test may take; `Stuck` then says who waits for what.
    limit: float = 30.0

    def run(self, test: Callable[[Source, Wall], Awaitable[None]]) -> None:
        """Run *test* with a new source."""

        async def alone(storage: Storage, wall: Wall) -> None:
            source = storage.open()
            await source.startup()
            await test(source, wall)
            await source.shutdown()

        self.run_on_storage(alone)

    def run_on_storage(self, test: Callable[[Storage, Wall], Awaitable[None]]) -> None:
        """Run *test* with a new storage."""

        async def main(folder: Path) -> None:
            wall = Wall()
            wall.enter()
            await test(Storage(self.make, folder), wall)

        with new_folder() as folder:
            run_in_real_time(main, folder, limit=self.limit)

    # --- what users see ---

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

    # --- what schedulers lean on ---

    @promised(40)
    def test_a_state_is_put_only_in_place_of_the_one_that_was_seen(self) -> None:
        """Of any number that try, one succeeds."""

        async def test(source: Source, _wall: Wall) -> None:
            await source.add(greet, every(60), "a", schedule_id="s")
            seen = await source.fetch("s")
            assert seen is not None
            moves = [
                attrs.evolve(seen.decided(f"m{n}", EPOCH + 60, Rules()), version=f"v{n}")
                for n in range(5)
            ]
            done: list[Schedule] = []

            async def move(new: Schedule) -> None:
                if await source.swap("s", seen.version, new, announce=False):
                    done.append(new)

            async with trio.open_nursery() as nursery:
                for new in moves:
                    nursery.start_soon(move, new)
            if len(done) != 1:
                raise broken(40, f"five put a state in place of one and the same; {len(done)} did")
            (now,) = done
            await must_find(source, now)
            late: list[tuple[str | None, Schedule | None]] = [(None, seen), (seen.version, None)]
            for version, other in late:
                if await source.swap("s", version, other, announce=False):
                    what = "deleted" if other is None else "replaced"
                    raise broken(40, f"a state was {what} by who had seen another, or none")
            await must_find(source, now)
            if not await source.swap("s", now.version, None, announce=False):
                raise broken(40, "the state that was seen could not be deleted")
            if await source.fetch("s") is not None:
                raise broken(40, "a schedule that was deleted is there")
            if await source.swap("s", now.version, None, announce=False):
                raise broken(40, "what was deleted was deleted again")
            if not await source.swap("s", None, seen, announce=False):
                raise broken(40, "what was deleted cannot be added again")
            await must_find(source, seen)

        self.run(test)

    @promised(40)
    def test_concurrent_changes_are_all_made(self) -> None:
        """Each is made to what the one before it left."""

        async def test(source: Source, _wall: Wall) -> None:
            await source.add(greet, every(60), "a", schedule_id="s")
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(source.run_now, "s")
                nursery.start_soon(source.add, greet, every(60), "b")
            info = await source.get("s")
            if info is None or info.owed != 5:
                raise broken(40, f"it was run five times at once; owed is {info and info.owed}")
            if len(await source.load()) != 2:
                raise broken(40, "a schedule that was added meanwhile is not there")

        self.run(test)

    @promised(40)
    def test_who_watches_is_told_of_changes_by_others(self) -> None:
        """At first, and of each change."""

        async def test(source: Source, _wall: Wall) -> None:
            listener = Listener(source)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.watch)
                await listener.must_hear(None, "a source says None when it begins to listen")
                handle = None
                for what in ("was added", "was paused", "was changed", "was removed"):
                    await trio.testing.wait_all_tasks_blocked()
                    listener.forget()
                    if handle is None:
                        handle = await source.add(greet, every(60), "a", schedule_id="s")
                    elif what == "was paused":
                        await handle.pause()
                    elif what == "was changed":
                        await source.change(
                            "s", lambda known: known and known.resuming(EPOCH), announce=True
                        )
                    else:
                        await handle.unschedule()
                    await listener.must_hear("s", f"schedule 's' {what}")
                nursery.cancel_scope.cancel("heard enough")

        self.run(test)

    # --- processes ---

    @promised(40, needs=SURVIVES)
    def test_what_is_kept_elsewhere_outlives_the_process(self) -> None:
        """A second source on the same storage finds what the first stored, and no more."""

        async def test(storage: Storage, _wall: Wall) -> None:
            first = storage.open()
            await first.startup()
            for n in range(3):
                await first.add(greet, every(60 + n), "a", schedule_id=f"s{n}")
            await first.run_now("s0")
            await first.pause("s1")
            await first.remove("s2")
            kept = {each.id: each for each in await first.load()}
            await first.shutdown()
            second = storage.open()
            await second.startup()
            for each in kept.values():
                await must_find(second, each, " in the next process")
            if len(await second.load()) != 2:
                raise broken(40, "a schedule that was removed is there in the next process")
            await second.shutdown()

        self.run_on_storage(test)

    @promised(40, needs=SURVIVES | {Capability.SHARING})
    def test_several_processes_share_the_schedules(self) -> None:
        """What one changes the others find at once, and hear of; of two that try, one succeeds."""

        async def test(storage: Storage, _wall: Wall) -> None:
            one, other = storage.open(), storage.open()
            for source in (one, other):
                await source.startup()
            listener = Listener(other)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.watch)
                await listener.must_hear(None, "a source says None when it begins to listen")
                await trio.testing.wait_all_tasks_blocked()
                listener.forget()
                await one.add(greet, every(60), "a", schedule_id="s")
                await listener.must_hear("s", "another process added schedule 's'")
                nursery.cancel_scope.cancel("heard enough")
            async with trio.open_nursery() as nursery:
                for source in 3 * (one, other):
                    nursery.start_soon(source.run_now, "s")
            for source in (one, other):
                found = await source.fetch("s")
                if found is None or len(found.owed) != 6:
                    owed = found and len(found.owed)
                    raise broken(40, f"two processes ran it three times each; owed is {owed}")
                assert bare(found)["paused"] is False
            for source in (one, other):
                await source.shutdown()

        self.run_on_storage(test)

    # --- everything at once ---

    @promised(40)
    def test_it_does_what_a_dictionary_does(self) -> None:
        """Drawn operations of several users at once, on it and on a model; new processes too."""
        from actorq.testing.contracts.schedule_machine import run_schedule_machine

        run_schedule_machine(type(self))

    @promised(40)
    def test_several_schedulers_fire_each_slot_once(self) -> None:
        """Whoever crashes, and however late they look; under each policy for missed slots."""
        from actorq.testing.contracts.schedule_race import race

        race(type(self), self.limit)
