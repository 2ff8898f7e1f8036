"""Schedules that are added, paused, run now and removed while the program runs."""

from datetime import UTC, datetime, timedelta

import trio

import actorq
from actorq import CatchUp, InMemoryScheduleSource, Overlap, at, cron, every


STARTED = datetime(2024, 1, 1, tzinfo=UTC)


@actorq.task(name="album:remind")
async def remind(who: str, ctx: actorq.Context = actorq.Depends()) -> str:
    print(f"{trio.current_time():4.0f} s  {ctx.labels['schedule_id']}: {who}")
    return who


async def on_the_task(sys: actorq.System) -> None:
    hourly = await remind.schedule_by_interval(sys, timedelta(hours=1), "cat")
    nightly = cron("30 2 * * *", tz="Europe/Berlin", name="nightly")
    await remind.schedule_by_cron(sys, nightly, "owl")
    soon = at(STARTED + timedelta(seconds=90), name="soon")
    await remind.using(priority=5).schedule_by_time(sys, soon, "fish")
    await hourly.unschedule()


async def on_the_system(sys: actorq.System) -> None:
    await sys.schedules.add(
        remind,
        every(60),
        "dog",
        schedule_id="walkies",
        overlap=Overlap.SKIP,
        catch_up=CatchUp.SKIP,
        jitter=20,
    )
    for info in await sys.schedules.list():
        print(info.description, "|", info.next_time)
    await sys.schedules.pause("walkies")
    handle = await sys.schedules.run_now("walkies")
    print("ran:", await handle.result())
    await sys.schedules.resume("walkies")


async def shared_source() -> None:
    source = InMemoryScheduleSource()
    broker = actorq.InMemoryBroker().with_schedule_source(source)
    # before a system is open, in another process, by name: whoever has the source can add
    await source.add("album:remind", at(STARTED, args=("mouse",)), schedule_id="past")
    async with actorq.open_system(broker) as sys:
        await sys.register(remind)
        await trio.sleep(1)


async def main() -> None:
    await shared_source()
    async with actorq.open_system() as sys:
        await on_the_task(sys)
        await on_the_system(sys)
        await trio.sleep(130)
        await sys.schedules.remove("walkies")


if __name__ == "__main__":
    trio.run(main)
