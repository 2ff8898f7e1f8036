"""The queue and its task: what the web server and the workers both import."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import attrs
import trio

import actorq
from pictures import shrink


DATA = Path(os.environ.get("THUMBNAILS", Path(__file__).parent / "data")).absolute()
WIDTHS = (1600, 1200, 800, 400, 200, 100)

DATA.mkdir(parents=True, exist_ok=True)
broker = actorq.SQLiteBroker(DATA / "thumbnails.db")


@attrs.frozen
class Thumbnail:
    width: int
    bytes: int


def original(photo: str) -> Path:
    return DATA / photo / "original"


def thumbnail(photo: str, width: int) -> Path:
    return DATA / photo / f"{width}.jpg"


@broker.task(retries=2, timeout=600, result_ttl=30 * 24 * 3600)
async def make_thumbnails(
    photo: str, pause: float, ctx: actorq.Context = actorq.Depends()
) -> list[Thumbnail]:
    """Make each width in turn; *pause*: seconds of rest after each, to have something to look at.

    Harmless to repeat: what an attempt has made is whole, and the next attempt goes on from there.
    """
    made: list[Thumbnail] = []

    async def tell() -> None:
        await ctx.set_progress(
            actorq.TaskProgress(
                progress=len(made) / len(WIDTHS),
                status=f"{made[-1].width} pixels wide" if made else "begun",
                current=len(made),
                total=len(WIDTHS),
                meta={
                    "made": [each.width for each in made],
                    "attempt": ctx.attempt,
                    "worker": os.getpid(),
                },
            )
        )

    await tell()
    for width in WIDTHS:
        target = thumbnail(photo, width)
        is_new = not target.exists()
        if is_new:
            await trio.to_thread.run_sync(partial(shrink, original(photo), target, width))
        made.append(Thumbnail(width, target.stat().st_size))
        await tell()
        if is_new:
            await trio.sleep(pause)
    return made
