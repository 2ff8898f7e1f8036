"""The trace: what happened in a simulation, readable, and the same in every run."""

from __future__ import annotations

import trio
import trio.testing

import actorq
from actorq.testing import crash, recorded, simulate
from actorq.testing.trace import Trace


@actorq.task(retries=1)
async def greet(name: str) -> str:
    """Fails for Bob."""
    await trio.sleep(1)
    if name == "Bob":
        raise ValueError("no Bob")
    return f"hello {name}"


async def greet_two() -> None:
    """A success, a crash of the broker, a failure."""
    async with actorq.open_system(concurrency=2) as sys:
        ann = await sys.enqueue(greet, "Ann")
        bob = await sys.enqueue(greet, "Bob")
        assert await ann.result() == "hello Ann"
        crash(sys.actor("broker"))
        await bob.wait_result()


def lines_of(trace: Trace) -> list[str]:
    """The listing, each line without its columns."""
    return [" ".join(line.split()) for line in str(trace).splitlines()]


def test_the_trace_tells_the_story_of_a_task() -> None:
    """Who sent what to whom, what jobs did, who crashed and came back, in virtual time."""
    with recorded() as trace:
        simulate(greet_two)
    lines = lines_of(trace)
    story = [
        "0.000 broker ● starts",
        "0.000 main → broker Enqueue(greet('Ann') #1)",
        "0.000 broker ⇢ main Enqueue ok",
        "0.000 broker → pool greet('Ann') #1, attempt 1; greet('Bob') #2, attempt 1",
        "0.000 greet #1 ● begins, attempt 1",
        "1.000 greet #1 ○ returned 'hello Ann'",
        "1.000 greet #2 ✗ raised ValueError: no Bob",
        "1.000 pool → results SetResults(#1 result 'hello Ann')",
        "1.000 results ⇢ main WaitResult = result 'hello Ann'",
        "1.000 broker ✗ crashed: RuntimeError: a crash of 'broker' injected by actorq.testing",
        "1.115 broker ● starts again, life 2",
        "1.844 greet #2 ● begins, attempt 2",
        "2.844 results ⇢ main WaitResult = ValueError: no Bob",
        "2.844 broker ○ stopped",
    ]
    places = [lines.index(line) for line in story]
    assert places == sorted(places), "\n".join(lines)
