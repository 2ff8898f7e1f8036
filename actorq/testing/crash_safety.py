"""Crash safety: a program is killed at every moment of its life, started again, and looked at.

`assert_crash_safe` is exhaustive: it first counts the crash points of a run in which nothing happens,
then runs the program once for each of them.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from actorq.engines.memory.storage import MemoryStorage
from actorq.testing.crash_points import CrashPoints
from actorq.testing.process import Process, open_processes
from actorq.testing.simulation import Stuck, simulate
from actorq.testing.source_lines import lines_of_error
from actorq.testing.tally import TALLY
from actorq.testing.tape import Tape


W = TypeVar("W")

#: Pairs of crash points that are explored unless told.
MAX_PAIRS: Final = 500


class NotCrashSafe(AssertionError):
    """A crash at a certain point broke the invariant, or kept the program from going on."""

    def __init__(self, story: str, only: tuple[int, ...] = ()) -> None:
        self.story = story
        self.only = only  #: the numbers of the points: what `only=` takes
        super().__init__(story)

    def __reduce__(self) -> tuple[type[NotCrashSafe], tuple[str, tuple[int, ...]]]:
        return type(self), (self.story, self.only)


@attrs.frozen
class CrashReport:
    """What was explored, and held."""

    points: int  #: at which the process was killed, over all schedules
    pairs: int  #: of points: the process that was started again was killed too
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


def assert_crash_safe(
    program: Callable[[W], Awaitable[object]],
    invariant: Callable[[W], object],
    *,
    world: Callable[[], W] = MemoryStorage,  # type: ignore[assignment]
    always: Callable[[W], object] | None = None,
    duplicates: Callable[[W], int] | None = None,
    tape: Tape | None = None,
    tapes: Iterable[Tape] | None = None,
    pairs: bool = False,
    max_pairs: int | None = MAX_PAIRS,
    restarts: int = 0,
    limit: float = 10_000.0,
    only: int | Sequence[int] | None = None,
) -> CrashReport:
    """Kill *program* at each of its crash points, start it again, and see that *invariant* holds.

    *program* is the main function of a process.  It takes the world, which is what survives it:
    storage, the fakes of outside services.  *world* makes a new one for each run.  The invariant is
    called with it when the restarted program has ended; it raises, or returns False, if something is
    wrong, and may be async.  *always* is called after every step, and is not async.

    *tape*, *tapes*: the schedules to explore under; creation order unless told.  *pairs*: also kill
    the restarted process, at *max_pairs* of all the pairs of points, drawn evenly, the same ones each
    time (None: all).  *restarts*: how often a process that fails is started again before that counts,
    as a service manager would.  *limit*: virtual seconds for each run.  *only*: the number of one
    point, or the two of a pair, to run nothing else.  *duplicates*: asked after each run, and summed
    up in the report.

    Raises `NotCrashSafe` with the story of the smallest failing point.
    """
    chosen = _chosen_tapes(tape, tapes)
    _check(program, invariant, world, limit, restarts, max_pairs)
    exploration = Exploration(program, invariant, world, always, duplicates, restarts, limit)
    for each in chosen:
        exploration.under(each)
        if only is not None:
            exploration.visit(_points(only))
        else:
            exploration.visit_all(pairs=pairs, max_pairs=max_pairs)
    return exploration.report(len(chosen))


@attrs.define
class Run(Generic[W]):
    """One run of the program, with its crashes, and what came of it."""

    world: W
    points: CrashPoints
    starts: int = 0
    seconds: float = 0.0
    problem: str = ""  #: what went wrong, in a line
    error: BaseException | None = None
    duplicates: int = 0
    processes: list[Process] = attrs.field(factory=list)


class Exploration(Generic[W]):
    """Runs a program again and again, with other crashes each time, and tells what it found."""

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
        self._program = program
        self._invariant = invariant
        self._world = world
        self._always = always
        self._duplicates = duplicates
        self._restarts = restarts
        self._limit = limit
        self._tape = Tape()
        self._names: list[str] = []  #: of the points of the undisturbed run
        self.n_points = self.n_pairs = self.n_all_pairs = self.n_restarts = self.n_duplicates = 0
        self.seconds = 0.0

    def report(self, schedules: int) -> CrashReport:
        """What was done so far."""
        return CrashReport(
            self.n_points,
            self.n_pairs,
            self.n_all_pairs,
            schedules,
            self.n_restarts,
            self.seconds,
            None if self._duplicates is None else self.n_duplicates,
        )

    # --- which points ---

    def under(self, tape: Tape) -> None:
        """Explore under this schedule from now on; runs the program once, undisturbed."""
        self._tape = tape
        run = self._run(())
        if run.problem:
            raise NotCrashSafe(_undisturbed(run, self._limit)) from run.error
        self._names = run.points.names[0]
        if not self._names:
            raise ValueError(
                f"{_name(self._program)} has no crash point: it runs in one step and calls no engine, "
                f"so there is no moment at which it could be caught; await something in it "
                f"(trio.lowlevel.checkpoint() where a real program would wait for the world)"
            )

    def visit_all(self, *, pairs: bool, max_pairs: int | None) -> None:
        """Each point by itself; then, if asked for, pairs."""
        seconds = []  #: how many points the second process has, for each point of the first
        for number in range(1, len(self._names) + 1):
            run = self.visit((number,))
            seconds.append(len(run.points.names[1]))
        if pairs:
            every = [(i, j) for i, many in enumerate(seconds, 1) for j in range(1, many + 1)]
            self.n_all_pairs += len(every)
            for pair in _drawn(every, max_pairs):
                self.visit(pair)

    def visit(self, strikes: tuple[int, ...]) -> Run[W]:
        """Run it with a crash at each of these points; raise the story if that breaks something."""
        run = self._run(strikes)
        if run.problem:
            raise NotCrashSafe(self._story(run), strikes) from run.error
        if len(run.points.struck) < len(strikes):
            reached = " and ".join(str(len(names)) for names in run.points.names)
            raise ValueError(
                f"only={strikes} names a point that is not there: the processes of this run have "
                f"{reached} points; is the tape the same?"
            )
        if len(strikes) == 1:
            self.n_points += 1
        else:
            self.n_pairs += 1
        return run

    # --- one run ---

    def _run(self, strikes: tuple[int, ...]) -> Run[W]:
        runs: list[Run[W]] = []
        try:
            simulate(self._live, strikes, runs, tape=self._tape, limit=self._limit)
        except Stuck as stuck:
            if not runs:
                raise
            run = runs[0]
            if not run.problem:
                run.problem, run.error = str(stuck), stuck
        run = runs[0]
        struck = run.points.struck
        TALLY.crash_points += len(struck)
        self.n_restarts += run.starts - 1
        self.seconds += run.seconds
        self.n_duplicates += run.duplicates
        if strikes and self._names:
            self._check_same(strikes[0], run.points.names[0])
        return run

    async def _live(self, strikes: tuple[int, ...], runs: list[Run[W]]) -> None:
        world: Any = self._world()
        if inspect.isawaitable(world):
            world = await world
        always = None
        if self._always is not None:
            always = _holding(self._always, world)
        run: Run[W] = Run(world, CrashPoints(strikes, always=always))
        runs.append(run)
        run.points.listen()
        async with open_processes() as processes:
            run.processes = processes.all
            try:
                await self._until_it_ends(run, processes.start)
                if not run.problem:
                    await self._look(run)
                if self._duplicates is not None:
                    run.duplicates = self._duplicates(world)
            finally:
                run.seconds = trio.current_time()

    async def _until_it_ends(self, run: Run[W], start: Callable[..., Process]) -> None:
        failures = 0
        while True:
            run.starts += 1
            process = start(self._program, run.world, name=f"process {run.starts}")
            run.points.follow(process)
            await process.ended()
            if run.points.error is not None:
                run.problem = f"{_name(self._always)} did not hold"
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
            verdict: Any = self._invariant(run.world)
            if inspect.isawaitable(verdict):
                verdict = await verdict
            _refuse_false(verdict, self._invariant)
        except Exception as error:  # noqa: BLE001 - whatever it raises, it does not hold
            run.problem = f"{_name(self._invariant)} did not hold"
            run.error = error

    def _check_same(self, number: int, names: list[str]) -> None:
        if number <= len(self._names):
            expected, came = self._names[number - 1], names[number - 1 : number]
            if came != [expected]:
                raise RuntimeError(
                    f"the program is not the same in each run: point {number} was {expected!r} in the "
                    f"first run and is {came[0] if came else 'not there'!r} now; let it take time, ids "
                    f"and random numbers from the simulation, and keep what it changes in world="
                )

    # --- the story ---

    def _story(self, run: Run[W]) -> str:
        struck = run.points.struck
        numbers = tuple(point.number for point in struck)
        lines = [f"{_name(self._program)} is not crash safe: {run.problem}", ""]
        for life, point in enumerate(struck, 1):
            of = f" of {len(self._names)}" if life == 1 else ""
            lines.append(
                f"process {life} was killed after {point.time:g} s, at crash point {point.number}{of}:"
            )
            lines += [f"    {line}" for line in str(point).splitlines()]
        lines.append(f"process {run.starts} was started on the same world.")
        lines += ["", *_of_error(run.error)]
        lines += ["", "to run this again and nothing else:", f"    {self._again(numbers)}"]
        return "\n".join(lines)

    def _again(self, numbers: tuple[int, ...]) -> str:
        arguments = [_name(self._program), _name(self._invariant)]
        if self._world is not MemoryStorage:
            arguments.append(f"world={_name(self._world)}")
        if self._tape.choices:
            arguments.append(f"tape={self._tape!r}")
        arguments.append(f"only={numbers[0] if len(numbers) == 1 else numbers}")
        return f"assert_crash_safe({', '.join(arguments)})"


def _undisturbed(run: Run[Any], limit: float) -> str:
    if isinstance(run.error, Stuck):
        return (
            f"the program does not end by itself, even without a crash, within limit={limit:g} virtual "
            f"seconds; give assert_crash_safe() one that ends when its work is done, as "
            f"`await sys.wait_idle()` at the end of open_system() lets it\n\n{run.error}"
        )
    story = [f"without any crash, {run.problem}; nothing was explored", "", *_of_error(run.error)]
    return "\n".join(story)


def _of_error(error: BaseException | None) -> list[str]:
    if error is None or isinstance(error, Stuck):
        return []
    where = [f"    {line}" for line in lines_of_error(error)[-3:]]
    return [*where, f"    {type(error).__name__}: {error}" if str(error) else f"    {error!r}"]


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
        raise AssertionError(f"{_name(said)} returned False")


def _points(only: int | Sequence[int]) -> tuple[int, ...]:
    numbers = (only,) if isinstance(only, int) else tuple(only)
    if not numbers or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers):
        raise ValueError(
            f"only= expects the number of a crash point, 1 is the first, or those of a pair: only=17, "
            f"only=(17, 4); got {only!r}"
        )
    return numbers


def _chosen_tapes(tape: Tape | None, tapes: Iterable[Tape] | None) -> list[Tape]:
    if tape is not None and tapes is not None:
        raise TypeError("assert_crash_safe() takes tape= or tapes=, not both")
    chosen = [tape or Tape()] if tapes is None else list(tapes)
    if not chosen or not all(isinstance(each, Tape) for each in chosen):
        raise TypeError(
            f"tape= expects a Tape and tapes= some, such as [Tape.of_seed(n) for n in range(3)]; "
            f"got {tapes if tape is None else tape!r}"
        )
    return chosen


def _check(
    program: object,
    invariant: object,
    world: object,
    limit: float,
    restarts: int,
    max_pairs: int | None,
) -> None:
    for name, given, wanted in (
        ("program", program, "an async function of one argument, the world"),
        ("invariant", invariant, "a function of one argument, the world"),
    ):
        if not callable(given):
            raise TypeError(f"{name} expects {wanted}; got {given!r}")
        try:
            inspect.signature(given).bind(None)
        except TypeError:
            signature = f"{_name(given)}{inspect.signature(given)}"
            raise TypeError(f"{name} expects {wanted}; got {signature}") from None
        except ValueError:
            continue  # a builtin that does not tell
    if not inspect.iscoroutinefunction(program) and inspect.isfunction(program):
        raise TypeError(
            f"program expects an async function; {_name(program)} is a plain one: write `async def`"
        )
    if not callable(world):
        raise TypeError(
            f"world expects a function that makes a new world for each run, such as MemoryStorage or a "
            f"class of your own; got {world!r}: write world=lambda: ... or world={type(world).__name__}"
        )
    if not limit > 0:
        raise ValueError(f"limit expects virtual seconds > 0; got {limit!r}")
    if restarts < 0:
        raise ValueError(f"restarts expects a whole number >= 0; got {restarts!r}")
    if max_pairs is not None and max_pairs < 1:
        raise ValueError(
            f"max_pairs expects a whole number >= 1, or None for all; got {max_pairs!r}"
        )


def _name(given: object) -> str:
    return getattr(given, "__name__", None) or repr(given)
