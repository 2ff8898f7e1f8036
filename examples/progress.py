"""Progress that is pushed: a task says how far it is, whoever watches sees it at once.

Run it: python examples/progress.py [file.csv]
"""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from sys import argv

import trio

import actorq


broker = actorq.InMemoryBroker().with_result_backend(
    actorq.InMemoryResultBackend(max_stored_results=500)
)


@broker.task(timeout=30, retries=3)
async def process_large_dataset(
    path: str, ctx: actorq.Context = actorq.Depends()
) -> dict[str, int]:
    items = load(path)
    for done, item in enumerate(items, start=1):
        await process(item)
        await ctx.set_progress(
            actorq.TaskProgress(
                progress=done / len(items),
                status=f"Processed {done}/{len(items)} items",
                current=done,
                total=len(items),
                meta={"last": item["id"]},
            )
        )
    return {"processed_count": len(items)}


def load(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


async def process(item: dict[str, str]) -> None:
    await trio.sleep(float(item["seconds"]))


async def main(path: str) -> None:
    async with actorq.open_system(broker):
        handle = await process_large_dataset.kiq(path)  # enqueues on the broker's open system
        async for progress in handle.progress():  # pushed; ends when the task ends
            print(progress.status, f"{progress.progress:.0%}", progress.meta)
        outcome = await handle.wait_result()  # how it ended, failed or not
        print(outcome.return_value, f"attempts={outcome.attempts}")


def write_sample(path: str) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "seconds"])
        rows.writerows([f"item-{number}", "0.03"] for number in range(1, 11))


if __name__ == "__main__":
    if len(argv) > 1:
        trio.run(main, argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            sample = str(Path(folder) / "items.csv")
            write_sample(sample)
            trio.run(main, sample)
