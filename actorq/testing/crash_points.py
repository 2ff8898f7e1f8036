"""Crash points: every moment of a simulated process at which it may be struck.

That is each step of one of its tasks, and both sides of each call of its broker, result backend or
schedule source that changes what is stored: one step may contain several such calls, and a process may
die when the engine has done its work and nobody has used the answer yet.

Numbered from 1 in each process.  Under one tape a process comes to the same points in each run, up to
the first at which it is struck.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from actorq.actors.broker import Broker
from actorq.actors.result_backend import ResultBackend
from actorq.schedule_source import ScheduleSource
from actorq.tap import Tap
from actorq.testing.simulation import Simulation, current_simulation
from actorq.testing.source_lines import SourceLine, lines_of


if TYPE_CHECKING:
    from actorq.actor import Actor
    from actorq.cell import Cell
    from actorq.testing.process import Process

#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True

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
    """What is done at a crash point of a process."""

    KILL = "was killed"  #: as SIGKILL does; it is gone
    STOP = "was stopped"  #: as SIGSTOP does; it may go on later
    WAKE = "went on, and with it the one that was stopped,"


@attrs.frozen
class CrashPoint:
    """One moment of a process."""

    number: int
    strike: Strike
    time: float  #: virtual seconds since the simulation began
    event: int  #: the one of the trace that tells of the strike
    task: str  #: whose step it was to be
    call: str  #: "between broker.store() and its answer", if the step was in such a call
    lines: tuple[SourceLine, ...]  #: on which the task sat, outermost first

    def __str__(self) -> str:
        head = f"{self.task}, {self.call or 'about to go on'}{':' * bool(self.lines)}"
        return "\n".join([head, *[f"  {line}" for line in self.lines]])


class CrashPoints(Tap):
    """Counts the points of one process after the other, and strikes each where it is told to.

    To be among the listeners of the simulation, and its player's `before_step`.
    """

    def __init__(
        self,
        strikes: Sequence[tuple[int, Strike]] = (),
        always: Callable[[], None] | None = None,
    ) -> None:
        self.names: list[list[str]] = []  #: of the points of each process, in order
        self.struck: list[CrashPoint] = []
        self.error: Exception | None = None  #: of `always`
        self.happened = trio.Event()  #: the first strike
        self._strikes = strikes  #: one for each process; further ones are spared
        self._always = always
        self._simulation: Simulation
        self._wrapped: list[object] = []  #: whose calls are seen
        self._processes: list[Process] = []  #: so far; the points of the last one are counted

    def listen(self) -> None:
        """Hear the simulation that runs here, from now on."""
        simulation = self._simulation = current_simulation()
        simulation.listeners.append(self)
        simulation.player.before_step = self._before_step

    def follow(self, process: Process) -> None:
        """Count the points of *process* from now on."""
        self._processes.append(process)
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
        await self._come_to_call(task, f"about to call {name}")
        value = await method(*args, **kwargs)
        if self._is_ours(task):
            self._look()
            await self._come_to_call(task, f"between {name} and its answer")
        return value

    async def _come_to_call(self, task: trio.lowlevel.Task, call: str) -> None:
        """In the middle of a step: who is struck does not get one line further."""
        match self._come_to(task, call):
            case Strike.KILL:
                await trio.sleep_forever()
            case Strike.STOP:
                await trio.lowlevel.checkpoint()  # until it goes on, if it does

    def _come_to(self, task: trio.lowlevel.Task, call: str) -> Strike | None:
        """Count this point, and strike if it is the one."""
        life, names = len(self.names), self.names[-1]
        names.append(call or task.name)
        number, strike = self._strikes[life - 1] if life <= len(self._strikes) else (0, None)
        if strike is None or len(names) != number:
            return None
        now, lines = trio.current_time(), tuple(lines_of(task))
        name = self._simulation.recorder.name_of(task)
        name = name.removeprefix(f"{self._processes[-1].name}/")
        event = self._simulation.recorder.trace.total + 1
        self.struck.append(CrashPoint(number, strike, now, event, name, call, lines))
        self.happened.set()
        match strike:
            case Strike.KILL:
                self._processes[-1].kill()
            case Strike.STOP:
                self._processes[-1].stop()
            case Strike.WAKE:
                self._processes[0].go_on()
        return strike

    def _look(self) -> None:
        if self._always is not None and self.error is None:
            try:
                self._always()
            except Exception as error:  # noqa: BLE001 - the run loop must not see it
                self.error = error
                for process in self._processes:
                    process.kill()

    def _is_ours(self, task: trio.lowlevel.Task | None) -> bool:
        process = self._processes[-1] if self._processes else None
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
            if isinstance(keeper, kind) and keeper not in self._wrapped:
                self._wrapped.append(keeper)
                for name in names:
                    # as it is on the instance: others may have wrapped it too
                    shown, method = f"{_KEEPERS[kind]}.{name}()", getattr(keeper, name)
                    setattr(keeper, name, functools.partial(self._around, shown, method))


_KEEPERS: Final[dict[type, str]] = {
    Broker: "broker",
    ResultBackend: "results",
    ScheduleSource: "schedules",
}
