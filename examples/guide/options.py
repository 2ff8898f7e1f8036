"""Options: in the decorator, per call, and how mistakes are refused."""

from datetime import timedelta

import trio

import actorq


@actorq.task(timeout=timedelta(minutes=5), retries=3, labels={"team": "album"})
async def render(film: str) -> str:
    await trio.sleep(1)
    return f"{film} is rendered"


async def main() -> None:
    async with actorq.open_system() as sys:
        urgent = render.using(priority=10, labels={"customer": 7})
        outcome = await (await sys.enqueue(urgent, "holiday")).wait_result()
        print(outcome.return_value, outcome.labels)

        once = render.using(task_id="render/holiday/2024-05-01")
        first = await sys.enqueue(once, "holiday")
        second = await sys.enqueue(once, "holiday")  # stored once; both wait for the same
        print(await first.result() == await second.result())
        print((await sys.queue_statistics()).done, "tasks were done")

        for wrong in [{"retires": 3}, {"timeout": -1}, {"unique": "all"}, {"executor": "process"}]:
            try:
                render.using(**wrong)  # type: ignore[arg-type]
            except actorq.OptionError as error:
                print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    trio.run(main)
