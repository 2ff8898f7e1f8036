"""Who works on what: the workers of a queue, their jobs, and where each job sits."""

from __future__ import annotations

import trio

import actorq


@actorq.task
async def crawl(site: str, ctx: actorq.Context = actorq.Depends()) -> None:
    await ctx.set_progress(actorq.TaskProgress(progress=0.25, status="links"))
    await trio.sleep(3600)


async def main() -> None:
    async with actorq.open_system(grace=0) as sys:
        handle = await sys.enqueue(crawl, "example.org")
        async for _ in handle.progress():
            break
        for worker in await sys.workers(look=True):
            for job in worker.jobs:
                assert job.progress is not None
                print(f"attempt {job.attempt} of {job.task_name}, {job.progress.progress:.0%}")
                print("sits in", job.line.split(" (")[0])  # crawl (.../who_works.py:15)
        await handle.cancel()


if __name__ == "__main__":
    trio.run(main)
