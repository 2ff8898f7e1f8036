"""`actorq top`: a queue as it lives, in the terminal."""

from __future__ import annotations

import logging
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import click
import trio

from actorq.capability import Capability
from actorq.cli import documents, exits
from actorq.cli.client import ask
from actorq.cli.finding import broker_option, find_broker
from actorq.cli.output import Output, json_option
from actorq.cli.overview import name_of, rows_of
from actorq.cli.picture import Snapshot, View, picture
from actorq.cli.rates import Pulse
from actorq.cli.screen import Screen
from actorq.cli.values import DURATION
from actorq.cli.words import iso
from actorq.errors import ActorqError


if TYPE_CHECKING:
    from actorq.system import System


#: Seconds between two looks of a living picture: oftener nobody sees, and who is looked at has work.
LEAST: Final = 0.05


@click.command()
@click.option(
    "--interval", type=DURATION, default=1.0, show_default=True, help="Seconds between two looks."
)
@click.option("--count", type=click.IntRange(min=1), help="Look so many times, and end.")
@broker_option
@json_option
def top(interval: float, count: int | None, broker: str | None, output: Output) -> int:
    """Watch a queue: how much of it waits and runs, how fast, who works on what, and where it sits.

    In a terminal q quits, p pauses the picture, the arrows move among the running jobs.  Elsewhere, and
    with --json, it writes one look, or --count of them.
    """
    found = find_broker(broker)
    live = output.console.is_terminal and sys.stdin.isatty() and not output.json and count is None

    async def watch(sys: System) -> int:
        looks = Looks(sys, with_workers=Capability.WORKERS not in found.lacks)
        name = name_of(found)
        if live:
            return await _live(looks, output, View(name), interval)
        for look in range(count or 1):
            if look:
                await trio.sleep(interval)
            _write(output, await looks.take(), View(name))
        return exits.OK

    return ask(found, watch)


class Looks:
    """Looks at a queue, each with what it shows beside the ones before."""

    def __init__(self, sys: System, *, with_workers: bool) -> None:
        self._sys = sys
        self._with_workers = with_workers
        self._pulse = Pulse()

    async def take(self) -> Snapshot:
        """One look."""
        sys = self._sys
        workers = await sys.workers(look=True) if self._with_workers else ()
        counts = await sys.queue_statistics()
        rates = self._pulse.note(time.monotonic(), counts)
        schedules = [each for each in await sys.schedules.list() if each.next_time is not None]
        return Snapshot(
            at=time.time(),
            counts=counts,
            rates=rates,
            history=tuple(self._pulse.history),
            rows=rows_of(counts, workers),
            workers=workers,
            following=schedules[0] if schedules else None,
        )


async def _live(looks: Looks, output: Output, view: View, interval: float) -> int:
    # what is logged would be written over the picture; trouble is shown in it
    logging.getLogger("actorq").addHandler(logging.NullHandler())
    latest: list[Snapshot | None] = [None]
    screen = Screen(output.console, lambda width, height: picture(latest[0], view, width, height))

    async def refresh() -> None:
        while True:
            if not view.paused:
                try:
                    latest[0] = await looks.take()
                    view.trouble = ""
                except ActorqError as why:
                    view.trouble = str(why)
                screen.changed()
            await trio.sleep(max(interval, LEAST))

    def press(key: str) -> bool:
        if key == "p":
            view.paused = not view.paused
        step = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}.get(key, 0)
        view.first = max(0, view.first + step)
        return key not in ("q", "Q")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refresh)
        await screen.show(press)
        nursery.cancel_scope.cancel("actorq: the view was left")
    if screen.ended_by == signal.SIGTERM:
        return exits.TERMINATED
    return exits.OK if screen.ended_by is None else exits.INTERRUPTED


def _write(output: Output, shot: Snapshot, view: View) -> None:
    output.line(
        {
            "at": iso(shot.at),
            "tasks": documents.of_statistics(shot.counts),
            "rate": shot.rates.per_second,
            "waits": shot.rates.waits,
            "runs": shot.rates.runs,
            "queues": [row._asdict() for row in shot.rows],
            "workers": [documents.of_worker(each) for each in shot.workers],
        }
    )
    if not output.json:
        output.text(picture(shot, view, output.console.width, 1000))
