"""Results and schedules on a PostgreSQL server, beside a queue that is kept elsewhere.

Run it: QUEUE_URL=postgresql://localhost/postgres python examples/servers/postgres_parts.py
"""

import os

import trio

import actorq
from actorq import PostgresResultBackend, PostgresScheduleSource, every


URL = os.environ.get("QUEUE_URL", "postgresql://localhost/postgres")


@actorq.task(name="double")
async def double(number: int) -> int:
    return 2 * number


def new_broker() -> actorq.InMemoryBroker:
    return (
        actorq.InMemoryBroker()
        .with_result_backend(PostgresResultBackend(URL, ttl=3600, max_stored_results=10_000))
        .with_schedule_source(PostgresScheduleSource(URL))
    )


async def main() -> None:
    # no system is open: the source connects for the call
    source = PostgresScheduleSource(URL)
    await source.add(double, every(3600), 21, schedule_id="hourly")

    async with actorq.open_system(new_broker(), tasks=[double]) as sys:
        handle = await sys.enqueue(double, 4)
        print(await handle.result())

    # that system is gone, and its queue with it; the server still has these
    async with actorq.open_system(new_broker(), tasks=[double]) as sys:
        again = await sys.handle(handle.task_id, double).get_result()
        print(again.return_value, "is still there")
        print([info.schedule_id for info in await sys.schedules.list()])


if __name__ == "__main__":
    trio.run(main)
