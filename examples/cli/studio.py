"""Tasks to try the command line with: `cd examples/cli`, then `actorq worker studio:broker`."""

from __future__ import annotations

import trio

import actorq


broker = actorq.SQLiteBroker("studio.db")


@broker.task(queue="video", timeout=600)
async def encode(
    name: str, frames: int = 100, ctx: actorq.Context = actorq.Depends()
) -> dict[str, int]:
    for frame in range(1, frames + 1):
        await trio.sleep(0.05)
        await ctx.set_progress(
            actorq.TaskProgress(
                progress=frame / frames,
                status=f"{name}: frame {frame}",
                current=frame,
                total=frames,
            )
        )
    return {"frames": frames}


@broker.task(retries=0)
async def publish(name: str) -> None:
    raise PermissionError(f"{name} may not be shown before Friday")


@broker.task(schedule=[actorq.every(60)])
async def tidy() -> None:
    await trio.sleep(0.01)
