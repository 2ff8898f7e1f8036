"""`recorded()`: a trace of what runs inside a `with` block, simulated or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from actorq.environment import current_environment, environment_set
from actorq.testing.recorder import Recorder
from actorq.testing.simulation import found_simulation
from actorq.testing.trace import Trace, wanted


@contextmanager
def recorded(keep: int = 100_000) -> Iterator[Trace]:
    """Record what actors say to one another; `print(trace)` lists it.

    Round calls of `simulate`: all that they do.  In a simulated program: what happens until the block
    is left.  In any other Trio program (a pytest-trio test): what happens in systems that are opened in
    the block.  The latest *keep* events are kept.
    """
    trace = Trace(keep)
    simulation = found_simulation()
    if simulation is not None:
        simulation.recorder.also.append(trace)
        try:
            yield trace
        finally:
            simulation.recorder.also.remove(trace)
    elif trio.lowlevel.in_trio_run():
        recorder = Recorder(trace, trio.current_time)
        recorder.name_task(trio.lowlevel.current_task(), "main")
        with environment_set(attrs.evolve(current_environment(), tap=recorder)):
            yield trace
    else:
        token = wanted.set(trace)
        try:
            yield trace
        finally:
            wanted.reset(token)
