"""The parent: keeps its processes running by a supervisor's rules, and ends them in order.

A plain Trio program with the kernel's own restart decisions (`Incidents`, `Backoff`).  It imports
nothing of the user's, so nothing of the user's can bring it down, and a changed file is read anew.
One task for each seat; a second nursery holds what sees to signals and deadlines meanwhile.
"""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from trio_util import wait_any

from actorq.cli import exits
from actorq.cli.serving import orphans
from actorq.cli.serving.journal import Journal, tell_systemd
from actorq.cli.serving.orders import PATIENCE, Orders
from actorq.cli.serving.process import Process, started
from actorq.cli.serving.readiness import Readiness
from actorq.cli.words import count
from actorq.restart import Backoff, Incidents


#: Seconds between the starts of processes that die: 0.5, 1, 2 ... 10, and a random part of it more.
BACKOFF: Final = Backoff(base=0.5, max=10.0, jitter=0.5, stable_after=10.0)
#: Seconds after which it is said that a process is not ready.
SLOW: Final = 30.0
#: By their names: Windows has not all of them, and it is the command that says so.
ENDING: Final = tuple(
    [each for each in signal.Signals if each.name in ("SIGTERM", "SIGINT", "SIGHUP")]
)


@attrs.frozen
class Plan:
    """What to keep running, and how."""

    seats: Sequence[Orders]
    grace: float = 30.0  #: seconds
    intensity: int = 5  #: deaths tolerated
    period: float = 60.0  #: in so many seconds
    reload: bool = False  #: a process that cannot begin waits for a change
    ready_file: Path | None = None
    backoff: Backoff = BACKOFF


class Parent:
    """Keeps processes.  Used for one `run`."""

    def __init__(self, plan: Plan, journal: Journal) -> None:
        self._plan = plan
        self._say = journal.say
        self._stdout_is_ours = journal.output.json
        self._running: set[Process] = set()
        self._starting = 0  #: processes that have been forked, perhaps, and are not in the set yet
        self._readiness = Readiness(len(plan.seats), plan.ready_file)
        self._readiness.begin()
        self._incidents = Incidents(plan.intensity, plan.period)
        self._ending = trio.Event()
        self._signals = 0  #: that told us to end
        self._change = trio.Event()  #: a file has changed; a new one for each change
        self._deadline = trio.CancelScope()  #: at its end, who still runs is killed
        self._code = exits.OK
        self.obeys = False  #: signals are its business, even those that come when it has ended

    async def run(
        self, watch: Callable[[Callable[[str], None]], Awaitable[object]] | None = None
    ) -> int:
        """Keep the processes until a signal ends it; the exit code.

        *watch*, an async function, gets `changed` to call when the program's files have changed.
        """
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._obey)
                nursery.start_soon(self._kill_late_ones)
                if watch is not None:
                    nursery.start_soon(watch, self.changed)
                async with trio.open_nursery() as self._seats:
                    for orders in self._plan.seats:
                        self._seats.start_soon(self._keep, orders)
                nursery.cancel_scope.cancel("every process has ended")
        finally:
            self._readiness.look(ending=True)
        self._say("ended", f"ended ({_MEANING[self._code]})", code=self._code)
        return self._code

    def changed(self, what: str) -> None:
        """Replace every process: the program has changed."""
        if self._ending.is_set():
            return
        self._say("reload", f"{what} changed; starting anew")
        self._change.set()
        self._change = trio.Event()
        for process in self._running:
            process.why = "the program has changed"
            process.end()
            if process.ready.is_set():
                process.leaving.set()  # its successor need not wait for it

    # --- one seat ---

    async def _keep(self, orders: Orders) -> None:
        """Have a process on this seat until the end."""
        deaths = 0
        while not self._ending.is_set():
            change = self._change
            try:
                process = await self._seats.start(self._start, orders)
            except OSError as error:  # too many processes, or no memory for one more
                if not await self._may_start_again(orders.name, f"cannot start ({error})", deaths):
                    return
                deaths += 1
                continue
            await process.leaving.wait()
            if self._ending.is_set():
                return
            if process.why and (process.running or process.process.returncode == exits.OK):
                self._say(
                    "replaced",
                    f"{process.name} ({process.pid}) is replaced: {process.why}",
                    process=process.name,
                    pid=process.pid,
                    why=process.why,
                )
                continue
            if change.is_set():
                continue  # it was told to end while it began, for the program has changed again
            if process.ready_at is None and self._plan.reload:
                self._say("waiting", f"{process.name} cannot begin; waiting for a change")
                await wait_any(change.wait, self._ending.wait)
                continue
            code = process.process.returncode
            if process.ready_at is None and code == exits.USAGE and not self._readiness.was:
                self._end(exits.USAGE)  # it has said why, and it would be the same again
                return
            if process.has_been_ready_for(self._plan.backoff.stable_after):
                deaths = 0
            how = f"({process.pid}) {_how(code)}"
            fields = {"pid": process.pid, "code": code}
            if not await self._may_start_again(orders.name, how, deaths, **fields):
                return
            deaths += 1

    async def _may_start_again(self, name: str, how: str, deaths: int, **fields: Any) -> bool:
        """Note a death, and wait as long as the rules say; False if that was one too many."""
        plan = self._plan
        too_many = self._incidents.record(trio.current_time())
        recent = self._incidents.recent(trio.current_time())
        if too_many:
            self._say(
                "gave up",
                f"{name} {how}; giving up: {count(recent, 'death')} in {plan.period:g} s "
                f"(--max-restarts {plan.intensity})",
                process=name,
                **fields,
            )
            self._end(exits.FAILED)
            return False
        delay = plan.backoff.delay(deaths, random.random())
        self._say(
            "died",
            f"{name} {how}; restarting in {delay:.2f} s (death {recent}, {plan.intensity} tolerated "
            f"in {plan.period:g} s)",
            process=name,
            restart_in=round(delay, 3),
            **fields,
        )
        with trio.move_on_after(delay):
            await self._ending.wait()
        return True

    async def _start(self, orders: Orders, task_status: trio.TaskStatus[Process]) -> None:
        """Start a process, and stay with it until it has ended."""
        with ExitStack() as undo:
            self._starting += 1
            undo.callback(self._forked)
            async with started(orders, quiet=self._stdout_is_ours) as process:
                self._running.add(process)
                self._readiness.seated[orders.name] = process
                self._look_at_readiness()
                undo.close()
                undo.callback(self._gone, process)
                self._say(
                    "started",
                    f"{process.name} ({process.pid}) starts",
                    process=process.name,
                    pid=process.pid,
                )
                task_status.started(process)
                if self._ending.is_set():
                    process.end()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._await_readiness, process)
                    if orders.max_silence:
                        nursery.start_soon(self._end_silence, process)
                    code = await process.live()
                    nursery.cancel_scope.cancel("the process has ended")
                if self._ending.is_set():
                    self._note_the_end(process, code)

    def _forked(self) -> None:
        self._starting -= 1

    def _gone(self, process: Process) -> None:
        self._running.discard(process)
        self._look_at_readiness()
        self._bury()
        process.leaving.set()

    def _note_the_end(self, process: Process, code: int) -> None:
        fields = {"process": process.name, "pid": process.pid, "code": code}
        if code in (exits.OK, -signal.SIGTERM, -signal.SIGINT):
            self._say("stopped", f"{process.name} ({process.pid}) has ended", **fields)
        else:
            self._say("stopped", f"{process.name} ({process.pid}) {_how(code)}", **fields)
            self._code = self._code or exits.FAILED

    # --- readiness ---

    async def _await_readiness(self, process: Process) -> None:
        with trio.move_on_after(SLOW):
            await process.ready.wait()
        if not process.ready.is_set():
            self._say(
                "slow",
                f"{process.name} ({process.pid}) is not ready after {SLOW:g} s: it still imports, or "
                f"waits for the engine",
                process=process.name,
                pid=process.pid,
            )
            await process.ready.wait()
        self._look_at_readiness()

    async def _end_silence(self, process: Process) -> None:
        limit = process.orders.max_silence
        await process.silence(limit)
        self._say(
            "silent",
            f"{process.name} ({process.pid}) has given no sign of life for {limit:g} s: killed, its "
            f"event loop stands still (--max-silence)",
            process=process.name,
            pid=process.pid,
        )
        process.kill()

    def _look_at_readiness(self) -> None:
        if self._readiness.look(ending=self._ending.is_set()):
            seats = self._plan.seats
            self._say("ready", f"ready: {_summary(seats)}", processes=len(seats))

    # --- the end ---

    async def _obey(self, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*ENDING, signal.SIGCHLD) as signals:
            self.obeys = True
            task_status.started()
            async for number in signals:
                if number == signal.SIGCHLD:
                    self._bury()
                else:
                    self._take(signal.Signals(number))

    def _bury(self) -> None:
        if not self._starting:
            ours = {process.pid for process in self._running}
            orphans.bury(ours.__contains__)

    def _take(self, number: signal.Signals) -> None:
        """The first: end in order.  The second: without a grace.  The third: now."""
        self._signals += 1
        if self._signals == 1:
            self._say(
                "ending",
                f"{number.name}: no new tasks; running ones have {self._plan.grace:g} s "
                f"(a second signal hurries)",
                signal=number.name,
            )
            self._end(exits.OK)
        elif self._signals == 2:
            self._say(
                "hurrying",
                f"{number.name} again: running tasks are cancelled and given back "
                f"(a third signal kills)",
                signal=number.name,
            )
            self._deadline.deadline = min(self._deadline.deadline, trio.current_time() + PATIENCE)
            for process in self._running:
                process.hurry()
        else:
            self._code = exits.INTERRUPTED if number == signal.SIGINT else exits.TERMINATED
            self._deadline.cancel(f"{number.name}, for the third time")

    def _end(self, code: int) -> None:
        if self._ending.is_set():
            return
        self._code = code
        self._ending.set()
        tell_systemd("STOPPING=1")
        self._look_at_readiness()
        self._deadline.deadline = trio.current_time() + self._plan.grace + PATIENCE
        for process in self._running:
            process.end()

    async def _kill_late_ones(self) -> None:
        with self._deadline:
            await trio.sleep(math.inf)
        late = sorted(self._running, key=lambda process: process.name)
        for process in late:
            process.kill()
        if late:
            names = ", ".join(f"{process.name} ({process.pid})" for process in late)
            self._say(
                "killed",
                f"killed, not having ended in time: {names}; their tasks are run again elsewhere",
                processes=[process.name for process in late],
            )
            self._code = self._code or exits.FAILED


_MEANING: Final = {
    exits.OK: "all in order",
    exits.FAILED: "not in order",
    exits.USAGE: "it could not begin",
    exits.INTERRUPTED: "killed",
    exits.TERMINATED: "killed",
}


def _how(code: int | None) -> str:
    """How a process ended, for people."""
    if code is None:
        return "has ended"
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    why = " (the engine is unavailable)" if code == exits.UNAVAILABLE else ""
    return f"exited with code {code}{why}"


def _summary(seats: Sequence[Orders]) -> str:
    workers = [seat for seat in seats if seat.role == "worker"]
    said = []
    if workers:
        plural = "es" if len(workers) > 1 else ""
        said.append(
            f"{len(workers)} process{plural}, {workers[0].concurrency} tasks at a time in each, "
            f"{_queues(workers[0])}"
        )
    if len(workers) < len(seats):
        said.append("a scheduler")
    return "; ".join(said)


def _queues(orders: Orders) -> str:
    if orders.queues is None:
        return "all queues"
    if isinstance(orders.queues, dict):
        return "queues " + ", ".join(f"{name}={w:g}" for name, w in orders.queues.items())
    return "queues " + ", ".join(orders.queues)
