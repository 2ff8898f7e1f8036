"""Simulation: a Trio program in virtual time, under a schedule that is drawn and can be replayed.

Takes three things away from chance: the order in which tasks step (a tape decides), time (it jumps
to the next deadline when everybody waits), the environment (wall clock, random numbers, task ids).
So one tape is one run.  Out of its reach: threads, sockets, files.

Rests on private names of Trio's scheduler; `tests/test_simulation.py` is the canary.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

import trio
import trio.testing
from trio._core import _run

from actorq.environment import Environment, set_environment
from actorq.tap import Tap
from actorq.testing.failure import Witness, explain, is_failure
from actorq.testing.ledger import Ledgers
from actorq.testing.recorder import Recorder
from actorq.testing.tally import TALLY
from actorq.testing.tape import Player, Tape, as_tape, scheduler
from actorq.testing.trace import Trace, wanted
from actorq.testing.waits import Wait, in_order_below, told, waits_below, waits_for_thread
from actorq.whereabouts import sits_at, tasks_below


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.cell import Cell

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: The wall clock of a simulation when it begins: 2024-01-01 00:00:00 UTC, in Unix seconds.
EPOCH: Final = 1_704_067_200.0


#: Real seconds between two looks at threads that work while everybody else waits, and how many.
THREAD_POLL: Final = 0.001
THREAD_POLLS: Final = 60_000


class Stuck(AssertionError):
    """The simulated program made no progress: it waits for what will never come, or spins.

    The message says who waits for whom, circles first, and names every task, with the line on which
    it sat when that was found out.
    """


class _Watchdog:
    """Ends a program that rests for ever or never rests: cancelled, then unshielded, then torn."""

    def __init__(
        self,
        limit: float,
        max_batches: int,
        describe: Callable[[], str],
        frozen: Callable[[], Sequence[trio.lowlevel.Task]],
    ) -> None:
        self._describe = describe
        self._frozen = frozen
        self.scope = trio.CancelScope(deadline=limit)
        self.clock = trio.testing.MockClock(autojump_threshold=0)
        self.complaint = ""
        self._limit = limit
        self._batches_left = max_batches
        self._shields_broken = False
        self._thread_polls = 0
        self._jump = self.clock._autojump
        self.clock._autojump = self._on_rest  # type: ignore[method-assign]

    def complain(self) -> None:
        """Raise `Stuck` if the program was; it may have swallowed that it was cancelled."""
        if self.complaint:
            raise Stuck(self.complaint)

    def on_batch(self) -> None:
        self._batches_left -= 1
        if self._batches_left <= 0:
            self._batches_left = 1_000
            self._trip("the simulated program spins: its tasks never all wait")

    def _on_rest(self) -> None:
        if self._threads_work() and not self.complaint:
            self._wait_for_threads()
            return
        self._thread_polls = 0
        until_next = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if self.clock.current_time() + until_next >= self._limit:
            self._trip(
                "the simulated program waits for what never comes"
                if math.isinf(self._limit)
                else f"the simulated program did not end within {self._limit:g} virtual seconds"
            )
        else:
            self._jump()

    def _threads_work(self) -> bool:
        """A thread that has an answer for a frozen task has done its work: nobody takes that."""
        active = trio.testing.active_thread_count()
        return active > 0 and active > sum(map(waits_for_thread, self._frozen()))

    def _wait_for_threads(self) -> None:
        """What a thread does takes no virtual time; its end wakes the loop up."""
        self._thread_polls += 1
        if self._thread_polls < THREAD_POLLS:
            time.sleep(THREAD_POLL)
        else:
            self._trip("a thread works on for a minute, and everybody else waits")

    def _trip(self, complaint: str) -> None:
        if not self.scope.cancel_called:
            self.complaint = f"{complaint}:\n{self._describe()}"
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
        trace = wanted.get()
        self.recorder = Recorder(
            Trace(routine=False) if trace is None else trace,
            lambda: clock._virtual_base,  # its time, as long as its rate is 0
        )
        self.witness = Witness(self)
        self.limit = math.inf  #: when it will be given up
        self.stuck_at = 0  #: if it was: the last event before
        self.ledgers = Ledgers()
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
        self.recorder.name_task(trio.lowlevel.current_task(), "main")
        set_environment(self.environment)

    def waits(self) -> tuple[Wait, ...]:
        """What every task waits for now."""
        root = trio.lowlevel.current_root_task()
        return waits_below(root, self.recorder, self.player.is_frozen, self.limit)

    def describe_stuck(self) -> str:
        """Who waits for whom, and every task with its line; what comes after is no news."""
        self.stuck_at = self.recorder.trace.total
        return f"{told(self.waits())}\n\nevery task:\n{who_is_where()}"

    def born(self, cell: Cell, actor: Actor[Any]) -> None:
        """A life begins."""
        self.recorder.born(cell, actor)
        self.ledgers.open(actor)
        for each in tuple(self.listeners):
            each.born(cell, actor)

    def takes(self, cell: Cell, item: Any) -> bool:
        """Something is sent; the first that takes it has it."""
        self.recorder.takes(cell, item)
        if not self.listeners:
            return False
        taken = [each.takes(cell, item) for each in tuple(self.listeners)]  # all are to hear it
        return any(taken)

    def closing(self, cell: Cell) -> None:
        """A mailbox is about to close."""
        for each in tuple(self.listeners):
            each.closing(cell)

    def handling(self, cell: Cell, message: Any) -> None:
        """A handler is about to begin."""
        self.recorder.handling(cell, message)
        if self.listeners:
            for each in tuple(self.listeners):
                each.handling(cell, message)

    def died(self, cell: Cell, error: BaseException | None) -> None:
        """A life has ended."""
        self.recorder.died(cell, error)
        for each in tuple(self.listeners):
            each.died(cell, error)


_simulation: ContextVar[Simulation | None] = ContextVar("actorq_simulation", default=None)


def found_simulation() -> Simulation | None:
    """The simulation in which this code runs, if it runs in one."""
    return _simulation.get()


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
    tape: Tape | Sequence[int] | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
    seed: int = 0,
    limit: float = 10_000.0,
    max_batches: int = 1_000_000,
) -> R:
    """Run *async_fn* like `trio.run`, in virtual time and under the schedule of *tape*.

    Trio's clock begins at 0 and the wall clock at `EPOCH`; random numbers come from *seed*.  A program
    that does not end within *limit* virtual seconds and *max_batches* rounds of the run loop raises
    `Stuck`.  What it raises carries a note: what happened last, who waited for whom, and how to run
    exactly that again.
    """
    _check(async_fn, seed, limit, max_batches)
    played = as_tape(tape)
    watchdog = _Watchdog(
        limit, max_batches, lambda: simulation.describe_stuck(), lambda: player.held
    )
    player = Player(played, watchdog.on_batch)
    simulation = Simulation(player, watchdog.clock, seed)
    simulation.limit = limit

    async def watched() -> R:
        simulation.enter()
        try:
            with watchdog.scope:
                return await _begun(async_fn, args)
        finally:
            TALLY.simulations += 1
            TALLY.virtual_seconds += trio.current_time()
        raise Stuck(watchdog.complaint)  # cancelled, and nothing else

    def run() -> R:
        return trio.run(watched, clock=watchdog.clock, instruments=instruments)

    def again() -> str:
        if _unwrapped(async_fn).__module__.startswith("pytest_trio"):
            return ""  # it runs the test function, which is the same each time
        used = repr(played.played(player.played))
        said = [_name_of(async_fn), *(["..."] if args else [])]
        said += [] if used == "Tape([])" else [f"tape={used}"]
        said += [f"seed={seed!r}"] if seed else []
        return f"simulate({', '.join(said)})"

    try:
        with scheduler(player), simulation.witness.watching():
            try:
                # a context of its own: the environment does not leak out
                value = contextvars.copy_context().run(run)
            except BaseException as error:
                # whatever the program made of being cancelled
                if watchdog.complaint and not isinstance(error, Stuck):
                    raise Stuck(watchdog.complaint) from error
                raise
        watchdog.complain()
    except BaseException as error:
        if is_failure(error):
            explain(error, simulation, again())
        raise
    return value


def _check(async_fn: object, seed: object, limit: object, max_batches: object) -> None:
    if inspect.iscoroutine(async_fn):
        name = async_fn.__name__
        async_fn.close()  # or Python complains that nobody awaited it
        raise TypeError(
            f"simulate() got a coroutine; pass the function and its arguments: "
            f"simulate({name}, ...), not simulate({name}(...))"
        )
    if not callable(async_fn):
        raise TypeError(f"simulate() expects an async function, got {async_fn!r}")
    if inspect.isasyncgenfunction(async_fn):
        raise TypeError(
            f"simulate() expects an async function; {_name_of(async_fn)} has a `yield` in it, which "
            f"makes it a generator: write an async function that uses it"
        )
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed expects a whole number; got {seed!r}")
    for name, value in (("limit", limit), ("max_batches", max_batches)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{name} expects a number, more than 0; got {value!r}")
    if trio.lowlevel.in_trio_run():
        raise RuntimeError(
            "simulate() runs a program of its own and was called inside one that runs; "
            "call it from a plain `def test_...`, not from an `async def` one"
        )


async def _begun(async_fn: Callable[..., Awaitable[R]], args: tuple[Any, ...]) -> R:
    awaitable = async_fn(*args)
    if not inspect.isawaitable(awaitable):
        raise TypeError(
            f"simulate() expects an async function; {_name_of(async_fn)} is none: it returned "
            f"{awaitable!r}.  Write `async def`, or call it from an async function"
        )
    return await awaitable


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _name_of(function: object) -> str:
    return str(getattr(_unwrapped(function), "__name__", type(function).__name__))


def who_is_where() -> str:
    """Every task, indented as it is nested, with the innermost line that is not Trio's."""
    lines: list[str] = []
    for depth, task in in_order_below(trio.lowlevel.current_root_task()):
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
