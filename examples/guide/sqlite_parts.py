"""Results and schedules in a SQLite file, beside a queue that is kept elsewhere."""

import trio

import actorq
from actorq import SQLiteResultBackend, SQLiteScheduleSource, every


@actorq.task(name="double")
async def double(number: int) -> int:
    return 2 * number


def new_broker() -> actorq.InMemoryBroker:
    return (
        actorq.InMemoryBroker()
        .with_result_backend(SQLiteResultBackend("parts.db", ttl=3600, max_stored_results=10_000))
        .with_schedule_source(SQLiteScheduleSource("parts.db"))
    )


async def main() -> None:
    # no system is open: the source opens the file for the call
    source = SQLiteScheduleSource("parts.db")
    await source.add(double, every(3600), 21, schedule_id="hourly")

    async with actorq.open_system(new_broker(), tasks=[double]) as sys:
        handle = await sys.enqueue(double, 4)
        print(await handle.result())

    # that system is gone, and its queue with it; the file is still there
    async with actorq.open_system(new_broker(), tasks=[double]) as sys:
        again = await sys.handle(handle.task_id, double).get_result()
        print(again.return_value, "is still there")
        print([info.schedule_id for info in await sys.schedules.list()])


if __name__ == "__main__":
    trio.run(main)
