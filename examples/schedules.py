"""Schedules: tasks that are enqueued by the clock.  Each slot runs once, whatever restarts.

Run it: python examples/schedules.py
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio

import actorq


STARTED = datetime.now(UTC)


def say(what: str) -> None:
    print(f"{(datetime.now(UTC) - STARTED).total_seconds():4.1f} s  {what}")


@actorq.task(schedule=[actorq.every(0.5)])  # or every(timedelta(minutes=5))
async def heartbeat() -> None:
    say("heartbeat")


in_a_second = STARTED + timedelta(seconds=1.2)


@actorq.task(schedule=[actorq.at(in_a_second, args=("kettle",)), actorq.every(0.8, args=("cat",))])
async def remind(of: str) -> None:  # two schedules of one task, each with arguments of its own
    say(f"remember the {of}")


@actorq.task
async def on_the_clock(ctx: actorq.Context = actorq.Depends()) -> None:
    say(f"cron: {ctx.labels['schedule_id']}")


def cron_tasks() -> list[actorq.Task[..., None]]:
    """Cron needs an extra: pip install "actorq[cron]"; every() and at() need nothing."""
    try:
        # five fields as in crontab; with six, seconds come first
        each_second = actorq.cron("* * * * * *", tz="UTC", name="each second")
    except actorq.UnsupportedOption as missing:
        print(missing)
        return []
    return [actorq.task(name="on_the_clock", schedule=[each_second])(on_the_clock.function)]


async def main() -> None:
    async with actorq.open_system(tasks=[heartbeat, remind, *cron_tasks()]) as sys:
        await trio.sleep(2)
        counts = await sys.queue_statistics()
    print(f"{counts.done} runs in two seconds")


if __name__ == "__main__":
    trio.run(main)
