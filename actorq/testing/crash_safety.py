"""Crash safety: a program is killed at every moment of its life, started again, and looked at.

`assert_crash_safe` is exhaustive: it first counts the crash points of a run in which nothing happens,
then runs the program once for each of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from actorq.engines.memory.storage import MemoryStorage
from actorq.testing.exploration import CrashFound, CrashReport, Exploration, Run, name_of
from actorq.testing.extent import Extent
from actorq.testing.story import error_told, events_told, strikes_told
from actorq.testing.tape import Tape


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


W = TypeVar("W")


class NotCrashSafe(CrashFound):
    """A crash at a certain point broke the invariant, or kept the program from going on."""


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
    pairs: int | None = 0,
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
    process (let the stopped one go on) at so many of all the pairs of points, drawn evenly, the same
    ones each time (None: all; 0 unless told).  *restarts*: how often a process that fails is started
    again before that counts, as a service manager would.  *limit*: virtual seconds for each run.
    *only*: the number of one point, or the two of a pair, to run nothing else (with *stalls*: to stop
    there).
    *duplicates*: asked after each run, and summed up in the report.

    Raises `NotCrashSafe` with the story of the smallest failing point.
    """
    extent = Extent.read(tape, tapes, only, pairs, stalls)
    _check(program, invariant, world, limit, restarts)
    exploration = CrashSafety(program, invariant, world, always, duplicates, restarts, limit)
    return exploration.explore(extent)


class CrashSafety(Exploration[W]):
    """Tells what it finds as `NotCrashSafe`."""

    def failure(self, run: Run[W]) -> NotCrashSafe:
        """With the story of *run*."""
        if not run.strikes:
            return NotCrashSafe(_undisturbed(run))
        story = [
            f"{name_of(self.program)} is not crash safe: {run.problem}",
            "",
            *strikes_told(run, len(self.names)),
            "",
            *error_told(run),
            "",
            "What happened:",
            *events_told(run),
            "",
            "To run this again and nothing else:",
            f"    {self._again(run)}",
        ]
        return NotCrashSafe("\n".join(story), run.strikes)

    def _again(self, run: Run[W]) -> str:
        arguments = [name_of(self.program), name_of(self.invariant)]
        if self.world is not MemoryStorage:
            arguments.append(f"world={name_of(self.world)}")
        if self.tape.choices:
            arguments.append(f"tape={self.tape!r}")
        if run.stalls:
            arguments.append("stalls=True")
        arguments.append(f"only={run.strikes[0] if len(run.strikes) == 1 else run.strikes}")
        return f"assert_crash_safe({', '.join(arguments)})"


def _undisturbed(run: Run[Any]) -> str:
    story = [f"without any crash, {run.problem}; nothing was explored", "", *error_told(run)]
    if run.where:
        story += [
            "",
            "Give it a program that ends when its work is done, as `await sys.wait_idle()` at the end",
            "of open_system() lets it; if it has that much to do, allow it more with limit=.",
        ]
    return "\n".join(story)


def _check(
    program: object,
    invariant: object,
    world: object,
    limit: float,
    restarts: int,
) -> None:
    for name, given, wanted in (
        ("program", program, "an async function of one argument, the world"),
        ("invariant", invariant, "a function of one argument, the world"),
    ):
        if inspect.iscoroutine(given):
            given.close()  # or Python complains that nobody awaited it
            called = given.__name__
            raise TypeError(f"{name} got a coroutine; pass {called}, not {called}(...)")
        if not callable(given):
            raise TypeError(f"{name} expects {wanted}; got {given!r}")
        try:
            inspect.signature(given).bind(None)
        except TypeError:
            signature = f"{name_of(given)}{inspect.signature(given)}"
            raise TypeError(f"{name} expects {wanted}; got {signature}") from None
        except ValueError:
            continue  # a builtin that does not tell
    if not inspect.iscoroutinefunction(program) and inspect.isfunction(program):
        raise TypeError(
            f"program expects an async function; {name_of(program)} is a plain one: write `async def`"
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
