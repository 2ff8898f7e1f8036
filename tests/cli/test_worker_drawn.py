"""Drawn lives of `actorq worker`: what is killed, when, and by which signals it ends."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from actorq.cli import exits
from cli.running import PATIENCE, gone, running
from cli.shop import customer, open_shop


pytestmark = pytest.mark.engine

TERM, INT, KILL = signal.SIGTERM, signal.SIGINT, signal.SIGKILL

moments = st.floats(0, 0.6)


@given(
    processes=st.integers(1, 2),
    concurrency=st.sampled_from([1, 4]),
    durations=st.lists(st.sampled_from([0.0, 0.05, 0.3, 1000.0]), max_size=12),
    deaths=st.lists(st.tuples(moments, st.integers(0, 3)), max_size=3),
    at=moments,
    numbers=st.lists(st.sampled_from([TERM, INT]), min_size=1, max_size=3),
    parent_dies=st.booleans(),
)
@settings(max_examples=6, phases=[Phase.explicit, Phase.generate])  # each takes seconds
def test_whatever_happens_it_ends_and_no_task_is_lost(
    processes: int,
    concurrency: int,
    durations: list[float],
    deaths: list[tuple[float, int]],
    at: float,
    numbers: list[signal.Signals],
    parent_dies: bool,
) -> None:
    """30, 53: in its time, and every task is done or waits, unless it was in hands that were killed."""

    async def main(folder: Path) -> None:
        open_shop(folder)
        arguments = ("-p", str(processes), "-c", str(concurrency), "--grace", "0.5")
        async with (
            customer(folder) as shop,
            running(folder, "worker", "jobs:broker", "--json", *arguments) as program,
        ):
            await program.event("ready")

            async def kill(moment: float, which: int) -> None:
                await trio.sleep(moment)
                started = program.named("started")
                with suppress(ProcessLookupError):
                    os.kill(started[which % len(started)]["pid"], KILL)

            async with trio.open_nursery() as nursery:
                for moment, which in deaths:
                    nursery.start_soon(kill, moment, which)
                await shop.system.enqueue_many(shop.nap, [(each,) for each in durations])
                await trio.sleep(at)
                if parent_dies:
                    program.process.kill()
                else:
                    for n, number in enumerate(numbers):
                        if n:
                            await program.event(("ending", "hurrying")[n - 1], "ended")
                        with suppress(ProcessLookupError):
                            program.signal(number)
                with trio.fail_after(12):
                    code = await program.end()
                nursery.cancel_scope.cancel()
            if not parent_dies:
                assert code in {exits.OK, exits.FAILED, exits.TERMINATED, exits.INTERRUPTED}
                assert code in {exits.OK, exits.FAILED} or len(numbers) == 3
            for started in program.named("started"):
                await gone(started["pid"])
            with trio.fail_after(PATIENCE):
                while (counts := await shop.system.queue_statistics()).leased:
                    await trio.sleep(0.05)  # until their sessions have ended
            assert counts.done + counts.ready == len(durations)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, Path(folder))
