"""Simulated processes: programs that can die between two steps, without cleaning up.

A process is a task and all below it.  Killing it freezes them for good: no `finally` runs, no shutdown,
no word to anybody, as if the power had gone.  What the program had handed to an object outside (its
storage, the fake of a service) stays as it was.  Another process may start on that.

At the end of the simulation, when everything has been looked at, the dead are thawed and unwound, so
that Trio can end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVarTuple

import trio

from actorq.testing.brief import brief_error
from actorq.testing.recorder import current_process
from actorq.testing.simulation import Simulation, break_shields, current_simulation


#: pytest shows the reader's own lines, not ours; `--full-trace` shows all.
__tracebackhide__ = True


Ts = TypeVarTuple("Ts")


class Process:
    """One program in a simulation."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.name = name
        self.task: trio.lowlevel.Task | None = None  #: its main task, once it has begun
        self.killed = False
        self.error: Exception | None = None  #: what its main function raised
        self._simulation = simulation
        self._over = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def is_running(self) -> bool:
        """It has neither ended nor been killed."""
        return not self._over.is_set()

    def kill(self) -> None:
        """End it as SIGKILL does, between two steps.  Nothing happens if it has ended."""
        if self._over.is_set():
            return
        self.killed = True
        self._note("is killed")
        self._over.set()
        if self.task is not None:
            self._simulation.player.freeze(self.task)

    def stop(self) -> None:
        """Let it do nothing any more until `go_on`, as SIGSTOP does.  Its clock goes on."""
        if self.task is not None and not self.killed:
            self._note("is stopped")
            self._simulation.player.freeze(self.task)

    def go_on(self) -> None:
        """Undo `stop`; a killed process does not come back."""
        if self.task is not None and not self.killed:
            self._note("goes on")
            self._simulation.player.thaw(self.task)

    async def ended(self) -> None:
        """Wait until it has ended or been killed.  Always a checkpoint."""
        await self._over.wait()

    async def _live(self, main: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        self.task = trio.lowlevel.current_task()
        current_process.set(self.name)
        self._note("starts")
        with self._scope:
            try:
                if not self.killed:
                    await main(*args)
            except Exception as error:  # noqa: BLE001 - whatever ends a program ends it alone
                if not self.killed:  # else it is being unwound, and what it says is of no interest
                    self.error = error
                    self._note(f"ends with {brief_error(error)}")
            finally:
                self._over.set()

    def _note(self, text: str) -> None:
        self._simulation.recorder.note(text, self.name)

    def _unwind(self) -> None:
        if self._simulation.player.is_frozen(self.task):
            self.kill()  # nobody will let it go on any more, if it was stopped
        if self.killed and self.task is not None:
            self._scope.cancel("the simulation ends: what was killed is unwound")
            break_shields(self.task)
            self._simulation.player.thaw(self.task)


class Processes:
    """The processes of one simulation.  Made by `open_processes`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.all: list[Process] = []
        self._nursery = nursery
        self._simulation = current_simulation()
        self._simulation.player.step_by_step = True

    def start(
        self, main: Callable[[*Ts], Awaitable[object]], *args: *Ts, name: str | None = None
    ) -> Process:
        """Start *main* as a process of its own; it runs from the next step on."""
        process = Process(self._simulation, name or f"process {len(self.all) + 1}")
        self.all.append(process)
        self._nursery.start_soon(process._live, main, args, name=process.name)
        return process


@asynccontextmanager
async def open_processes() -> AsyncIterator[Processes]:
    """Have processes that can be killed; waits for those that run, and unwinds those that do not.

    In a simulation only.  What a process raised is in its `error`; nothing else of it comes out.
    """
    async with trio.open_nursery() as nursery:
        processes = Processes(nursery)
        try:
            yield processes
            for process in processes.all:
                await process.ended()
        finally:
            for process in processes.all:
                process._unwind()
