"""Simulation: a Trio program in virtual time, under a schedule that is drawn and can be replayed.

Takes three things away from chance: the order in which tasks step (a tape decides), time (it jumps
to the next deadline when everybody waits), the environment (wall clock, random numbers, task ids).
So one tape is one run.  Out of its reach: threads, sockets, files.

Rests on private names of Trio's scheduler; `tests/test_simulation.py` is the canary.
"""

from __future__ import annotations

import contextvars
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

import trio
import trio.testing
from trio._core import _run

from actorq.environment import Environment, set_environment
from actorq.tap import Tap
from actorq.testing.tally import TALLY
from actorq.testing.tape import Player, Tape, scheduler
from actorq.whereabouts import sits_at, tasks_below


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.cell import Cell

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: The wall clock of a simulation when it begins: 2024-01-01 00:00:00 UTC, in Unix seconds.
EPOCH: Final = 1_704_067_200.0


class Stuck(AssertionError):
    """The simulated program made no progress: it waits for what will never come, or spins.

    The message names every task, with the line on which it sat when that was found out.
    """


class _Watchdog:
    """Ends a program that rests for ever or never rests: cancelled, then unshielded, then torn."""

    def __init__(self, limit: float, max_batches: int) -> None:
        self.scope = trio.CancelScope(deadline=limit)
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self.complaint = ""
        self._limit = limit
        self._batches_left = max_batches
        self._shields_broken = False
        self._jump = self.clock._autojump
        self.clock._autojump = self._on_rest  # type: ignore[method-assign]

    def on_batch(self) -> None:
        self._batches_left -= 1
        if self._batches_left <= 0:
            self._batches_left = 1_000
            self._trip("the simulated program spins: its tasks never all wait")

    def _on_rest(self) -> None:
        until_next = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if self.clock.current_time() + until_next >= self._limit:
            self._trip(f"the simulated program did not end within {self._limit:g} virtual seconds")
        else:
            self._jump()

    def _trip(self, complaint: str) -> None:
        if not self.scope.cancel_called:
            self.complaint = f"{complaint}:\n{who_is_where()}"
            self.scope.cancel("actorq.testing: stuck")
        elif not self._shields_broken:
            self._shields_broken = True
            break_shields(trio.lowlevel.current_root_task())
        else:  # tasks are left where they are; it is this or a test that hangs
            raise Stuck(self.complaint)


class Simulation(Tap):
    """The simulation that runs here, as far as what runs in it may bend it: `current_simulation()`.

    It hears all that actors say to one another in it, and passes that on to whoever listens.
    """

    def __init__(self, player: Player, clock: trio.testing.MockClock, seed: int = 0) -> None:
        numbers = itertools.count(1)
        workers = itertools.count(1)
        self.player = player
        self.clock = clock
        self.leapt = 0.0  #: seconds by which the wall clock is ahead of what it would show
        self.listeners: list[Tap] = []
        self.environment = Environment(
            wall=lambda: EPOCH + trio.current_time() + self.leapt,
            random=random.Random(seed),
            new_id=lambda: f"{next(numbers):032x}",
            new_worker=lambda: f"worker-{next(workers)}",
            tap=self,
        )

    def enter(self) -> None:
        """Be the simulation of the current task and of all that it starts."""
        _simulation.set(self)
        set_environment(self.environment)

    def born(self, cell: Cell, actor: Actor[Any]) -> None:
        """A life begins."""
        for each in tuple(self.listeners):
            each.born(cell, actor)

    def takes(self, cell: Cell, item: Any) -> bool:
        """Something is sent; the first that takes it has it."""
        taken = [each.takes(cell, item) for each in tuple(self.listeners)]  # all are to hear it
        return any(taken)

    def handling(self, cell: Cell, message: Any) -> None:
        """A handler is about to begin."""
        for each in tuple(self.listeners):
            each.handling(cell, message)

    def died(self, cell: Cell, error: BaseException | None) -> None:
        """A life has ended."""
        for each in tuple(self.listeners):
            each.died(cell, error)


_simulation: ContextVar[Simulation | None] = ContextVar("actorq_simulation", default=None)


def current_simulation() -> Simulation:
    """The simulation in which this code runs; `RuntimeError` if it runs in none."""
    found = _simulation.get()
    if found is None:
        raise RuntimeError(
            "this works in a simulation only: run the program with simulate(...), or in a TrioMachine"
        )
    return found


def simulate(
    async_fn: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    tape: Tape | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
    seed: int = 0,
    limit: float = 10_000.0,
    max_batches: int = 1_000_000,
) -> R:
    """Run *async_fn* like `trio.run`, in virtual time and under the schedule of *tape*.

    Trio's clock begins at 0 and the wall clock at `EPOCH`; random numbers come from *seed*.  A program
    that does not end within *limit* virtual seconds and *max_batches* rounds of the run loop raises
    `Stuck`.
    """
    watchdog = _Watchdog(limit, max_batches)
    player = Player(tape or Tape(), watchdog.on_batch)
    simulation = Simulation(player, watchdog.clock, seed)

    async def watched() -> R:
        simulation.enter()
        try:
            with watchdog.scope:
                return await async_fn(*args)
        finally:
            TALLY.simulations += 1
            TALLY.virtual_seconds += trio.current_time()
        raise Stuck(watchdog.complaint)  # cancelled, and nothing else

    def run() -> R:
        return trio.run(watched, clock=watchdog.clock, instruments=instruments)

    with scheduler(player):
        try:
            # a context of its own: the environment does not leak out
            value = contextvars.copy_context().run(run)
        except BaseException as error:
            if watchdog.complaint:  # whatever the program made of being cancelled
                raise Stuck(watchdog.complaint) from error
            raise
    if watchdog.complaint:
        raise Stuck(watchdog.complaint)
    return value


def who_is_where() -> str:
    """Every task, indented as it is nested, with the innermost line that is not Trio's."""
    lines: list[str] = []
    for depth, task in tasks_below(trio.lowlevel.current_root_task()):
        where = sits_at(task)
        lines.append(f"{'  ' * depth}{task.name}{where and ': ' + where}")
    return "\n".join(lines)


def break_shields(root: trio.lowlevel.Task | None) -> None:
    """Let cancellation reach *root* and all below it, shielded or not."""
    for _, task in tasks_below(root):
        status: _run.CancelStatus | None = task._cancel_status
        while status is not None:
            status._scope.shield = False
            status = status._parent
