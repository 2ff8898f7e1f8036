"""The exploration: a program is run again and again, each time struck at another of its crash points.

Says which points there are, visits them, and knows what came of each run; what a failure is called,
and how it is told, is for `assert_crash_safe` and `assert_idempotent` to say.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from actorq.testing.crash_points import CrashPoints, Strike
from actorq.testing.extent import Extent
from actorq.testing.process import Process, Processes, open_processes
from actorq.testing.simulation import Stuck, current_simulation, simulate
from actorq.testing.source_lines import where_it_sits
from actorq.testing.tally import TALLY
from actorq.testing.tape import Tape
from actorq.testing.trace import Trace


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


W = TypeVar("W")

#: Virtual seconds that a process has which was stopped and goes on, before it is killed.
PATIENCE: Final = 120.0


class CrashFound(AssertionError):
    """A crash at a certain point did harm: the message is its story."""

    def __init__(self, story: str, only: tuple[int, ...] = ()) -> None:
        self.story = story
        self.only = only  #: the numbers of the points: what `only=` takes
        super().__init__(story)

    def __reduce__(self) -> tuple[type[CrashFound], tuple[str, tuple[int, ...]]]:
        return type(self), (self.story, self.only)


@attrs.define
class Run(Generic[W]):
    """One run of the program, with its crashes, and what came of it."""

    world: W
    points: CrashPoints
    trace: Trace
    strikes: tuple[int, ...]
    stalls: bool
    starts: int = 0
    seconds: float = 0.0
    problem: str = ""  #: what went wrong, in a line
    error: BaseException | None = None
    where: tuple[str, ...] = ()  #: its last process sits, if it did not end
    duplicates: int = 0


@attrs.frozen
class CrashReport:
    """What was explored, and held."""

    points: int  #: at which the process was killed, or stopped, over all schedules
    pairs: int  #: of points: the process that was started again was struck too
    all_pairs: int  #: that there are; 0 if they were not asked for
    schedules: int
    restarts: int
    virtual_seconds: float
    duplicates: int | None = None  #: as `duplicates=` counted them; None: it did not

    def __str__(self) -> str:
        parts = [f"{self.points} crash points"]
        if self.all_pairs:
            parts.append(f"{self.pairs} of {self.all_pairs} pairs of them")
        parts.append(f"{self.schedules} schedule{'s' * (self.schedules != 1)}")
        parts.append(f"{self.restarts} restarts")
        parts.append(f"{self.virtual_seconds:g} virtual seconds")
        if self.duplicates is not None:
            parts.append(f"{self.duplicates} duplicates")
        return ", ".join(parts)


class Exploration(Generic[W]):
    """Runs a program again and again, with other crashes each time; raises what `failure` makes of one.

    The arguments are those of `assert_crash_safe`.
    """

    def __init__(
        self,
        program: Callable[[W], Awaitable[object]],
        invariant: Callable[[W], object],
        world: Callable[[], W],
        always: Callable[[W], object] | None = None,
        duplicates: Callable[[W], int] | None = None,
        restarts: int = 0,
        limit: float = 10_000.0,
    ) -> None:
        self.program = program
        self.invariant = invariant
        self.world = world
        self.tape = Tape()
        self.names: list[str] = []  #: of the points of the undisturbed run
        self.invariant_failed = f"{name_of(invariant)} did not hold"
        self._always = always
        self._duplicates = duplicates
        self._restarts = restarts
        self._limit = limit
        self._done = CrashReport(0, 0, 0, 0, 0, 0.0, None if duplicates is None else 0)

    def _note(self, **more: float) -> None:
        changes = {name: getattr(self._done, name) + value for name, value in more.items()}
        self._done = attrs.evolve(self._done, **changes)

    # --- to be written by a subclass ---

    def failure(self, run: Run[W]) -> Exception:
        """What to raise for a run that has a problem."""
        raise NotImplementedError

    def cause(self, run: Run[W]) -> BaseException | None:
        """The error of an undisturbed run, to be shown before the failure; None if that tells it all."""
        return run.error

    def numbers(self, names: Sequence[str]) -> range:
        """Which of a process's points are visited."""
        return range(1, len(names) + 1)

    # --- which points ---

    def explore(self, extent: Extent) -> CrashReport:
        """Try all of it; what was done."""
        for tape in extent.tapes:
            self.under(tape)
            if extent.points is not None:
                self.visit(extent.points, stall=extent.stalls)
                continue
            self.visit_all(extent.pairs)
            if extent.stalls:
                self.visit_all(extent.pairs, stall=True)
        return self._done

    def under(self, tape: Tape) -> None:
        """Explore under this schedule from now on; runs the program once, undisturbed."""
        self.tape = tape
        self.names = []
        run = self._run(())
        if run.problem:
            raise self.failure(run) from self.cause(run)
        self.names = run.points.names[0]
        if not self.numbers(self.names):
            raise ValueError(
                f"{name_of(self.program)} has no crash point: it runs in one step and calls no engine, "
                f"so there is no moment at which it could be caught; await something in it "
                f"(trio.lowlevel.checkpoint() where a real program would wait for the world)"
            )
        self._note(schedules=1)

    def visit_all(self, max_pairs: int | None = 0, *, stall: bool = False) -> None:
        """Each point by itself; then so many pairs (None: all)."""
        every = []
        for number in self.numbers(self.names):
            run = self.visit((number,), stall=stall)
            every += [(number, second) for second in self.numbers(run.points.names[1])]
        if max_pairs != 0:
            self._note(all_pairs=len(every))
            for pair in _drawn(every, max_pairs):
                self.visit(pair, stall=stall)

    def visit(self, strikes: tuple[int, ...], *, stall: bool = False) -> Run[W]:
        """Run it with a crash at each of these points; raise the story if that breaks something."""
        run = self._run(strikes, stall=stall)
        if run.problem:
            raise self.failure(run) from None  # the story tells of the error, and comes first
        if len(run.points.struck) < len(strikes):
            named = strikes[0] if len(strikes) == 1 else strikes
            reached = " and ".join(str(len(names)) for names in run.points.names)
            raise ValueError(
                f"only={named} names a point that is not there: the processes of this run have "
                f"{reached} points; is the tape the same?  Threads take their own time: what they "
                f"do is not the same in each run"
            )
        self._note(points=len(strikes) == 1, pairs=len(strikes) > 1)
        return run

    # --- one run ---

    def _run(self, strikes: tuple[int, ...], *, stall: bool = False) -> Run[W]:
        runs: list[Run[W]] = []
        quiet = logging.getLogger("actorq")
        level = quiet.level
        quiet.setLevel(logging.CRITICAL + 1)  # what the dead say when they are unwound is no news
        try:
            # a little longer: the invariant, and the dead, may take time of their own
            simulate(
                self._live, strikes, stall, runs, tape=self.tape, limit=2 * self._limit + 1_000
            )
        except Stuck as stuck:
            if not runs:
                raise
            if not runs[0].problem:
                runs[0].problem, runs[0].error = "the run did not come to an end", stuck
        finally:
            quiet.setLevel(level)
        run = runs[0]
        TALLY.crash_points += len(run.points.struck)
        self._note(restarts=run.starts - 1, virtual_seconds=run.seconds)
        if self._duplicates is not None:
            self._note(duplicates=run.duplicates)
        if strikes and self.names:
            self._check_same(strikes[0], run.points.names[0])
        return run

    async def _live(self, strikes: tuple[int, ...], stall: bool, runs: list[Run[W]]) -> None:
        world: Any = self.world()
        if inspect.isawaitable(world):
            world = await world
        always = None
        if self._always is not None:
            always = _holding(self._always, world)
        kinds = (Strike.STOP, Strike.WAKE) if stall else (Strike.KILL,) * len(strikes)
        planned = list(zip(strikes, kinds, strict=False))
        trace = current_simulation().recorder.trace
        run: Run[W] = Run(world, CrashPoints(planned, always), trace, strikes, stall)
        runs.append(run)
        run.points.listen()
        async with open_processes() as processes:
            try:
                if stall:
                    await self._be_overtaken(run, processes)
                else:
                    await self._until_it_ends(run, processes)
                if not run.problem:
                    await self._look(run)
                if self._duplicates is not None:
                    run.duplicates = self._duplicates(world)
            finally:
                run.seconds = trio.current_time()

    def _start(self, run: Run[W], processes: Processes) -> Process:
        run.starts += 1
        process = processes.start(self.program, run.world, name=f"process {run.starts}")
        run.points.follow(process)
        return process

    async def _be_overtaken(self, run: Run[W], processes: Processes) -> None:
        """Start it, and another one when it is stopped; it goes on when that one has ended."""
        stalled = self._start(run, processes)
        async with trio.open_nursery() as nursery:

            async def until(event: Callable[[], Awaitable[object]]) -> None:
                await event()
                nursery.cancel_scope.cancel("actorq.testing: one of both is enough")

            nursery.start_soon(until, stalled.ended)
            nursery.start_soon(until, run.points.happened.wait)
        if stalled.is_running:
            await self._until_it_ends(run, processes)
            stalled.go_on()
            with trio.move_on_after(PATIENCE):
                await stalled.ended()
            stalled.kill()  # it waits for what the other has got
            if run.points.error is not None and not run.problem:
                run.problem = f"{name_of(self._always)} did not hold"
                run.error = run.points.error

    async def _until_it_ends(self, run: Run[W], processes: Processes) -> None:
        failures = 0
        while True:
            process = self._start(run, processes)
            with trio.move_on_at(self._limit):
                await process.ended()
            if process.is_running:
                run.problem = (
                    f"the program did not end within limit={self._limit:g} virtual seconds"
                )
                run.where = where_it_sits(process.task)
                process.kill()
                return
            if run.points.error is not None:
                run.problem = f"{name_of(self._always)} did not hold"
                run.error = run.points.error
                return
            if process.killed:
                continue
            if process.error is None:
                return
            failures += 1
            if failures > self._restarts:
                again = " when it was started again" if run.starts > 1 else ""
                run.problem = f"the program failed{again}"
                run.error = process.error
                return

    async def _look(self, run: Run[W]) -> None:
        try:
            verdict: Any = self.invariant(run.world)
            if inspect.isawaitable(verdict):
                verdict = await verdict
            _refuse_false(verdict, self.invariant)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not hold
            run.problem = self.invariant_failed
            run.error = error

    def _check_same(self, number: int, names: list[str]) -> None:
        if number <= len(self.names):
            expected, came = self.names[number - 1], names[number - 1 : number]
            if came != [expected]:
                raise RuntimeError(
                    f"the program is not the same in each run: point {number} was {expected!r} in the "
                    f"first run and is {came[0] if came else 'not there'!r} now; let it take time, ids "
                    f"and random numbers from the simulation, use no threads, and keep what it changes "
                    f"in world="
                )


def _drawn(pairs: list[tuple[int, int]], most: int | None) -> list[tuple[int, int]]:
    """At most so many, evenly from all of them; the same ones each time."""
    if most is None or len(pairs) <= most:
        return pairs
    dice = random.Random(len(pairs))
    step = len(pairs) / most
    return [pairs[int((index + dice.random()) * step)] for index in range(most)]


def _holding(always: Callable[[W], object], world: W) -> Callable[[], None]:
    def look() -> None:
        _refuse_false(always(world), always)

    return look


def _refuse_false(verdict: object, said: Callable[..., object]) -> None:
    if verdict is False:
        raise AssertionError(f"{name_of(said)} returned False")


def name_of(given: object) -> str:
    """Of a function, or of whatever was given instead of one."""
    return getattr(given, "__name__", None) or repr(given)
