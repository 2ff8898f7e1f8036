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
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

import attrs
import trio
import trio.testing
from trio._core import _run

from actorq.environment import Environment, set_environment
from actorq.whereabouts import sits_at, tasks_below


if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

#: The wall clock of a simulation when it begins: 2024-01-01 00:00:00 UTC, in Unix seconds.
EPOCH: Final = 1_704_067_200.0


class Stuck(AssertionError):
    """The simulated program made no progress: it waits for what will never come, or spins.

    The message names every task, with the line on which it sat when that was found out.
    """


def _frozen(choices: Iterable[int]) -> tuple[int, ...]:
    return tuple(choices)


@attrs.frozen
class Tape:
    """The scheduler's decisions, a number each.  Off its end, tasks step in creation order."""

    choices: tuple[int, ...] = attrs.field(default=(), converter=_frozen)

    def __repr__(self) -> str:
        return f"Tape({list(self.choices)!r})"


def schedules(max_size: int = 400) -> SearchStrategy[Tape]:
    """A Hypothesis strategy for schedules.  Shrinks towards creation order."""
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("schedules() needs Hypothesis: pip install 'actorq[testing]'") from error
    return st.lists(st.integers(0, 7), max_size=max_size).map(Tape)


class Player:
    """Plays a tape to Trio's run loop, for which it looks like a `random.Random`."""

    def __init__(self, tape: Tape, on_batch: Callable[[], None] | None = None) -> None:
        self.load(tape)
        self._on_batch = on_batch

    def load(self, tape: Tape) -> None:
        """Play *tape* from its beginning."""
        self._choices = iter(tape.choices)

    def shuffle(self, batch: MutableSequence[Any]) -> None:
        """Order a batch of runnable tasks."""
        if self._on_batch is not None:
            self._on_batch()
        batch.reverse()  # the loop pops from the end
        for i in range(len(batch) - 1, 0, -1):
            choice = next(self._choices, None)
            if choice is None:
                return
            j = i - choice % (i + 1)
            batch[i], batch[j] = batch[j], batch[i]

    def random(self) -> float:
        """Only for show: the run loop does not ask when it is deterministic."""
        return 1.0

    def uniform(self, a: float, _b: float) -> float:
        """Jitter of Trio's own, such as it is."""
        return a


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
            _break_shields()
        else:  # tasks are left where they are; it is this or a test that hangs
            raise Stuck(self.complaint)


@contextmanager
def scheduler(player: object) -> Iterator[None]:
    """Let *player* decide the order of steps in every Trio run, until left."""
    # by `vars`: to a type checker the flag is final
    names = vars(_run)
    saved = {name: names[name] for name in ("_r", "_ALLOW_DETERMINISTIC_SCHEDULING")}
    names.update(_r=player, _ALLOW_DETERMINISTIC_SCHEDULING=True)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        names.update(saved)  # pyright: ignore[reportAttributeAccessIssue]


def simulated_environment(seed: int = 0) -> Environment:
    """An environment that is the same in every run: virtual wall time, seeded, ids that count."""
    numbers = itertools.count(1)
    return Environment(
        wall=lambda: EPOCH + trio.current_time(),
        random=random.Random(seed),
        new_id=lambda: f"{next(numbers):032x}",
    )


def simulate(
    async_fn: Callable[[*Ts], Awaitable[R]],
    *args: *Ts,
    tape: Tape | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
    limit: float = 10_000.0,
    max_batches: int = 1_000_000,
) -> R:
    """Run *async_fn* like `trio.run`, in virtual time and under the schedule of *tape*.

    Trio's clock begins at 0 and the wall clock at `EPOCH`.  A program that does not end within
    *limit* virtual seconds and *max_batches* rounds of the run loop raises `Stuck`.
    """
    watchdog = _Watchdog(limit, max_batches)

    async def watched() -> R:
        set_environment(simulated_environment())
        with watchdog.scope:
            return await async_fn(*args)
        raise Stuck(watchdog.complaint)  # cancelled, and nothing else

    def run() -> R:
        return trio.run(watched, clock=watchdog.clock, instruments=instruments)

    with scheduler(Player(tape or Tape(), watchdog.on_batch)):
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


def _break_shields() -> None:
    for _, task in tasks_below(trio.lowlevel.current_root_task()):
        status: _run.CancelStatus | None = task._cancel_status
        while status is not None:
            status._scope.shield = False
            status = status._parent
