"""Crash points: every moment of a simulated process at which it may be struck.

That is each step of one of its tasks, and both sides of each call of its broker, result backend or
schedule source that changes what is stored: one step may contain several such calls, and a process may
die when the engine has done its work and nobody has used the answer yet.

Numbered from 1 in each process.  Under one tape a process comes to the same points in each run, up to
the first at which it is struck.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.job import current_slot
from actorq.schedule_source import ScheduleSource
from actorq.tap import Tap
from actorq.testing.simulation import current_simulation
from actorq.testing.source_lines import SourceLine, lines_of


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.cell import Cell
    from actorq.testing.process import Process

#: The calls that change what is stored, by what makes them.
CALLS: Final[dict[type, tuple[str, ...]]] = {
    Broker: (
        *("store", "claim", "settle", "open_session", "extend", "revoke", "promote", "lapse"),
        *("release", "replay", "purge_dead", "purge", "set_paused"),
    ),
    ResultBackend: ("set_result", "delete_result", "set_progress"),
    ScheduleSource: ("swap",),
}


class Strike(Enum):
    """What is done to a process at a crash point."""

    KILL = "killed"  #: as SIGKILL does; it is gone
    STOP = "stopped"  #: as SIGSTOP does; it may go on later


@attrs.frozen
class CrashPoint:
    """One moment of a process."""

    number: int
    time: float  #: virtual seconds since the simulation began
    task: str  #: whose step it was to be
    call: str  #: "between broker.store() and its answer", if the step was in such a call
    lines: tuple[SourceLine, ...]  #: on which the task sat, outermost first

    def __str__(self) -> str:
        head = f"{self.task}{self.call and ', ' + self.call}"
        return "\n".join([head, *[f"  {line}" for line in self.lines]])


class CrashPoints(Tap):
    """Counts the points of one process after the other, and strikes each where it is told to.

    To be among the listeners of the simulation, and its player's `before_step`.
    """

    def __init__(
        self,
        strikes: tuple[int, ...] = (),
        strike: Strike = Strike.KILL,
        always: Callable[[], None] | None = None,
    ) -> None:
        self.names: list[list[str]] = []  #: of the points of each process, in order
        self.struck: list[CrashPoint] = []
        self.error: Exception | None = None  #: of `always`
        self._strikes = strikes  #: the point for each process; further ones are spared
        self._strike = strike
        self._always = always
        self._process: Process | None = None

    def listen(self) -> None:
        """Hear the simulation that runs here, from now on."""
        simulation = current_simulation()
        simulation.listeners.append(self)
        simulation.player.before_step = self._before_step

    def follow(self, process: Process) -> None:
        """Count the points of *process* from now on."""
        self._process = process
        self.names.append([])

    # --- the points ---

    def _before_step(self, task: trio.lowlevel.Task) -> None:
        if self._is_ours(task):
            self._look()
            self._come_to(task, "")

    async def _around(
        self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        task = trio.lowlevel.current_task()
        if not self._is_ours(task):
            return await method(*args, **kwargs)
        if self._come_to(task, f"about to call {name}"):
            await self._be_struck()
        value = await method(*args, **kwargs)
        if self._is_ours(task):
            self._look()
            if self._come_to(task, f"between {name} and its answer"):
                await self._be_struck()
        return value

    def _come_to(self, task: trio.lowlevel.Task, call: str) -> bool:
        """Count this point; True if the process is struck at it."""
        life, names = len(self.names), self.names[-1]
        names.append(call or task.name)
        if life > len(self._strikes) or len(names) != self._strikes[life - 1]:
            return False
        process = self._process
        assert process is not None
        point = CrashPoint(
            len(names), trio.current_time(), label_of(task), call, tuple(lines_of(task))
        )
        self.struck.append(point)
        if self._strike is Strike.KILL:
            process.kill()
        else:
            process.stop()
        return True

    async def _be_struck(self) -> None:
        """In the middle of a step: not one line further, until the process goes on, if it does."""
        if self._strike is Strike.KILL:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    def _look(self) -> None:
        if self._always is not None and self.error is None:
            try:
                self._always()
            except Exception as error:  # noqa: BLE001 - the run loop must not see it
                self.error = error
                assert self._process is not None
                self._process.kill()

    def _is_ours(self, task: trio.lowlevel.Task | None) -> bool:
        process = self._process
        if process is None or process.task is None or not process.is_running:
            return False
        while task is not None:
            if task is process.task:
                return True
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return False

    # --- the calls ---

    def born(self, cell: Cell, actor: Actor[Any]) -> None:
        """See its calls from now on, if it makes any."""
        self._wrap(actor)
        if isinstance(actor, Broker):
            for source in actor.schedule_sources:
                self._wrap(source)

    def _wrap(self, keeper: object) -> None:
        for kind, names in CALLS.items():
            if isinstance(keeper, kind):
                for name in names:
                    method = getattr(keeper, name)
                    if name not in vars(keeper) and inspect.iscoroutinefunction(method):
                        shown = f"{_KEEPERS[kind]}.{name}()"
                        setattr(keeper, name, functools.partial(self._around, shown, method))


_KEEPERS: Final[dict[type, str]] = {
    Broker: "broker",
    ResultBackend: "results",
    ScheduleSource: "schedules",
}


def label_of(task: trio.lowlevel.Task) -> str:
    """The job that *task* runs, if it runs one; else the task's name."""
    slot = task.context.get(current_slot)
    job = None if slot is None else slot.job
    if job is None:
        return task.name
    return f"task {job.message.task_name} ({job.message.task_id}), attempt {job.fence.attempt}"
