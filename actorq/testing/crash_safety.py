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
from actorq.testing.crash_points import CrashPoints, Strike
from actorq.testing.process import Process, Processes, open_processes
from actorq.testing.simulation import Stuck, simulate
from actorq.testing.source_lines import lines_of_error, where_it_sits
from actorq.testing.tally import TALLY
from actorq.testing.tape import Tape


W = TypeVar("W")

#: Pairs of crash points that are explored unless told.
MAX_PAIRS: Final = 500
#: Virtual seconds that a process has which was stopped and goes on, before it is killed.
PATIENCE: Final = 120.0


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

    points: int  #: at which the process was killed, or stopped, over all schedules
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
    stalls: bool = False,
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

    *tape*, *tapes*: the schedules to explore under; creation order unless told.  *stalls*: also stop
    the process at each point, as a long pause does, let another take over, and let the first go on when
    that one has ended; what it does and raises then must do no harm.  *pairs*: also kill the restarted
    process (let the stopped one go on) at *max_pairs* of all the pairs of points, drawn evenly, the
    same ones each time (None: all).  *restarts*: how often a process that fails is started again
    before that counts, as a service manager would.  *limit*: virtual seconds for each run.  *only*:
    the number of one point, or the two of a pair, to run nothing else (with *stalls*: to stop there).
    *duplicates*: asked after each run, and summed up in the report.

    Raises `NotCrashSafe` with the story of the smallest failing point.
    """
    chosen = _chosen_tapes(tape, tapes)
    _check(program, invariant, world, limit, restarts, max_pairs)
    exploration = Exploration(program, invariant, world, always, duplicates, restarts, limit)
    for each in chosen:
        exploration.under(each)
        if only is not None:
            exploration.visit(_points(only), stall=stalls)
            continue
        exploration.visit_all(max_pairs if pairs else 0)
        if stalls:
            exploration.visit_all(max_pairs if pairs else 0, stall=True)
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
    where: tuple[str, ...] = ()  #: its last process sits, if it did not end
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
            raise NotCrashSafe(_undisturbed(run)) from run.error
        self._names = run.points.names[0]
        if not self._names:
            raise ValueError(
                f"{_name(self._program)} has no crash point: it runs in one step and calls no engine, "
                f"so there is no moment at which it could be caught; await something in it "
                f"(trio.lowlevel.checkpoint() where a real program would wait for the world)"
            )

    def visit_all(self, max_pairs: int | None = 0, *, stall: bool = False) -> None:
        """Each point by itself; then so many pairs (None: all)."""
        seconds = []  #: how many points the second process has, for each point of the first
        for number in range(1, len(self._names) + 1):
            run = self.visit((number,), stall=stall)
            seconds.append(len(run.points.names[1]))
        if max_pairs != 0:
            every = [(i, j) for i, many in enumerate(seconds, 1) for j in range(1, many + 1)]
            self.n_all_pairs += len(every)
            for pair in _drawn(every, max_pairs):
                self.visit(pair, stall=stall)

    def visit(self, strikes: tuple[int, ...], *, stall: bool = False) -> Run[W]:
        """Run it with a crash at each of these points; raise the story if that breaks something."""
        run = self._run(strikes, stall=stall)
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

    def _run(self, strikes: tuple[int, ...], *, stall: bool = False) -> Run[W]:
        runs: list[Run[W]] = []
        try:
            # a little longer: the invariant, and the dead, may take time of their own
            simulate(
                self._live, strikes, stall, runs, tape=self._tape, limit=2 * self._limit + 1_000
            )
        except Stuck as stuck:
            if not runs:
                raise
            if not runs[0].problem:
                runs[0].problem, runs[0].error = "the run did not come to an end", stuck
        run = runs[0]
        struck = run.points.struck
        TALLY.crash_points += len(struck)
        self.n_restarts += run.starts - 1
        self.seconds += run.seconds
        self.n_duplicates += run.duplicates
        if strikes and self._names:
            self._check_same(strikes[0], run.points.names[0])
        return run

    async def _live(self, strikes: tuple[int, ...], stall: bool, runs: list[Run[W]]) -> None:
        world: Any = self._world()
        if inspect.isawaitable(world):
            world = await world
        always = None
        if self._always is not None:
            always = _holding(self._always, world)
        kinds = (Strike.STOP, Strike.WAKE) if stall else (Strike.KILL,) * len(strikes)
        planned = list(zip(strikes, kinds, strict=False))
        run: Run[W] = Run(world, CrashPoints(planned, always))
        runs.append(run)
        run.points.listen()
        async with open_processes() as processes:
            run.processes = processes.all
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
        process = processes.start(self._program, run.world, name=f"process {run.starts}")
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
                run.problem = f"{_name(self._always)} did not hold"
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
                f"process {life} {point.strike.value} after {point.time:g} s, at crash point "
                f"{point.number}{of}:"
            )
            lines += [f"    {line}" for line in str(point).splitlines()]
        stalled = any(point.strike is Strike.STOP for point in struck)
        if stalled and len(struck) == 1:
            lines.append(
                "process 2 was started on the same world, and ended; then process 1 went on."
            )
        elif not stalled:
            lines.append(f"process {run.starts} was started on the same world.")
        lines += ["", *_of_error(run)]
        lines += ["", "to run this again and nothing else:", f"    {self._again(numbers, stalled)}"]
        return "\n".join(lines)

    def _again(self, numbers: tuple[int, ...], stalled: bool) -> str:
        arguments = [_name(self._program), _name(self._invariant)]
        if self._world is not MemoryStorage:
            arguments.append(f"world={_name(self._world)}")
        if self._tape.choices:
            arguments.append(f"tape={self._tape!r}")
        if stalled:
            arguments.append("stalls=True")
        arguments.append(f"only={numbers[0] if len(numbers) == 1 else numbers}")
        return f"assert_crash_safe({', '.join(arguments)})"


def _undisturbed(run: Run[Any]) -> str:
    story = [f"without any crash, {run.problem}; nothing was explored", "", *_of_error(run)]
    if run.where:
        story += [
            "",
            "Give it a program that ends when its work is done, as `await sys.wait_idle()` at the end",
            "of open_system() lets it; if it has that much to do, allow it more with limit=.",
        ]
    return "\n".join(story)


def _of_error(run: Run[Any]) -> list[str]:
    error = run.error
    if run.where:
        return ["it waits here:", *[f"    {line}" for line in run.where]]
    if error is None:
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
