"""Real time: how programs run whose subject may use threads, files and sockets.

Time does not jump by itself, for nobody knows when a thread has ended; who wants it to pass says
`let_pass`.  So nothing sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing

from actorq.testing.simulation import Stuck, who_is_where
from actorq.testing.tape import Player, Tape, scheduler


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def run_in_real_time(
    async_fn: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    limit: float = 30.0,
    tape: Tape | None = None,
) -> R:
    """Run *async_fn* like `trio.run`; `Stuck`, saying who waits where, if it takes *limit* seconds.

    The tasks that can run take their steps in the order of *tape*.
    """
    clock = trio.testing.MockClock(rate=1.0)
    complaints: list[str] = []

    async def watch(scope: trio.CancelScope) -> None:
        end = time.monotonic() + limit
        while time.monotonic() < end:  # noqa: ASYNC110 - Trio's clock is ahead of it if time was let pass
            await trio.sleep(1)
        complaints.append(f"it did not end within {limit:g} s:\n{who_is_where()}")
        scope.cancel("actorq.testing: stuck")

    async def main() -> R:
        values: list[R] = []
        errors: list[Exception] = []
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(watch, scope, name="watchdog")
                try:
                    values.append(await async_fn(*args))
                except Exception as error:  # noqa: BLE001 - raised below, out of the nursery
                    errors.append(error)
            nursery.cancel_scope.cancel("the program has ended")
        if complaints:
            raise Stuck(complaints[0]) from (errors[0] if errors else None)
        if errors:
            raise errors[0]
        return values[0]

    with scheduler(Player(tape or Tape())):
        return trio.run(main, clock=clock)


def let_pass(seconds: float) -> None:
    """Let so much time have passed."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock), "in a program of run_in_real_time() only"
    clock.jump(seconds)
