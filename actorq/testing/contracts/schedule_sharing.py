"""What schedulers lean on when several change the same schedules: promise 40."""

from __future__ import annotations

import attrs
import trio
import trio.testing

from actorq.capability import Capability
from actorq.schedule import every
from actorq.schedule_state import Rules, Schedule
from actorq.testing.contracts.contract import promised
from actorq.testing.contracts.schedule_run import Source, SourceContract, must_find
from actorq.testing.contracts.schedule_users import Listener, Storage, Wall, bare, greet
from actorq.testing.promises import broken
from actorq.testing.simulation import EPOCH


SURVIVES = frozenset({Capability.SURVIVAL})


class SharesSchedules(SourceContract):
    """A part of `ScheduleSourceContract`."""

    # --- in one process ---

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
