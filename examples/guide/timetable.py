"""Schedules: every, cron, at, and which slots are fired late."""

from datetime import UTC, datetime, timedelta

import trio

import actorq
from actorq import CatchUp, at, cron, every


@actorq.task(
    schedule=[
        every(timedelta(minutes=5), args=("thumbnails",)),
        cron("30 2 * * *", tz="Europe/Berlin", args=("everything",), name="nightly"),
        at(datetime(2024, 1, 1, 0, 8, tzinfo=UTC), kwargs={"what": "new year"}),
    ]
)
async def tidy(what: str, ctx: actorq.Context = actorq.Depends()) -> None:
    print(ctx.labels["schedule_id"], what)


@actorq.task(schedule=[every(3600, catch_up=CatchUp.ALL)])
async def bill() -> None: ...


async def main() -> None:
    async with actorq.open_system(tasks=[tidy, bill]) as sys:
        await trio.sleep(11 * 60)
        await sys.wait_idle()


if __name__ == "__main__":
    trio.run(main)
