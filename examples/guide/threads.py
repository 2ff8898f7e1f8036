"""A plain function that reports progress and can be cancelled."""

import time

import trio

import actorq


@actorq.task
def convert(frames: int, ctx: actorq.Context = actorq.Depends()) -> int:
    for frame in range(1, frames + 1):
        time.sleep(0.01)  # the work
        progress = actorq.TaskProgress(progress=frame / frames)
        trio.from_thread.run(ctx.set_progress, progress)  # raises when the job is cancelled
    return frames


async def main() -> None:
    async with actorq.open_system() as sys:
        handle = await sys.enqueue(convert, 4)
        print([f"{update.progress:.0%}" async for update in handle.progress()])

        handle = await sys.enqueue(convert, 100_000)
        await trio.sleep(0.1)
        print("cancelled:", await handle.cancel())


if __name__ == "__main__":
    trio.run(main)
